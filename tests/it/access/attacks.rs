//! A hostile client who may read `doc/` and nothing else: it gets no byte from elsewhere, and writes nothing.

use axum::body::Body;
use axum::http::{Method, Request, Version};
use serde_json::Value;
use tempfile::tempdir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{ADMIN, file, put};
use crate::support::api::Api;
use crate::support::binary::{Process, soon};
use crate::support::http;

const EVE: &str = "eve";
/// What is in every value, and in every key, that Eve may not read.
const SECRET: &str = "swordfish";
const HIDDEN_KEYS: [&str; 6] = [
    "doc",
    "docs",
    "Doc/a",
    "swordfish/a",
    "d%C3%B4c/a",
    "do%63%2f%2fswordfish",
];

async fn service() -> (Api, String) {
    let api = Api::guarded(&file(&[(EVE, &[("doc/", "r")])]), None).unchecked();
    put(&api, "doc/a", "\"open\"").await;
    for key in HIDDEN_KEYS {
        put(
            &api,
            &key.replace("%2f%2fswordfish", "ument"),
            &format!("\"{SECRET}\""),
        )
        .await;
    }
    let state = api.get("/kv").by(ADMIN).send().await.text().to_owned();
    (api, state)
}

#[tokio::test]
async fn no_spelling_of_a_path_leads_out_of_the_prefix() {
    let (api, state) = service().await;
    for path in [
        "/kv/doc/../swordfish/a",
        "/kv/doc/%2e%2e/swordfish/a",
        "/kv/doc/..%2fswordfish%2fa",
        "/kv/doc%2f..%2fswordfish%2fa",
        "/kv/doc/./../swordfish/a",
        "/kv/doc/..;/swordfish/a",
        "/kv/doc/%252e%252e/swordfish/a",
        "/kv//doc/../../swordfish/a",
        "/kv/./swordfish/a",
        "/kv/../kv/swordfish/a",
        "/kv/doc/a%00/../../swordfish/a",
        "/kv/doc%00",
        "/kv/doc/%5c..%5cswordfish/a",
        "/kv/swordfish%2Fa",
        "/kv/Doc/a",
        "/kv/d%C3%B4c/a",
        "/kv/do%CC%82c/a",
        "/kv/%64oc",
        "/kv/doc",
        "/kv/docs",
        "/kv/doc?",
        "/kv/doc/a?key=swordfish/a",
        "/kv/doc/a?prefix=swordfish/",
        "/KV/swordfish/a",
        "//kv/swordfish/a",
        "/kv;/swordfish/a",
        "/kv/doc/a/..",
        "/kv/doc/a//../../../swordfish/a",
        "/openapi.yaml/../kv/swordfish/a",
        "/docs/..%2fkv/swordfish/a",
        "/console/..%2f..%2fdata.json",
        "/docs/%2e%2e/data.json",
        "/kv?prefix=swordfish/",
        "/kv?prefix=doc/../swordfish/",
        "/kv?prefix=%64ocs",
        "/kv?prefix=doc",
        "/kv?prefix=doc/&prefix=swordfish/",
        "/kv?prefix=&after=docr",
        "/kv?after=doc/zzz&limit=1",
        "/kv?prefix=doc%00",
        "/watch?key=swordfish/a",
        "/watch?key=doc/a&key=swordfish/a",
        "/watch?key=doc/a&prefix=swordfish/",
        "/watch?prefix=swordfish/",
        "/health",
        "/health/ready",
        "/whoami",
        "/metrics",
        "/history/swordfish/a",
        "/history/docs",
        "/history/doc/../swordfish/a",
        "/history/doc/%2e%2e%2fswordfish%2fa",
        "/history//doc/a",
        "/history?prefix=swordfish/",
        "/history?prefix=doc/&prefix=swordfish/",
        "/history",
        "/kv?revision=1",
        "/kv/docs?revision=1",
        "/kv/swordfish/a?revision=1",
        "/revert/docs",
        "/revert/swordfish/a",
        "/revert/doc/../swordfish/a",
    ] {
        for method in [
            "GET", "HEAD", "OPTIONS", "PUT", "POST", "PATCH", "DELETE", "TRACE", "LIST",
        ] {
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header("authorization", "Bearer eve")
                .header("content-type", "application/json")
                .body(Body::from("2"));
            let Ok(request) = request else { continue };
            let answer = api.send(request).await;
            let text = String::from_utf8_lossy(&answer.body);
            // What it asked for may come back, decoded.
            let said = text.replace("swordfish/a", "").replace("swordfish/", "");
            assert!(!said.contains(SECRET), "{method} {path}: {answer:?}");
            assert!(
                !format!("{:?}", answer.headers).contains(SECRET),
                "{method} {path}"
            );
            let is_read = matches!(method, "GET" | "HEAD" | "OPTIONS");
            assert!(
                is_read || !answer.status.is_success(),
                "{method} {path}: {answer:?}"
            );
        }
    }
    let after = api.get("/kv").by(ADMIN).send().await;
    assert_eq!(after.text(), state);
}

