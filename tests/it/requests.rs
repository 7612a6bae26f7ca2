//! What holds of every request and every answer, whatever the path.

use std::collections::BTreeSet;

use axum::http::Method;
use serde_json::Value;
use tempfile::tempdir;
use tokio::task::JoinSet;

use crate::support::api::Api;
use crate::support::binary::Process;
use crate::support::raw::{self, Answer};

/// Every path that takes no query, or none of these, with a method that it takes.
const WITHOUT_QUERY: [(&str, &str); 18] = [
    ("GET", "/kv/a"),
    ("HEAD", "/kv/a"),
    ("PUT", "/kv/a"),
    ("POST", "/kv/a"),
    ("PATCH", "/kv/a"),
    ("DELETE", "/kv/a"),
    ("PUT", "/kv/"),
    ("POST", "/revert/a"),
    ("POST", "/transactions"),
    ("GET", "/health"),
    ("GET", "/health/live"),
    ("GET", "/health/ready"),
    ("GET", "/"),
    ("GET", "/console/app.js"),
    ("GET", "/openapi.yaml"),
    ("GET", "/openapi.json"),
    ("GET", "/docs"),
    ("GET", "/docs/swagger-ui.css"),
];

async fn ask(process: &Process, request: &str) -> Answer {
    raw::ask(&process.address, request).await.unwrap()
}

#[tokio::test]
async fn a_query_that_a_path_does_not_take_is_refused_and_changes_nothing() {
    let api = Api::in_memory();
    let created = api.put("/kv/a", "1").send().await;
    for query in ["if_match=x", "If-Match=%22x%22", "limit=1", "x", "=", "&"] {
        for (method, path) in WITHOUT_QUERY {
            let method: Method = method.parse().unwrap();
            let call = api.call(method.clone(), &format!("{path}?{query}"));
            let answer = call.json("{\"operations\":[]}").send().await;
            assert_eq!(answer.status.as_u16(), 400, "{method} {path}?{query}");
            if method != Method::HEAD {
                answer.assert_error(400, "invalid_query");
            }
        }
    }
    for unknown in [
        "/kv?if_match=x",
        "/kv?limit=1&x=1",
        "/watch?preifx=a",
        "/watch?prefix=a&prefix=b",
        "/watch?since=1-a&since=1-a",
        "/kv?prefix=a&prefix=a",
        "/kv?after=a&after=b",
        "/kv/a?revision=1&revision=1",
        "/history/a?prefix=a",
        "/history/a?limit=0",
        "/history?limit=1001",
        "/history?key=a",
    ] {
        let answer = api.get(unknown).send().await;
        answer.assert_error(400, "invalid_query");
    }
    let now = api.get("/kv").send().await.json();
    assert_eq!(now["items"], serde_json::json!([created.json()]));
    // Some clients end every target with the mark.
    assert_eq!(api.get("/kv/a?").send().await.body, created.body);
    api.get("/nothing?x=1")
        .send()
        .await
        .assert_error(404, "not_found");
}

#[tokio::test]
async fn a_part_of_a_value_is_not_taken_for_the_value() {
    let api = Api::in_memory();
    let created = api.put("/kv/a", "1").send().await;
    for (method, path) in [
        (Method::PUT, "/kv/a"),
        (Method::POST, "/kv/a"),
        (Method::PATCH, "/kv/a"),
        (Method::POST, "/transactions"),
    ] {
        let body = r#"{"operations":[{"op":"delete","key":"a"}]}"#;
        let call = api.call(method, path).json(body);
        let answer = call.header("content-range", "bytes 0-9/100").send().await;
        answer.assert_error(400, "invalid_request");
        assert!(answer.text().contains("Content-Range"), "{answer:?}");
    }
    assert_eq!(api.get("/kv/a").send().await.body, created.body);
}

