//! Bringing a value back.

use std::sync::Arc;

use axum::http::Method;
use ifmatch::service::{Policy, Settings};
use ifmatch::storage::memory::MemoryStore;
use serde_json::json;

use super::revert;
use crate::support::api::{Api, LIMITS};

#[tokio::test]
async fn the_value_of_then_becomes_a_new_version() {
    let api = Api::in_memory();
    let text = r#"{"b":1.50,"a":[1e2]}"#;
    let first = api.put("/kv/doc/plan", text).send().await;
    let wrong = api.put("/kv/doc/plan", "\"wrong\"").send().await;
    let reverted = revert(&api, "doc/plan", 1).send().await;
    assert_eq!(reverted.status, 200);
    assert_eq!(reverted.header("location"), None);
    assert!(reverted.text().contains(text), "{reverted:?}");
    assert_eq!(reverted.json()["version"], 3);
    assert_eq!(reverted.json()["revision"], 3);
    let tags = [first.etag(), wrong.etag()];
    assert!(!tags.contains(&reverted.etag()));
    assert_eq!(api.get("/kv/doc/plan").send().await.body, reverted.body);
    // The revision named is that of the record, not the one that was asked for.
    api.put("/kv/other", "1").send().await;
    revert(&api, "doc/plan", 4).send().await;
    let history = api.get("/history/doc/plan").send().await.json();
    assert_eq!(history["items"][0]["reverted_from"], 3);
    assert_eq!(history["items"][1]["reverted_from"], 1);
    assert_eq!(history["items"][2].get("reverted_from"), None);
}

#[tokio::test]
async fn a_deletion_is_undone_and_the_answer_says_where() {
    let api = Api::in_memory();
    for (key, location) in [
        ("plan", "../kv/plan"),
        ("doc/plan", "../../kv/doc/plan"),
        ("doc%2Fplan", "../kv/doc/plan"),
        ("a b", "../kv/a%20b"),
    ] {
        let key = key.replace(' ', "%20");
        let path = format!("/kv/{key}");
        let written = api.put(&path, "1").send().await;
        let revision = written.json()["revision"].as_u64().unwrap();
        api.delete(&path).send().await;
        let reverted = revert(&api, &key, revision).send().await;
        assert_eq!(reverted.status, 201);
        assert_eq!(reverted.header("location"), Some(location));
        assert_eq!(reverted.json()["version"], 1);
        assert_eq!(reverted.json()["value"], 1);
        assert_ne!(reverted.etag(), written.etag());
        api.delete(&path).send().await;
    }
}

#[tokio::test]
async fn preconditions_are_about_the_current_entry() {
    let api = Api::in_memory();
    let first = api.put("/kv/a", "1").send().await;
    let second = api.put("/kv/a", "2").send().await;
    for (name, value) in [
        ("if-match", first.etag()),
        ("if-none-match", "*".to_owned()),
        ("if-none-match", second.etag()),
    ] {
        let refused = revert(&api, "a", 1).header(name, &value).send().await;
        refused.assert_error(412, "precondition_failed");
        assert_eq!(refused.json()["current"], second.json());
        assert_eq!(refused.etag(), second.etag());
    }
    let invalid = revert(&api, "a", 1).if_match("3").send().await;
    invalid.assert_error(400, "invalid_precondition");
    let done = revert(&api, "a", 1).if_match(&second.etag()).send().await;
    assert_eq!(done.status, 200);
    api.delete("/kv/a").send().await;
    let refused = revert(&api, "a", 1).if_match(&done.etag()).send().await;
    refused.assert_error(412, "precondition_failed");
    assert_eq!(refused.json()["current"], json!(null));
    let created = revert(&api, "a", 1).if_none_match("*");
    let created = created.header("prefer", "return=minimal").send().await;
    assert_eq!(created.status, 204);
    assert_eq!(created.header("preference-applied"), Some("return=minimal"));
    assert_eq!(created.header("location"), Some("../kv/a"));
    assert_eq!(created.etag(), api.get("/kv/a").send().await.etag());
}

