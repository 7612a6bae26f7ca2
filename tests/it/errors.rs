//! Errors that any request can meet. The others are tested beside what they belong to: 403 and 421 in `hosts`,
//! 409 in `patch`, 412 and 428 in `preconditions` and `transactions`, 504 in `outcomes`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::Method;
use http_body_util::StreamBody;
use hyper::body::Frame;
use ifmatch::api::Limits;
use ifmatch::service::{Policy, Settings};
use ifmatch::storage::memory::MemoryStore;

use crate::support::api::{Answer, Api, LIMITS};

/// Asserts that nothing was stored.
async fn assert_empty(api: &Api) {
    let health = api.get("/health").send().await.json();
    assert_eq!(health["store"]["revision"], 0);
}

#[tokio::test]
async fn a_body_that_is_not_json_says_where() {
    let api = Api::in_memory();
    let deep = "[".repeat(129) + &"]".repeat(129);
    for (body, place) in [
        ("", "line 1 column 1"),
        ("  ", "line 1 column"),
        ("{\n  \"a\": tru\n}", "line 2 column 8"),
        ("{\"a\":1", "line 1 column 7"),
        ("1 2", "line 1 column 3"),
        ("[1,]", "line 1 column 4"),
        ("nul", "line 1 column"),
        (&deep, "line 1 column 129"),
        ("\"\\ud800\"", "line 1 column"),
    ] {
        for method in [Method::PUT, Method::POST] {
            let answer = api.call(method, "/kv/a").json(body).send().await;
            answer.assert_error(400, "invalid_json");
            let message = answer.message();
            assert!(message.contains(place), "{body:?}: {message}");
        }
    }
    let latin = api.put("/kv/a", "").body(&b"\"\xE9\""[..]);
    latin.send().await.assert_error(400, "invalid_json");
    assert_empty(&api).await;
}

#[tokio::test]
async fn a_key_that_cannot_be_one_is_refused_by_every_method() {
    let api = Api::in_memory();
    let too_long = format!("/kv/{}", "k".repeat(513));
    for (path, part) in [
        ("/kv/", "empty"),
        (too_long.as_str(), "513"),
        ("/kv/a%00b", "U+0000"),
        ("/kv/a%0Ab", "U+000A"),
        ("/kv/%7F", "U+007F"),
        ("/kv/.", "\".\""),
        ("/kv/..", "\"..\""),
        ("/kv/a/../b", "\"..\""),
        ("/kv/a%2F%2E%2E", "\"..\""),
        ("/kv/%2e/b", "\".\""),
        ("/kv/%FF", "percent-encoded"),
        ("/kv/%C3%28", "percent-encoded"),
        ("/kv/100%", "percent-encoded"),
        ("/kv/%zz", "percent-encoded"),
        ("/kv/%4", "percent-encoded"),
    ] {
        for method in [Method::GET, Method::PUT, Method::POST, Method::DELETE] {
            let answer = api.call(method, path).json("1").send().await;
            answer.assert_error(400, "invalid_key");
            let message = answer.message();
            assert!(message.contains(part), "{path}: {message}");
        }
    }
    assert_empty(&api).await;
}

#[tokio::test]
async fn a_query_that_cannot_be_read_names_its_part() {
    let api = Api::in_memory();
    for (query, part) in [
        ("limit=0", "limit"),
        ("limit=10001", "10000"),
        ("limit=-1", "limit"),
        ("limit=ten", "limit"),
        ("limit=", "limit"),
        ("limit=99999999999999999999999", "limit"),
        ("limit=1&limit=2", "limit"),
        ("limt=1", "limt"),
        ("prefix=%FF", "UTF-8"),
        ("after=%C3", "UTF-8"),
    ] {
        let answer = api.get(&format!("/kv?{query}")).send().await;
        answer.assert_error(400, "invalid_query");
        let message = answer.message();
        assert!(message.contains(part), "{query}: {message}");
    }
    for query in ["limit=1", "limit=10000", "", "prefix=&after=&limit=5"] {
        let answer = api.get(&format!("/kv?{query}")).send().await;
        assert_eq!(answer.status.as_u16(), 200, "{query}");
    }
}