#[tokio::test]
async fn a_transfer_coding_other_than_chunked_is_refused() {
    let folder = tempdir().unwrap();
    let process = Process::start(folder.path(), &[]).await;
    let put = |codings: &str| {
        format!(
            "PUT /kv/a HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{codings}\r\n\
             1\r\n1\r\n0\r\n\r\n"
        )
    };
    for codings in [
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: identity, chunked\r\n",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: , chunked\r\n",
        // That of a body whose end cannot be told is refused by the parser (RFC 9112 §6.3).
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
    ] {
        let answer = ask(&process, &put(codings)).await;
        assert_eq!(answer.status, 400, "{codings:?}: {}", answer.head);
        let read = ask(&process, &raw::get("/kv/a", "")).await;
        assert_eq!(read.status, 404, "{codings:?}");
    }
    let answer = ask(&process, &put("Transfer-Encoding: gzip, chunked\r\n")).await;
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(body["error"], "invalid_request");
    for codings in [
        "Transfer-Encoding: chunked\r\n",
        "transfer-encoding: Chunked\r\n",
    ] {
        let answer = ask(&process, &put(codings)).await;
        assert!([200, 201].contains(&answer.status), "{}", answer.head);
    }
}

#[tokio::test]
async fn options_answers_with_the_methods_of_every_path() {
    let api = Api::in_memory();
    for (path, methods) in [
        ("/", "GET HEAD"),
        ("/kv", "GET HEAD"),
        ("/kv/a", "DELETE GET HEAD PATCH POST PUT"),
        ("/kv/..", "DELETE GET HEAD PATCH POST PUT"),
        ("/transactions", "POST"),
        ("/watch", "GET HEAD"),
        ("/health/ready", "GET HEAD"),
        ("/docs", "GET HEAD"),
        ("/docs/index.css", "GET HEAD"),
        ("/console/app.js", "GET HEAD"),
        ("*", "DELETE GET HEAD PATCH POST PUT"),
    ] {
        let answer = api.call(Method::OPTIONS, path).send().await;
        assert_eq!(answer.status.as_u16(), 204, "{path}: {answer:?}");
        let allowed: BTreeSet<_> = answer
            .header("allow")
            .unwrap()
            .split(',')
            .map(str::trim)
            .collect();
        let methods: BTreeSet<_> = methods.split(' ').collect();
        assert_eq!(allowed, methods, "{path}");
    }
    let unknown = api.call(Method::OPTIONS, "/nothing").send().await;
    unknown.assert_error(404, "not_found");
}

#[tokio::test]
async fn the_plain_check_of_a_proxy_finds_the_service() {
    let folder = tempdir().unwrap();
    let process = Process::start(folder.path(), &[]).await;
    // As HAProxy asks by default.
    for request in [
        "OPTIONS / HTTP/1.0\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "OPTIONS http://localhost/kv HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ] {
        let answer = ask(&process, request).await;
        assert_eq!(answer.status, 204, "{request:?}: {}", answer.head);
        assert!(
            answer.head.to_ascii_lowercase().contains("\r\nallow: "),
            "{}",
            answer.head
        );
    }
}

#[tokio::test]
async fn no_browser_takes_an_answer_for_something_else() {
    let api = Api::in_memory();
    api.put("/kv/a", "1").send().await;
    for (method, path) in [
        ("GET", "/kv/a"),
        ("HEAD", "/kv/a"),
        ("PUT", "/kv/a"),
        ("GET", "/kv"),
        ("GET", "/watch"),
        ("GET", "/health/live"),
        ("GET", "/"),
        ("GET", "/console/base.css"),
        ("GET", "/docs"),
        ("GET", "/docs/swagger-ui.css"),
        ("GET", "/openapi.json"),
        ("GET", "/nothing"),
        ("POST", "/kv"),
        ("OPTIONS", "/kv"),
        ("DELETE", "/kv/.."),
    ] {
        let call = api.call(method.parse().unwrap(), path).json("1");
        let answer = call.send().await;
        let sniffed = answer.header("x-content-type-options");
        assert_eq!(sniffed, Some("nosniff"), "{method} {path}");
    }
    let tag = api.get("/kv/a").send().await.etag();
    let unmodified = api.get("/kv/a").if_none_match(&tag).send().await;
    assert_eq!(unmodified.header("x-content-type-options"), Some("nosniff"));
    let foreign = api.get("/kv/a").header("host", "evil.example").send().await;
    assert_eq!(foreign.header("x-content-type-options"), Some("nosniff"));
}

