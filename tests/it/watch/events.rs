//! What a watcher is sent.

use serde_json::json;
use tokio::time::Instant;

use super::{HEARTBEAT, begin, delete_of, list_position, put, put_of, watch};
use crate::support::api::Api;
use crate::support::events::Events;

#[tokio::test]
async fn an_event_shows_the_entry_as_a_read_does() {
    let api = Api::in_memory();
    let response = begin(&api, "/watch", &[]).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(
        response.headers()["cache-control"],
        "no-store, no-transform"
    );
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    let mut events = Events::of(response.into_body());
    let first = events.block().await.unwrap();
    assert_eq!(first.id, Some(list_position(&api).await));
    assert!(first.retry.is_some() && first.event.is_none());

    let text = "{\"a\":1.0,\"b\":\"line\\nline\\u2028\",\"c\":12345678901234567890}";
    let written = put(&api, "ü%20/%25", text).await;
    let event = events.next().await.unwrap();
    assert_eq!(event.event.as_deref(), Some("put"));
    assert_eq!(event.data.as_deref(), Some(written.text()));
    assert_eq!(event.id, Some(list_position(&api).await));
    let read = api.get("/kv/ü%20/%25").send().await;
    assert_eq!(event.data.as_deref(), Some(read.text()));

    let deleted = api.delete("/kv/ü%20/%25").send().await;
    let event = events.next().await.unwrap();
    assert_eq!(event.event.as_deref(), Some("delete"));
    let mut as_it_was = deleted.json();
    as_it_was["revision"] = json!(2);
    assert_eq!(event.json(), as_it_was);
    assert_eq!(event.id, Some(list_position(&api).await));
}

#[tokio::test]
async fn what_was_not_written_is_not_told() {
    let api = Api::in_memory();
    let mut events = watch(&api, "").await;
    let first = put(&api, "a", "1").await;
    for refused in [
        api.put("/kv/a", "2")
            .if_match("\"9-0000000000000000\"")
            .send()
            .await,
        api.put("/kv/a", "{").send().await,
        api.delete("/kv/b").send().await,
        api.call("POST".parse().unwrap(), "/transactions")
            .json(r#"{"operations":[{"op":"put","key":"c","value":1},{"op":"delete","key":"d"}]}"#)
            .send()
            .await,
    ] {
        assert!(refused.status.is_client_error(), "{refused:?}");
    }
    let checked = api
        .call("POST".parse().unwrap(), "/transactions")
        .json(r#"{"operations":[{"op":"check","key":"a","if_match":"*"}]}"#);
    assert_eq!(checked.send().await.status, 200);
    put(&api, "e", "1").await;
    assert_eq!(events.told(2).await, [put_of("a", 1), put_of("e", 2)]);
    assert_eq!(first.json()["revision"], 1);
}

#[tokio::test]
async fn a_watcher_may_ask_for_a_key_or_for_a_prefix() {
    let api = Api::in_memory();
    let mut one = watch(&api, "?key=doc/%C3%BC").await;
    let mut some = watch(&api, "?prefix=doc%2F").await;
    for key in ["doc", "doc/a", "doc/%C3%BC", "doc/%C3%BC/x", "other"] {
        put(&api, key, "1").await;
    }
    api.delete("/kv/doc/%C3%BC").send().await;
    let expected = [put_of("doc/ü", 3), delete_of("doc/ü", 6)];
    assert_eq!(one.told(2).await, expected);
    let [put, delete] = expected;
    let expected = [put_of("doc/a", 2), put, put_of("doc/ü/x", 4), delete];
    assert_eq!(some.told(4).await, expected);
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_refused() {
    let api = Api::in_memory();
    for (query, code) in [
        ("?key=a&prefix=a", "invalid_query"),
        ("?key=", "invalid_key"),
        ("?key=a/../b", "invalid_key"),
        ("?keys=a", "invalid_query"),
        ("?key=a&key=b", "invalid_query"),
        ("?prefix=%FF", "invalid_query"),
        ("?since=", "invalid_query"),
        ("?since=7", "invalid_query"),
        ("?since=x-y", "invalid_query"),
        ("?since=-1-y", "invalid_query"),
    ] {
        let answer = api.get(&format!("/watch{query}")).send().await;
        answer.assert_error(400, code);
    }
}

#[tokio::test(start_paused = true)]
async fn a_comment_comes_every_15_seconds_and_brings_the_point_to_resume_from() {
    let api = Api::in_memory();
    let mut events = watch(&api, "?key=quiet").await;
    events.block().await.unwrap();
    let begun = Instant::now();
    for beat in 1..=4 {
        put(&api, "busy", "1").await;
        let block = events.block().await.unwrap();
        assert_eq!(begun.elapsed().as_secs(), beat * HEARTBEAT.as_secs());
        assert_eq!((block.comments, block.event, block.data), (1, None, None));
        assert_eq!(block.id, Some(list_position(&api).await));
    }
}
