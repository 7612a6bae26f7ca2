//! Two processes, as users start them, on one cluster.

mod away;
mod flags;
mod limits;
mod past;
mod shared;
mod stop;
mod watching;
