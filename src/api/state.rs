//! What all requests share, and the names that several modules need.

use std::sync::Arc;
use std::time::Duration;

use super::proxies::TrustedProxies;
use crate::access::Authority;
use crate::service::Service;

/// The path that keys follow.
pub const KEY_PATH: &str = "/kv/";
/// The path that the key of a history follows.
pub const HISTORY_PATH: &str = "/history/";
/// The path that a key follows whose value is brought back.
pub const REVERT_PATH: &str = "/revert/";
/// What `Accept-Patch` lists.
pub const PATCH_TYPES: &str =
    "application/merge-patch+json, application/json-patch+json, application/json";

/// The limits that protect the process from its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long the header of a request may take, and how long a connection may be idle.
    pub header_timeout: Duration,
    /// How long a request may take, its body included; in the same time a reader must take 64 KiB of
    /// its answer.
    pub request_timeout: Duration,
    /// How many connections are served at once.
    pub max_connections: usize,
    /// How long draining may take; requests in progress have most of it to finish.
    pub shutdown_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(30),
            max_connections: 10_000,
            shutdown_grace: Duration::from_secs(10),
        }
    }
}

/// What says who asks.
#[derive(Debug)]
pub struct Access {
    /// Who is known.
    pub authority: Authority,
    /// The proxies that are trusted to say who it is.
    pub proxies: TrustedProxies,
}

/// What every handler can reach.
#[derive(Clone)]
pub struct Shared {
    /// The operations.
    pub service: Arc<Service>,
    /// Who asks.
    pub access: Arc<Access>,
}