#[tokio::test]
async fn an_unknown_path_is_not_found_and_a_wrong_method_is_told_the_right_ones() {
    let api = Api::in_memory();
    for path in [
        "/console",
        "/kvx",
        "/health/",
        "/health/x",
        "/favicon.ico",
        "//",
    ] {
        for method in [Method::GET, Method::POST, Method::PATCH] {
            api.call(method, path)
                .send()
                .await
                .assert_error(404, "not_found");
        }
    }
    for (path, allowed) in [
        ("/", "GET,HEAD"),
        ("/kv", "GET,HEAD"),
        ("/kv/a", "DELETE,GET,HEAD,PATCH,POST,PUT"),
        ("/kv/", "DELETE,GET,HEAD,PATCH,POST,PUT"),
        ("/health", "GET,HEAD"),
        ("/health/live", "GET,HEAD"),
        ("/health/ready", "GET,HEAD"),
    ] {
        for (method, status) in [(Method::OPTIONS, 204), (Method::TRACE, 405)] {
            let answer = api.call(method, path).send().await;
            assert_eq!(answer.status.as_u16(), status, "{path}");
            if status == 405 {
                answer.assert_error(405, "method_not_allowed");
            }
            let mut allow: Vec<_> = answer
                .header("allow")
                .unwrap()
                .split(',')
                .map(str::trim)
                .collect();
            allow.sort_unstable();
            assert_eq!(allow.join(","), allowed, "{path}");
        }
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_while_it_is_read() {
    let settings = Settings {
        max_value_bytes: 100,
        ..Settings::default()
    };
    let api = Api::with_settings(Arc::new(MemoryStore::new()), settings, LIMITS);
    let fits = format!("\"{}\"", "x".repeat(98));
    assert_eq!(api.put("/kv/fits", &fits).send().await.status.as_u16(), 201);

    let told = format!("\"{}\"", "x".repeat(99));
    let answer = api.put("/kv/a", &told).send().await;
    answer.assert_error(413, "value_too_large");
    assert!(answer.text().contains("100 bytes"));

    // It has no end, so that an answer is proof enough.
    let endless = futures_util::stream::repeat_with(|| {
        Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"[[[[[[[[[[")))
    });
    let body = Body::new(StreamBody::new(endless));
    let answer = api.put("/kv/a", "").body(body).send().await;
    answer.assert_error(413, "value_too_large");
    api.get("/kv/a").send().await.assert_error(404, "not_found");
}

#[tokio::test]
async fn a_write_that_is_not_said_to_be_json_is_refused() {
    let api = Api::in_memory();
    let send = |content_type: Option<&'static str>, coding: Option<&'static str>| {
        let mut call = api.call(Method::PUT, "/kv/a").body("1");
        if let Some(content_type) = content_type {
            call = call.header("content-type", content_type);
        }
        if let Some(coding) = coding {
            call = call.header("content-encoding", coding);
        }
        call.send()
    };
    for content_type in [
        None,
        Some(""),
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("multipart/form-data; boundary=x"),
        Some("application/json-patch+json"),
        Some("application/merge-patch+json"),
        Some("text/json"),
        Some("text/x+json"),
        Some("application/+json"),
        Some("application/xjson"),
        Some("application/json+xml"),
    ] {
        let answer = send(content_type, None).await;
        answer.assert_error(415, "unsupported_media_type");
    }
    let compressed = send(Some("application/json"), Some("gzip")).await;
    compressed.assert_error(415, "unsupported_media_type");
    assert_empty(&api).await;
    for content_type in [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/ld+json",
        "Application/Vnd.Example.v1+JSON; profile=\"a;b\"",
        "application/problem+json;charset=utf-8",
    ] {
        assert!(
            send(Some(content_type), None).await.status.is_success(),
            "{content_type}"
        );
    }
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_told_to_come_back() {
    let limits = Limits {
        request_timeout: Duration::from_millis(50),
        ..LIMITS
    };
    let api = Api::with(Arc::new(MemoryStore::new()), Policy::AllWrites, limits);
    let silent = futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>();
    let body = Body::new(StreamBody::new(silent));
    let answer = api.put("/kv/a", "").body(body).send().await;
    assert_unavailable(&answer);
    assert_empty(&api).await;
}

#[tokio::test]
async fn a_body_that_breaks_off_stores_nothing() {
    let api = Api::in_memory();
    let broken = futures_util::stream::iter([
        Ok(Frame::data(Bytes::from_static(b"1"))),
        Err(std::io::Error::other("hung up")),
    ]);
    let body = Body::new(StreamBody::new(broken));
    let answer = api.put("/kv/a", "").body(body).send().await;
    answer.assert_error(400, "invalid_json");
    assert_empty(&api).await;
}

#[tokio::test]
async fn a_closed_store_is_unavailable_for_writes() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::in_folder(folder.path()).await;
    api.put("/kv/a", "1").send().await;
    api.service.close().await.unwrap();
    assert_unavailable(&api.put("/kv/a", "2").send().await);
    assert_eq!(api.get("/kv/a").send().await.json()["value"], 1);
}

