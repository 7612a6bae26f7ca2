//! The cost that clients can impose on others is bounded: the contract's *Bounds*, each pushed past.
//!
//! Every test here is a load on the real binary; `support/load.rs` says what holds under each.

mod answers;
mod bodies;
mod connections;
mod disk;
mod patches;
mod readers;
mod waiting;
mod watchers;
