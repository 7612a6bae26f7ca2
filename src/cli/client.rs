//! The service from a client's side.

use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use axum::http;
use http_body_util::BodyExt as _;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Method, Request, RequestBuilder, Response, StatusCode};

use super::ca_file::CaFile;
use super::entry::Entry;
use super::failure::Failure;
use super::moment::Moment;
use super::precondition::Precondition;
use super::refusal::Refusal;
use super::retry::{self, Retried};
use super::scheme::{may_come_of_scheme, speaks_other_scheme};
use super::server::Server;
use super::text::{get_command, printable, shell_quoted};
use super::token_text::{TokenSource, TokenText};
use super::typed_flags::TypedFlags;
use crate::access::Action;
use crate::model::Key;
use crate::url::encoded;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the service may send nothing within a response. In a watch it sends something every 15 seconds.
const READ_TIMEOUT: Duration = Duration::from_secs(45);
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// How to reach a service.
#[derive(Debug, Clone)]
pub struct Route {
    pub server: Server,
    /// What requests are signed with, and where it comes from.
    pub token: Option<(TokenText, TokenSource)>,
    /// Whose certificates are accepted besides those that the system trusts.
    pub ca: Option<CaFile>,
    /// The flags that this route needs besides `--server`, each after a space.
    pub flags: String,
    /// Those that were typed.
    pub typed: TypedFlags,
}

/// A connection to one service.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    route: Route,
}

