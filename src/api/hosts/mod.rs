//! Which hosts the service answers for, and from which pages a write may come.
//!
//! A page on another site can make a browser send requests here, also under a name of its own that it has
//! pointed at a loopback address (DNS rebinding). `Host` reveals the second, `Sec-Fetch-Site` and `Origin`
//! the first; scripts cannot set any of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue, Method, Request, Version, header};
use thiserror::Error;

use super::cors::AllowedOrigins;
use super::error::ApiError;
use super::health;

/// Where a request comes from, as the browser says (W3C Fetch Metadata §2.4).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// The longest `Host` that a connection keeps, in bytes: the longest name (RFC 1035 §2.3.4) and a port.
const KEPT_HOST_MAX_BYTES: usize = 255 + ":65535".len();
/// The name of the loopback addresses, and the end of every other name for them (RFC 6761 §6.3).
const LOOPBACK_NAME: &str = "localhost";

/// A host by its name or address, as `--allowed-host` takes it: without a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName(Host<String>);

/// Why a text is not a [`HostName`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("write a name or an address without a scheme or a port; every port is allowed")]
pub struct HostNameError;

impl FromStr for HostName {
    type Err = HostNameError;

    fn from_str(text: &str) -> Result<Self, HostNameError> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(Host::Address(address)));
        }
        match Authority::parse(text) {
            Some(Authority { host, port: None }) if !text.is_empty() && !text.ends_with(':') => {
                Ok(Self(host.into_owned()))
            }
            _ => Err(HostNameError),
        }
    }
}

/// The hosts that the service answers for.
#[derive(Debug, Clone)]
pub struct AllowedHosts(Option<Arc<[HostName]>>);

impl AllowedHosts {
    /// The hosts of a service that listens on `address`, configured as `listen`, a `host:port`.
    ///
    /// They are the loopback names and addresses, the listen address, and `allowed`. Beyond loopback every
    /// host is allowed unless some are named, because a cluster gives a service names of its own.
    #[must_use]
    pub fn listening_on(address: SocketAddr, listen: &str, allowed: &[HostName]) -> Self {
        if allowed.is_empty() && !is_loopback(address.ip()) {
            return Self(None);
        }
        let mut hosts = allowed.to_vec();
        hosts.push(HostName(Host::Address(address.ip())));
        hosts.extend(
            Authority::parse(listen).map(|authority| HostName(authority.host.into_owned())),
        );
        Self(Some(hosts.into()))
    }

    /// All hosts: for a service behind a proxy or a router that decides which hosts are answered.
    #[must_use]
    pub fn any() -> Self {
        Self(None)
    }

    fn allow(&self, host: Host<&str>) -> bool {
        let Some(allowed) = &self.0 else {
            return true;
        };
        let is_local = match host {
            Host::Address(address) => is_loopback(address),
            Host::Name(name) => is_loopback_name(name),
        };
        is_local || allowed.iter().any(|allowed| host.is(&allowed.0))
    }

    /// Whether a request is for one of them.
    fn allow_request<B>(&self, request: &Request<B>, host: Option<Authority<'_>>) -> bool {
        match host {
            Some(authority) => self.allow(authority.host),
            // HTTP/1.0 has no Host, and proxies use it for health checks.
            None => self.0.is_none() || request.method() == Method::OPTIONS,
        }
    }
}

/// Checks where a request goes and where it comes from, before its path is looked at.
#[derive(Debug, Clone)]
pub struct OriginCheck {
    hosts: AllowedHosts,
    origins: AllowedOrigins,
    /// The `Host` that was allowed last. All requests of a connection have the same one, and reading it takes
    /// as long as all the rest of this check.
    last_host: Option<HeaderValue>,
}

impl OriginCheck {
    /// For a service that answers for `hosts`, and whose other pages have these origins.
    pub fn new(hosts: AllowedHosts, origins: AllowedOrigins) -> Self {
        Self {
            hosts,
            origins,
            last_host: None,
        }
    }

