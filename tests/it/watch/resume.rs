//! Where a watcher begins and resumes.

use std::sync::Arc;

use ifmatch::service::Policy;
use ifmatch::storage::file::{self, History, Journaling};
use ifmatch::storage::memory::MemoryStore;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use super::{delete_of, list_position, put, put_of, resume, watch};
use crate::support::api::{Api, LIMITS};
use crate::support::events::{Block, Events};

#[tokio::test]
async fn a_point_that_a_proxy_made_weak_is_a_point() {
    let api = Api::in_memory();
    put(&api, "a", "1").await;
    let tag = api.get("/kv").send().await.etag();
    put(&api, "a", "2").await;
    let opaque = tag.trim_matches('"');
    for since in [
        opaque.to_owned(),
        tag.clone(),
        format!("W/{tag}"),
        format!("W/{opaque}"),
    ] {
        let encoded = utf8_percent_encode(&since, NON_ALPHANUMERIC).to_string();
        let in_query = watch(&api, &format!("?since={encoded}")).await;
        let in_field = resume(&api, "", &since).await;
        for mut events in [in_query, in_field] {
            assert_eq!(events.told(1).await, [put_of("a", 2)], "{since}");
        }
    }
    let unreadable = resume(&api, "", &format!("w/{tag}")).await;
    assert_reset(&api, unreadable).await;
}

#[tokio::test]
async fn a_list_and_then_a_watch_lose_nothing() {
    let api = Api::in_memory();
    put(&api, "a", "1").await;
    let list = api.get("/kv").send().await;
    put(&api, "b", "2").await;
    put(&api, "a", "3").await;
    let quoted = list.etag().replace('"', "%22");
    for since in [list.etag().trim_matches('"'), &quoted] {
        let mut events = watch(&api, &format!("?since={since}")).await;
        assert_eq!(events.told(2).await, [put_of("b", 2), put_of("a", 3)]);
    }
}

#[tokio::test]
async fn a_client_resumes_after_any_event_also_within_a_transaction() {
    let api = Api::in_memory();
    let mut events = watch(&api, "").await;
    let mut ids = vec![events.block().await.unwrap().id.unwrap()];
    put(&api, "a", "1").await;
    let operations = json!({"operations": [
        {"op": "put", "key": "c", "value": 1},
        {"op": "check", "key": "z"},
        {"op": "delete", "key": "a"},
        {"op": "put", "key": "b", "value": 2},
    ]});
    let done = api
        .call("POST".parse().unwrap(), "/transactions")
        .json(&operations.to_string())
        .send()
        .await;
    assert_eq!(done.status, 200);
    put(&api, "d", "1").await;
    let mut told = Vec::new();
    for _ in 0..5 {
        let event = events.next().await.unwrap();
        told.push(event.told());
        ids.push(event.id.unwrap());
    }
    assert_eq!(
        told,
        [
            put_of("a", 1),
            put_of("c", 2),
            delete_of("a", 2),
            put_of("b", 2),
            put_of("d", 3)
        ]
    );
    for (seen, id) in ids.iter().enumerate() {
        // The header goes before the query, which stays what it was at the first request.
        let mut again = resume(&api, &format!("?since={}", ids[0]), id).await;
        assert_eq!(again.block().await.unwrap().id.as_ref(), Some(id));
        assert_eq!(again.told(5 - seen).await, told[seen..], "after {id}");
    }
    let list_tag = list_position(&api).await;
    assert_eq!(ids.last(), Some(&list_tag));
}

/// Asserts that a stream begins with a reset, and goes on from the store's present state.
async fn assert_reset(api: &Api, mut events: Events) {
    let begins: Block = events.block().await.unwrap();
    let position = list_position(api).await;
    assert_eq!(begins.event.as_deref(), Some("reset"), "{begins:?}");
    assert!(begins.retry.is_some());
    assert_eq!(begins.id.as_ref(), Some(&position));
    let revision: u64 = position.split('-').next().unwrap().parse().unwrap();
    assert_eq!(begins.json(), json!({ "revision": revision }));
    put(api, "next", "1").await;
    assert_eq!(events.told(1).await, [put_of("next", revision + 1)]);
}