impl Client {
    pub fn new(route: Route) -> Result<Self, Failure> {
        // ring is built in a fraction of the time of aws-lc. A program that has chosen another keeps it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let roots = match &route.ca {
            Some(ca) => ca.read()?,
            None => Vec::new(),
        };
        let server = &route.server;
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            // A redirected write may be sent as a GET, and look like a success; and a token is for this service.
            .redirect(Policy::none())
            .tls_certs_merge(roots)
            .user_agent(concat!("ifmatch/", env!("CARGO_PKG_VERSION")));
        if let Some((token, _)) = &route.token {
            http = http.default_headers(HeaderMap::from_iter([(AUTHORIZATION, token.bearer())]));
            if server.is_loopback() && !server.is_https() {
                // A proxy of the environment would get the token unencrypted.
                http = http.no_proxy();
            }
        }
        let http = http
            .build()
            .map_err(|error| Failure::unreachable(server.name(), &error, None))?;
        Ok(Self { http, route })
    }

    /// The same with the file of `--ca` as it is now.
    pub fn with_ca_read_again(&self) -> Result<Self, Failure> {
        Self::new(self.route.clone())
    }

    /// The flags with which another command reaches the same service in the same way.
    pub fn flags(&self) -> String {
        let server = shell_quoted(&self.server_name());
        format!("--server {server}{}", self.route.flags)
    }

    /// The command that shows a key.
    pub fn get_command(&self, key: &Key) -> String {
        get_command(&self.route.typed.all, key.as_str())
    }

    /// The URL of the service for messages.
    pub fn server_name(&self) -> String {
        self.route.server.name()
    }

    /// A request about an entry.
    pub fn entry_request(&self, method: Method, key: &Key) -> RequestBuilder {
        self.key_request(method, "/kv", key)
    }

    /// A request about a key, below `path`.
    pub fn key_request(&self, method: Method, path: &str, key: &Key) -> RequestBuilder {
        let url = format!("{path}/{}", name_in_path(key));
        self.http.request(method, self.route.server.url(&url))
    }

    /// A `POST` to `path`.
    pub fn post(&self, path: &str) -> RequestBuilder {
        self.http.post(self.route.server.url(path))
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
        self.http.get(self.route.server.url(&url))
    }

    /// The same for what is below `path` at the name of a key.
    pub fn get_of_key(&self, path: &str, key: &Key, query: &[(&str, &str)]) -> RequestBuilder {
        self.get(&format!("{path}/{}", name_in_path(key)), query)
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
        self.entry_at(key, None).await
    }

    /// Reads an entry as of a moment; without it, as of now.
    pub async fn entry_at(&self, key: &Key, at: Option<&Moment>) -> Result<Entry, Failure> {
        let query = at.map(Moment::query);
        let query = query.as_ref().map(|(name, value)| (*name, value.as_str()));
        let request = self.get_of_key("/kv", key, query.as_slice());
        let response = self.send(request).await?;
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
        let answer = self.send_as(request, Retried::LostAndBusy).await;
        answer.map_err(|failure| self.with_unknown_outcome(failure))
    }

    /// As [`send`](Self::send), but a proxy's response to a write is a refusal like any other, and a 503 is one in
    /// any case: for those who send the request again.
    pub async fn send_repeatable(&self, request: RequestBuilder) -> Result<Response, Failure> {
        self.send_as(request, Retried::Lost).await
    }

    async fn send_as(
        &self,
        request: RequestBuilder,
        retried: Retried,
    ) -> Result<Response, Failure> {
        let request = request.build().map_err(|error| self.unreachable(&error))?;
        if request.method() == Method::GET {
            return self.attempt(request).await;
        }
        let attempt = async |request| self.attempt(request).await;
        let describe = async || self.description().await;
        retry::send(request, retried, attempt, describe).await
    }

    /// What the service says of itself.
    async fn description(&self) -> Result<String, Failure> {
        let request = self.get("/openapi.json", &[]).build();
        let request = request.map_err(|error| self.unreachable(&error))?;
        let text = self.attempt(request).await?.text().await;
        text.map_err(|error| self.unreachable(&error))
    }

    /// Sends a request once.
    async fn attempt(&self, request: Request) -> Result<Response, Failure> {
        let is_write = request.method() != Method::GET;
        let lost = |error: reqwest::Error| {
            if is_write {
                Failure::unanswered(self.server_name(), &error, self.ca_path())
            } else {
                self.unreachable(&error)
            }
        };
        let response = match self.http.execute(request).await {
            Ok(response) => response,
            Err(error) => return Err(self.other_scheme(lost(error)).await),
        };
        if response.status().is_success() {
            return if is_write {
                whole(response).await.map_err(lost)
            } else {
                Ok(response)
            };
        }
        let status = response.status().as_u16();
        let location = response.headers().get(LOCATION);
        let location = location
            .and_then(|url| url.to_str().ok())
            .map(str::to_owned);
        let retry_after = response.headers().get(RETRY_AFTER);
        let retry_after = retry_after
            .and_then(|seconds| seconds.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let text = response.text().await.map_err(lost)?;
        let mut refusal = Refusal::new(status, text, location, is_write);
        refusal.retry_after = retry_after;
        refusal.flags.clone_from(&self.route.typed.all);
        if refusal.is_not_allowed() {
            refusal.advice = Some(self.advice(status));
        }
        let failure = Failure::Refused(Box::new(refusal));
        Err(self.other_scheme(failure).await)
    }

    /// Says so if the port of the service speaks https and was asked over http, or the reverse.
    async fn other_scheme(&self, failure: Failure) -> Failure {
        let server = &self.route.server;
        let may_be = match &failure {
            Failure::Unreachable { reason, .. } | Failure::OutcomeUnknown { reason, .. } => {
                may_come_of_scheme(reason)
            }
            // Servers that speak TLS refuse a request without it so.
            Failure::Refused(refusal) => refusal.status == 400 && refusal.body.is_none(),
            _ => false,
        };
        if may_be && let Some(other) = speaks_other_scheme(server).await {
            return Failure::OtherScheme {
                server: server.name(),
                other,
            };
        }
        failure
    }

    /// What to do about a 401 or a 403.
    fn advice(&self, status: u16) -> String {
        let TypedFlags { all, of_login } = &self.route.typed;
        let server = shell_quoted(&self.server_name());
        let login = format!("ifmatch login{of_login} {server}");
        let whoami = format!("`ifmatch whoami{all}` shows what you may do");
        let others = "--token-file FILE or IFMATCH_TOKEN";
        let source = self.route.token.as_ref().map(|(_, source)| source);
        match (source, status) {
            (None, 403) => format!(
                "No token was sent. To sign in: {login}; or pass one with {others}. {whoami} without one"
            ),
            (Some(_), 403) => whoami,
            (None, _) => format!("To sign in: {login}; or pass a token with {others}"),
            // A login would change nothing: the variable comes before what it stores.
            (Some(TokenSource::Environment), _) => {
                "The token came from IFMATCH_TOKEN: correct that variable, or \
                unset it; or pass a token with --token-file FILE"
                    .to_owned()
            }
            (Some(TokenSource::File(path)), _) => format!(
                "The token came from {}: write a valid one to that file. Or leave out --token-file and sign in: \
                 {login}",
                path.display()
            ),
            (Some(source), _) => format!(
                "The token came from {source}. To sign in with another: {login}; or pass one with {others}"
            ),
        }
    }

    /// What the service says that the caller may not do to a key.
    pub fn not_granted(&self, action: Action, key: &Key) -> Failure {
        Failure::NotGranted {
            action,
            key: key.clone(),
            advice: self.advice(403),
        }
    }

    /// A refusal of a write that may be applied nevertheless becomes [`Failure::OutcomeUnknown`].
    pub fn with_unknown_outcome(&self, failure: Failure) -> Failure {
        match failure {
            Failure::Refused(refusal) if refusal.may_be_applied() => Failure::OutcomeUnknown {
                server: self.server_name(),
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
            self.server_name()
        ))
    }

    /// A response that was cut off or did not come.
    pub fn unreachable(&self, error: &reqwest::Error) -> Failure {
        Failure::unreachable(self.server_name(), error, self.ca_path())
    }

    fn ca_path(&self) -> Option<&Path> {
        self.route.ca.as_ref().map(|ca| ca.path.as_path())
    }

    /// A response that ifmatch does not send.
    pub fn not_ifmatch(&self, error: &dyn Display) -> Failure {
        Failure::Unreachable {
            server: self.server_name(),
            reason: format!("the response is not from ifmatch: {error}"),
        }
    }
}

/// The response after all of it has come: one that breaks off is a lost answer.
async fn whole(response: Response) -> reqwest::Result<Response> {
    let (parts, body) = http::Response::<reqwest::Body>::from(response).into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(http::Response::from_parts(parts, body).into())
}

/// A key as the end of a path.
fn name_in_path(key: &Key) -> String {
    let name = encoded(key.as_str()).to_string();
    if key.as_str().split('/').any(str::is_empty) {
        // Some proxies merge two slashes into one.
        return name.replace('/', "%2F");
    }
    name
}
