//! The URL of a service.

use std::net::IpAddr;
use std::str::FromStr;

use reqwest::Url;

/// The URL of the service, unless a flag, the environment or a login names another.
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";

/// The URL of a service. Two of them are equal if they differ only in the case of the host, the default port or
/// a slash at the end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Server(Url);

impl Server {
    /// The URL of a path, which begins with a slash.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", text(&self.0))
    }

    /// The URL for messages, without a password.
    #[must_use]
    pub fn name(&self) -> String {
        let mut url = self.0.clone();
        // Fails only for URLs that cannot contain a user name.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        text(&url).to_owned()
    }

    /// Whether the URL has a user name or a password.
    #[must_use]
    pub fn has_credentials(&self) -> bool {
        !self.0.username().is_empty() || self.0.password().is_some()
    }

    /// The same host and port with http in place of https, or the reverse, without a password.
    #[must_use]
    pub fn with_other_scheme(&self) -> Option<Self> {
        let other = if self.is_https() { "http" } else { "https" };
        let name = self.name();
        let (_, rest) = name.split_once("://")?;
        let mut url: Url = format!("{other}://{rest}").parse().ok()?;
        url.set_port(self.0.port_or_known_default()).ok()?;
        Some(Self(url))
    }

    /// Whether requests are encrypted.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Whether requests do not leave this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let host = self.0.host_str().unwrap_or_default();
        match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback(),
            Err(_) => host == "localhost",
        }
    }
}

/// A URL without a slash at the end.
fn text(url: &Url) -> &str {
    url.as_str().trim_end_matches('/')
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = if text.contains("://") {
            text.to_owned()
        } else {
            format!("http://{text}")
        };
        let mut url = Url::parse(&text).map_err(|error| error.to_string())?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("it must be an http or https URL".to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("it must have neither a query nor a fragment".to_owned());
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(Self(url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(text: &str) -> Server {
        text.parse().unwrap()
    }

    #[test]
    fn spellings_of_one_url_are_equal() {
        for (one, other) in [
            ("https://kv.example", "HTTPS://KV.Example:443/"),
            ("http://kv.example", "kv.example:80//"),
            ("http://a/kv/x", "http://a:80/kv/./x/"),
            ("http://127.0.0.1:8080", DEFAULT_SERVER),
        ] {
            assert_eq!(server(one), server(other));
            assert_eq!(server(one).url("/kv"), format!("{one}/kv"));
        }
        for (one, other) in [
            ("http://a", "https://a"),
            ("http://a", "http://a:8080"),
            ("http://a", "http://a/x"),
        ] {
            assert_ne!(server(one), server(other));
        }
        assert_eq!(server("http://u:p@a/x/").name(), "http://a/x");
        assert!(server("http://u@a").has_credentials());
    }

    #[test]
    fn which_servers_are_on_this_machine() {
        for (url, is_loopback) in [
            ("http://localhost:8080", true),
            ("http://LOCALHOST", true),
            ("http://127.0.0.1", true),
            ("http://127.1.2.3", true),
            ("http://2130706433", true),
            ("http://[::1]:8080", true),
            ("http://[::ffff:127.0.0.1]", true),
            ("http://0.0.0.0", false),
            ("http://10.0.0.1", false),
            ("http://localhost.example", false),
            ("http://127.0.0.1.example", false),
            ("http://127.0.0.1@kv.example", false),
        ] {
            assert_eq!(server(url).is_loopback(), is_loopback, "{url}");
        }
    }
}
