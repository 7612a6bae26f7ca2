//! Where writes must name an entity tag.

use std::sync::Arc;

use axum::http::Method;
use ifmatch::service::Policy;
use ifmatch::storage::memory::MemoryStore;

use super::{DELETE, POST, PUT, ask, http_date};
use crate::support::api::{Api, LIMITS};

#[tokio::test]
async fn where_preconditions_are_required_a_write_without_one_is_told_what_to_send() {
    let api = Api::with(
        Arc::new(MemoryStore::new()),
        Policy::ConditionalWrites,
        LIMITS,
    );
    for (method, path) in [(PUT, "/kv/a"), (POST, "/kv/a"), (DELETE, "/kv/a")] {
        let answer = ask(&api, &method, path, &[]).await;
        answer.assert_error(428, "precondition_required");
        assert!(answer.text().contains("If-Match"), "{answer:?}");
        let dated = ask(
            &api,
            &method,
            path,
            &[("if-unmodified-since", http_date(3600))],
        )
        .await;
        dated.assert_error(428, "precondition_required");
    }
    let created = api.put("/kv/a", "1").if_none_match("*").send().await;
    assert_eq!(created.status.as_u16(), 201);
    let replaced = api.put("/kv/a", "2").if_match(&created.etag()).send().await;
    assert_eq!(replaced.status.as_u16(), 200);
    assert_eq!(api.get("/kv/a").send().await.status.as_u16(), 200);
    let deleted = api.delete("/kv/a").if_match(&replaced.etag()).send().await;
    assert_eq!(deleted.status.as_u16(), 200);
}

#[tokio::test]
async fn where_preconditions_are_required_one_that_lets_an_update_be_lost_is_none() {
    let api = Api::with(
        Arc::new(MemoryStore::new()),
        Policy::ConditionalWrites,
        LIMITS,
    );
    let created = api.put("/kv/a", "{}").if_none_match("*").send().await;
    for headers in [
        &[("if-match", "*")][..],
        &[("if-none-match", "\"bogus\"")],
        &[("if-none-match", "W/\"1-0000000000000000\", \"x\"")],
        &[("if-match", "*"), ("if-none-match", "\"bogus\"")],
        &[
            ("if-match", "*"),
            ("if-unmodified-since", "Fri, 31 Dec 2100 23:59:59 GMT"),
        ],
    ] {
        for method in [PUT, POST, DELETE, Method::PATCH] {
            for path in ["/kv/a", "/kv/absent"] {
                let mut call = api.call(method.clone(), path).json("{}");
                for (name, value) in headers {
                    call = call.header(name, value);
                }
                let answer = call.send().await;
                answer.assert_error(428, "precondition_required");
                for what_to_send in ["If-Match with the etag", "If-None-Match: *"] {
                    assert!(answer.text().contains(what_to_send), "{answer:?}");
                }
            }
        }
        let members: Vec<_> = headers
            .iter()
            .filter(|(name, _)| name.ends_with("match"))
            .collect();
        let mut operation = serde_json::json!({"op": "put", "key": "a", "value": 1});
        for (name, value) in members {
            operation[name.replace('-', "_")] = (*value).into();
        }
        let body = serde_json::json!({"operations": [operation]}).to_string();
        let answer = api.call(POST, "/transactions").json(&body).send().await;
        answer.assert_error(428, "precondition_required");
    }
    assert_eq!(api.get("/kv/a").send().await.body, created.body);
    // With one tag among others, or to create, nothing can be lost.
    let tag = format!("\"bogus\", {}", created.etag());
    let replaced = api.put("/kv/a", "1").if_match(&tag).send().await;
    assert_eq!(replaced.status.as_u16(), 200);
    let weak = api.put("/kv/a", "2").if_match("W/\"x\"").send().await;
    weak.assert_error(412, "precondition_failed");
    let both = api.put("/kv/b", "1").if_match("*").if_none_match("*");
    both.send().await.assert_error(412, "precondition_failed");
}

#[tokio::test]
async fn where_preconditions_are_required_they_are_still_read_and_evaluated() {
    let api = Api::with(
        Arc::new(MemoryStore::new()),
        Policy::ConditionalWrites,
        LIMITS,
    );
    let created = api.put("/kv/a", "1").if_none_match("*").send().await;
    for (header, value, status, code) in [
        ("if-match", "3", 400, "invalid_precondition"),
        ("if-match", "\"x\"", 412, "precondition_failed"),
        ("if-none-match", "*", 412, "precondition_failed"),
        (
            "if-modified-since",
            "yesterday",
            428,
            "precondition_required",
        ),
    ] {
        for method in [PUT, POST, DELETE] {
            let answer = ask(&api, &method, "/kv/a", &[(header, value.to_owned())]).await;
            answer.assert_error(status, code);
        }
    }
    assert_eq!(api.get("/kv/a").send().await.body, created.body);
}
