//! What the tests share: the router as a test calls it, and the binary as a user starts it.

pub mod api;
pub mod binary;
pub mod contract;
pub mod writers;
