//! Many watchers, and watchers that are slow.

use std::sync::Arc;

use axum::body::{Body, HttpBody as _};
use http_body_util::BodyExt as _;
use ifmatch::service::Policy;
use ifmatch::storage::Store as _;
use ifmatch::storage::memory::MemoryStore;
use serde_json::json;
use tokio::task::JoinSet;

use super::{begin, put, put_of};
use crate::support::api::{Api, LIMITS};
use crate::support::binary::{Process, soon};
use crate::support::events::Events;
use crate::support::http;
use crate::support::segments::{keeps_history, with_and_without_history};

/// Only the buffer cuts a reader off here, however long the writes take.
const SLOW: [&str; 4] = ["--watch-buffer", "1000000", "--request-timeout", "10m"];

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_does_not_read_is_cut_off_and_slows_nobody() {
    for flags in with_and_without_history(&SLOW) {
        cut_off_a_slow_reader(&flags).await;
    }
}

async fn cut_off_a_slow_reader(flags: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), flags).await;
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
    if keeps_history(flags) {
        let rest: Vec<_> = (seen + 1..=60)
            .map(|revision| put_of("a", revision))
            .collect();
        assert_eq!(again.told(rest.len()).await, rest, "from the log");
        return;
    }
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
    let store = MemoryStore::with_watch_buffer(1_000_000).with_history_limit(0);
    let store = Arc::new(store);
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
