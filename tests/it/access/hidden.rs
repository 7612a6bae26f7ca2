//! What who may write but not read is never shown.

use axum::http::Method;

use super::{ADMIN, file, put, transact};
use crate::support::api::{Answer, Api};

const SECRET: &str = "\"secret\"";
const LONG_AGO: &str = "Sat, 01 Jan 2000 00:00:00 GMT";
const IN_LONG: &str = "Sat, 01 Jan 2050 00:00:00 GMT";

fn service() -> Api {
    Api::guarded(
        &file(&[
            ("writer", &[("doc/", "cud")]),
            ("creator", &[("doc/", "c")]),
            ("updater", &[("doc/", "u")]),
            ("deleter", &[("doc/", "d")]),
            ("reader", &[("doc/", "r")]),
            ("narrow", &[("doc/a", "r"), ("doc/b", "r")]),
        ]),
        None,
    )
}

/// Asserts that an answer shows nothing of an entry.
#[track_caller]
fn assert_hides(answer: &Answer, tag: &str) {
    let text = format!("{:?} {}", answer.headers, answer.text());
    for shown in [
        "secret",
        tag.trim_matches('"'),
        "modified_at",
        "\"current\"",
        "\"version\"",
    ] {
        assert!(!text.contains(shown), "{shown}: {text}");
    }
    for name in ["etag", "last-modified", "location", "content-location"] {
        assert_eq!(answer.header(name), None, "{text}");
    }
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{text}");
}

#[tokio::test]
async fn a_412_has_no_entry_for_who_may_not_read_it() {
    let api = service();
    let tag = put(&api, "doc/a", SECRET).await.etag();
    for (method, name, value) in [
        ("PUT", "if-match", "\"1-0000000000000000\""),
        ("PUT", "if-match", "W/TAG"),
        ("PUT", "if-none-match", "*"),
        ("PUT", "if-none-match", "TAG"),
        ("PUT", "if-unmodified-since", LONG_AGO),
        ("PATCH", "if-match", "\"1-0000000000000000\""),
        ("PATCH", "if-none-match", "*"),
        ("PATCH", "if-unmodified-since", LONG_AGO),
        ("DELETE", "if-match", "\"1-0000000000000000\""),
        ("DELETE", "if-none-match", "*"),
        ("DELETE", "if-unmodified-since", LONG_AGO),
    ] {
        let call = api.call(method.parse().unwrap(), "/kv/doc/a").json("{}");
        let call = call.header(name, &value.replace("TAG", &tag));
        let answer = call.by("writer").send().await;
        answer.assert_error(412, "precondition_failed");
        assert_hides(&answer, &tag);
    }
    let answer = api
        .put("/kv/doc/a", "1")
        .by("reader")
        .if_match("\"x\"")
        .send()
        .await;
    answer.assert_error(403, "forbidden");
    assert_hides(&answer, &tag);
}

#[tokio::test]
async fn a_delete_and_a_patch_show_nothing_to_who_may_not_read() {
    let api = service();
    for prefer in ["return=representation", "return=minimal"] {
        let tag = put(&api, "doc/a", "{\"secret\":1}").await.etag();
        let patch = api.call(Method::PATCH, "/kv/doc/a").json("{}").by("writer");
        let patched = patch.header("prefer", prefer).send().await;
        assert_eq!(patched.status, 204);
        assert_hides(&patched, &tag);
        let delete = api
            .delete("/kv/doc/a")
            .by("writer")
            .header("prefer", prefer);
        let deleted = delete.send().await;
        assert_eq!(deleted.status, 204);
        assert_hides(&deleted, &tag);
    }
}

