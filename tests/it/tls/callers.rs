//! Who asks with a certificate, over HTTP/1.1 and HTTP/2.

use std::fs;

use axum::http::Method;
use h2::client;
use ifmatch::access::hash_of;
use rustls::HandshakeKind;
use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::support::access::{ANN, lines};
use crate::support::binary::{Process, soon};
use crate::support::http2::{Http2, next};
use crate::support::raw::{exchange, get, request, status};
use crate::support::tls::{Authority, Client, Pair, start, start_for};

const AS_ANN: (&str, &str) = ("authorization", "Bearer ann-token");
const WRONG: (&str, &str) = ("authorization", "Bearer wrong");
const READ: &str = r#"allow = [{ prefix = "", actions = ["read"] }]"#;

/// An entry that may read everything.
fn entry(name: &str, by: &str) -> String {
    format!("[[token]]\nname = \"{name}\"\n{by}\n{READ}\n")
}

/// An entry for one certificate.
fn entry_of(name: &str, pair: &Pair) -> String {
    let fingerprint = hex::encode(hash_of(&pair.der()));
    entry(name, &format!("certificate = \"{fingerprint}\""))
}

/// A service that takes certificates of `clients`.
struct Service {
    process: Process,
    folder: TempDir,
    services: Authority,
    clients: Authority,
}

impl Service {
    async fn start(clients: Authority, tokens: &str, flags: &[&str]) -> Self {
        let folder = tempdir().unwrap();
        let services = Authority::new("services");
        let path = folder.path().join("tokens.toml");
        fs::write(&path, tokens).unwrap();
        let flags = [&["--tokens", path.to_str().unwrap()], flags].concat();
        let process = start_for(&services, &clients, folder.path(), &flags).await;
        Self {
            process,
            folder,
            services,
            clients,
        }
    }

    fn replace_tokens(&self, tokens: &str) {
        fs::write(self.folder.path().join("tokens.toml"), tokens).unwrap();
    }

    async fn connect(&self, client: &Client) -> TlsStream<TcpStream> {
        soon(client.connect(&self.process.address)).await.unwrap()
    }

    async fn connect_http2(&self, client: &Client) -> Http2 {
        let stream = self.connect(&client.speaking("h2")).await;
        Http2::over(stream, &mut client::Builder::new()).await
    }

    /// Who a client is that sends these headers. It is the same over both protocols.
    async fn whoami(&self, client: &Client, headers: &[(&str, &str)]) -> (u16, Value) {
        let lines = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"));
        let asked = get("/whoami", &lines.collect::<String>());
        let answer = soon(exchange(self.connect(client).await, &asked)).await;
        let answer = answer.unwrap();
        let who = (answer.status, serde_json::from_slice(&answer.body).unwrap());

        let mut http2 = self.connect_http2(client).await;
        let mut request = http2.request(Method::GET, "/whoami");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = soon(http2.send(request.body(()).unwrap(), "")).await;
        let answer = answer.unwrap();
        let over_http2 = (answer.status, serde_json::from_slice(&answer.body).unwrap());
        assert_eq!(who, over_http2);
        who
    }

    async fn name_of(&self, client: &Client, headers: &[(&str, &str)]) -> Value {
        let (status, who) = self.whoami(client, headers).await;
        assert_eq!(status, 200, "{who}");
        who["name"].clone()
    }
}

#[tokio::test]
async fn a_certificate_is_known_by_its_fingerprint_or_a_name_in_it() {
    let clients = Authority::new("clients");
    let ann = clients.issue_for(&["ann.example"]);
    let both = clients.issue_for(&["other.example", "bob.example"]);
    let tokens = [
        entry_of("ann", &ann),
        entry("anns host", "certificate_name = \"ann.example\""),
        entry("bob", "certificate_name = \"bob.example\""),
        entry("eve", "certificate_name = \"spiffe://example/eve\""),
    ];
    let service = Service::start(clients, &tokens.concat(), &[]).await;
    let Service {
        services, clients, ..
    } = &service;
    for (pair, name) in [
        // The fingerprint says more than a name.
        (&ann, "ann"),
        (&clients.issue_for(&["ann.example"]), "anns host"),
        (&both, "bob"),
        (&clients.issue_for_uri("spiffe://example/eve"), "eve"),
    ] {
        let client = services.client_with(pair);
        assert_eq!(service.name_of(&client, &[]).await, name);
    }
}

#[tokio::test]
async fn a_certificate_that_nobody_has_entered_gets_401_and_a_token_wins_over_one() {
    let clients = Authority::new("clients");
    let bob = clients.issue_for(&["bob.example"]);
    let tokens = lines("ann", ANN, READ) + &entry_of("bob", &bob);
    let late = clients.issue_for(&["late.example"]);
    let tokens =
        tokens + &entry_of("late", &late).replace("\nallow", "\nexpires = 2020-01-01\nallow");
    let service = Service::start(clients, &tokens, &[]).await;
    let Service {
        services, clients, ..
    } = &service;
    let known = services.client_with(&bob);
    let late = services.client_with(&late);
    let unknown = services.client_with(&clients.issue_for(&["eve.example"]));
    for (client, headers) in [
        (&unknown, &[][..]),
        (&unknown, &[WRONG]),
        (&late, &[]),
        (&services.client(), &[]),
        // Who shows a token wants to be known by it.
        (&known, &[WRONG]),
    ] {
        let (status, error) = service.whoami(client, headers).await;
        assert_eq!((status, &error["error"]), (401, &json!("unauthorized")));
    }
    for client in [&known, &unknown, &late, &services.client()] {
        assert_eq!(service.name_of(client, &[AS_ANN]).await, "ann");
    }
    assert_eq!(service.name_of(&known, &[]).await, "bob");
}

