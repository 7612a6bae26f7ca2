//! The service from a client's side.

use std::fmt::Display;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Method, RequestBuilder, Response, StatusCode};

use super::entry::Entry;
use super::failure::{Failure, Refusal};
use super::precondition::Precondition;
use super::server::Server;
use super::text::{printable, shell_quoted};
use super::token_text::{TokenSource, TokenText};
use crate::model::Key;
use crate::url::encoded;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the service may send nothing within a response. In a watch it sends something every 15 seconds.
const READ_TIMEOUT: Duration = Duration::from_secs(45);
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// How to reach a service.
#[derive(Debug)]
pub struct Route {
    pub server: Server,
    /// What requests are signed with, and where it comes from.
    pub token: Option<(TokenText, TokenSource)>,
    /// Whose certificates are accepted besides those that the system trusts.
    pub roots: Vec<Certificate>,
    /// The flags that this route needs besides `--server`, each after a space.
    pub flags: String,
}

/// A connection to one service.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    server: Server,
    token_source: Option<TokenSource>,
    flags: String,
}

impl Client {
    pub fn new(route: Route) -> Result<Self, Failure> {
        // ring is built in a fraction of the time of aws-lc. A program that has chosen another keeps it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let Route {
            server,
            token,
            roots,
            flags,
        } = route;
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            // A redirected write may be sent as a GET, and look like a success; and a token is for this service.
            .redirect(Policy::none())
            .tls_certs_merge(roots)
            .user_agent(concat!("ifmatch/", env!("CARGO_PKG_VERSION")));
        let mut token_source = None;
        if let Some((token, source)) = token {
            http = http.default_headers(HeaderMap::from_iter([(AUTHORIZATION, token.bearer())]));
            token_source = Some(source);
            if server.is_loopback() && !server.is_https() {
                // A proxy of the environment would get the token unencrypted.
                http = http.no_proxy();
            }
        }
        let http = http
            .build()
            .map_err(|error| Failure::unreachable(server.name(), &error))?;
        Ok(Self {
            http,
            server,
            token_source,
            flags,
        })
    }

    /// The flags with which another command reaches the same service in the same way.
    pub fn flags(&self) -> String {
        let server = shell_quoted(&self.server_name());
        format!("--server {server}{}", self.flags)
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
        let url = match query.as_slice() {
            [] => path.to_owned(),
            query => format!("{path}?{}", query.join("&")),
        };
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
        let mut refusal = Refusal::new(status, text, location, is_write);
        if refusal.is_not_allowed() {
            refusal.advice = Some(self.advice(status));
        }
        Err(Failure::Refused(Box::new(refusal)))
    }

    /// What to do about a 401 or a 403.
    fn advice(&self, status: u16) -> String {
        let server = self.server_name();
        let login = format!("ifmatch login {}", shell_quoted(&server));
        let others = "--token-file FILE or IFMATCH_TOKEN";
        match (&self.token_source, status) {
            (None, 403) => format!(
                "No token was sent. To sign in: {login}; or pass one with {others}. `ifmatch whoami` shows what you \
                 may do without one"
            ),
            (Some(_), 403) => "`ifmatch whoami` shows what you may do".to_owned(),
            (None, _) => format!("To sign in: {login}; or pass a token with {others}"),
            (Some(source), _) => format!(
                "The token came from {source}. To sign in with another: {login}; or pass one with {others}"
            ),
        }
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

    /// The entry that the answer to a write of `key` shows; nothing for a caller who may not read it.
    pub async fn read_shown(
        &self,
        key: &Key,
        response: Response,
    ) -> Result<Option<Entry>, Failure> {
        match response.status() {
            StatusCode::NO_CONTENT => Ok(None),
            _ => self.read_written(key, response).await.map(Some),
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
