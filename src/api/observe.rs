//! What happens around every request: an id, a deadline, a log line.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use axum::response::{IntoResponse as _, Response};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};
use tower::Service;
use tower_http::request_id::{MakeRequestId, RequestId};

use super::deadline::Deadline;
use super::error::{ApiError, Logged};
use super::hosts::OriginCheck;
use super::prefer::Wait;
use super::state::Limits;

/// The header with a request's id, in the request and in its answer.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Browsers must not guess another content type (WHATWG Fetch, nosniff).
const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// How often the number of refused requests is logged.
const REFUSALS_LOGGED_EVERY: Duration = Duration::from_secs(10);

/// Numbers requests, after a token of this process. A random id for each would cost a system call.
#[derive(Debug)]
pub struct NumberRequests {
    process: Arc<str>,
    next: AtomicU64,
}

impl NumberRequests {
    /// Numbers from 1, with the `token` of this process.
    pub fn of_process(token: Arc<str>) -> Self {
        Self {
            process: token,
            next: AtomicU64::new(1),
        }
    }
}

impl MakeRequestId for &NumberRequests {
    fn make_request_id<B>(&mut self, _: &Request<B>) -> Option<RequestId> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut digits = itoa::Buffer::new();
        let id = [&self.process, "-", digits.format(number)].concat();
        Some(RequestId::new(HeaderValue::try_from(id).ok()?))
    }
}

/// Wraps a service so that every request has an id, a deadline and a log line. The id is the request's own if
/// it has one, and is sent with the answer. A read that takes too long gets 503. A failure of ours is logged
/// as an error with its cause, every other request at debug; refusals are counted and logged together.
#[derive(Clone)]
pub struct Observe<S> {
    inner: S,
    origin: OriginCheck,
    around: Arc<Around>,
}

/// What all requests share, in one `Arc`: each request then changes a single reference count, for which all
/// processors contend.
struct Around {
    numbers: NumberRequests,
    limits: Limits,
    refusals: Refusals,
    /// Whether the lines of the audit name the request.
    is_audited: bool,
}

impl<S> Observe<S> {
    /// Wraps `inner`.
    pub fn new(
        inner: S,
        numbers: NumberRequests,
        limits: Limits,
        origin: OriginCheck,
        is_audited: bool,
    ) -> Self {
        let around = Around {
            numbers,
            limits,
            refusals: Refusals::default(),
            is_audited,
        };
        Self {
            inner,
            origin,
            around: Arc::new(around),
        }
    }
}

/// Counts requests that are refused because of overload, so that a flood is one line in each
/// [`REFUSALS_LOGGED_EVERY`].
#[derive(Debug, Default)]
struct Refusals {
    count: AtomicU64,
    logged: Mutex<Option<Instant>>,
}

impl Refusals {
    fn count(&self, reason: &str) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let Some(mut logged) = self.logged.try_lock() else {
            // Another thread is logging it.
            return;
        };
        if logged.is_none_or(|logged| logged.elapsed() >= REFUSALS_LOGGED_EVERY) {
            *logged = Some(Instant::now());
            let requests = self.count.swap(0, Ordering::Relaxed);
            tracing::warn!(requests, last = reason, "requests were refused");
        }
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

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let id = match request.headers().get(&REQUEST_ID) {
            Some(id) => Some(RequestId::new(id.clone())),
            None => (&self.around.numbers).make_request_id(&request),
        };
        let asked = Asked {
            method: request.method().clone(),
            uri: request.uri().clone(),
            id: id.map(RequestId::into_header_value),
            started: Instant::now(),
            around: Arc::clone(&self.around),
        };
        let checked = check_codings(&request).and_then(|()| self.origin.check(&request));
        if let Err(error) = checked {
            let response = asked.answered(error.into_response());
            return Box::pin(async { Ok(response) });
        }
        let is_safe = request.method().is_safe();
        let mut limit = self.around.limits.request_timeout;
        if is_safe {
            // The time that a reader asked to wait does not count.
            limit += Wait::time_of_headers(request.headers());
        }
        let deadline = asked.started + limit;
        if !is_safe {
            request.extensions_mut().insert(Deadline(deadline));
            if let Some(id) = asked.id.as_ref().filter(|_| self.around.is_audited) {
                request.extensions_mut().insert(RequestId::new(id.clone()));
            }
        }
        let answering = self.inner.call(request);
        Box::pin(async move {
            let response = if is_safe {
                match timeout_at(deadline, answering).await {
                    Ok(answered) => answered?,
                    Err(_) => ApiError::TimedOut.into_response(),
                }
            } else {
                // A write is not cut off here: only the service knows its outcome.
                answering.await?
            };
            Ok(asked.answered(response))
        })
    }
}

/// Checks that the body has no transfer coding but `chunked`.
///
/// # Errors
/// [`ApiError::UnknownTransferCoding`].
fn check_codings<B>(request: &Request<B>) -> Result<(), ApiError> {
    let mut codings = request.headers().get_all(header::TRANSFER_ENCODING).iter();
    if codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        return Err(ApiError::UnknownTransferCoding);
    }
    Ok(())
}

/// What is logged of a request, and sent back with its answer.
struct Asked {
    method: Method,
    uri: Uri,
    id: Option<HeaderValue>,
    started: Instant,
    around: Arc<Around>,
}

impl Asked {
    /// Logs the answer and gives it the request's id.
    fn answered(self, mut response: Response) -> Response {
        let request_id = self.id.as_ref().and_then(|id| id.to_str().ok());
        let (method, path) = (&self.method, self.uri.path());
        let status = response.status().as_u16();
        // The clock is read only for a line that is logged.
        let latency = || self.started.elapsed();
        let logged = response.extensions().get();
        if let Some(Logged::Failed(cause)) = logged {
            tracing::error!(
                %method, path, status, latency = ?latency(), request_id, %cause, "request failed"
            );
        } else {
            if let Some(Logged::Refused(reason)) = logged {
                self.around.refusals.count(reason);
            }
            tracing::debug!(%method, path, status, latency = ?latency(), request_id, "request");
        }
        let headers = response.headers_mut();
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, NO_SNIFF);
        if let Some(id) = self.id {
            headers.insert(REQUEST_ID, id);
        }
        response
    }
}
