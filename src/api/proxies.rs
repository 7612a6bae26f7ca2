//! Proxies in front of the service that are trusted to say who asks, and from where.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;
use thiserror::Error;

/// Where a request came through, the address that the last proxy saw at the end.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// An address, or a network in CIDR notation, as `--trusted-proxy` takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

/// Why a text is not a [`Network`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("write an address or a network, such as 10.0.0.1 or 10.0.0.0/8")]
pub struct NetworkError;

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        match text.parse::<IpAddr>() {
            Ok(address) => Ok(Self(address.into())),
            Err(_) => text.parse().map(Self).map_err(|_| NetworkError),
        }
    }
}

/// A trusted proxy has sent two users, or one that is not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnclearUser;

/// The proxies that are trusted, and the header in which they name who has signed in.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies {
    networks: Arc<[Network]>,
    user_header: Option<HeaderName>,
}

impl TrustedProxies {
    /// The proxies in `networks`. They remove `user_header`, if there is one, from what their clients send.
    #[must_use]
    pub fn new(networks: &[Network], user_header: Option<HeaderName>) -> Self {
        Self {
            networks: networks.into(),
            user_header,
        }
    }

    fn trust(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks
            .iter()
            .any(|Network(of)| of.contains(&address))
    }

    /// The address of the client itself: that of the connection or, of a proxy's, the last one that the proxies
    /// do not have themselves. What stands before that could be anything.
    pub fn client_address(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.trust(peer) {
            return peer;
        }
        let lines = headers.get_all(FORWARDED_FOR).iter().rev();
        let hops = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
        let mut nearest = peer;
        for hop in hops {
            let Some(address) = address_in(hop.trim()) else {
                break;
            };
            nearest = address;
            if !self.trust(address) {
                break;
            }
        }
        nearest
    }

    /// Whom the proxy at `peer` has signed in, if anybody.
    ///
    /// # Errors
    /// `UnclearUser`.
    pub fn user<'a>(
        &self,
        peer: IpAddr,
        headers: &'a HeaderMap,
    ) -> Result<Option<&'a str>, UnclearUser> {
        let Some(name) = self.user_header.as_ref().filter(|_| self.trust(peer)) else {
            return Ok(None);
        };
        let mut lines = headers.get_all(name).iter();
        let user = match (lines.next(), lines.next()) {
            (None, _) => return Ok(None),
            (Some(user), None) => std::str::from_utf8(user.as_bytes()),
            (Some(_), Some(_)) => return Err(UnclearUser),
        };
        let user = user.map_err(|_| UnclearUser)?.trim();
        Ok((!user.is_empty()).then_some(user))
    }
}

/// Some proxies write the port as well: `192.0.2.1:4711`, `[2001:db8::1]:4711`.
fn address_in(hop: &str) -> Option<IpAddr> {
    let with_port = || hop.parse::<SocketAddr>().map(|address| address.ip());
    hop.parse().or_else(|_| with_port()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies() -> TrustedProxies {
        let networks = ["10.0.0.0/8", "::1"].map(|of| of.parse().unwrap());
        TrustedProxies::new(&networks, Some(HeaderName::from_static("x-user")))
    }

    fn headers(of: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in of {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn only_what_a_trusted_proxy_says_of_an_address_counts() {
        for (peer, forwarded, client) in [
            ("192.0.2.1", vec!["203.0.113.9"], "192.0.2.1"),
            ("10.1.1.1", vec!["203.0.113.9"], "203.0.113.9"),
            ("::ffff:10.1.1.1", vec!["203.0.113.9"], "203.0.113.9"),
            ("10.1.1.1", vec!["6.6.6.6, 203.0.113.9"], "203.0.113.9"),
            (
                "10.1.1.1",
                vec!["6.6.6.6", "203.0.113.9, 10.2.2.2"],
                "203.0.113.9",
            ),
            ("10.1.1.1", vec!["10.3.3.3"], "10.3.3.3"),
            ("10.1.1.1", vec!["6.6.6.6, unknown"], "10.1.1.1"),
            (
                "10.1.1.1",
                vec!["6.6.6.6, 203.0.113.9:4711, 10.2.2.2:80"],
                "203.0.113.9",
            ),
            (
                "10.1.1.1",
                vec!["[2001:db8::9]:4711, [::1]:80"],
                "2001:db8::9",
            ),
            ("10.1.1.1", vec!["2001:db8::9"], "2001:db8::9"),
            ("10.1.1.1", vec!["203.0.113.9:99999"], "10.1.1.1"),
            ("10.1.1.1", vec![], "10.1.1.1"),
        ] {
            let lines: Vec<_> = forwarded
                .iter()
                .map(|line| ("x-forwarded-for", *line))
                .collect();
            let address = proxies().client_address(peer.parse().unwrap(), &headers(&lines));
            assert_eq!(
                address,
                client.parse::<IpAddr>().unwrap(),
                "{peer} {forwarded:?}"
            );
        }
    }

    #[test]
    fn only_a_trusted_proxy_names_a_user_and_only_one() {
        let (trusted, other) = ("10.0.0.1".parse().unwrap(), "11.0.0.1".parse().unwrap());
        let ann = headers(&[("x-user", " ann ")]);
        assert_eq!(proxies().user(trusted, &ann), Ok(Some("ann")));
        assert_eq!(proxies().user(other, &ann), Ok(None));
        assert_eq!(TrustedProxies::default().user(trusted, &ann), Ok(None));
        let two = headers(&[("x-user", "ann"), ("x-user", "bob")]);
        assert_eq!(proxies().user(trusted, &two), Err(UnclearUser));
        let nobody = headers(&[("x-user", " ")]);
        assert_eq!(proxies().user(trusted, &nobody), Ok(None));
    }

    #[test]
    fn a_network_is_an_address_or_in_cidr_notation() {
        for valid in ["10.0.0.1", "10.0.0.0/8", "::1", "fd00::/8"] {
            assert!(valid.parse::<Network>().is_ok(), "{valid}");
        }
        for invalid in ["", "10.0.0", "10.0.0.0/33", "localhost"] {
            assert_eq!(invalid.parse::<Network>(), Err(NetworkError), "{invalid}");
        }
    }
}
