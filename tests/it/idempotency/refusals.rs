//! Keys that are refused, and nothing is written.

use axum::http::Method;

use super::{JSON_PATCH, KEY, MERGE_PATCH, REQUESTS, Sent, set_scene, state};
use crate::support::api::Api;

#[tokio::test]
async fn another_request_with_the_key_is_refused() {
    let api = Api::in_memory();
    set_scene(&api).await;
    let put = Sent {
        method: "PUT",
        path: "/kv/e/f",
        headers: &[],
        body: "1",
    };
    let first = put.send(&api, "").await;
    assert_eq!(first.status, 201);
    let before = state(&api).await;
    for other in [
        Sent { body: "2", ..put },
        Sent { body: " 1", ..put },
        Sent {
            path: "/kv/e/g",
            ..put
        },
        Sent {
            method: "POST",
            ..put
        },
        Sent {
            headers: &[("if-match", "*")],
            ..put
        },
        Sent {
            headers: &[("if-none-match", "\"a\"")],
            ..put
        },
        Sent {
            headers: &[("if-unmodified-since", "x")],
            ..put
        },
        Sent {
            headers: &[("prefer", "merge")],
            ..put
        },
    ]
    .into_iter()
    .chain(REQUESTS)
    {
        let answer = other.send(&api, "\"1-0\"").await;
        answer.assert_error(422, "idempotency_mismatch");
    }
    assert_eq!(state(&api).await, before);
    for same in [
        Sent {
            path: "/kv/e%2Ff",
            ..put
        },
        Sent {
            headers: &[("content-type", "application/x+json")],
            ..put
        },
        Sent {
            headers: &[("x-request-id", "2")],
            ..put
        },
    ] {
        let again = same.send(&api, "").await;
        assert_eq!(again.status, 201);
        assert_eq!(again.body, first.body);
    }
    let bare = put
        .call(&api, "")
        .header("idempotency-key", KEY.trim_matches('"'));
    assert_eq!(bare.send().await.body, first.body);
    assert_eq!(state(&api).await, before);
}

#[tokio::test]
async fn a_patch_of_another_kind_is_another_request() {
    let api = Api::in_memory();
    set_scene(&api).await;
    let patch = |content_type| {
        let call = api.call(Method::PATCH, "/kv/a").body("[]");
        let call = call.header("content-type", content_type);
        call.header("idempotency-key", KEY).send()
    };
    assert_eq!(patch(JSON_PATCH).await.status, 200);
    let other = patch(MERGE_PATCH).await;
    other.assert_error(422, "idempotency_mismatch");
}

#[tokio::test]
async fn a_key_that_cannot_be_read_is_refused_and_nothing_is_written() {
    let api = Api::in_memory();
    let tag = set_scene(&api).await;
    let before = state(&api).await;
    let too_long = "x".repeat(256);
    for key in [
        "", "\"\"", "\"a", "a b", "a\"b", "\"a\\b\"", "a;b=1", &too_long,
    ] {
        for sent in REQUESTS {
            let answer = sent.call(&api, &tag).header("idempotency-key", key);
            let answer = answer.send().await;
            answer.assert_error(400, "invalid_idempotency_key");
        }
    }
    let twice = REQUESTS[0].call(&api, "").header("idempotency-key", "a");
    let twice = twice.header("idempotency-key", "a").send().await;
    twice.assert_error(400, "invalid_idempotency_key");
    assert_eq!(state(&api).await, before);
    // A read is not a request that must be done once.
    let read = api
        .get("/kv/a")
        .header("idempotency-key", "\"")
        .send()
        .await;
    assert_eq!(read.status, 200);
}
