//! The route table.

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

#[cfg(feature = "console")]
use super::console;
#[cfg(feature = "docs")]
use super::docs;
use super::hosts::AllowedHosts;
use super::observe::{NumberRequests, Observe};
use super::state::{Limits, Shared};
use super::{handlers, health};
use crate::service::Service;
use crate::token::random_token;

/// The service as a router, to be served alone or below a path of another program's router
/// ([`Router::nest_service`]); the page at `/` needs the slash behind that path.
///
/// Whoever serves it looks after the connections: of `limits`, only [`Limits::request_timeout`] applies.
/// [`serve`](super::serve) does both.
pub fn router(service: Arc<Service>, limits: Limits, hosts: AllowedHosts) -> Router {
    Router::new().fallback_service(full_api(service, limits, hosts))
}

/// All routes.
pub fn full_api(service: Arc<Service>, limits: Limits, hosts: AllowedHosts) -> Api {
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
pub fn overload_api(service: Arc<Service>, limits: Limits, hosts: AllowedHosts) -> Api {
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
pub type Api = Observe<Router>;

fn finish(routes: Router<Shared>, shared: Shared, hosts: AllowedHosts) -> Api {
    let limits = shared.limits;
    let numbers = NumberRequests::of_process(random_token());
    Observe::new(routes.with_state(shared), numbers, limits, hosts)
}
