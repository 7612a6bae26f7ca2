//! Connections that are secured by TLS, through the real binary.

mod bounds;
mod callers;
mod clients;
mod reload;
mod serving;
mod startup;
