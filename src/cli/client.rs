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
use super::text::printable;
use crate::model::Key;
use crate::url::encoded;

/// The URL of the service, unless `--server` names another.
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";
/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the service may send nothing within a response. In a watch it sends something every 15 seconds.
const READ_TIMEOUT: Duration = Duration::from_secs(45);
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The URL of a service, without a slash at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server(String);

impl Server {
    /// The URL of a path, which begins with a slash.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    /// The URL for messages, without a password.
    #[must_use]
    pub fn name(&self) -> String {
        match Url::parse(&self.0) {
            Ok(mut url) if !url.username().is_empty() || url.password().is_some() => {
                // Fails only for URLs that cannot contain a user name.
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
            // A redirected write may be sent as a GET, and look like a success.
            .redirect(Policy::none())
            .user_agent(concat!("ifmatch/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Failure::unreachable(server.name(), &error))?;
        Ok(Self { http, server })
    }

    /// The URL of the service for messages.
    pub fn server_name(&self) -> String {
        self.server.name()
    }

    /// A request about an entry.
    pub fn entry_request(&self, method: Method, key: &Key) -> RequestBuilder {
        let mut name = encoded(key.as_str()).to_string();
        if key.as_str().split('/').any(str::is_empty) {
            // Some proxies merge two slashes into one.
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
        let request = self.entry_request(Method::PUT, key).body(json.into());
        let request = request.header(CONTENT_TYPE, JSON);
        self.send(precondition.add_to(request)).await
    }

    /// Reads an entry.
    pub async fn entry(&self, key: &Key) -> Result<Entry, Failure> {
        let response = self.send(self.entry_request(Method::GET, key)).await?;
        let entry = self.read_entry(response).await?;
        if entry.key == *key {
            Ok(entry)
        } else {
            Err(self.not_the_service(&format!(
                "it shows the key {}",
                printable(entry.key.as_str())
            )))
        }
    }

    /// Sends a request. A response that is an error becomes a [`Failure`].
    pub async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let answer = self.send_repeatable(request).await;
        answer.map_err(|failure| self.with_unknown_outcome(failure))
    }

    /// As [`send`](Self::send), but a proxy's response to a write is a refusal like any other: for those who
    /// send the request again.
    pub async fn send_repeatable(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let request = request.build().map_err(|error| self.unreachable(&error))?;
        let is_write = request.method() != Method::GET;
        let lost = |error: reqwest::Error| {
            if is_write {
                Failure::unanswered(self.server.name(), &error)
            } else {
                self.unreachable(&error)
            }
        };
        let response = self.http.execute(request).await.map_err(lost)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let location = response.headers().get(LOCATION);
        let location = location
            .and_then(|url| url.to_str().ok())
            .map(str::to_owned);
        let text = response.text().await.map_err(lost)?;
        let refusal = Refusal::new(status, text, location, is_write);
        Err(Failure::Refused(Box::new(refusal)))
    }

    /// A refusal of a write that may be applied nevertheless becomes [`Failure::OutcomeUnknown`].
    pub fn with_unknown_outcome(&self, failure: Failure) -> Failure {
        match failure {
            Failure::Refused(refusal) if refusal.may_be_applied() => Failure::OutcomeUnknown {
                server: self.server.name(),
                reason: refusal.sentence(),
            },
            failure => failure,
        }
    }

    /// The entry in a response.
    async fn read_entry(&self, response: Response) -> Result<Entry, Failure> {
        let body = response
            .bytes()
            .await
            .map_err(|error| self.unreachable(&error))?;
        serde_json::from_slice(&body).map_err(|error| self.not_ifmatch(&error))
    }

    /// The entry that the answer to a write of `key` shows.
    pub async fn read_written(&self, key: &Key, response: Response) -> Result<Entry, Failure> {
        let entry = self
            .read_entry(response)
            .await
            .map_err(|failure| match failure {
                // Not an entry, so perhaps not of the service at all.
                Failure::Unreachable { server, reason } => {
                    Failure::OutcomeUnknown { server, reason }
                }
                failure => failure,
            })?;
        if entry.key == *key {
            Ok(entry)
        } else {
            let other = printable(entry.key.as_str());
            Err(self.not_the_service(&format!("the write was applied to the key {other} instead")))
        }
    }

    /// What is wrong if the server answers, but something below the service's own URL.
    pub fn not_the_service(&self, what: &str) -> Failure {
        Failure::Input(format!(
            "{}: {what}\n--server must be the URL of the service, without /kv",
            self.server.name()
        ))
    }

    /// A response that was cut off or did not come.
    pub fn unreachable(&self, error: &reqwest::Error) -> Failure {
        Failure::unreachable(self.server.name(), error)
    }

    /// A response that ifmatch does not send.
    pub fn not_ifmatch(&self, error: &dyn Display) -> Failure {
        Failure::Unreachable {
            server: self.server.name(),
            reason: format!("the response is not from ifmatch: {error}"),
        }
    }
}
