//! The contract, asked of the real router and of the real binary.

#![allow(clippy::format_push_string, reason = "a test may take the shorter way")]

mod support;

mod bounds;
mod cli;
mod cli_arguments;
mod cli_edit;
mod cli_files;
mod cli_interrupts;
mod cli_proxy;
mod cli_responses;
mod cli_transfer;
mod cli_unseen;
mod cli_watch;
mod console;
mod contract;
mod crash;
mod editors;
mod embedded;
mod errors;
mod faults;
mod fuzz;
mod hosts;
mod http;
mod http2;
mod identity;
mod journal;
mod lifecycle;
mod limits;
mod linearizability;
mod lists;
mod model;
mod numbers;
mod outcomes;
mod patch;
mod power_cut;
mod preconditions;
mod races;
mod readme;
mod requests;
mod sources;
mod startup;
mod syscalls;
mod tags;
mod tls;
mod transactions;
mod validators;
mod values;
mod watch;