#[tokio::test]
async fn what_is_built_in_is_sent_once() {
    let api = Api::in_memory();
    for path in [
        "/",
        "/console/app.js",
        "/docs",
        "/docs/swagger-ui.css",
        "/docs/swagger-ui-bundle.js",
        "/docs/swagger-initializer.js",
        "/openapi.yaml",
        "/openapi.json",
    ] {
        let full = api.get(path).send().await;
        assert_eq!(full.status.as_u16(), 200, "{path}");
        for tags in [full.etag(), format!("W/{}", full.etag()), "*".to_owned()] {
            let same = api.get(path).if_none_match(&tags).send().await;
            assert_eq!(same.status.as_u16(), 304, "{path} {tags}");
            assert!(same.body.is_empty());
            for name in ["etag", "cache-control", "content-security-policy"] {
                assert_eq!(same.header(name), full.header(name), "{path} {name}");
            }
        }
        let other = api.get(path).if_none_match("\"other\"").send().await;
        assert_eq!(other.body, full.body, "{path}");
    }
    let tag = |path: &'static str| {
        let api = api.clone();
        async move { api.get(path).send().await.etag() }
    };
    assert_ne!(tag("/docs").await, tag("/docs/swagger-ui.css").await);
}

#[tokio::test]
async fn what_is_not_http_is_refused_without_a_body() {
    let folder = tempdir().unwrap();
    let process = Process::start(folder.path(), &[]).await;
    for (request, status) in [
        ("nonsense\r\n\r\n".to_owned(), 400),
        ("GET /kv HTTP/1.1\r\nHost localhost\r\n\r\n".to_owned(), 400),
        (format!("GET /kv/{} HTTP/1.1\r\n", "a".repeat(70_000)), 431),
        (
            raw::get("/kv", &format!("X: {}\r\n", "a".repeat(20_000))),
            431,
        ),
    ] {
        let answer = ask(&process, &request).await;
        assert_eq!(answer.status, status, "{:.40}: {}", request, answer.head);
        assert!(answer.body.is_empty(), "{:?}", answer.body);
        let head = answer.head.to_ascii_lowercase();
        assert!(!head.contains("x-request-id"), "{head}");
        assert!(head.contains("content-length: 0"), "{head}");
    }
}

#[tokio::test]
async fn a_flood_of_clients_that_are_refused_or_too_slow_is_one_line() {
    let folder = tempdir().unwrap();
    let flags = ["--request-timeout", "200ms", "--log-format", "json"];
    let process = Process::start(folder.path(), &flags).await;
    let slow = raw::head("PUT", "/kv/a", "", 100);
    let foreign = "GET /kv HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_owned();
    let hostile = raw::request("PUT", "/kv/a", "Sec-Fetch-Site: cross-site\r\n", "1");
    let mut clients = JoinSet::new();
    for (request, status) in [(slow, 503), (foreign, 421), (hostile, 403)] {
        for _ in 0..30 {
            let (address, request) = (process.address.clone(), request.clone());
            clients.spawn(async move {
                let answer = raw::ask(&address, &request).await.unwrap();
                assert_eq!(answer.status, status, "{}", answer.head);
            });
        }
    }
    clients.join_all().await;
    let ended = process.stop().await;
    let lines: Vec<Value> = ended
        .log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let with_level = |level: &str| lines.iter().filter(|line| line["level"] == level).count();
    assert_eq!(with_level("ERROR"), 0, "{}", ended.log);
    // A slow machine may come into a second interval.
    assert!((1..=3).contains(&with_level("WARN")), "{}", ended.log);
}
