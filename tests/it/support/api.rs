//! The real router on a store, called without a socket.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body_util::BodyExt as _;
use ifmatch::access::{Authority, Grants, Tokens};
use ifmatch::api::{AllowedHosts, Guard, Limits, router};
use ifmatch::service::{Policy, Service, Settings};
use ifmatch::storage::Store;
use ifmatch::storage::file::{self, FileStore, Journaling};
use ifmatch::storage::memory::MemoryStore;
use serde_json::Value;
use tower::ServiceExt as _;

use super::contract;

/// Where a service of a test listens, as far as it knows.
pub const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// Limits that no test meets by chance.
pub const LIMITS: Limits = Limits {
    header_timeout: Duration::from_secs(60),
    request_timeout: Duration::from_secs(60),
    max_connections: 1024,
    shutdown_grace: Duration::from_secs(60),
};

/// A service and its router.
#[derive(Clone)]
pub struct Api {
    router: axum::Router,
    checked: bool,
    pub service: Arc<Service>,
}

impl Api {
    pub fn in_memory() -> Self {
        Self::with(Arc::new(MemoryStore::new()), Policy::AllWrites, LIMITS)
    }

    /// On the `data.json` in `folder`. Call [`Api::close`] before it is opened again.
    pub async fn in_folder(folder: &Path) -> Self {
        Self::in_folder_with(folder, Journaling::default()).await
    }

    /// The same with a journal and a history of one's choice.
    pub async fn in_folder_with(folder: &Path, settings: impl Into<file::Settings>) -> Self {
        let store = FileStore::open(&folder.join("data.json"), settings)
            .await
            .unwrap();
        Self::with(Arc::new(store), Policy::AllWrites, LIMITS)
    }

    pub fn with(store: Arc<dyn Store>, policy: Policy, limits: Limits) -> Self {
        let settings = Settings {
            policy,
            ..Settings::default()
        };
        Self::with_settings(store, settings, limits)
    }

    pub fn with_settings(store: Arc<dyn Store>, settings: Settings, limits: Limits) -> Self {
        let hosts = AllowedHosts::listening_on(LOOPBACK, "localhost:8080", &[]);
        Self::with_hosts(store, settings, limits, hosts)
    }

    pub fn with_hosts(
        store: Arc<dyn Store>,
        settings: Settings,
        limits: Limits,
        guard: impl Into<Guard>,
    ) -> Self {
        let service = Arc::new(Service::new(store, settings));
        Self {
            router: router(Arc::clone(&service), limits, guard),
            checked: true,
            service,
        }
    }

    /// In memory, where the file of tokens and `anonymous` say who may do what.
    pub fn guarded(tokens: &str, anonymous: Option<Grants>) -> Self {
        let authority = Authority::new(Tokens::parse(tokens).unwrap(), anonymous);
        Self::guarded_by(Arc::new(MemoryStore::new()), authority)
    }

    /// On a store, where `authority` says who may do what.
    pub fn guarded_by(store: Arc<dyn Store>, authority: Authority) -> Self {
        let hosts = AllowedHosts::listening_on(LOOPBACK, "localhost:8080", &[]);
        let guard = Guard::new(hosts).with_authority(authority);
        Self::with_hosts(store, Settings::default(), LIMITS, guard)
    }

    /// The same without a look into the contract at each answer, for a test of very many.
    pub fn unchecked(mut self) -> Self {
        self.checked = false;
        self
    }

    pub async fn close(self) {
        self.service.close().await.unwrap();
    }

    pub fn get(&self, path: &str) -> Call<'_> {
        self.call(Method::GET, path)
    }

    /// PUT with a JSON body, given as text.
    pub fn put(&self, path: &str, json: &str) -> Call<'_> {
        self.call(Method::PUT, path).json(json)
    }

    pub fn delete(&self, path: &str) -> Call<'_> {
        self.call(Method::DELETE, path)
    }

    pub fn call(&self, method: Method, path: &str) -> Call<'_> {
        let request = Request::builder().method(method).uri(path);
        Call {
            api: self,
            request,
            body: Body::empty(),
        }
    }

    /// The answer as soon as it begins. Every client names a host; a test of hosts its own.
    pub async fn begin(&self, mut request: Request<Body>) -> Response<Body> {
        if request.version() == Version::HTTP_11 {
            let host = request.headers_mut().entry(header::HOST);
            host.or_insert(HeaderValue::from_static("localhost"));
        }
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let response = self.begin(request).await;
        let (parts, body) = response.into_parts();
        let has_no_end = parts
            .headers
            .get("content-type")
            .is_some_and(|of| of == "text/event-stream");
        let body = if has_no_end {
            Bytes::new()
        } else {
            body.collect().await.unwrap().to_bytes()
        };
        let is_part_of_page = path.starts_with("/docs/") || path.starts_with("/console/");
        if self.checked && !is_part_of_page {
            contract::check(&method, &path, parts.status, &parts.headers, &body);
        }
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.to_vec(),
        }
    }
}

/// The body of an answer, which comes in pieces of at most so many bytes.
pub async fn taken_in_pieces(answer: Response<Body>, max_bytes: usize) -> Vec<u8> {
    let mut text = Vec::new();
    let mut body = answer.into_body();
    while let Some(frame) = body.frame().await {
        let piece = frame.unwrap().into_data().unwrap();
        let bytes = piece.len();
        assert!(bytes <= max_bytes, "{bytes} bytes at once");
        text.extend_from_slice(&piece);
    }
    text
}

/// A request on its way.
pub struct Call<'a> {
    api: &'a Api,
    request: axum::http::request::Builder,
    body: Body,
}

impl Call<'_> {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub fn version(mut self, version: Version) -> Self {
        self.request = self.request.version(version);
        self
    }

    /// With the token of this text; without one if there is none.
    pub fn by(self, token: &str) -> Self {
        match token {
            "" => self,
            token => self.header("authorization", &format!("Bearer {token}")),
        }
    }

    pub fn if_match(self, tag: &str) -> Self {
        self.header("if-match", tag)
    }

    pub fn if_none_match(self, tag: &str) -> Self {
        self.header("if-none-match", tag)
    }

    pub fn json(self, text: &str) -> Self {
        self.header(header::CONTENT_TYPE.as_str(), "application/json")
            .body(text.to_owned())
    }

    pub fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    pub async fn send(self) -> Answer {
        self.api.send(self.request.body(self.body).unwrap()).await
    }
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn etag(&self) -> String {
        self.header("etag").expect("an ETag").to_owned()
    }

    /// What a failing answer says to a person.
    #[track_caller]
    pub fn message(&self) -> String {
        let message = self.json()["message"].as_str().map(str::to_owned);
        message.unwrap_or_else(|| panic!("it has no message: {self:?}"))
    }

    /// Asserts a failing answer of the one shape.
    #[track_caller]
    pub fn assert_error(&self, status: u16, code: &str) {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(
            self.header("content-type"),
            Some("application/json"),
            "{self:?}"
        );
        assert_eq!(self.json()["error"], code, "{self:?}");
        assert!(!self.message().is_empty(), "{self:?}");
    }
}