#[tokio::test]
async fn a_service_that_requires_preconditions_requires_them_here() {
    let store = Arc::new(MemoryStore::new());
    let api = Api::with(store, Policy::ConditionalWrites, LIMITS);
    let first = api.put("/kv/a", "1").if_none_match("*").send().await;
    let refused = revert(&api, "a", 1).send().await;
    refused.assert_error(428, "precondition_required");
    let done = revert(&api, "a", 1).if_match(&first.etag()).send().await;
    assert_eq!(done.status, 200);
}

#[tokio::test]
async fn what_cannot_be_brought_back_is_refused_and_nothing_is_written() {
    let api = Api::in_memory();
    api.put("/kv/other", "1").send().await;
    api.put("/kv/a", "1").send().await;
    api.delete("/kv/a").send().await;
    api.put("/kv/a", "2").send().await;
    let before = api.get("/kv").send().await;
    for revision in [0, 1, 3] {
        let absent = revert(&api, "a", revision).send().await;
        absent.assert_error(404, "not_found");
        let message = absent.message();
        assert!(message.contains(&format!("revision {revision}")) && message.contains("delete"));
    }
    revert(&api, "never", 1)
        .send()
        .await
        .assert_error(404, "not_found");
    revert(&api, "a", 5)
        .send()
        .await
        .assert_error(400, "invalid_query");
    for body in [
        "{}",
        "[1]",
        "1",
        "null",
        r#"{"revision":"1"}"#,
        r#"{"revision":-1}"#,
        r#"{"revision":1.5}"#,
        r#"{"revision":2,"at":"2026-01-01T00:00:00Z"}"#,
        r#"{"revision":2"#,
        "",
    ] {
        let call = api.call(Method::POST, "/revert/a").json(body);
        call.send().await.assert_error(400, "invalid_json");
    }
    let untyped = api
        .call(Method::POST, "/revert/a")
        .body(r#"{"revision":2}"#);
    untyped
        .send()
        .await
        .assert_error(415, "unsupported_media_type");
    let long = format!("{{\"revision\":2{}}}", " ".repeat(5000));
    let long = api.call(Method::POST, "/revert/a").json(&long);
    long.send().await.assert_error(413, "value_too_large");
    let query = api.call(Method::POST, "/revert/a?revision=2");
    let query = query.json(r#"{"revision":2}"#).send().await;
    query.assert_error(400, "invalid_query");
    let foreign = revert(&api, "a", 2).header("sec-fetch-site", "cross-site");
    foreign.send().await.assert_error(403, "forbidden");
    assert_eq!(api.get("/kv").send().await.body, before.body);
}

#[tokio::test]
async fn a_value_that_is_longer_than_is_taken_now_stays_in_the_past() {
    let store = Arc::new(MemoryStore::new());
    let api = Api::with(Arc::<MemoryStore>::clone(&store), Policy::AllWrites, LIMITS);
    api.put("/kv/a", &format!("\"{}\"", "x".repeat(1000)))
        .send()
        .await;
    api.put("/kv/a", "1").send().await;
    let settings = Settings {
        max_value_bytes: 100,
        ..Settings::default()
    };
    let stricter = Api::with_settings(store, settings, LIMITS);
    let refused = revert(&stricter, "a", 1).send().await;
    refused.assert_error(413, "value_too_large");
    assert_eq!(stricter.get("/kv/a").send().await.json()["value"], 1);
}

#[tokio::test]
async fn of_many_reverts_with_one_tag_one_is_done() {
    let api = Api::in_memory();
    api.put("/kv/a", "1").send().await;
    let tag = api.put("/kv/a", "2").send().await.etag();
    let reverts = (0..20).map(|_| revert(&api, "a", 1).if_match(&tag).send());
    let answers = futures_util::future::join_all(reverts).await;
    let done = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(done, 1);
    assert_eq!(api.get("/kv/a").send().await.json()["version"], 3);
}
