//! What happens around every request: it ends in time and is logged.

use std::time::Instant;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tower_http::request_id::RequestId;

use super::Limits;
use super::error::{ApiError, Cause};

/// Answers 503 when the time is over. Logs a failure of ours as an error with its cause, every
/// other request at debug.
pub async fn observe(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let uri = request.uri().clone();
    let id = request.extensions().get::<RequestId>().cloned();
    let response = tokio::time::timeout(limits.request_timeout, next.run(request))
        .await
        .unwrap_or_else(|_| ApiError::TimedOut(limits.request_timeout).into_response());
    let request_id = id.as_ref().and_then(|id| id.header_value().to_str().ok());
    let (path, status) = (uri.path(), response.status().as_u16());
    let latency = started.elapsed();
    match response.extensions().get::<Cause>() {
        Some(Cause(cause)) => {
            tracing::error!(%method, path, status, ?latency, request_id, %cause, "request failed");
        }
        None => tracing::debug!(%method, path, status, ?latency, request_id, "request"),
    }
    response
}
