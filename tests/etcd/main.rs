//! Several processes on one etcd, asked of real clusters of etcd.
//!
//! `tests/etcd/install DIR` installs the versions that are tested; `IFMATCH_TEST_ETCD=DIR/3.5.1` names the one
//! to run against. Without it these tests print a line and pass.

mod support;

mod client;
mod cluster;
mod engine;
mod processes;
