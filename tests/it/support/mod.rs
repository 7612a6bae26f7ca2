//! What the tests share: the router as a test calls it, the binary as a user starts it, what makes
//! its disk fail, and what puts it under load.

pub mod access;
pub mod api;
pub mod binary;
pub mod cli;
pub mod contract;
pub mod events;
pub mod http;
pub mod http2;
pub mod linear;
pub mod linear_clients;
pub mod load;
pub mod log;
pub mod mounts;
pub mod prober;
pub mod proc;
pub mod raw;
pub mod segments;
pub mod shared;
pub mod stores;
pub mod strace;
pub mod tls;
pub mod unreliable;
pub mod writers;
