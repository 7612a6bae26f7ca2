//! ifmatch: an HTTP key-value service in which nobody's update gets lost.
//!
//! The way of a request is straight down and straight back:
//! `main → api → service → precondition`, and from `service` to [`storage::Store`]. Modules stand
//! here in the order in which they are best read.

pub mod json;
pub mod model;
pub mod patch;
pub mod merge;
pub mod precondition;
pub mod error;
pub mod admission;
pub mod storage;
mod workers;
pub mod service;
pub mod api;
pub mod config;
pub mod cli;
