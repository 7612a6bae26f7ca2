//! The HTTP interface: the only part that knows HTTP.

#[cfg(any(feature = "console", feature = "docs"))]
mod assets;
mod client;
mod conditional;
mod connections;
#[cfg(feature = "console")]
mod console;
#[cfg(feature = "docs")]
mod docs;
mod error;
mod extract;
mod handlers;
mod health;
mod hosts;
mod listing;
mod message;
mod observe;
mod pieces;
mod prefer;
mod reply;
mod server;
mod socket;
mod transaction;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};

pub use self::hosts::{AllowedHosts, HostName, HostNameError};
use self::observe::{NumberRequests, Observe};
pub use self::server::{listen, serve};
use crate::model::random_token;
use crate::service::Service;

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
    /// How long draining may take; requests under way have most of it to finish.
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

/// What every handler can reach.
#[derive(Clone)]
struct Shared {
    service: Arc<Service>,
    limits: Limits,
}

/// The service as a router, to be served alone or below a path of another program's router
/// ([`Router::nest_service`]); the page at `/` needs the slash behind that path.
///
/// Whoever serves it looks after the connections: of `limits`, only [`Limits::request_timeout`] applies.
/// [`serve`] does both.
pub fn router(service: Arc<Service>, limits: Limits, hosts: AllowedHosts) -> Router {
    Router::new().fallback_service(full_api(service, limits, hosts))
}

/// All routes.
fn full_api(service: Arc<Service>, limits: Limits, hosts: AllowedHosts) -> Api {
    let entry = get(handlers::read)
        .post(handlers::put)
        .put(handlers::put)
        .patch(handlers::patch)
        .delete(handlers::delete);
    let routes = health_routes()
        .route("/kv", get(handlers::list))
        .route("/transactions", post(handlers::transact))
        .route("/watch", get(handlers::watch))
        .route("/kv/", entry.clone())
        .route("/kv/{*key}", entry)
        .fallback(handlers::no_such_path);
    #[cfg(feature = "console")]
    let routes = routes
        .route("/", get(console::page))
        .route("/console/{file}", get(console::file));
    #[cfg(feature = "docs")]
    let routes = routes
        .route("/openapi.yaml", get(docs::yaml))
        .route("/openapi.json", get(docs::json))
        .route("/docs", get(docs::page))
        .route("/docs/{*file}", get(docs::file));
    let routes = routes.method_not_allowed_fallback(handlers::method_not_allowed);
    finish(routes, Shared { service, limits }, hosts)
}

/// The routes of a connection past the limit: probes are answered, everything else is told to
/// come back.
fn overload_api(service: Arc<Service>, limits: Limits, hosts: AllowedHosts) -> Api {
    let routes = health_routes().fallback(handlers::overloaded);
    finish(routes, Shared { service, limits }, hosts)
}

fn health_routes() -> Router<Shared> {
    Router::new()
        .route("/health", get(health::report))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
}

/// A router with what happens around every request. This stands around it as a whole, because
/// each `Router::layer` would box every request once more.
type Api = Observe<Router>;

fn finish(routes: Router<Shared>, shared: Shared, hosts: AllowedHosts) -> Api {
    let limits = shared.limits;
    let numbers = NumberRequests::of_process(random_token());
    Observe::new(routes.with_state(shared), numbers, limits, hosts)
}
