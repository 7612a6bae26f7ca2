//! Being told of changes: the stream of events, and reads that wait.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::http::{Request, Response};
use futures_util::FutureExt as _;
use http_body_util::BodyExt as _;
use ifmatch::service::Policy;
use ifmatch::storage::Store as _;
use ifmatch::storage::memory::MemoryStore;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::api::{Answer, Api, LIMITS};
use crate::support::binary::{Process, soon};
use crate::support::events::{Block, Events};
use crate::support::http;

/// How often there is a comment.
const HEARTBEAT: Duration = Duration::from_secs(15);

async fn begin(api: &Api, path: &str, headers: &[(&str, &str)]) -> Response<Body> {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    api.begin(request.body(Body::empty()).unwrap()).await
}

async fn watch(api: &Api, query: &str) -> Events {
    let response = begin(api, &format!("/watch{query}"), &[]).await;
    assert_eq!(response.status(), 200);
    Events::of(response.into_body())
}

async fn resume(api: &Api, query: &str, last_event_id: &str) -> Events {
    let headers = [("last-event-id", last_event_id)];
    let response = begin(api, &format!("/watch{query}"), &headers).await;
    Events::of(response.into_body())
}

async fn put(api: &Api, key: &str, value: &str) -> Answer {
    let answer = api.put(&format!("/kv/{key}"), value).send().await;
    assert!(answer.status.is_success(), "{answer:?}");
    answer
}

/// The tag of the list without its quotes.
async fn list_position(api: &Api) -> String {
    let list = api.get("/kv?limit=1").send().await;
    list.etag().trim_matches('"').to_owned()
}

fn put_of(key: &str, revision: u64) -> (String, String, u64) {
    ("put".to_owned(), key.to_owned(), revision)
}

fn delete_of(key: &str, revision: u64) -> (String, String, u64) {
    ("delete".to_owned(), key.to_owned(), revision)
}

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
async fn after_a_restart_a_client_is_told_to_list_again() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::in_folder(folder.path()).await;
    put(&api, "a", "1").await;
    let seen = list_position(&api).await;
    api.close().await;
    let api = Api::in_folder(folder.path()).await;
    assert_reset(&api, resume(&api, "", &seen).await).await;
    api.close().await;
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

#[tokio::test]
async fn draining_ends_streams_and_answers_whoever_waits() {
    let api = Api::in_memory();
    let etag = put(&api, "a", "1").await.etag();
    let mut events = watch(&api, "").await;
    events.block().await.unwrap();
    let waiting = [
        begin_waiting(&api, "/kv/a", &etag, 60),
        begin_waiting(
            &api,
            "/kv?prefix=a",
            &api.get("/kv").send().await.etag(),
            60,
        ),
    ];
    tokio::task::yield_now().await;
    api.service.start_draining();
    assert_eq!(soon(events.block()).await, None);
    for waiting in waiting {
        assert_eq!(soon(waiting).await.unwrap().status, 304);
    }
    api.get("/watch")
        .send()
        .await
        .assert_error(503, "unavailable");
    let late = begin_waiting(&api, "/kv/a", &etag, 60);
    assert_eq!(soon(late).await.unwrap().status, 304);
}

fn begin_waiting(
    api: &Api,
    path: &str,
    tag: &str,
    seconds: u64,
) -> tokio::task::JoinHandle<Answer> {
    let (api, path, tag) = (api.clone(), path.to_owned(), tag.to_owned());
    tokio::spawn(async move {
        let call = api.get(&path).if_none_match(&tag);
        call.header("prefer", &format!("wait={seconds}"))
            .send()
            .await
    })
}

/// Lets everything run that can, and asserts that an answer is still held.
async fn assert_held(waiting: &mut tokio::task::JoinHandle<Answer>) {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(waiting.now_or_never().is_none(), "it is answered already");
}

