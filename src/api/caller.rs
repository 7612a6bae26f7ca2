//! Who asks: the token, or the session, of a request.

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use tower_http::request_id::RequestId;

use super::error::ApiError;
use super::state::Shared;
use crate::access::{Authority, Caller, Principal, Unauthorized};
use crate::service::{Operations, Service};

/// The session of a page that came over TLS. Browsers take a cookie of such a name only from this host, over TLS
/// (RFC 6265bis §4.1.3.2).
pub const SECURE_COOKIE: &str = "__Host-ifmatch";
/// The session of a page that did not, as on a developer's own machine.
pub const PLAIN_COOKIE: &str = "ifmatch";

/// A request for the service: who asks what of it.
pub struct Call {
    service: Arc<Service>,
    caller: Caller,
    request_id: Option<HeaderValue>,
}

impl Call {
    /// The operations, as the caller may do them.
    pub fn operations(&self) -> Operations<'_> {
        let id = self.request_id.as_ref().and_then(|id| id.to_str().ok());
        self.service.acting_as(&self.caller).in_request(id)
    }

    /// The service.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Who asks.
    pub fn caller(&self) -> &Principal {
        &self.caller
    }
}

impl FromRequestParts<Shared> for Call {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, ApiError> {
        let caller = caller_of(&shared.authority, &parts.headers);
        let caller = caller.map_err(ApiError::Unauthorized)?;
        let request_id = parts.extensions.get::<RequestId>();
        Ok(Self {
            service: Arc::clone(&shared.service),
            caller,
            request_id: request_id.map(|id| id.header_value().clone()),
        })
    }
}

/// Who asks with these headers.
///
/// # Errors
/// [`Unauthorized`].
pub fn caller_of(authority: &Authority, headers: &HeaderMap) -> Result<Caller, Unauthorized> {
    if authority.is_open() && !headers.contains_key(header::AUTHORIZATION) {
        return authority.anonymous();
    }
    let now = || SystemTime::now().into();
    let mut lines = headers.get_all(header::AUTHORIZATION).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => {
            let token = bearer(line).ok_or(Unauthorized::Unknown)?;
            authority.caller_of(token, now())
        }
        (Some(_), Some(_)) => Err(Unauthorized::Unknown),
        (None, _) => match session_of(headers) {
            Some(session) => authority.caller_in_session(session, now()),
            None => authority.anonymous(),
        },
    }
}

/// The token of `Bearer <token>` (RFC 6750 §2.1).
fn bearer(line: &HeaderValue) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer ";
    let (scheme, token) = line.as_bytes().split_at_checked(SCHEME.len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(SCHEME) && !token.is_empty()).then_some(token)
}

/// The id of the session in the cookies, the one of a page that came over TLS first.
pub fn session_of(headers: &HeaderMap) -> Option<&[u8]> {
    let named = |wanted: &str| {
        let lines = headers.get_all(header::COOKIE).iter();
        let mut cookies = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
        cookies.find_map(|cookie| {
            let value = cookie.trim_ascii().strip_prefix(wanted.as_bytes())?;
            value.strip_prefix(b"=")
        })
    };
    named(SECURE_COOKIE).or_else(|| named(PLAIN_COOKIE))
}
