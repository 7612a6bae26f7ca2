//! What several processes share over an etcd cluster.
//!
//! [`Address`] and [`EtcdSettings`] say which cluster, and how it is reached; `client` speaks to it.

mod address;
#[cfg_attr(
    not(feature = "internals"),
    allow(dead_code, unused_imports, reason = "the engine follows")
)]
pub(super) mod client;
pub(super) mod error;
#[cfg_attr(
    not(feature = "internals"),
    allow(dead_code, unused_imports, reason = "the engine follows")
)]
pub(super) mod messages;
mod settings;

pub use self::address::{Address, AddressError};
pub use self::error::SetupError;
pub use self::settings::{EtcdSettings, Password};