#[tokio::test]
async fn a_read_waits_until_the_entry_changes() {
    let api = Api::in_memory();
    let etag = put(&api, "a", "1").await.etag();
    let mut waiting = begin_waiting(&api, "/kv/a", &etag, 60);
    assert_held(&mut waiting).await;
    put(&api, "b", "1").await;
    assert_held(&mut waiting).await;
    let written = put(&api, "a", "2").await;
    let answer = soon(waiting).await.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.body), (200, &written.body));
    assert_eq!(answer.header("preference-applied"), Some("wait=60"));
    assert_eq!(answer.etag(), written.etag());

    let waiting = begin_waiting(&api, "/kv/a", &written.etag(), 60);
    api.delete("/kv/a").send().await;
    soon(waiting).await.unwrap().assert_error(404, "not_found");
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_after_the_time_asked_for_and_after_a_minute() {
    let mut limits = LIMITS;
    // Who asks to wait is not late because of it.
    limits.request_timeout = Duration::from_secs(1);
    let api = Api::with(Arc::new(MemoryStore::new()), Policy::AllWrites, limits);
    let etag = put(&api, "a", "1").await.etag();
    let list = api.get("/kv").send().await.etag();
    for (path, tag) in [
        ("/kv/a", &etag),
        ("/kv?prefix=a", &list),
        ("/kv/a", &"*".to_owned()),
    ] {
        for (asked, held) in [(1, 1), (30, 30), (60, 60), (61, 60), (u64::MAX, 60)] {
            let begun = Instant::now();
            let answer = begin_waiting(&api, path, tag, asked).await.unwrap();
            assert_eq!(answer.status, 304, "{path}");
            assert_eq!(begun.elapsed().as_secs(), held, "{path} {asked}");
            let applied = format!("wait={held}");
            assert_eq!(answer.header("preference-applied"), Some(&*applied));
            if tag != "*" {
                assert_eq!(&answer.etag(), tag, "a 304 names the reader's own copy");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_who_has_not_got_it_or_has_not_asked_to() {
    let api = Api::in_memory();
    let etag = put(&api, "a", "1").await.etag();
    let begun = Instant::now();
    let get = |path| api.get(path).header("prefer", "wait=30");
    assert_eq!(get("/kv/a").send().await.status, 200);
    assert_eq!(get("/kv").send().await.status, 200);
    assert_eq!(get("/kv/a").if_none_match("\"x\"").send().await.status, 200);
    assert_eq!(get("/kv").if_none_match("\"x\"").send().await.status, 200);
    assert_eq!(get("/kv/b").if_none_match(&etag).send().await.status, 404);
    for wait in [
        "wait=0",
        "wait=-1",
        "wait=soon",
        "wait",
        "waiting=9",
        "respond-async",
    ] {
        let call = api.get("/kv/a").if_none_match(&etag).header("prefer", wait);
        let answer = call.send().await;
        assert_eq!(answer.status, 304);
        assert_eq!(answer.header("preference-applied"), None, "{wait}");
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn a_list_waits_for_what_it_shows_and_not_for_other_keys() {
    let api = Api::in_memory();
    put(&api, "doc/a", "1").await;
    put(&api, "doc/b", "1").await;
    let list = api.get("/kv?prefix=doc/").send().await;
    let mut waiting = begin_waiting(&api, "/kv?prefix=doc/&after=doc/a", &list.etag(), 60);
    assert_held(&mut waiting).await;
    put(&api, "other", "1").await;
    put(&api, "doc/a", "2").await;
    assert_held(&mut waiting).await;
    // The same list is held for one who comes only now: it still shows what is there.
    let mut late = begin_waiting(&api, "/kv?prefix=doc/b", &list.etag(), 60);
    assert_held(&mut late).await;
    let changed = api
        .get("/kv?prefix=doc/a")
        .if_none_match(&list.etag())
        .header("prefer", "wait=60");
    assert_eq!(changed.send().await.json()["items"][0]["value"], 2);
    api.delete("/kv/doc/b").send().await;
    for (waiting, keys) in [(waiting, 0), (late, 0)] {
        let answer = soon(waiting).await.unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()["items"].as_array().unwrap().len(), keys);
        assert_eq!(answer.etag(), api.get("/kv").send().await.etag());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_does_not_read_is_cut_off_and_slows_nobody() {
    let folder = tempfile::tempdir().unwrap();
    // Only the buffer cuts a reader off here, however long the writes take.
    let arguments = ["--watch-buffer", "1000000", "--request-timeout", "10m"];
    let process = Process::start(folder.path(), &arguments).await;
    let client = http::client();
    let slow = client.get(process.url("/watch")).send().await.unwrap();
    let mut quick = Events::of_response(client.get(process.url("/watch")).send().await.unwrap());
    let value = format!("\"{}\"", "x".repeat(500_000));
    // More than the system holds for a reader, and than is kept.
    for revision in 1..=60 {
        let put = client
            .put(process.url("/kv/a"))
            .header("content-type", "application/json");
        assert!(
            put.body(value.clone())
                .send()
                .await
                .unwrap()
                .status()
                .is_success()
        );
        assert_eq!(quick.told(1).await, [put_of("a", revision)]);
    }
    let mut slow = Events::of_response(slow);
    let (mut seen, mut last) = (0, String::new());
    while let Some(event) = slow.next().await {
        seen += 1;
        assert_eq!(
            event.told(),
            put_of("a", seen),
            "up to its end it misses nothing"
        );
        last = event.id.unwrap();
    }
    assert!(seen < 60, "it was told everything");
    let again = client
        .get(process.url("/watch"))
        .header("last-event-id", last);
    let mut again = Events::of_response(again.send().await.unwrap());
    let reset = again.next().await.unwrap();
    assert_eq!(
        (reset.event.as_deref(), reset.json()),
        (Some("reset"), json!({"revision": 60}))
    );
}

#[tokio::test]
async fn a_long_event_comes_in_pieces_and_is_what_a_read_shows() {
    let api = Api::in_memory();
    let response = begin(&api, "/watch", &[]).await;
    let mut written = Vec::new();
    for bytes in [10_000, 15_900, 16_000, 16_384, 20_000, 32_768, 1_000_000] {
        written.push(put(&api, "a", &format!("\"{}\"", "x".repeat(bytes))).await);
    }
    let mut body = response.into_body();
    let mut events = Events::of(Body::from_stream(futures_util::stream::poll_fn(
        move |context| {
            let piece = std::pin::Pin::new(&mut body).poll_frame(context);
            piece.map_ok(|frame| {
                let piece = frame.into_data().unwrap();
                assert!(piece.len() <= 17 * 1024, "{} bytes at once", piece.len());
                piece
            })
        },
    )));
    for written in written {
        let event = events.next().await.unwrap();
        assert!(event.data.as_deref() == Some(written.text()));
    }
}

/// Each of many watchers stands still in the middle of an event of its own.
#[tokio::test]
async fn watchers_that_stand_still_keep_no_more_than_the_buffer() {
    const WATCHERS: usize = 60;
    let store = Arc::new(MemoryStore::with_watch_buffer(1_000_000));
    let api = Api::with(Arc::<MemoryStore>::clone(&store), Policy::AllWrites, LIMITS);
    let value = format!("\"{}\"", "x".repeat(200_000));
    let (mut bodies, mut records) = (Vec::new(), Vec::new());
    for number in 0..WATCHERS {
        let mut body = begin(&api, &format!("/watch?prefix={number}/"), &[])
            .await
            .into_body();
        body.frame().await.unwrap().unwrap();
        // Half of them have not come for their event at all.
        put(&api, &format!("{number}/a"), &value).await;
        if number % 2 == 0 {
            soon(body.frame()).await.unwrap().unwrap();
        }
        let key = format!("{number}/a").parse().unwrap();
        records.push(Arc::downgrade(&store.get(&key).await.unwrap().unwrap()));
        put(&api, &format!("{number}/a"), "1").await;
        bodies.push(body);
    }
    let kept = records.iter().filter(|record| record.strong_count() > 0);
    assert!(kept.count() <= 5);
    for (number, mut body) in bodies.into_iter().enumerate().take(WATCHERS - 10) {
        let next = soon(body.frame()).await;
        if number % 2 == 0 {
            assert!(next.unwrap().is_err(), "a broken event is no end");
        } else {
            assert!(next.is_none(), "it has missed an event, and is cut off");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_reaches_5000_watchers_and_a_stop_ends_them_all() {
    const WATCHERS: usize = 5000;
    if rlimit::increase_nofile_limit(u64::MAX).unwrap() < WATCHERS as u64 + 1000 {
        println!("skipped: a process may not have so many files open here");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &["--shutdown-grace", "1h"]).await;
    let client = http::client();
    let mut watchers = JoinSet::new();
    for number in 0..WATCHERS {
        let url = process.url(["/watch", "/watch?prefix=doc/", "/watch?key=doc/a"][number % 3]);
        let client = client.clone();
        watchers.spawn(async move { Events::of_response(client.get(url).send().await.unwrap()) });
    }
    let watchers = watchers.join_all().await;
    let mut told = JoinSet::new();
    for mut watcher in watchers {
        told.spawn(async move {
            let event = watcher.next().await.unwrap().told();
            (watcher, event)
        });
    }
    let put = client
        .put(process.url("/kv/doc/a"))
        .header("content-type", "application/json");
    assert_eq!(put.body("1").send().await.unwrap().status(), 201);
    let mut watchers = Vec::new();
    while let Some(told) = told.join_next().await {
        let (watcher, event) = told.unwrap();
        assert_eq!(event, put_of("doc/a", 1));
        watchers.push(watcher);
    }
    assert_eq!(watchers.len(), WATCHERS);
    let ended = process.stop().await;
    assert!(ended.status.success(), "{ended:?}");
    for watcher in &mut watchers {
        assert_eq!(watcher.next().await, None);
    }
}
