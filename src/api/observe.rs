//! What happens around every request: it ends in time and is logged.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::http::{HeaderValue, Request};
use axum::response::{IntoResponse as _, Response};
use tower::Service;
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
    fn make_request_id<B>(&mut self, _: &Request<B>) -> Option<RequestId> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let id = HeaderValue::try_from(format!("{}-{number}", self.process)).ok()?;
        Some(RequestId::new(id))
    }
}

/// A service around which every request ends in time and is logged: 503 when the time is over, a
/// failure of ours as an error with its cause, every other request at debug.
#[derive(Clone)]
pub struct Observe<S> {
    inner: S,
    limits: Limits,
}

impl<S> Observe<S> {
    /// Around `inner`.
    pub fn new(inner: S, limits: Limits) -> Self {
        Self { inner, limits }
    }
}

impl<S, B> Service<Request<B>> for Observe<S>
where
    S: Service<Request<B>, Response = Response>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let started = Instant::now();
        let limit = self.limits.request_timeout;
        let method = request.method().clone();
        let uri = request.uri().clone();
        let id = request.extensions().get::<RequestId>().cloned();
        let answering = tokio::time::timeout(limit, self.inner.call(request));
        Box::pin(async move {
            let response = match answering.await {
                Ok(answered) => answered?,
                Err(_) => ApiError::TimedOut(limit).into_response(),
            };
            let request_id = id.as_ref().and_then(|id| id.header_value().to_str().ok());
            let (path, status) = (uri.path(), response.status().as_u16());
            let latency = started.elapsed();
            match response.extensions().get::<Cause>() {
                Some(Cause(cause)) => tracing::error!(
                    %method, path, status, ?latency, request_id, %cause, "request failed"
                ),
                None => tracing::debug!(%method, path, status, ?latency, request_id, "request"),
            }
            Ok(response)
        })
    }
}