#[tokio::test]
async fn no_header_opens_a_way() {
    let (api, state) = service().await;
    let tag = api.get("/kv/docs").by(ADMIN).send().await.etag();
    for (name, value) in [
        ("x-http-method-override", "PUT"),
        ("x-http-method", "DELETE"),
        ("x-method-override", "PATCH"),
        ("x-original-url", "/kv/docs"),
        ("x-rewrite-url", "/kv/docs"),
        ("x-forwarded-prefix", "/kv/docs"),
        ("x-forwarded-user", "admin"),
        ("x-remote-user", "admin"),
        ("from", "admin"),
        ("x-forwarded-for", "127.0.0.1"),
        ("forwarded", "for=127.0.0.1;by=admin"),
        ("proxy-authorization", "Bearer admin"),
        ("x-authorization", "Bearer admin"),
        ("x-api-key", "admin"),
        ("cookie", "ifmatch=admin"),
        ("cookie", "Authorization=Bearer admin"),
        ("range", "bytes=0-100"),
        ("if-range", "\"x\""),
        ("if-match", "*"),
        ("if-none-match", "*"),
        ("if-none-match", &*tag),
        ("if-match", &*tag),
        ("if-modified-since", "Sat, 01 Jan 2000 00:00:00 GMT"),
        ("if-unmodified-since", "Sat, 01 Jan 2000 00:00:00 GMT"),
        ("prefer", "return=representation"),
        ("prefer", "wait=1"),
        ("accept", "text/event-stream"),
        ("expect", "100-continue"),
        ("last-event-id", "0-0000000000000000"),
        ("x-request-id", "admin"),
        ("connection", "authorization"),
        ("upgrade", "h2c"),
    ] {
        let mut refusals = Vec::new();
        for method in [
            Method::GET,
            Method::HEAD,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ] {
            for key in ["docs", "swordfish/a", "none", "doc"] {
                let call = api.call(method.clone(), &format!("/kv/{key}")).json("{}");
                let answer = call.header(name, value).by(EVE).send().await;
                assert_eq!(
                    answer.status, 403,
                    "{name}: {value}: {method} {key}: {answer:?}"
                );
                assert!(!answer.text().contains("\"swordfish\""));
                assert_eq!(answer.header("etag"), None);
                refusals.push((method.clone(), answer.text().replace(key, "")));
            }
        }
        // Nothing tells what is there from what is not.
        for (method, text) in &refusals {
            assert!(
                refusals
                    .iter()
                    .all(|(of, other)| of != method || other == text),
                "{name}"
            );
        }
        let call = api.get("/kv/doc/a").header(name, value).by(EVE);
        let answer = call.send().await;
        assert!(!answer.text().contains(SECRET), "{name}: {value}");
    }
    let after = api.get("/kv").by(ADMIN).send().await;
    assert_eq!(after.text(), state);
}

