//! Which hosts the service answers for, and which pages may write.

use std::sync::Arc;

use axum::http::{Method, Version};
use ifmatch::api::{AllowedHosts, HostName};
use ifmatch::service::Settings;
use ifmatch::storage::memory::MemoryStore;
use tempfile::tempdir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::api::{Api, LIMITS};
use crate::support::binary::{Process, command, soon};
use crate::support::raw::{self, Answer};

const WRITES: [Method; 4] = [Method::PUT, Method::POST, Method::PATCH, Method::DELETE];
const PROBES: [&str; 3] = ["/health", "/health/live", "/health/ready"];

/// Every path that is not a probe.
const PATHS: [&str; 12] = [
    "/",
    "/console/app.js",
    "/kv",
    "/kv/a",
    "/kv/a?revision=1",
    "/history",
    "/history/a",
    "/watch",
    "/openapi.yaml",
    "/openapi.json",
    "/docs",
    "/nothing",
];

/// A service that listens on `address` with these `--allowed-host`.
fn service_on(address: &str, allowed: &[&str]) -> Api {
    let allowed: Vec<HostName> = allowed.iter().map(|name| name.parse().unwrap()).collect();
    let hosts = AllowedHosts::listening_on(address.parse().unwrap(), address, &allowed);
    let store = Arc::new(MemoryStore::new());
    Api::with_hosts(store, Settings::default(), LIMITS, hosts)
}

async fn ask(process: &Process, request: &str) -> Answer {
    raw::ask(&process.address, request).await.unwrap()
}

#[track_caller]
fn assert_error(answer: &Answer, status: u16, code: &str, asked: &str) {
    let body = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, status, "{asked:?}: {}\n{body}", answer.head);
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["error"], code, "{asked:?}");
}

#[tokio::test]
async fn a_name_that_only_resolves_to_loopback_reads_nothing_and_writes_nothing() {
    let api = service_on("127.0.0.1:8080", &[]);
    api.put("/kv/a", "\"secret\"").send().await;
    let rebound = "evil.example:8080";
    for path in PATHS {
        let answer = api.get(path).header("host", rebound).send().await;
        answer.assert_error(421, "misdirected");
        assert!(!answer.text().contains("secret"), "{path}");
    }
    for method in WRITES {
        // As the browser sees it, the page and the service have one origin.
        let call = api.call(method, "/kv/a").header("host", rebound);
        let call = call.header("origin", "http://evil.example:8080").json("1");
        let answer = call.header("sec-fetch-site", "same-origin").send().await;
        answer.assert_error(421, "misdirected");
    }
    let call = api.call(Method::POST, "/transactions").json("{}");
    let refused = call.header("host", rebound).send().await;
    refused.assert_error(421, "misdirected");
    let after = api.get("/kv").send().await.json();
    assert_eq!(after["revision"], 1);
    assert_eq!(after["items"][0]["value"], "secret");
}

#[tokio::test]
async fn loopback_the_listen_address_and_allowed_hosts_are_answered() {
    let folder = tempdir().unwrap();
    let allowed = [
        "--allowed-host",
        "kv.example,docs.example",
        "--allowed-host",
        "[2001:db8::1]",
    ];
    let process = Process::start(folder.path(), &allowed).await;
    let own = process.address.clone();
    for host in [
        own.as_str(),
        "localhost",
        "LOCALHOST:1234",
        "localhost.:80",
        "app.localhost",
        "127.0.0.1",
        "127.3.2.1:80",
        "[::1]",
        "[::1]:8080",
        "kv.example",
        "KV.example.:8443",
        "docs.example:80",
        "[2001:db8::1]:80",
    ] {
        for path in ["/", "/kv", "/docs"] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let answer = ask(&process, &request).await;
            assert_eq!(answer.status, 200, "{host} {path}: {}", answer.head);
        }
        // As the console writes, and as a program does.
        for origin in [format!("Origin: http://{host}\r\n"), String::new()] {
            let request = format!(
                "PUT /kv/a HTTP/1.1\r\nHost: {host}\r\n{origin}Sec-Fetch-Site: same-origin\r\n\
                 Content-Type: application/json\r\nContent-Length: 1\r\n\r\n1"
            );
            let answer = ask(&process, &request).await;
            assert!(
                [200, 201].contains(&answer.status),
                "{host}: {}",
                answer.head
            );
        }
    }
    for host in [
        "evil.example",
        "other.kv.example",
        "0.0.0.0",
        "10.0.0.1",
        "127.1",
        "",
    ] {
        let request = format!("GET /kv HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_error(&ask(&process, &request).await, 421, "misdirected", host);
    }
}

