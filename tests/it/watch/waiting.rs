//! Reads and lists that wait for something newer.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use ifmatch::service::Policy;
use ifmatch::storage::memory::MemoryStore;
use tokio::time::Instant;

use super::{put, watch};
use crate::support::api::{Answer, Api, LIMITS};
use crate::support::binary::soon;

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
