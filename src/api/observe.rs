//! What happens around every request: it has an id, ends in time and is logged.

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
use super::hosts::{AllowedHosts, OriginCheck};
use super::prefer::Wait;
use super::state::Limits;

/// What a request is called by, in its header or that of its answer.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// No browser takes an answer for something else than it says (WHATWG Fetch, nosniff).
const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// How often a line tells how many requests were refused.
const REFUSALS_LOGGED_EVERY: Duration = Duration::from_secs(10);

/// Numbers requests, behind a token of this process. A random id for each would cost a system
/// call for each.
#[derive(Debug)]
pub struct NumberRequests {
    process: Arc<str>,
    next: AtomicU64,
}

impl NumberRequests {
    /// From 1, for the process that `token` stands for.
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

/// A service around which every request has an id, ends in time and is logged: the id is the
/// request's own if it brings one, and stands in the answer; 503 when the time of a read
/// is over; a failure of ours is logged as an error with its cause, every other request at debug, and how
/// many were refused in one line at a time.
#[derive(Clone)]
pub struct Observe<S> {
    inner: S,
    origin: OriginCheck,
    around: Arc<Around>,
}

/// What is the same for all requests. They come from all processors, so it is counted once for each.
struct Around {
    numbers: NumberRequests,
    limits: Limits,
    refusals: Refusals,
}

impl<S> Observe<S> {
    /// Around `inner`.
    pub fn new(inner: S, numbers: NumberRequests, limits: Limits, hosts: AllowedHosts) -> Self {
        let around = Around {
            numbers,
            limits,
            refusals: Refusals::default(),
        };
        Self {
            inner,
            origin: OriginCheck::new(hosts),
            around: Arc::new(around),
        }
    }
}

/// Counts who is refused because of too much load, so that a flood is one line in each
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
            // Somebody is logging it.
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
            // A reader who asked to wait is not late because it did.
            limit += Wait::time_of_headers(request.headers());
        }
        let deadline = asked.started + limit;
        if !is_safe {
            request.extensions_mut().insert(Deadline(deadline));
        }
        let answering = self.inner.call(request);
        Box::pin(async move {
            let response = if is_safe {
                match timeout_at(deadline, answering).await {
                    Ok(answered) => answered?,
                    Err(_) => ApiError::TimedOut.into_response(),
                }
            } else {
                // A write is not cut off from outside: only the service knows what became of it.
                answering.await?
            };
            Ok(asked.answered(response))
        })
    }
}

/// Checks that the body is sent as it is, or in chunks.
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
