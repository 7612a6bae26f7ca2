//! What is done once, and answered as it was.

use serde_json::json;

use super::{KEY, REQUESTS, Sent, assert_replay, set_scene, state};
use crate::support::api::Api;

#[tokio::test]
async fn a_request_that_is_sent_again_is_answered_as_it_was_and_not_done_again() {
    for prefer in ["return=representation", "return=minimal"] {
        for sent in REQUESTS {
            let api = Api::in_memory();
            let tag = set_scene(&api).await;
            let send = || {
                let call = sent.call(&api, &tag).header("idempotency-key", KEY);
                call.header("prefer", prefer).send()
            };
            let first = send().await;
            assert!(first.status.is_success(), "{sent:?}: {first:?}");
            assert_eq!(first.header("idempotency-replayed"), None);
            // Others go on.
            for key in ["a", "b", "c", "d"] {
                api.put(&format!("/kv/{key}"), "\"later\"").send().await;
            }
            let before = state(&api).await;
            for _ in 0..2 {
                assert_replay(&send().await, &first);
            }
            assert_eq!(state(&api).await, before, "{sent:?}");
        }
    }
}

#[tokio::test]
async fn a_replay_has_the_form_that_it_asks_for() {
    let api = Api::in_memory();
    let put = |prefer| {
        let call = api.put("/kv/a/b", "1").header("idempotency-key", KEY);
        call.header("prefer", prefer).send()
    };
    let first = put("return=representation").await;
    let minimal = put("return=minimal").await;
    assert_eq!(first.status, 201);
    assert_eq!(minimal.status, 204);
    assert_eq!(minimal.header("preference-applied"), Some("return=minimal"));
    for name in ["etag", "location", "last-modified"] {
        assert!(first.header(name).is_some());
        assert_eq!(minimal.header(name), first.header(name));
    }
    assert_replay(&put("return=representation").await, &first);
}

#[tokio::test]
async fn a_merge_is_replayed_as_a_merge() {
    let api = Api::in_memory();
    let tag = set_scene(&api).await;
    api.put("/kv/a", "{\"n\":2}").send().await;
    let sent = REQUESTS[8];
    let first = sent.send(&api, &tag).await;
    assert_eq!(first.header("preference-applied"), Some("merge"));
    assert_eq!(first.json()["value"], json!({"n": 2, "m": 1}));
    api.put("/kv/a", "\"later\"").send().await;
    assert_replay(&sent.send(&api, &tag).await, &first);
}

#[tokio::test]
async fn the_file_engine_replays_too() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::in_folder(folder.path()).await;
    let tag = set_scene(&api).await;
    let first = REQUESTS[1].send(&api, &tag).await;
    api.put("/kv/a", "\"later\"").send().await;
    assert_replay(&REQUESTS[1].send(&api, &tag).await, &first);
    api.close().await;
}

#[tokio::test]
async fn a_refused_write_is_not_remembered() {
    let api = Api::in_memory();
    let tag = set_scene(&api).await;
    api.put("/kv/a", "{\"n\":2}").send().await;
    api.put("/kv/b", "1").send().await;
    let key = |index: usize| format!("refused-{index}");
    let send = |index: usize| {
        let call = REQUESTS[index].call(&api, &tag);
        call.header("idempotency-key", &key(index)).send()
    };
    send(1).await.assert_error(412, "precondition_failed");
    send(2).await.assert_error(412, "precondition_failed");
    send(4).await.assert_error(409, "patch_conflict");
    api.delete("/kv/d").send().await;
    send(7).await.assert_error(412, "precondition_failed");
    api.delete("/kv/a").send().await;
    send(5).await.assert_error(404, "not_found");
    // What was in the way is gone.
    api.delete("/kv/b").send().await;
    for (index, status) in [(2, 201), (5, 404)] {
        let answer = send(index).await;
        assert_eq!(answer.status, status, "{index}: {answer:?}");
        assert_eq!(answer.header("idempotency-replayed"), None);
    }
    api.delete("/kv/b").send().await;
    set_scene(&api).await;
    for index in [4, 7, 5] {
        let answer = send(index).await;
        // The transaction has replaced `a`.
        assert_eq!(answer.status, 200, "{index}: {answer:?}");
        assert_eq!(answer.header("idempotency-replayed"), None);
    }
}

#[tokio::test]
async fn a_transaction_that_only_checks_is_not_remembered() {
    let api = Api::in_memory();
    let check = Sent {
        body: r#"{"operations":[{"op":"check","key":"a"}]}"#,
        ..REQUESTS[7]
    };
    let before = check.send(&api, "").await;
    assert_eq!(before.json()["results"], json!([null]));
    api.put("/kv/a", "1").send().await;
    let after = check.send(&api, "").await;
    assert_eq!(after.json()["results"][0]["value"], 1);
    assert_eq!(after.header("idempotency-replayed"), None);
}
