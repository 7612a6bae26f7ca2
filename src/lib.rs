//! An HTTP key-value service in which nobody's update gets lost.
//!
//! Every entry is a JSON value with a version; every answer carries an `ETag`; every write can say
//! `If-Match`, and a stale one gets 412 with the current entry. What is acknowledged is in one `data.json`
//! that survives a power cut.
//!
//! This is the library of the `ifmatch` program. With it the service runs inside another program:
//!
//! ```no_run
//! # async fn start() -> Result<(), Box<dyn std::error::Error>> {
//! use std::{path::Path, sync::Arc};
//! use ifmatch::{AllowedHosts, FileStore, Journaling, Limits, Service, Settings};
//!
//! let store = FileStore::open(Path::new("data.json"), Journaling::default()).await?;
//! let service = Arc::new(Service::new(Arc::new(store), Settings::default()));
//! let kv = ifmatch::router(Arc::clone(&service), Limits::default(), AllowedHosts::any());
//!
//! let app = axum::Router::new().nest_service("/settings", kv);
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! axum::serve(listener, app).await?;
//! service.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Or without HTTP:
//!
//! ```
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//! use std::time::Duration;
//! use ifmatch::precondition::Preconditions;
//! use ifmatch::{Current, Error, MemoryStore, Principal, Service, Settings, Value};
//! use tokio::time::Instant;
//!
//! let service = Service::new(Arc::new(MemoryStore::new()), Settings::default());
//! let kv = service.acting_as(Principal::unrestricted());
//! let deadline = || Instant::now() + Duration::from_secs(30);
//! let value = |json: &str| Value::from_json(json.as_bytes());
//!
//! let first = kv
//!     .put("plan".parse()?, value(r#"{"budget":100}"#)?, &Preconditions::default(), deadline())
//!     .await?;
//! // Somebody else saves before we do.
//! kv
//!     .put("plan".parse()?, value(r#"{"budget":120}"#)?, &Preconditions::default(), deadline())
//!     .await?;
//! let stale = Preconditions::if_match(&first.entry.record.etag());
//! let refused = kv.put("plan".parse()?, value("1")?, &stale, deadline()).await;
//! let Err(Error::PreconditionFailed { current: Current::Entry(current), .. }) = refused else {
//!     panic!("it was stale");
//! };
//! assert_eq!(current.record.value.as_json(), r#"{"budget":120}"#);
//! # Ok(())
//! # }
//! ```
//!
//! # Where to start
//! - [`Service`]: the operations. [`Store`]: what an engine must do; [`FileStore`] and [`MemoryStore`] are
//!   the two that come with it, and `examples/custom_store.rs` writes a third.
//! - [`Principal`]: who asks, and what that caller may do.
//! - [`router`] and [`serve`]: the service over HTTP; [`Limits`], [`AllowedHosts`] and [`Guard`] protect it.
//! - [`merge`]: what two people made of one value, and where they conflict.
//!
//! # Features
//! All but `conformance` and `internals` are on by default; without them there is the service and its engines alone.
//!
//! | feature | adds |
//! | --- | --- |
//! | `server` | the HTTP interface: [`api`] |
//! | `console` | the web page at `/` |
//! | `docs` | `/openapi.yaml`, `/openapi.json`, and a page to try them at `/docs` |
//! | `etcd` | the engine for several processes on one etcd cluster: [`storage::etcd`] |
//! | `cli` | the program: flags, logs, the commands of a client |
//! | `conformance` | the suite that every engine passes |
//! | `internals` | what the benchmarks of this crate measure; not part of the public interface |
//!
//! # Modules
//! A request goes straight down and straight back: `main → api → service → precondition`, and from
//! `service` to [`storage::Store`]. They are listed in reading order.

pub mod json;
pub mod model;
pub mod patch;
pub mod merge;
pub mod precondition;
#[cfg(any(feature = "server", feature = "etcd"))]
#[cfg_attr(
    not(feature = "server"),
    expect(
        dead_code,
        reason = "the server looks for changes; the engine only reads"
    )
)]
mod changed_file;
pub mod access;
mod atomic_file;
pub mod storage;
mod token;
pub mod service;
#[cfg(feature = "server")]
mod url;
#[cfg(feature = "server")]
pub mod api;
// For the program alone.
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod config;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod verify;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;

#[cfg(feature = "server")]
pub use self::access::Authority;
pub use self::access::{Grants, Principal};
#[cfg(feature = "server")]
pub use self::api::{AllowedHosts, Guard, Limits, Listener, Tls, router, serve};
pub use self::model::{EntityTag, Entry, Key, Value};
pub use self::service::{Current, Error, Operations, Policy, Service, Settings};
pub use self::storage::file::{FileStore, History, Journaling};
pub use self::storage::memory::MemoryStore;
pub use self::storage::{Store, StoreError};
