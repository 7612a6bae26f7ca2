//! What happens around every request: it ends in time and is logged.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tower_http::request_id::{MakeRequestId, RequestId};

use super::Limits;
use super::error::{ApiError, Cause};

/// Numbers requests, behind a token of this process. A random id for each would cost a system
/// call for each.
#[derive(Clone)]
pub struct NumberRequests {
    process: Arc<str>,
    next: Arc<AtomicU64>,
}

impl NumberRequests {
    /// From 1, for the process that `token` stands for.
    pub fn of_process(token: Arc<str>) -> Self {
        Self {
            process: token,
            next: Arc::new(AtomicU64::new(1)),
        }
    }
}

impl MakeRequestId for NumberRequests {
    fn make_request_id<B>(&mut self, _: &axum::http::Request<B>) -> Option<RequestId> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let id = HeaderValue::try_from(format!("{}-{number}", self.process)).ok()?;
        Some(RequestId::new(id))
    }
}

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
