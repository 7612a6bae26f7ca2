//! The HTTP interface: the only part that knows HTTP.

mod as_of;
#[cfg(any(feature = "console", feature = "docs"))]
mod assets;
mod body;
mod caller;
mod client;
mod conditional;
mod connections;
#[cfg(feature = "console")]
mod console;
mod cors;
mod deadline;
#[cfg(feature = "docs")]
mod docs;
mod error;
mod extract;
mod fields;
mod freshness;
mod guard;
mod handlers;
mod handshake;
mod health;
mod history;
mod hosts;
mod http1;
mod http2;
mod json_text;
mod listener;
mod listing;
mod observe;
mod once;
mod prefer;
mod protocols;
mod proxies;
mod reply;
mod revert;
mod router;
mod server;
mod session;
mod socket;
mod state;
mod tls;
mod transaction;
mod unread;
mod validity;
mod watch;

pub use self::cors::{AllowedOrigins, Origin, OriginError};
pub use self::guard::Guard;
pub use self::hosts::{AllowedHosts, HostName, HostNameError};
pub use self::listener::{Listener, is_within_loopback, listen};
pub use self::proxies::{Network, NetworkError, TrustedProxies};
pub use self::router::router;
pub use self::server::serve;
pub use self::state::Limits;
pub use self::tls::{Tls, TlsError};
pub use axum::http::HeaderName;