#[track_caller]
fn assert_unavailable(answer: &Answer) {
    answer.assert_error(503, "unavailable");
    let seconds: u32 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!(seconds > 0);
}

#[tokio::test]
async fn every_error_has_the_same_two_members_and_shows_no_path_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::in_folder(folder.path()).await;
    api.put("/kv/a", "1").send().await;
    let away = folder.path().with_extension("away");
    let mut answers = Vec::new();
    for call in [
        api.put("/kv/a", "{"),
        api.get("/kv/.."),
        api.get("/kv/%FF"),
        api.get("/kv?limit=0"),
        api.get("/kv?x"),
        api.get("/kv/a").if_match("3"),
        api.get("/kv/b"),
        api.get("/nowhere"),
        api.call(Method::PUT, "/kv"),
        api.put("/kv/a", &format!("\"{}\"", "x".repeat(1024 * 1024))),
        api.call(Method::PUT, "/kv/a").body("1"),
        api.put("/kv/a", "1").header("content-encoding", "gzip"),
    ] {
        answers.push(call.send().await);
    }
    std::fs::rename(folder.path(), &away).unwrap();
    answers.push(api.put("/kv/a", "2").send().await);
    std::fs::rename(&away, folder.path()).unwrap();
    api.service.close().await.unwrap();
    answers.push(api.put("/kv/a", "2").send().await);
    let name = folder.path().file_name().unwrap().to_str().unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for answer in &answers {
        let body = answer.json();
        answer.assert_error(answer.status.as_u16(), body["error"].as_str().unwrap());
        let members: Vec<_> = body.as_object().unwrap().keys().collect();
        assert_eq!(members, ["error", "message"], "{body}");
        for inside in [name, "data.json", "src/", ".rs", "panicked"] {
            assert!(!answer.text().contains(inside), "{body}");
        }
        seen.insert(answer.status.as_u16());
    }
    assert_eq!(
        Vec::from_iter(seen),
        [400, 404, 405, 413, 415, 500, 503],
        "each of these is asked for"
    );
    assert_eq!(api.get("/kv/a").send().await.json()["version"], 1);
}

#[tokio::test]
async fn a_json_content_type_may_be_spelled_as_rfc_9110_lets_it() {
    for content_type in [
        "application/json;charset=utf-8",
        "application/json; charset=\"utf-8\"",
        "application/json;",
        // White space before the semicolon, a tab after it, an empty parameter (§5.6.6).
        "application/json ; charset=utf-8",
        "application/json;\tcharset=utf-8",
        "application/json;;charset=utf-8",
    ] {
        let api = Api::in_memory();
        let call = api.call(Method::PUT, "/kv/a").body("1");
        let answer = call.header("content-type", content_type).send().await;
        assert_eq!(answer.status.as_u16(), 201, "{content_type:?}: {answer:?}");
    }
}

#[tokio::test]
async fn two_content_types_are_none() {
    let api = Api::in_memory();
    for other in ["text/plain", "application/json"] {
        let call = api.put("/kv/a", "1").header("content-type", other);
        let answer = call.send().await;
        answer.assert_error(415, "unsupported_media_type");
    }
    assert_empty(&api).await;
}