    /// Checks one request.
    ///
    /// # Errors
    /// [`ApiError::InvalidHost`] (RFC 9112 §3.2), [`ApiError::Misdirected`], [`ApiError::CrossSite`].
    pub fn check<B>(&mut self, request: &Request<B>) -> Result<(), ApiError> {
        let line = host_line(request)?;
        let is_known = line.is_some() && line == self.last_host.as_ref();
        if !is_known || request.uri().authority().is_some() {
            let host = host_of(request, line)?;
            if !health::is_probe(request.uri().path()) {
                if !self.hosts.allow_request(request, host) {
                    return Err(ApiError::Misdirected);
                }
                if request.uri().authority().is_none() {
                    self.last_host = line.and_then(copied);
                }
            }
        }
        if !request.method().is_safe() && is_cross_site(request, line, &self.origins)? {
            return Err(ApiError::CrossSite);
        }
        Ok(())
    }
}

/// A copy, if it is short enough for a name and a port: the line itself is a slice of the connection's
/// buffer, and would keep all of it in memory.
fn copied(line: &HeaderValue) -> Option<HeaderValue> {
    let is_short = line.len() <= KEPT_HOST_MAX_BYTES;
    is_short
        .then(|| HeaderValue::from_bytes(line.as_bytes()).ok())
        .flatten()
}

/// The one `Host` of a request.
///
/// # Errors
/// [`ApiError::InvalidHost`] if there are several, or none, which only HTTP/1.0 allows, and HTTP/2 if the target
/// names the host (`:authority`, RFC 9113 §8.3.1).
fn host_line<B>(request: &Request<B>) -> Result<Option<&HeaderValue>, ApiError> {
    let mut lines = request.headers().get_all(header::HOST).iter();
    match (lines.next(), lines.next()) {
        (None, _) if request.version() < Version::HTTP_11 => Ok(None),
        (None, _) if is_http2(request) && request.uri().authority().is_some() => Ok(None),
        (Some(line), None) => Ok(Some(line)),
        _ => Err(ApiError::InvalidHost),
    }
}

/// The host and port that a request is for: those of its target, if it names them, else those of `line`.
///
/// # Errors
/// [`ApiError::InvalidHost`], also if both name different ones in HTTP/2. In HTTP/1.1 the target takes precedence
/// (RFC 9112 §3.2.2).
fn host_of<'a, B>(
    request: &'a Request<B>,
    line: Option<&'a HeaderValue>,
) -> Result<Option<Authority<'a>>, ApiError> {
    let host = line.map(read_host).transpose()?;
    match request.uri().authority() {
        Some(authority) => {
            let authority = Authority::parse(authority.as_str()).ok_or(ApiError::InvalidHost)?;
            let agrees =
                |host: &Authority<'_>| host.port == authority.port && host.host.is(&authority.host);
            if is_http2(request) && !host.as_ref().is_none_or(agrees) {
                return Err(ApiError::InvalidHost);
            }
            Ok(Some(authority))
        }
        None => Ok(host),
    }
}

fn is_http2<B>(request: &Request<B>) -> bool {
    request.version() == Version::HTTP_2
}

fn read_host(line: &HeaderValue) -> Result<Authority<'_>, ApiError> {
    let authority = line.to_str().ok().and_then(Authority::parse);
    authority.ok_or(ApiError::InvalidHost)
}

