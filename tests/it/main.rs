//! The contract, asked of the real router and of the real binary.

mod support;

mod errors;
mod http;
mod preconditions;
mod races;
mod readme;
mod sources;
