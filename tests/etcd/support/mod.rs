//! What the tests share: clusters of etcd, certificates, and the binary as a user starts it.

#[path = "../../it/support/binary.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
pub mod binary;
pub mod cluster;
pub mod etcd;
pub mod proxy;
#[path = "../../it/support/tls.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
pub mod tls;
