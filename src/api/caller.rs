//! Who asks: the token, or the session, of a request.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderValue, header};
use tokio::time::sleep;
use tower_http::request_id::RequestId;

use super::client::{Client, Peer};
use super::error::ApiError;
use super::proxies::UnclearUser;
use super::state::{Access, Shared};
use super::tls::ClientCertificate;
use crate::access::{Caller, Identity, Principal, Unauthorized};
use crate::model::Timestamp;
use crate::service::{Operations, Service};

/// The session of a page that came over TLS. Browsers take a cookie of such a name only from this host, over TLS
/// (RFC 6265bis §4.1.3.2).
pub const SECURE_COOKIE: &str = "__Host-ifmatch";
/// The session of a page that did not, as on a developer's own machine. Over TLS it counts for nothing: a page of
/// another host could have set it, to have somebody work in a session of its own.
pub const PLAIN_COOKIE: &str = "ifmatch";

/// How long the refusal of an address takes that has failed too often.
const ATTEMPT_DELAY: Duration = Duration::from_secs(1);

/// A request for the service: who asks what of it.
pub struct Call {
    service: Arc<Service>,
    caller: Caller,
    request_id: Option<HeaderValue>,
    /// If writes are audited.
    address: Option<IpAddr>,
}

impl Call {
    /// The operations, as the caller may do them.
    pub fn operations(&self) -> Operations<'_> {
        let id = self.request_id.as_ref().and_then(|id| id.to_str().ok());
        let operations = self.service.acting_as(&self.caller);
        operations.in_request(id).from_address(self.address)
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
        let access = &shared.access;
        let caller = access.caller_of(&parts.headers, &parts.extensions);
        let caller = match caller {
            Ok(caller) => caller,
            Err(error) => return Err(refusal(error).await),
        };
        let request_id = parts.extensions.get::<RequestId>();
        let address = if access.authority.is_open() {
            None
        } else {
            access.client_address(&parts.headers, &parts.extensions)
        };
        Ok(Self {
            service: Arc::clone(&shared.service),
            caller,
            request_id: request_id.map(|id| id.header_value().clone()),
            address: address.map(|address| address.to_canonical()),
        })
    }
}

/// The address of the client, as far as it is known.
pub struct ClientAddress(pub Option<IpAddr>);

impl FromRequestParts<Shared> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Infallible> {
        let address = shared
            .access
            .client_address(&parts.headers, &parts.extensions);
        Ok(Self(address))
    }
}

/// The refusal, which is late for an address that has failed too often: so it costs who guesses a connection for
/// as long.
pub async fn refusal(error: Unauthorized) -> ApiError {
    if error == Unauthorized::TooManyAttempts {
        sleep(ATTEMPT_DELAY).await;
    }
    ApiError::Unauthorized(error)
}

impl Access {
    /// Who asks: by a token, else by a session, else as a trusted proxy says, else by a client certificate.
    ///
    /// # Errors
    /// [`Unauthorized`].
    pub fn caller_of(
        &self,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Caller, Unauthorized> {
        let authority = &self.authority;
        if authority.is_open() {
            return authority.anonymous();
        }
        let now = SystemTime::now().into();
        let mut lines = headers.get_all(header::AUTHORIZATION).iter();
        match (lines.next(), lines.next()) {
            (Some(line), None) => {
                let token = bearer(line).ok_or(Unauthorized::Unknown)?;
                authority.caller_of(token, self.client_address(headers, extensions), now)
            }
            (Some(_), Some(_)) => Err(Unauthorized::Unknown),
            (None, _) => match session_of(headers, Client::of(extensions).peer()) {
                Some(session) => authority.caller_in_session(session, now),
                None => self.caller_without_token(headers, extensions, now),
            },
        }
    }

    fn caller_without_token(
        &self,
        headers: &HeaderMap,
        extensions: &Extensions,
        now: Timestamp,
    ) -> Result<Caller, Unauthorized> {
        let user = match Client::of(extensions).peer().address {
            None => None,
            Some(peer) => {
                let user = self.proxies.user(peer, headers);
                user.map_err(|UnclearUser| Unauthorized::UnknownIdentity)?
            }
        };
        let identities = match (user, extensions.get::<ClientCertificate>()) {
            // The certificate, if there is one, is that of the proxy.
            (Some(user), _) => vec![Identity::User(user.to_owned())],
            (None, Some(certificate)) => {
                let names = certificate.names.iter().cloned();
                let names = names.map(Identity::CertificateName);
                let fingerprint = Identity::Certificate(certificate.fingerprint);
                [fingerprint].into_iter().chain(names).collect()
            }
            (None, None) => return self.authority.anonymous(),
        };
        self.authority.caller_identified(&identities, user, now)
    }

    fn client_address(&self, headers: &HeaderMap, extensions: &Extensions) -> Option<IpAddr> {
        let peer = Client::of(extensions).peer().address?;
        Some(self.proxies.client_address(peer, headers))
    }
}

/// The token of `Bearer <token>` (RFC 6750 §2.1).
fn bearer(line: &HeaderValue) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer ";
    let (scheme, token) = line.as_bytes().split_at_checked(SCHEME.len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(SCHEME) && !token.is_empty()).then_some(token)
}

/// The id of the session in the cookies of `peer`, the one of a page that came over TLS first: it may have come
/// through a proxy that speaks TLS.
pub fn session_of(headers: &HeaderMap, peer: Peer) -> Option<&[u8]> {
    let named = |wanted: &str| {
        let lines = headers.get_all(header::COOKIE).iter();
        let mut cookies = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
        cookies.find_map(|cookie| {
            let value = cookie.trim_ascii().strip_prefix(wanted.as_bytes())?;
            value.strip_prefix(b"=")
        })
    };
    let plain = || (!peer.is_secured).then(|| named(PLAIN_COOKIE)).flatten();
    named(SECURE_COOKIE).or_else(plain)
}
