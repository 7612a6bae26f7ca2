//! The route table.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use axum::routing::future::RouteFuture;
use axum::routing::{MethodRouter, get, post};

#[cfg(feature = "console")]
use super::console;
use super::cors::MaybeCors;
#[cfg(feature = "docs")]
use super::docs;
use super::guard::Guard;
use super::hosts::OriginCheck;
use super::observe::{NumberRequests, Observe};
use super::state::{Access, KEY_PATH, Limits, Shared};
use super::{handlers, health, session};
use crate::service::Service;
use crate::token::random_token;

/// The service as a router, to be served alone or below a path of another program's router
/// ([`Router::nest_service`]); the page at `/` needs the slash behind that path.
///
/// The caller manages the connections: of `limits`, only [`Limits::request_timeout`] applies.
/// [`serve`](super::serve) does both.
///
/// A [`Guard`] says who may use it; [`AllowedHosts`](super::AllowedHosts) alone let everybody do everything.
pub fn router(service: Arc<Service>, limits: Limits, guard: impl Into<Guard>) -> Router {
    Router::new().fallback_service(full_api(service, limits, guard.into()))
}

/// All routes.
pub fn full_api(service: Arc<Service>, limits: Limits, guard: Guard) -> Api {
    // At every path that begins with `KEY_PATH`.
    let entries = get(handlers::read)
        .post(handlers::put)
        .put(handlers::put)
        .patch(handlers::patch)
        .delete(handlers::delete)
        .fallback(handlers::method_not_allowed);
    let others = health_routes()
        .route("/kv", get(handlers::list))
        .route("/history", get(handlers::history))
        .route("/history/{*key}", get(handlers::key_history))
        .route("/revert/{*key}", post(handlers::revert))
        .route("/transactions", post(handlers::transact))
        .route("/watch", get(handlers::watch))
        .route("/whoami", get(session::whoami))
        .route("/session", post(session::sign_in).delete(session::sign_out))
        .fallback(handlers::no_such_path);
    #[cfg(feature = "console")]
    let others = others
        .route("/", get(console::page))
        .route("/console/{file}", get(console::file));
    #[cfg(feature = "docs")]
    let others = others
        .route("/openapi.yaml", get(docs::yaml))
        .route("/openapi.json", get(docs::json))
        .route("/docs", get(docs::page))
        .route("/docs/{*file}", get(docs::file));
    let others = others.method_not_allowed_fallback(handlers::method_not_allowed);
    finish(Some(entries), others, service, limits, guard)
}

/// The routes of a connection past the limit: probes are answered, everything else gets 503.
pub fn overload_api(service: Arc<Service>, limits: Limits, guard: Guard) -> Api {
    let routes = health_routes().fallback(handlers::overloaded);
    finish(None, routes, service, limits, guard)
}

fn health_routes() -> Router<Shared> {
    Router::new()
        .route("/health", get(health::report))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
}

/// A router with what happens around every request. It is wrapped as a whole, because each `Router::layer`
/// would box every request once more.
pub type Api = MaybeCors<Observe<Routes>>;

fn finish(
    entries: Option<MethodRouter<Shared>>,
    others: Router<Shared>,
    service: Arc<Service>,
    limits: Limits,
    guard: Guard,
) -> Api {
    let Guard {
        hosts,
        origins,
        proxies,
        authority,
    } = guard;
    let is_audited = !authority.is_open();
    let access = Arc::new(Access { authority, proxies });
    let shared = Shared { service, access };
    let numbers = NumberRequests::of_process(random_token());
    let routes = Routes {
        entries: entries.map(|entries| entries.with_state(shared.clone())),
        others: others.with_state(shared),
    };
    let origin = OriginCheck::new(hosts, origins.clone());
    let observed = Observe::new(routes, numbers, limits, origin, is_audited);
    MaybeCors::new(observed, &origins)
}

/// The routes of entries, and all others. A key may be any text, so it is read from the whole path
/// ([`KeyInPath`](super::extract::KeyInPath)). A pattern of the router would find, decode and store it once
/// more for each request, at some 1,700 of the 22,000 instructions of a GET.
#[derive(Clone)]
pub struct Routes {
    entries: Option<MethodRouter>,
    others: Router,
}

impl tower::Service<Request<Body>> for Routes {
    type Response = Response;
    type Error = Infallible;
    type Future = RouteFuture<Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Both are always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match &mut self.entries {
            Some(entries) if request.uri().path().starts_with(KEY_PATH) => entries.call(request),
            _ => self.others.call(request),
        }
    }
}
