//! What orchestrators probe.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::extract::NoQuery;
use super::reply::NO_STORE;
use super::state::Shared;
use crate::model::Revision;

/// Whether a path is that of a probe, which is answered whatever its `Host`.
pub fn is_probe(path: &str) -> bool {
    matches!(path, "/health" | "/health/live" | "/health/ready")
}

/// 200 while the process answers.
pub async fn live(_: NoQuery) -> Response {
    let body = StatusBody { status: "ok" };
    answer(true, Json(body))
}

/// 200 while the service can read and commit, else 503.
pub async fn ready(_: NoQuery, State(shared): State<Shared>) -> Response {
    let ready = shared.service.health().await.ready;
    let body = StatusBody {
        status: status_of(ready),
    };
    answer(ready, Json(body))
}

/// As [`ready`], with details; how much is in the store, and what is wrong with it, is for those who may read all of
/// it.
pub async fn report(_: NoQuery, State(shared): State<Shared>, request: Request) -> Response {
    let health = shared.service.health().await;
    // A probe has no token, and a wrong one is no reason to call the service unhealthy.
    let caller = shared
        .access
        .caller_of(request.headers(), request.extensions());
    let shows_figures = caller.is_ok_and(|caller| caller.grants().read_everything());
    let figure = |number| shows_figures.then_some(number);
    let body = HealthBody {
        status: status_of(health.ready),
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: health.uptime.as_secs(),
        store: StoreBody {
            engine: health.store.engine,
            keys: figure(health.store.keys as u64),
            revision: figure(health.store.position.revision),
            readable: health.store.readable,
            writable: health.store.writable,
            problem: health.store.problem.filter(|_| shows_figures),
        },
    };
    answer(health.ready, Json(body))
}

#[derive(Serialize)]
struct StatusBody {
    status: &'static str,
}

#[derive(Serialize)]
struct HealthBody {
    status: &'static str,
    version: &'static str,
    uptime_seconds: u64,
    store: StoreBody,
}

#[derive(Serialize)]
struct StoreBody {
    engine: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<Revision>,
    readable: bool,
    writable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

fn status_of(ready: bool) -> &'static str {
    if ready { "ok" } else { "unavailable" }
}

fn answer(ok: bool, body: impl IntoResponse) -> Response {
    let status = if ok {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, [(header::CACHE_CONTROL, NO_STORE)], body).into_response()
}