#[tokio::test]
async fn a_json_patch_asks_nothing_for_who_may_not_read() {
    let api = service();
    let tag = put(&api, "doc/a", r#"{"secret":"x"}"#).await.etag();
    for patch in [
        r#"[{"op":"test","path":"/secret","value":"x"}]"#,
        r#"[{"op":"test","path":"/secret","value":"y"}]"#,
        r#"[{"op":"remove","path":"/none"}]"#,
        r#"[{"op":"copy","from":"/secret","path":"/other"}]"#,
        "[]",
    ] {
        let call = api
            .call(Method::PATCH, "/kv/doc/a")
            .body(patch)
            .by("writer");
        let call = call.header("content-type", "application/json-patch+json");
        let answer = call.send().await;
        answer.assert_error(403, "forbidden");
        assert!(answer.message().contains("read"), "{}", answer.message());
        assert!(!answer.message().contains("secret"), "{}", answer.message());
        assert_eq!(answer.header("etag"), None);
    }
    let unchanged = api.get("/kv/doc/a").by(ADMIN).send().await;
    assert_eq!(unchanged.etag(), tag);
}

/// The answer of somebody who may not write this must not depend on what is there: it would answer questions
/// about it without changing it.
#[tokio::test]
async fn a_precondition_asks_nothing_for_who_may_not_write() {
    let api = service();
    let tag = put(&api, "doc/a", SECRET).await.etag();
    let other = "\"1-0000000000000000\"";
    for by in ["creator", "deleter", "reader"] {
        for (name, one, another) in [
            ("if-none-match", &*tag, other),
            ("if-match", &tag, other),
            ("if-unmodified-since", LONG_AGO, IN_LONG),
        ] {
            let ask = async |value: &str| {
                let put = api.put("/kv/doc/a", "1").by(by).header(name, value);
                let answer = put.send().await;
                (answer.status, answer.text().to_owned())
            };
            let (one, another) = (ask(one).await, ask(another).await);
            assert_eq!(one, another, "{by}: {name}");
            assert_eq!(one.0, 403, "{by}: {name}");
        }
        let ask = async |tag: &str| {
            let tag = tag.replace('"', "\\\"");
            let put = format!(r#"{{"op":"put","key":"doc/a","value":1,"if_none_match":"{tag}"}}"#);
            let answer = transact(&api, by, &put).await;
            (answer.status, answer.text().to_owned())
        };
        assert_eq!(ask(&tag).await, ask(other).await, "{by}");
    }
    assert_eq!(api.get("/kv/doc/a").by(ADMIN).send().await.etag(), tag);
}

#[tokio::test]
async fn a_transaction_shows_what_was_sent_and_what_may_be_read() {
    let api = service();
    let tag = put(&api, "doc/a", SECRET).await.etag();
    put(&api, "doc/b", SECRET).await;
    let failing = r#"{"op":"put","key":"doc/a","value":1,"if_none_match":"*"},
        {"op":"delete","key":"doc/none"},{"op":"delete","key":"doc/b","if_match":"\"x\""}"#;
    let failed = transact(&api, "writer", failing).await;
    assert_eq!(failed.status, 412);
    assert_hides(&failed, &tag);
    let failed = failed.json();
    let indexes: Vec<_> = failed["failed"].as_array().unwrap().iter().collect();
    assert_eq!(indexes.len(), 3);
    let done = transact(
        &api,
        "writer",
        r#"{"op":"put","key":"doc/new","value":"mine"},{"op":"delete","key":"doc/b"}"#,
    )
    .await;
    assert_eq!(done.status, 200);
    let results = done.json()["results"].clone();
    assert_eq!(results[0]["value"], "mine");
    assert!(results[1].is_null());
    assert!(!done.text().contains("secret"));
}

#[tokio::test]
async fn the_size_of_what_is_hidden_is_not_said() {
    let api = service();
    let long = format!("{{\"secret\":\"{}\"}}", "x".repeat(1_000_000));
    put(&api, "doc/a", &long).await;
    let more = format!("{{\"more\":\"{}\"}}", "y".repeat(500_000));
    let patch = api
        .call(Method::PATCH, "/kv/doc/a")
        .json(&more)
        .by("updater");
    let answer = patch.send().await;
    assert_eq!(answer.status, 413, "{answer:?}");
    assert_hides(&answer, "\"no tag\"");
    assert!(!answer.message().contains("1000"), "{}", answer.message());
    assert!(!answer.message().contains("1500"), "{}", answer.message());
}

#[tokio::test]
async fn a_health_report_has_figures_only_for_who_may_read_everything() {
    let api = service();
    put(&api, "doc/a", SECRET).await;
    for (by, shown) in [
        (ADMIN, true),
        ("reader", false),
        ("writer", false),
        ("wrong", false),
        ("", false),
    ] {
        let answer = api.get("/health").by(by).send().await;
        assert_eq!(answer.status, 200, "{by}");
        let store = &answer.json()["store"];
        assert_eq!(store.get("keys").is_some(), shown, "{by}: {store}");
        assert_eq!(store.get("revision").is_some(), shown, "{by}: {store}");
        for path in ["/health/live", "/health/ready"] {
            let answer = api.get(path).by(by).send().await;
            assert_eq!(answer.text(), r#"{"status":"ok"}"#, "{by}");
        }
    }
    let session = api
        .get("/health")
        .header("cookie", "ifmatch=wrong")
        .send()
        .await;
    assert!(session.json()["store"].get("keys").is_none());
}