#[tokio::test]
async fn who_has_another_certificate_may_do_what_anonymous_grants() {
    let clients = Authority::new("clients");
    let bob = clients.issue_for(&["bob.example"]);
    let tokens = entry_of("bob", &bob);
    let service = Service::start(clients, &tokens, &["--anonymous", "read"]).await;
    let Service {
        services, clients, ..
    } = &service;
    let unknown = services.client_with(&clients.issue_for(&["eve.example"]));
    for client in [&unknown, &services.client()] {
        assert_eq!(service.name_of(client, &[]).await, Value::Null);
    }
    let known = services.client_with(&bob);
    assert_eq!(service.name_of(&known, &[]).await, "bob");
}

#[tokio::test]
async fn streams_and_connections_of_a_removed_certificate_end() {
    let clients = Authority::new("clients");
    let bob = clients.issue_for(&["bob.example"]);
    let tokens = entry_of("bob", &bob);
    let service = Service::start(clients, &tokens, &[]).await;
    let client = service.services.client_with(&bob);
    let mut stream = service.connect(&client).await;
    let watch = get("/watch", "Connection: close\r\n");
    stream.write_all(watch.as_bytes()).await.unwrap();
    assert_eq!(soon(status(&mut stream)).await.unwrap(), 200);
    let mut http2 = service.connect_http2(&client).await;
    let mut events = http2.stream("/watch").await;

    service.replace_tokens(&entry("ann", "user = \"ann\""));
    let mut rest = Vec::new();
    soon(stream.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.ends_with(b"0\r\n\r\n"), "{rest:?}");
    soon(async { while next(&mut events).await.unwrap().is_some() {} }).await;
    // The connection is there, and its certificate is nobody's.
    assert_eq!(http2.get("/whoami").await.status, 401);
    let (status, _) = service.whoami(&client, &[]).await;
    assert_eq!(status, 401);
}

#[tokio::test]
async fn whom_a_trusted_proxy_names_is_not_taken_for_the_proxy() {
    let clients = Authority::new("clients");
    let proxy = clients.issue_for(&["proxy.example"]);
    let tokens = entry_of("proxy", &proxy) + &entry("ann", "user = \"ann\"");
    let flags = ["--trusted-user-header=X-User", "--trusted-proxy=127.0.0.1"];
    let service = Service::start(clients, &tokens, &flags).await;
    let proxy = service.services.client_with(&proxy);
    assert_eq!(service.name_of(&proxy, &[]).await, "proxy");
    assert_eq!(service.name_of(&proxy, &[("x-user", "ann")]).await, "ann");
    for headers in [
        &[("x-user", "eve")][..],
        &[("x-user", "ann"), ("x-user", "eve")],
    ] {
        let (status, who) = service.whoami(&proxy, headers).await;
        assert_eq!(status, 401, "{headers:?}: {who}");
    }
}

#[tokio::test]
async fn a_cookie_that_could_have_come_without_tls_is_no_session_over_tls() {
    let service = Service::start(Authority::new("clients"), &lines("ann", ANN, READ), &[]).await;
    let client = service.services.client();
    let body = json!({ "token": ANN }).to_string();
    // Not a browser: there is no Origin.
    let asked = request("POST", "/session", "", &body);
    let answer = soon(exchange(service.connect(&client).await, &asked)).await;
    let head = answer.unwrap().head;
    let (_, cookie) = head.split_once("set-cookie: ").unwrap();
    let (cookie, attributes) = cookie.split_once("; ").unwrap();
    assert!(attributes.contains("; Secure"), "{head}");
    let id = cookie.strip_prefix("__Host-ifmatch=").expect(&head);
    assert_eq!(service.name_of(&client, &[("cookie", cookie)]).await, "ann");
    // Somebody else could have set this one.
    let plain = format!("ifmatch={id}");
    let (status, _) = service.whoami(&client, &[("cookie", &plain)]).await;
    assert_eq!(status, 401);
}

#[tokio::test]
async fn a_client_with_a_certificate_shows_it_at_each_connection() {
    let folder = tempdir().unwrap();
    let authority = Authority::new("ours");
    let handshakes = async |process: &Process, client: &Client| {
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let mut stream = soon(client.connect(&process.address)).await.unwrap();
            // What could be resumed comes after the handshake.
            let asked = get("/health/live", "Connection: close\r\n");
            stream.write_all(asked.as_bytes()).await.unwrap();
            soon(stream.read_to_end(&mut Vec::new())).await.unwrap();
            kinds.push(stream.get_ref().1.handshake_kind().unwrap());
        }
        kinds
    };
    let process = start(&authority, folder.path(), &[]).await;
    let client = authority.client();
    let kinds = handshakes(&process, &client).await;
    assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed]);

    // A certificate that has expired meanwhile would not be noticed.
    let folder = tempdir().unwrap();
    let process = start_for(&authority, &authority, folder.path(), &[]).await;
    let client = authority.client_with(&authority.issue_for(&["ann.example"]));
    let kinds = handshakes(&process, &client).await;
    assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Full]);
}
