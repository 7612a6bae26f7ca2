//! The contract, asked of the real router and of the real binary.

mod support;

mod http;
mod readme;
mod sources;
