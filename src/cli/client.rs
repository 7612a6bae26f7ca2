//! The service from a client's side.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Method, RequestBuilder, Response, Url};

use super::entry::Entry;
use super::failure::{Failure, Refusal};
use super::precondition::Precondition;
use crate::model::Key;
use crate::url::encoded;

/// Where a service is unless something else is said.
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";
/// How long it may take to reach the service.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the service may be silent within an answer. A watcher hears from it every 15 seconds.
const READ_TIMEOUT: Duration = Duration::from_secs(45);
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Where a service is, without a slash at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server(String);

impl Server {
    /// The URL of a path, which begins with a slash.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    /// How it is named in messages: never with a password.
    #[must_use]
    pub fn name(&self) -> String {
        match Url::parse(&self.0) {
            Ok(mut url) if !url.username().is_empty() || url.password().is_some() => {
                // Fails only for URLs that cannot have a name in them, and then there is none.
                let _ = url.set_username("");
                let _ = url.set_password(None);
                url.as_str().trim_end_matches('/').to_owned()
            }
            _ => self.0.clone(),
        }
    }
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = if text.is_empty() {
            DEFAULT_SERVER.to_owned()
        } else if text.contains("://") {
            text.to_owned()
        } else {
            format!("http://{text}")
        };
        let url = Url::parse(&text).map_err(|error| error.to_string())?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("it must be an http or https URL".to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("it must have neither a query nor a fragment".to_owned());
        }
        Ok(Self(url.as_str().trim_end_matches('/').to_owned()))
    }
}

/// A connection to one service.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    server: Server,
}

impl Client {
    pub fn new(server: Server) -> Result<Self, Failure> {
        // ring is built in a fraction of the time of aws-lc. A program that has chosen another keeps it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            // A write that is redirected may come to nothing and look like a success.
            .redirect(Policy::none())
            .user_agent(concat!("ifmatch/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Failure::unreachable(server.name(), &error))?;
        Ok(Self { http, server })
    }

    /// What the service is called in messages.
    pub fn server_name(&self) -> String {
        self.server.name()
    }

    /// A request about an entry.
    pub fn on_entry(&self, method: Method, key: &Key) -> RequestBuilder {
        let mut name = encoded(key.as_str()).to_string();
        if key.as_str().split('/').any(str::is_empty) {
            // Some proxies make one of two slashes.
            name = name.replace('/', "%2F");
        }
        self.http
            .request(method, self.server.url(&format!("/kv/{name}")))
    }

    /// A request for `path` with a query, whose values are encoded here.
    pub fn get(&self, path: &str, query: &[(&str, &str)]) -> RequestBuilder {
        let query: Vec<_> = query
            .iter()
            .map(|(name, value)| format!("{name}={}", encoded(value)))
            .collect();
        let url = format!("{path}?{}", query.join("&"));
        self.http.get(self.server.url(&url))
    }

    /// Writes an entry.
    pub async fn put(
        &self,
        key: &Key,
        json: impl Into<reqwest::Body>,
        precondition: &Precondition,
    ) -> Result<Response, Failure> {
        let request = self.on_entry(Method::PUT, key).body(json.into());
        let request = request.header(CONTENT_TYPE, JSON);
        self.ask(precondition.add_to(request)).await
    }

    /// Reads an entry.
    pub async fn entry(&self, key: &Key) -> Result<Entry, Failure> {
        let response = self.ask(self.on_entry(Method::GET, key)).await?;
        self.shown(response).await
    }

    /// Sends a request whose answer is to be a success.
    pub async fn ask(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let request = request.build().map_err(|error| self.unreachable(&error))?;
        let is_write = request.method() != Method::GET;
        let response = self.http.execute(request).await.map_err(|error| {
            if is_write {
                Failure::unanswered(self.server.name(), &error)
            } else {
                self.unreachable(&error)
            }
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let location = response.headers().get(LOCATION);
        let location = location
            .and_then(|url| url.to_str().ok())
            .map(str::to_owned);
        let text = response
            .text()
            .await
            .map_err(|error| self.unreachable(&error))?;
        Err(Failure::Refused(Box::new(Refusal {
            status,
            body: serde_json::from_str(&text).ok(),
            text,
            location,
        })))
    }

    /// The entry that an answer shows.
    pub async fn shown(&self, response: Response) -> Result<Entry, Failure> {
        let body = response
            .bytes()
            .await
            .map_err(|error| self.unreachable(&error))?;
        serde_json::from_slice(&body).map_err(|error| self.not_ifmatch(&error))
    }

    /// The entry that the answer to a write shows.
    pub async fn written(&self, response: Response) -> Result<Entry, Failure> {
        let shown = self.shown(response).await;
        shown.map_err(|failure| match failure {
            // Not an entry, so perhaps not of the service at all.
            Failure::Unreachable { server, reason } => Failure::Unknown { server, reason },
            failure => failure,
        })
    }

    /// An answer that broke off or did not come.
    pub fn unreachable(&self, error: &reqwest::Error) -> Failure {
        Failure::unreachable(self.server.name(), error)
    }

    /// An answer that ifmatch does not give.
    pub fn not_ifmatch(&self, error: &dyn Display) -> Failure {
        Failure::Unreachable {
            server: self.server.name(),
            reason: format!("the response is not from ifmatch: {error}"),
        }
    }
}