#[tokio::test]
async fn no_transaction_asks_about_what_it_may_not_read() {
    let (api, state) = service().await;
    let tag = api.get("/kv/docs").by(ADMIN).send().await.etag();
    let tag = tag.replace('"', "\\\"");
    for operation in [
        r#"{"op":"check","key":"KEY"}"#.to_owned(),
        r#"{"op":"check","key":"KEY","if_none_match":"*"}"#.to_owned(),
        format!(r#"{{"op":"check","key":"KEY","if_match":"{tag}"}}"#),
        r#"{"op":"delete","key":"KEY"}"#.to_owned(),
        r#"{"op":"put","key":"KEY","value":1}"#.to_owned(),
        r#"{"op":"put","key":"KEY","value":1,"if_none_match":"*"}"#.to_owned(),
    ] {
        for before in [
            "",
            r#"{"op":"check","key":"doc/a"},"#,
            r#"{"op":"check","key":"doc/a","if_match":"\"x\""},"#,
        ] {
            let ask = async |key: &str| {
                let body = format!(
                    "{{\"operations\":[{before}{}]}}",
                    operation.replace("KEY", key)
                );
                let call = api.call(Method::POST, "/transactions").json(&body).by(EVE);
                let answer = call.send().await;
                answer.assert_error(403, "forbidden");
                answer.text().replace(key, "")
            };
            assert_eq!(ask("docs").await, ask("none").await, "{before}{operation}");
        }
    }
    let after = api.get("/kv").by(ADMIN).send().await;
    assert_eq!(after.text(), state);
}

#[tokio::test]
async fn what_everyone_may_see_shows_no_entry() {
    let (api, _) = service().await;
    for path in [
        "/",
        "/console/app.js",
        "/openapi.yaml",
        "/openapi.json",
        "/docs",
        "/health",
    ] {
        let answer = api.get(path).send().await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(
            !String::from_utf8_lossy(&answer.body).contains(SECRET),
            "{path}"
        );
    }
    let old = api.get("/kv/docs").version(Version::HTTP_10).by(EVE);
    assert_eq!(old.send().await.status, 421);
    let old = api
        .get("/kv/docs")
        .version(Version::HTTP_10)
        .header("host", "localhost");
    assert_eq!(old.by(EVE).send().await.status, 403);
}

/// What comes back for the bytes of a request, up to the end of the connection.
async fn exchange(process: &Process, request: &str) -> String {
    let mut stream = TcpStream::connect(&process.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    // It may be cut off with a reset.
    let _ = soon(stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn no_bytes_on_the_wire_open_a_way() {
    let folder = tempdir().unwrap();
    let tokens = folder.path().join("tokens.toml");
    std::fs::write(&tokens, file(&[(EVE, &[("doc/", "r")])])).unwrap();
    let process = Process::start(folder.path(), &["--tokens", tokens.to_str().unwrap()]).await;
    for key in ["docs", "doc/a"] {
        let value = if key == "docs" {
            "\"swordfish\""
        } else {
            "\"open\""
        };
        let put = http::client().put(process.url(&format!("/kv/{key}")));
        let put = put
            .bearer_auth(ADMIN)
            .header("content-type", "application/json");
        assert_eq!(put.body(value).send().await.unwrap().status(), 201);
    }
    let eve = "Authorization: Bearer eve";
    let close = "Host: localhost\r\nConnection: close\r\n";
    for request in [
        format!("GET /kv/docs HTTP/1.1\r\n{close}{eve}\r\n\r\n"),
        format!("GET /kv/docs HTTP/1.1\r\n{close}{eve}\r\nAuthorization: Bearer x\r\n\r\n"),
        format!("GET /kv/docs HTTP/1.1\r\n{close}Authorization: Bearer x\r\n{eve}\r\n\r\n"),
        format!("GET /kv/docs HTTP/1.1\r\n{close}{eve}\r\n Bearer admin\r\n\r\n"),
        format!("GET /kv/docs HTTP/1.1\r\n{close}{eve}\x0bAuthorization: Bearer admin\r\n\r\n"),
        format!("GET http://localhost/kv/docs HTTP/1.1\r\n{close}{eve}\r\n\r\n"),
        format!("GET http://admin:admin@localhost/kv/docs HTTP/1.1\r\n{close}\r\n"),
        format!("GET http://localhost/kv/doc/../docs HTTP/1.1\r\n{close}{eve}\r\n\r\n"),
        format!("GET /kv/docs HTTP/1.0\r\nHost: localhost\r\n{eve}\r\n\r\n"),
        format!("GET /kv/docs HTTP/1.0\r\n{eve}\r\n\r\n"),
        "GET /kv/docs\r\n\r\n".to_owned(),
        format!("GET /kv/docs#x HTTP/1.1\r\n{close}{eve}\r\n\r\n"),
        format!("GET \\kv\\docs HTTP/1.1\r\n{close}{eve}\r\n\r\n"),
        format!("CONNECT localhost:80 HTTP/1.1\r\n{close}{eve}\r\n\r\n"),
        format!("GET * HTTP/1.1\r\n{close}{eve}\r\n\r\n"),
        format!(
            "GET /kv/docs HTTP/1.1\r\n{close}Cookie: ifmatch=a\r\nCookie: ifmatch=admin\r\n\r\n"
        ),
        format!(
            "PUT /kv/doc/a HTTP/1.1\r\n{close}{eve}\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n1"
        ),
        // A second request within the body of the first, as one that a proxy in between might not have seen.
        format!(
            "GET /kv/doc/a HTTP/1.1\r\nHost: localhost\r\n{eve}\r\nContent-Length: 54\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /kv/docs HTTP/1.1\r\n{close}{eve}\r\n\r\n"
        ),
        format!(
            "GET /kv/doc/a HTTP/1.1\r\nHost: localhost\r\n{eve}\r\nContent-Length: 0\r\nContent-Length: 9\r\n\r\nGET /kv/docs HTTP/1.1\r\n{close}{eve}\r\n\r\n"
        ),
        // The token of one request is not that of the next on the same connection.
        format!(
            "GET /kv/docs HTTP/1.1\r\nHost: localhost\r\n{eve}\r\n\r\nGET /kv/docs HTTP/1.1\r\n{close}\r\n"
        ),
    ] {
        let answer = exchange(&process, &request).await;
        assert!(!answer.contains(SECRET), "{request:?}: {answer}");
        assert!(!answer.contains("HTTP/1.1 201"), "{request:?}: {answer}");
    }
    // Nor is that of the admin before.
    let after = format!(
        "GET /kv/doc/a HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer admin\r\n\r\n\
         GET /kv/docs HTTP/1.1\r\n{close}\r\n"
    );
    let answer = exchange(&process, &after).await;
    assert!(
        answer.contains("open") && answer.contains("HTTP/1.1 401"),
        "{answer}"
    );
    assert!(!answer.contains(SECRET), "{answer}");
    let entry = http::client()
        .get(process.url("/kv/doc/a"))
        .bearer_auth(EVE);
    let entry: Value = entry.send().await.unwrap().json().await.unwrap();
    assert_eq!(entry["version"], 1);
}