#[tokio::test]
async fn a_point_that_is_not_known_is_a_reset() {
    let api = Api::in_memory();
    put(&api, "a", "1").await;
    for unknown in [
        "999-0000000000000000",
        "1-0000000000000000",
        "1",
        "x",
        "ü",
        "-",
    ] {
        assert_reset(&api, resume(&api, "", unknown).await).await;
    }
    assert_reset(&api, watch(&api, "?since=1-0000000000000000").await).await;
    let position = list_position(&api).await;
    let ahead = position.replacen(char::is_numeric, "99", 1);
    assert_reset(&api, watch(&api, &format!("?since={ahead}")).await).await;
}

#[tokio::test]
async fn what_is_kept_no_more_is_a_reset_and_what_is_kept_is_not() {
    let store = MemoryStore::with_watch_buffer(64 * 1024);
    let api = Api::with(Arc::new(store), Policy::AllWrites, LIMITS);
    let value = format!("\"{}\"", "x".repeat(1000));
    let mut positions = Vec::new();
    for _ in 0..100 {
        positions.push(list_position(&api).await);
        put(&api, "a", &value).await;
    }
    assert_reset(&api, resume(&api, "", &positions[0]).await).await;
    let mut resumed = resume(&api, "", &positions[90]).await;
    let told: Vec<_> = (91..=100).map(|revision| put_of("a", revision)).collect();
    assert_eq!(resumed.told(10).await, told);
}

#[tokio::test]
async fn after_a_restart_a_client_resumes_if_there_is_a_history() {
    for history in [History::default(), History::Never] {
        for journaling in [Journaling::Never, Journaling::Above { bytes: 0 }] {
            let settings = file::Settings {
                history,
                ..journaling.into()
            };
            let folder = tempfile::tempdir().unwrap();
            let api = Api::in_folder_with(folder.path(), settings).await;
            put(&api, "a", "1").await;
            let seen = list_position(&api).await;
            put(&api, "b", "2").await;
            let newest = list_position(&api).await;
            api.close().await;
            let api = Api::in_folder_with(folder.path(), settings).await;
            assert_eq!(list_position(&api).await, newest, "of the same state");
            put(&api, "a", "3").await;
            let mut resumed = resume(&api, "", &newest).await;
            assert_eq!(resumed.told(1).await, [put_of("a", 3)]);
            let mut resumed = resume(&api, "", &seen).await;
            if history == History::Never {
                assert_reset(&api, resumed).await;
            } else {
                assert_eq!(resumed.told(2).await, [put_of("b", 2), put_of("a", 3)]);
                drop(resumed);
            }
            api.close().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_point_to_resume_from_never_goes_backwards() {
    let api = Api::in_memory();
    let mut events = watch(&api, "?prefix=a").await;
    let revision = |block: &Block| -> u64 {
        let id = block.id.as_deref().unwrap();
        id.split(['-', '.']).next().unwrap().parse().unwrap()
    };
    let mut last = revision(&events.block().await.unwrap());
    let (mut beats, mut told) = (0, 0);
    for round in 0..30 {
        // Of every three rounds one tells the watcher something, one others, one nobody.
        let body =
            r#"{"operations":[{"op":"put","key":"b","value":1},{"op":"put","key":"a","value":1}]}"#;
        match round % 3 {
            0 => {
                let call = api.call("POST".parse().unwrap(), "/transactions");
                assert_eq!(call.json(body).send().await.status, 200);
            }
            1 => {
                put(&api, "b", "1").await;
            }
            _ => {}
        }
        let block = events.block().await.unwrap();
        let now = revision(&block);
        assert!(now >= last, "{block:?} after {last}");
        last = now;
        beats += block.comments;
        told += usize::from(block.event.is_some());
    }
    assert!(beats >= 10 && told >= 5, "{beats} beats, {told} events");
}
