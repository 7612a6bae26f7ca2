//! Pages of other origins that may use the service (WHATWG Fetch, CORS protocol).

use std::convert::Infallible;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use axum::response::Response;
use thiserror::Error;
use tower::{Layer as _, Service};
use tower_http::cors::{AllowOrigin, Cors, CorsLayer};

use super::once::{IDEMPOTENCY_KEY, IDEMPOTENCY_REPLAYED};

/// How long a browser may keep what it was allowed; Chromium takes no more.
const MAX_AGE: Duration = Duration::from_secs(2 * 60 * 60);

/// What a page may send, and the service looks at.
const REQUEST_HEADERS: [HeaderName; 11] = [
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::CONTENT_TYPE,
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_UNMODIFIED_SINCE,
    IDEMPOTENCY_KEY,
    HeaderName::from_static("last-event-id"),
    HeaderName::from_static("prefer"),
    HeaderName::from_static("x-request-id"),
];
/// What a page may see of an answer besides what every page may see.
const RESPONSE_HEADERS: [HeaderName; 11] = [
    header::AGE,
    header::ALLOW,
    header::ETAG,
    header::LAST_MODIFIED,
    header::LOCATION,
    header::RETRY_AFTER,
    header::WWW_AUTHENTICATE,
    HeaderName::from_static("accept-patch"),
    IDEMPOTENCY_REPLAYED,
    HeaderName::from_static("preference-applied"),
    HeaderName::from_static("x-request-id"),
];
const METHODS: [Method; 6] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
];

/// The origin of a page, as `--cors-origin` takes it and browsers send it (RFC 6454 §6.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(HeaderValue);

/// Why a text is not an [`Origin`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "write a scheme, a host and maybe a port, as in https://app.example or http://localhost:3000"
)]
pub struct OriginError;

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let text = text.to_ascii_lowercase();
        let (scheme, authority) = text.split_once("://").ok_or(OriginError)?;
        let default_port = match scheme {
            "http" => ":80",
            "https" => ":443",
            _ => return Err(OriginError),
        };
        let uri: Uri = text.parse().map_err(|_| OriginError)?;
        let is_bare = uri.authority().is_some_and(|of| of.as_str() == authority);
        if !is_bare || authority.contains('@') || authority.ends_with(':') {
            return Err(OriginError);
        }
        // Browsers leave it out.
        let authority = authority.strip_suffix(default_port).unwrap_or(authority);
        HeaderValue::try_from(format!("{scheme}://{authority}"))
            .map(Self)
            .map_err(|_| OriginError)
    }
}

/// The origins of other pages that may use the service, also with a session or a token.
#[derive(Debug, Clone, Default)]
pub struct AllowedOrigins(Option<Arc<[HeaderValue]>>);

impl AllowedOrigins {
    /// These.
    #[must_use]
    pub fn new(origins: &[Origin]) -> Self {
        if origins.is_empty() {
            return Self(None);
        }
        Self(Some(origins.iter().map(|Origin(of)| of.clone()).collect()))
    }

    /// Whether a page with this `Origin` may use the service.
    pub fn allow(&self, origin: &HeaderValue) -> bool {
        self.0
            .as_ref()
            .is_some_and(|allowed| allowed.contains(origin))
    }
}

/// A service that answers the pages of allowed origins. Without any, nothing is around it.
#[derive(Clone)]
pub enum MaybeCors<S> {
    /// No origins are allowed.
    Without(S),
    /// Some are.
    With(Box<Cors<S>>),
}

impl<S> MaybeCors<S> {
    /// `inner` for the pages of `origins`.
    pub fn new(inner: S, origins: &AllowedOrigins) -> Self {
        let Some(origins) = &origins.0 else {
            return Self::Without(inner);
        };
        let layer = CorsLayer::new()
            .allow_origin(AllowOrigin::list(origins.iter().cloned()))
            .allow_credentials(true)
            .allow_methods(METHODS)
            .allow_headers(REQUEST_HEADERS)
            .expose_headers(RESPONSE_HEADERS)
            .max_age(MAX_AGE);
        Self::With(Box::new(layer.layer(inner)))
    }
}

type Answering = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

impl<S> Service<Request<Body>> for MaybeCors<S>
where
    S: Service<Request<Body>, Response = Response, Error = Infallible, Future = Answering>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        match self {
            Self::Without(inner) => inner.poll_ready(context),
            Self::With(cors) => cors.poll_ready(context),
        }
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match self {
            Self::Without(inner) => inner.call(request),
            // `tower-http` would answer every OPTIONS, and without the methods.
            Self::With(cors) if request.method() == Method::OPTIONS && !is_preflight(&request) => {
                cors.get_mut().call(request)
            }
            Self::With(cors) => Box::pin(cors.call(request)),
        }
    }
}

/// Whether a browser asks whether a page may send a request (WHATWG Fetch, CORS-preflight request).
fn is_preflight(request: &Request<Body>) -> bool {
    let headers = request.headers();
    headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_as_browsers_send_it() {
        for (text, sent) in [
            ("https://app.example", "https://app.example"),
            ("HTTPS://App.Example:443", "https://app.example"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://[::1]:80", "http://[::1]"),
            ("https://app.example:80", "https://app.example:80"),
        ] {
            assert_eq!(
                text.parse(),
                Ok(Origin(HeaderValue::from_static(sent))),
                "{text}"
            );
        }
        for invalid in [
            "",
            "*",
            "null",
            "app.example",
            "https://",
            "https://app.example/",
            "https://app.example/x",
            "https://app.example?x",
            "https://ann@app.example",
            "https://app.example:",
            "ftp://app.example",
            "https://a b",
        ] {
            assert_eq!(invalid.parse::<Origin>(), Err(OriginError), "{invalid}");
        }
    }
}
