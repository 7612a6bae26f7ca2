//! Where a cluster is, and which of its keys belong to this service.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// How an address begins.
const SCHEME: &str = "etcd://";
/// The port of an endpoint that names none.
const DEFAULT_PORT: u16 = 2379;
/// The root of an address that names none.
const DEFAULT_ROOT: &str = "/ifmatch";

/// `etcd://host:2379,host:2379/root`: the endpoints of a cluster, and what all keys of this service begin with.
///
/// A port may be missing, and is 2379 then; the root may be missing, and is `/ifmatch` then. An IPv6 address
/// is in brackets. Whether connections are encrypted is in [`EtcdSettings`](super::EtcdSettings).
///
/// ```
/// use ifmatch::storage::etcd::Address;
///
/// let address: Address = "etcd://10.0.0.1,[::1]:23790/team/settings".parse()?;
/// assert_eq!(address.endpoints, ["10.0.0.1:2379", "[::1]:23790"]);
/// assert_eq!(address.root, "/team/settings");
/// # Ok::<_, ifmatch::storage::etcd::AddressError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Each as `host:port`. There is at least one.
    pub endpoints: Vec<String>,
    /// Begins with a slash and does not end with one.
    pub root: String,
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{SCHEME}{}{}",
            self.endpoints.join(","),
            self.root
        )
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let rest = text.strip_prefix(SCHEME).ok_or(AddressError::Scheme)?;
        let (endpoints, root) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, ""),
        };
        let endpoints = endpoints
            .split(',')
            .map(endpoint)
            .collect::<Result<_, _>>()?;
        let root = root.trim_end_matches('/');
        let is_allowed = |letter: char| !letter.is_control() && !matches!(letter, ' ' | '?' | '#');
        if !root.chars().all(is_allowed) {
            return Err(AddressError::Root(root.to_owned()));
        }
        Ok(Self {
            endpoints,
            root: if root.is_empty() { DEFAULT_ROOT } else { root }.to_owned(),
        })
    }
}

/// One endpoint, with its port.
fn endpoint(text: &str) -> Result<String, AddressError> {
    if text.contains('@') {
        return Err(AddressError::User);
    }
    let invalid = || AddressError::Endpoint(text.to_owned());
    let (host, port) = match text.rsplit_once(':') {
        // The last colon is one of an IPv6 address.
        Some((_, rest)) if rest.ends_with(']') => (text, None),
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let is_host = match host.strip_prefix('[') {
        Some(rest) => rest
            .strip_suffix(']')
            .is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok()),
        None => {
            let is_allowed =
                |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
            !host.is_empty() && host.chars().all(is_allowed)
        }
    };
    let port = match port {
        Some(port) if port.bytes().all(|digit| digit.is_ascii_digit()) => port.parse().ok(),
        Some(_) => None,
        None => Some(DEFAULT_PORT),
    };
    match port {
        Some(1..) if is_host => {}
        _ => return Err(invalid()),
    }
    let port = port.unwrap_or(DEFAULT_PORT);
    Ok(format!("{host}:{port}"))
}

/// Why a text is not a valid [`Address`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AddressError {
    /// It is the address of something else.
    #[error("the address does not begin with {SCHEME}; write {SCHEME}HOST:PORT,HOST:PORT/ROOT")]
    Scheme,
    /// It has a user name or a password.
    #[error("the address contains an @; a user and a password are settings of their own")]
    User,
    /// A part of it is not the address of a member.
    #[error("{0:?} is not HOST:PORT; an IPv6 address needs brackets")]
    Endpoint(String),
    /// The root contains a character that it may not contain.
    #[error("the root {0:?} contains a space, a control character, ? or #")]
    Root(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_the_root_may_be_missing() {
        for (text, endpoints, root) in [
            ("etcd://a", &["a:2379"][..], "/ifmatch"),
            ("etcd://a/", &["a:2379"], "/ifmatch"),
            (
                "etcd://a:1,b-1.c:65535//",
                &["a:1", "b-1.c:65535"],
                "/ifmatch",
            ),
            ("etcd://[::1]/r", &["[::1]:2379"], "/r"),
            (
                "etcd://[fe80::1]:7,127.0.0.1/r/s/",
                &["[fe80::1]:7", "127.0.0.1:2379"],
                "/r/s",
            ),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.endpoints, endpoints, "{text}");
            assert_eq!(address.root, root, "{text}");
            assert_eq!(address.to_string().parse(), Ok(address));
        }
    }

    #[test]
    fn what_is_not_an_address_is_refused_with_the_part_that_is_wrong() {
        let endpoint = |text: &str| AddressError::Endpoint(text.to_owned());
        for (text, error) in [
            ("", AddressError::Scheme),
            ("http://a:2379", AddressError::Scheme),
            ("etcd:/a", AddressError::Scheme),
            ("etcd://", endpoint("")),
            ("etcd:///r", endpoint("")),
            ("etcd://a,/r", endpoint("")),
            ("etcd://a:0", endpoint("a:0")),
            ("etcd://a:+1", endpoint("a:+1")),
            ("etcd://a:65536", endpoint("a:65536")),
            ("etcd://a:", endpoint("a:")),
            ("etcd://:1", endpoint(":1")),
            ("etcd://::1", endpoint("::1")),
            ("etcd://[::1", endpoint("[::1")),
            ("etcd://[a]:1", endpoint("[a]:1")),
            ("etcd://a b", endpoint("a b")),
            ("etcd://u:p@a", AddressError::User),
            ("etcd://a/r?x", AddressError::Root("/r?x".to_owned())),
            ("etcd://a/r s", AddressError::Root("/r s".to_owned())),
        ] {
            assert_eq!(text.parse::<Address>(), Err(error), "{text}");
        }
    }
}
