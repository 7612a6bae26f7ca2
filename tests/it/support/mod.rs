//! What the tests share: the router as a test calls it, the binary as a user starts it, and what
//! makes its disk fail.

pub mod api;
pub mod binary;
pub mod cli;
pub mod contract;
pub mod events;
pub mod linear;
pub mod mounts;
pub mod strace;
pub mod writers;