/// Whether a browser says that a page of another site makes this request, which is not one of the `allowed`.
///
/// # Errors
/// As [`host_of`].
fn is_cross_site<B>(
    request: &Request<B>,
    line: Option<&HeaderValue>,
    allowed: &AllowedOrigins,
) -> Result<bool, ApiError> {
    let mut origins = request.headers().get_all(header::ORIGIN).iter();
    if let (Some(origin), None) = (origins.next(), origins.next())
        && allowed.allow(origin)
    {
        return Ok(false);
    }
    for (name, value) in request.headers() {
        let is_cross_site = if name == SEC_FETCH_SITE {
            value.as_bytes().eq_ignore_ascii_case(b"cross-site")
        } else if name == header::ORIGIN {
            !is_origin_of(value, host_of(request, line)?)
        } else {
            false
        };
        if is_cross_site {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether an `Origin` (RFC 6454 §7) is that of the host. A proxy may speak TLS in front of the service.
fn is_origin_of(origin: &HeaderValue, host: Option<Authority<'_>>) -> bool {
    let origin = origin.to_str().unwrap_or_default();
    let (authority, default_port) = match origin.split_once("://") {
        Some(("http", authority)) => (authority, 80),
        Some(("https", authority)) => (authority, 443),
        _ => return false,
    };
    let (Some(origin), Some(host)) = (Authority::parse(authority), host) else {
        return false;
    };
    let port = |authority: Authority<'_>| authority.port.unwrap_or(default_port);
    port(origin) == port(host) && origin.host.is(&host.host)
}

/// A host and a port, as `Host` and a request's target name them: `uri-host [ ":" port ]`
/// (RFC 9110 §7.2, RFC 3986 §3.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Authority<'a> {
    host: Host<&'a str>,
    port: Option<u16>,
}

impl<'a> Authority<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']')?;
                let address: Ipv6Addr = address.parse().ok()?;
                (Host::Address(address.into()), port)
            }
            None => {
                let end = text.find(':').unwrap_or(text.len());
                let (name, port) = text.split_at(end);
                (Host::parse_name(name)?, port)
            }
        };
        let port = match port.strip_prefix(':') {
            Some("") => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().ok()?)
            }
            None if port.is_empty() => None,
            _ => return None,
        };
        Some(Self { host, port })
    }
}

/// A host, whose name is borrowed from a request or kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Host<T> {
    Address(IpAddr),
    Name(T),
}

impl<'a> Host<&'a str> {
    fn parse_name(name: &'a str) -> Option<Self> {
        if let Ok(address) = name.parse::<Ipv4Addr>() {
            return Some(Self::Address(address.into()));
        }
        is_reg_name(name.as_bytes()).then_some(Self::Name(name))
    }

    fn into_owned(self) -> Host<String> {
        match self {
            Self::Address(address) => Host::Address(address),
            Self::Name(name) => Host::Name(name.to_owned()),
        }
    }

    fn is(self, other: &Host<impl AsRef<str>>) -> bool {
        match (self, other) {
            (Self::Address(this), Host::Address(other)) => {
                this.to_canonical() == other.to_canonical()
            }
            (Self::Name(this), Host::Name(other)) => {
                without_dot(this).eq_ignore_ascii_case(without_dot(other.as_ref()))
            }
            _ => false,
        }
    }
}

/// Whether it is `*( unreserved / pct-encoded / sub-delims )` (RFC 3986 §3.2.2).
fn is_reg_name(name: &[u8]) -> bool {
    let mut rest = name;
    while let [first, after @ ..] = rest {
        rest = match (first, after) {
            (b'%', [one, other, after @ ..])
                if one.is_ascii_hexdigit() && other.is_ascii_hexdigit() =>
            {
                after
            }
            (byte, after) if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(byte) => {
                after
            }
            _ => return false,
        };
    }
    true
}

/// A name may end with the dot of the root.
fn without_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

pub fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

fn is_loopback_name(name: &str) -> bool {
    let name = without_dot(name);
    let start = name.len().saturating_sub(LOOPBACK_NAME.len());
    let (before, end) = (&name.as_bytes()[..start], &name.as_bytes()[start..]);
    end.eq_ignore_ascii_case(LOOPBACK_NAME.as_bytes())
        && (before.is_empty() || before.ends_with(b"."))
}

#[cfg(test)]
mod tests;