/// A connection is not let in once and for all: each of its requests names its own host.
#[tokio::test]
async fn each_request_of_a_connection_is_checked() {
    let folder = tempdir().unwrap();
    let process = Process::start(folder.path(), &[]).await;
    let mut requests = String::new();
    for (target, host) in [
        ("/health", "evil.example"),
        ("/kv/a", "evil.example"),
        ("/kv/a", "localhost"),
        ("/kv/a", "localhost"),
        ("/kv/a", "evil.example"),
        ("http://evil.example/kv/a", "localhost"),
        ("http://localhost/kv/a", "evil.example"),
        ("/kv/a", "evil.example"),
        ("/kv/a", "localhost"),
    ] {
        requests += &format!("HEAD {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    }
    requests += "HEAD /kv/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut stream = raw::connect(&process.address).await;
    stream.write_all(requests.as_bytes()).await.unwrap();
    let mut answers = String::new();
    soon(stream.read_to_string(&mut answers)).await.unwrap();
    let statuses: Vec<_> = answers
        .split("HTTP/1.1 ")
        .filter_map(|answer| answer.get(..3))
        .collect();
    let expected = [
        "200", "421", "404", "404", "421", "421", "404", "421", "404", "404",
    ];
    assert_eq!(statuses, expected);
}

#[tokio::test]
async fn beyond_loopback_every_host_is_answered_until_some_are_named() {
    for (allowed, host, status) in [
        (&[][..], "kv.cluster.internal", 200),
        (&[], "10.0.0.7:8080", 200),
        (&["kv.internal"], "kv.internal:80", 200),
        (&["kv.internal"], "10.0.0.1:8080", 200),
        (&["kv.internal"], "localhost", 200),
        (&["kv.internal"], "kv.cluster.internal", 421),
        (&["kv.internal"], "10.0.0.7:8080", 421),
    ] {
        let api = service_on("10.0.0.1:8080", allowed);
        let answer = api.get("/kv").header("host", host).send().await;
        assert_eq!(answer.status.as_u16(), status, "{allowed:?} {host}");
    }
    let any = service_on("10.0.0.1:8080", &[]);
    let old = any.get("/kv").version(Version::HTTP_10).send().await;
    assert_eq!(old.status.as_u16(), 200);
}

#[tokio::test]
async fn probes_need_no_known_host() {
    let api = service_on("127.0.0.1:8080", &["kv.example"]);
    for path in PROBES {
        let foreign = api.get(path).header("host", "10.1.2.3:8080").send().await;
        assert_eq!(foreign.status.as_u16(), 200, "{path}");
        let without = api.get(path).version(Version::HTTP_10).send().await;
        assert_eq!(without.status.as_u16(), 200, "{path}");
    }
    let call = api.get("/kv").version(Version::HTTP_10);
    call.send().await.assert_error(421, "misdirected");
    let call = api.put("/kv/a", "1").version(Version::HTTP_10);
    call.send().await.assert_error(421, "misdirected");
}

#[tokio::test]
async fn no_host_two_or_an_invalid_one_is_a_bad_request() {
    let folder = tempdir().unwrap();
    let process = Process::start(folder.path(), &[]).await;
    for path in ["/kv", "/health/live", "/nothing"] {
        for hosts in [
            "",
            "Host: localhost\r\nHost: localhost\r\n",
            "Host: localhost\r\nHost: evil.example\r\n",
            "Host: localhost, evil.example\r\nX: y\r\nHost: a\r\n",
            "Host: local host\r\n",
            "Host: a@localhost\r\n",
            "Host: http://localhost\r\n",
            "Host: localhost/\r\n",
            "Host: localhost:port\r\n",
            "Host: localhost:80:80\r\n",
            "Host: localhost:99999\r\n",
            "Host: ::1\r\n",
            "Host: [localhost]\r\n",
            "Host: l\u{f6}calhost\r\n",
        ] {
            let request = format!("GET {path} HTTP/1.1\r\n{hosts}\r\n");
            assert_error(
                &ask(&process, &request).await,
                400,
                "invalid_request",
                &request,
            );
        }
    }
    // The field must be there and valid whatever the target says (RFC 9112 §3.2).
    for hosts in ["", "Host: a b\r\n"] {
        let request = format!("GET http://localhost/kv HTTP/1.1\r\n{hosts}\r\n");
        assert_error(
            &ask(&process, &request).await,
            400,
            "invalid_request",
            &request,
        );
    }
    let two = "GET /kv HTTP/1.0\r\nHost: localhost\r\nHost: localhost\r\n\r\n";
    assert_error(&ask(&process, two).await, 400, "invalid_request", two);
}

#[tokio::test]
async fn a_target_that_names_a_host_counts_instead_of_the_field() {
    let folder = tempdir().unwrap();
    let process = Process::start(folder.path(), &[]).await;
    for (target, host, status) in [
        ("http://localhost/kv", "localhost", 200),
        ("http://localhost:1/kv?limit=1", "evil.example", 200),
        ("HTTP://[::1]/kv", "evil.example", 200),
        ("http://evil.example/kv", "localhost", 421),
        ("http://evil.example/health/live", "localhost", 200),
        ("http://user@localhost/kv", "localhost", 400),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let answer = ask(&process, &request).await;
        assert_eq!(answer.status, status, "{target}: {}", answer.head);
    }
}

#[tokio::test]
async fn a_page_of_another_site_writes_nothing() {
    let api = service_on("127.0.0.1:8080", &["kv.example"]);
    let created = api.put("/kv/a", "1").send().await;
    let refused: [(&str, &[(&str, &str)]); 11] = [
        ("localhost:8080", &[("sec-fetch-site", "cross-site")]),
        (
            "localhost:8080",
            &[
                ("sec-fetch-site", "Cross-Site"),
                ("origin", "http://localhost:8080"),
            ],
        ),
        (
            "localhost:8080",
            &[
                ("sec-fetch-site", "same-origin"),
                ("sec-fetch-site", "cross-site"),
            ],
        ),
        ("localhost:8080", &[("origin", "http://evil.example")]),
        (
            "localhost:8080",
            &[
                ("origin", "http://localhost:3000"),
                ("sec-fetch-site", "same-site"),
            ],
        ),
        ("localhost:8080", &[("origin", "http://127.0.0.1:8080")]),
        ("localhost:8080", &[("origin", "null")]),
        ("localhost:8080", &[("origin", "")]),
        (
            "localhost:8080",
            &[
                ("origin", "http://localhost:8080"),
                ("origin", "http://evil.example"),
            ],
        ),
        ("kv.example", &[("origin", "https://kv.example:8443")]),
        ("kv.example", &[("origin", "http://localhost:8080")]),
    ];
    for (host, headers) in refused {
        for method in WRITES {
            let mut call = api
                .call(method.clone(), "/kv/a")
                .json("2")
                .header("host", host);
            for (name, value) in headers {
                call = call.header(name, value);
            }
            let answer = call.send().await;
            answer.assert_error(403, "forbidden");
        }
    }
    let unchanged = api.get("/kv/a").send().await;
    assert_eq!(unchanged.body, created.body);
    let taken: [(&str, &[(&str, &str)]); 5] = [
        ("localhost:8080", &[]),
        (
            "localhost:8080",
            &[
                ("sec-fetch-site", "same-origin"),
                ("origin", "http://localhost:8080"),
            ],
        ),
        ("localhost:8080", &[("sec-fetch-site", "none")]),
        // A proxy in front speaks TLS.
        (
            "kv.example",
            &[
                ("origin", "https://kv.example"),
                ("sec-fetch-site", "same-origin"),
            ],
        ),
        ("kv.example:8443", &[("origin", "https://kv.example:8443")]),
    ];
    for (host, headers) in taken {
        let mut call = api.put("/kv/a", "2").header("host", host);
        for (name, value) in headers {
            call = call.header(name, value);
        }
        let answer = call.send().await;
        assert_eq!(
            answer.status.as_u16(),
            200,
            "{host} {headers:?}: {answer:?}"
        );
    }
    // A read shows nothing to such a page anyway: the browser keeps the answer from it.
    let read = api
        .get("/kv/a")
        .header("sec-fetch-site", "cross-site")
        .send()
        .await;
    assert_eq!(read.status.as_u16(), 200);
    assert!(read.header("access-control-allow-origin").is_none());
}

#[tokio::test]
async fn an_allowed_host_comes_from_a_variable_too_and_must_be_a_host() {
    let folder = tempdir().unwrap();
    let mut from_variable = command(folder.path());
    from_variable.env("IFMATCH_ALLOWED_HOST", "one.example,two.example");
    from_variable.args(["--listen", "127.0.0.1:0"]);
    let process = Process::spawn(from_variable).await;
    for host in ["one.example", "two.example"] {
        let request = format!("GET /kv HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(ask(&process, &request).await.status, 200, "{host}");
    }
    for bad in ["http://one.example", "one.example:80", "one example", ""] {
        let mut command = command(folder.path());
        command.args(["--listen", "127.0.0.1:0", "--allowed-host", bad]);
        let Err(refused) = Process::try_spawn(command).await else {
            panic!("{bad:?} was taken");
        };
        assert_eq!(refused.status.code(), Some(2));
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(said.contains("--allowed-host"), "{said}");
    }
}
