//! A request that is sent again to another process is done once.

use axum::http::Method;
use serde_json::json;

use super::JSON_PATCH;
use crate::support::api::{Answer, Api, Call};
use crate::support::shared::Process;

/// One of the writes, all of which change what they were decided on.
fn write<'a>(api: &'a Api, way: usize, tag: &str, revision: u64) -> Option<Call<'a>> {
    let call = match way {
        0 => api.put("/kv/a", "2").if_match(tag),
        1 => api.put("/kv/a", "2"),
        2 => api.put("/kv/b", "2").if_none_match("*"),
        3 => api.delete("/kv/a"),
        4 => {
            let operations =
                r#"[{"op":"test","path":"","value":1},{"op":"replace","path":"","value":2}]"#;
            let call = api.call(Method::PATCH, "/kv/a");
            call.header("content-type", JSON_PATCH).body(operations)
        }
        5 => {
            let put = json!({"op": "put", "key": "b", "value": 2, "if_none_match": "*"});
            let body = json!({"operations": [put, {"op": "delete", "key": "a"}]});
            api.call(Method::POST, "/transactions")
                .json(&body.to_string())
        }
        6 => {
            let body = json!({ "revision": revision }).to_string();
            api.call(Method::POST, "/revert/a")
                .json(&body)
                .if_match(tag)
        }
        _ => return None,
    };
    Some(call.header("idempotency-key", "\"k\""))
}

#[tokio::test]
async fn a_request_that_another_process_has_done_is_answered_as_it_was() {
    for knows_it in [false, true] {
        for way in 0.. {
            let [(_, first), (process, second)] = Process::two();
            let zero = first.put("/kv/a", "0").send().await.json();
            let zero = zero["revision"].as_u64().unwrap();
            let tag = first.put("/kv/a", "1").send().await.etag();
            process.catch_up().await.unwrap();
            let Some(call) = write(&first, way, &tag, zero) else {
                break;
            };
            let done = call.send().await;
            assert!(done.status.is_success(), "{way}: {done:?}");
            if knows_it {
                process.catch_up().await.unwrap();
            }
            let state = first.get("/kv").send().await.body;
            let again = write(&second, way, &tag, zero).unwrap().send().await;
            assert_replay(&again, &done, way);
            assert_eq!(first.get("/kv").send().await.body, state, "{way}");
        }
    }
}

fn assert_replay(again: &Answer, done: &Answer, way: usize) {
    assert_eq!(again.status, done.status, "{way}: {again:?}");
    assert_eq!(again.body, done.body, "{way}");
    let replayed = again.header("idempotency-replayed");
    assert_eq!(replayed, Some("true"), "{way}: {again:?}");
}

/// The value that was brought back may be gone when the request is sent again.
#[tokio::test]
async fn a_revert_that_another_process_has_done_needs_no_past() {
    let [(_, first), (process, second)] = Process::two();
    let created = first.put("/kv/a", "1").send().await.json();
    let revision = created["revision"].as_u64().unwrap();
    first.delete("/kv/a").send().await;
    process.catch_up().await.unwrap();
    let send = async |api: &Api| {
        let body = json!({ "revision": revision }).to_string();
        let call = api.call(Method::POST, "/revert/a").json(&body);
        call.header("idempotency-key", "\"k\"").send().await
    };
    let done = send(&first).await;
    assert_eq!(done.status, 201);
    process.forget_past();
    let again = send(&second).await;
    assert_replay(&again, &done, 0);
    let other = second
        .call(Method::POST, "/revert/a")
        .json("{\"revision\":1}");
    let other = other.send().await;
    other.assert_error(410, "compacted");
}
