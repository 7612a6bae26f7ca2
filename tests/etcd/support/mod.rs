//! What the tests share: clusters of etcd, certificates, and the binary as a user starts it.

#[path = "../../it/support/binary.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
pub mod binary;
pub mod cluster;
pub mod etcd;
#[path = "../../it/support/events.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
pub mod events;
#[path = "../../it/support/http.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
pub mod http;
#[path = "../../it/support/linear.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
pub mod linear;
#[path = "../../it/support/linear_clients.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
pub mod linear_clients;
pub mod network;
pub mod proxy;
pub mod service;
#[path = "../../it/support/tls.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
pub mod tls;
