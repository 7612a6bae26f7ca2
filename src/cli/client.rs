//! The service from a client's side.

use std::fmt::Display;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderValue, IF_MATCH, IF_NONE_MATCH, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Method, RequestBuilder, Response};

use super::arguments::Server;
use super::entry::Entry;
use super::failure::{Failure, Refusal};
use crate::model::Key;
use crate::url::encoded;

/// How long it may take to reach the service.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the service may be silent within an answer. A watcher hears from it every 15 seconds.
const READ_TIMEOUT: Duration = Duration::from_secs(45);
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What must hold of a key before it may be written.
#[derive(Debug, Clone)]
pub enum Precondition {
    /// Nothing.
    None,
    /// It is not there.
    Absent,
    /// If-Match with this text.
    Match(HeaderValue),
}

impl Precondition {
    /// That the entry is still this one.
    pub fn unchanged(entry: &Entry) -> Result<Self, Failure> {
        HeaderValue::from_str(&entry.etag)
            .map(Self::Match)
            .map_err(|_| Failure::Input(format!("{:?} is not an entity tag", entry.etag)))
    }

    /// Adds it to a request.
    pub fn add_to(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::None => request,
            Self::Absent => request.header(IF_NONE_MATCH, "*"),
            Self::Match(tags) => request.header(IF_MATCH, tags),
        }
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
