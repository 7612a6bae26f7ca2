//! What of the changes each caller sees: in a stream, and by an answer that waits.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use ifmatch::access::{Authority, Tokens};
use ifmatch::storage::memory::MemoryStore;
use tokio::time::Instant;

use super::{ADMIN, Granted, file, grants, put, transact};
use crate::support::api::{Answer, Api};
use crate::support::binary::soon;
use crate::support::events::{Block, Events};

const DOC: Granted<'_> = &[("doc/", "r")];
const BOTH: Granted<'_> = &[("doc/", "r"), ("cfg/", "r")];

fn service(of: &[(&str, Granted<'_>)]) -> (Api, Authority) {
    service_with(of, None)
}

/// The same, where anybody may read what these grants allow.
fn service_with(of: &[(&str, Granted<'_>)], anonymous: Option<Granted<'_>>) -> (Api, Authority) {
    let tokens = Tokens::parse(&file(of)).unwrap();
    let authority = Authority::new(tokens, anonymous.map(grants));
    let api = Api::guarded_by(Arc::new(MemoryStore::new()), authority.clone());
    (api, authority)
}

fn replace(authority: &Authority, of: &[(&str, Granted<'_>)]) {
    authority.replace(Tokens::parse(&file(of)).unwrap());
}

async fn begin(api: &Api, by: &str, path: &str, last: &str) -> Response<Body> {
    let mut request = Request::get(path);
    if !by.is_empty() {
        request = request.header("authorization", format!("Bearer {by}"));
    }
    if !last.is_empty() {
        request = request.header("last-event-id", last);
    }
    api.begin(request.body(Body::empty()).unwrap()).await
}

async fn watch(api: &Api, by: &str, query: &str, last: &str) -> Events {
    let response = begin(api, by, &format!("/watch{query}"), last).await;
    assert_eq!(response.status(), 200);
    Events::of(response.into_body())
}

async fn delete(api: &Api, key: &str) {
    let deleted = api.delete(&format!("/kv/{key}")).by(ADMIN).send().await;
    assert_eq!(deleted.status, 200);
}

/// The keys of the next events, up to that of `last`.
async fn keys_until(events: &mut Events, last: &str) -> Vec<String> {
    let mut keys = Vec::new();
    while keys.last().is_none_or(|key| key != last) {
        let event = events.next().await.expect("it does not end");
        keys.push(event.told().1);
    }
    keys
}

async fn some_changes(api: &Api) {
    for key in ["a", "cfg/a", "doc/a", "docs", "secret/a"] {
        put(api, key, "1").await;
    }
    let operations = r#"{"op":"put","key":"cfg/b","value":1},{"op":"put","key":"b","value":1},
        {"op":"delete","key":"secret/a"},{"op":"put","key":"doc/b","value":1}"#;
    assert_eq!(transact(api, ADMIN, operations).await.status, 200);
    delete(api, "docs").await;
    delete(api, "doc/a").await;
    put(api, "doc/z", "1").await;
}

#[tokio::test]
async fn a_stream_has_the_changes_that_may_be_read_and_no_others() {
    let (api, _) = service(&[("doc", DOC), ("both", BOTH), ("none", &[])]);
    let doc = &["doc/a", "doc/b", "doc/a", "doc/z"] as &[_];
    let both = &["cfg/a", "doc/a", "cfg/b", "doc/b", "doc/a", "doc/z"];
    let mut streams = Vec::new();
    for (by, query, shown) in [
        ("doc", "", doc),
        ("doc", "?prefix=do", doc),
        ("doc", "?prefix=doc/", doc),
        ("both", "", both),
        ("both", "?prefix=d", doc),
    ] {
        let name = format!("{by:?} {query}");
        streams.push((name, watch(&api, by, query, "").await, shown));
    }
    some_changes(&api).await;
    for (name, events, shown) in &mut streams {
        assert_eq!(keys_until(events, "doc/z").await, *shown, "{name}");
    }
    for (by, query) in [
        ("doc", "?key=a"),
        ("doc", "?key=doc"),
        ("none", ""),
        ("none", "?key=a"),
    ] {
        let answer = api.get(&format!("/watch{query}")).by(by).send().await;
        answer.assert_error(403, "forbidden");
    }
}

#[tokio::test]
async fn a_stream_has_what_anybody_may_read_and_what_a_token_adds() {
    let of: &[(&str, Granted<'_>)] = &[("cfg", &[("cfg/", "r")]), ("none", &[])];
    let (api, authority) = service_with(of, Some(DOC));
    let doc = &["doc/a", "doc/b", "doc/a", "doc/z"] as &[_];
    let both = &["cfg/a", "doc/a", "cfg/b", "doc/b", "doc/a", "doc/z"];
    let mut streams = Vec::new();
    for (by, shown) in [("", doc), ("none", doc), ("cfg", both)] {
        streams.push((by, watch(&api, by, "", "").await, shown));
    }
    // Nobody has other rights than before.
    replace(&authority, of);
    some_changes(&api).await;
    for (by, events, shown) in &mut streams {
        assert_eq!(keys_until(events, "doc/z").await, *shown, "{by:?}");
    }
}

#[tokio::test]
async fn a_stream_goes_on_after_each_of_its_ids() {
    let (api, _) = service_with(&[("both", BOTH)], Some(BOTH));
    for by in ["both", ""] {
        let mut events = watch(&api, by, "", "").await;
        let first = events.block().await.unwrap().id.unwrap();
        some_changes(&api).await;
        let mut told = vec![(first, Vec::new())];
        loop {
            let event = events.next().await.unwrap();
            let key = event.told().1;
            for (_, rest) in &mut told {
                rest.push(key.clone());
            }
            told.push((event.id.unwrap(), Vec::new()));
            if key == "doc/z" {
                break;
            }
        }
        put(&api, "doc/end", "1").await;
        for (id, mut rest) in told {
            rest.push("doc/end".to_owned());
            let mut resumed = watch(&api, by, "", &id).await;
            assert_eq!(
                keys_until(&mut resumed, "doc/end").await,
                rest,
                "{by:?} {id}"
            );
        }
        delete(&api, "doc/end").await;
    }
}

#[tokio::test]
async fn a_list_and_then_a_watch_lose_nothing() {
    let (api, _) = service_with(&[("both", BOTH)], Some(BOTH));
    for by in ["both", ""] {
        put(&api, "doc/a", "1").await;
        let list = api.get("/kv").by(by).send().await;
        put(&api, "secret", "1").await;
        put(&api, "cfg/a", "1").await;
        put(&api, "doc/z", "1").await;
        let since = format!("?since={}", list.etag().trim_matches('"'));
        let mut events = watch(&api, by, &since, "").await;
        assert_eq!(
            keys_until(&mut events, "doc/z").await,
            ["cfg/a", "doc/z"],
            "{by:?}"
        );
    }
}

#[track_caller]
fn assert_reset(block: &Block) {
    assert_eq!(block.event.as_deref(), Some("reset"), "{block:?}");
}

#[tokio::test]
async fn a_point_of_another_part_is_not_known() {
    let (api, _) = service(&[("doc", DOC), ("both", BOTH)]);
    let mut points = Vec::new();
    for by in ["doc", "both", ADMIN] {
        let point = watch(&api, by, "", "")
            .await
            .block()
            .await
            .unwrap()
            .id
            .unwrap();
        points.push((by, point));
    }
    put(&api, "doc/a", "1").await;
    for (of, point) in &points {
        for (by, _) in &points {
            let mut events = watch(&api, by, "", point).await;
            let first = events.block().await.unwrap();
            let is_reset = first.event.is_some();
            assert_eq!(is_reset, of != by, "{by} with the point of {of}: {first:?}");
        }
    }
    // What is made up is no better.
    let (revision, epoch) = points[2].1.split_once('-').unwrap();
    let doc = points[0].1.split_once('-').unwrap().1;
    for point in [
        format!("0-{epoch}"),
        format!("{revision}-{epoch}"),
        format!("999-{doc}"),
        format!("{}-{doc}", u64::MAX),
        format!("{revision}-{}", "0".repeat(16)),
        "x".to_owned(),
    ] {
        let first = watch(&api, "doc", "", &point).await.block().await.unwrap();
        assert_reset(&first);
    }
}

#[tokio::test]
async fn new_rights_end_a_stream_and_its_points() {
    let (api, authority) = service(&[("ann", DOC), ("ben", DOC)]);
    put(&api, "cfg/a", "1").await;
    let list = api.get("/kv").by("ann").send().await.etag();
    let mut of_ann = watch(&api, "ann", "", "").await;
    let mut of_ben = watch(&api, "ben", "", "").await;
    let id = of_ann.block().await.unwrap().id.unwrap();
    replace(&authority, &[("ann", BOTH), ("ben", DOC)]);
    put(&api, "cfg/b", "1").await;
    assert_eq!(soon(of_ann.block()).await, None);
    // The list of before has not what was there already, and a stream from its point would not bring it.
    let now = api.get("/kv").by("ann").if_none_match(&list).send().await;
    assert_eq!(now.status, 200);
    assert_eq!(now.json()["items"].as_array().unwrap().len(), 2);
    assert_reset(&watch(&api, "ann", "", &id).await.block().await.unwrap());
    put(&api, "doc/z", "1").await;
    assert_eq!(keys_until(&mut of_ben, "doc/z").await, ["doc/z"]);

    let mut of_ann = watch(&api, "ann", "", "").await;
    let id = of_ann.block().await.unwrap().id.unwrap();
    put(&api, "cfg/c", "1").await;
    replace(&authority, &[("ann", DOC), ("ben", DOC)]);
    // What came before is not shown any more either.
    assert_eq!(soon(of_ann.block()).await, None);
    assert_reset(&watch(&api, "ann", "", &id).await.block().await.unwrap());
    replace(&authority, &[("ben", DOC)]);
    let gone = api.get("/watch").by("ann").send().await;
    gone.assert_error(401, "unauthorized");
    put(&api, "doc/end", "1").await;
    assert_eq!(keys_until(&mut of_ben, "doc/end").await, ["doc/end"]);
}

/// Asks for what is newer than `tag`; nothing if the answer is held until its time is over.
async fn ask_newer(api: &Api, by: &str, path: &str, tag: &str) -> Option<Answer> {
    let asked = Instant::now();
    let ask = api.get(path).by(by).if_none_match(tag);
    let answer = ask.header("prefer", "wait=60").send().await;
    // The clock stands still while there is anything to do.
    let is_held = asked.elapsed() >= Duration::from_secs(60);
    assert_eq!(is_held, answer.status == 304, "{answer:?}");
    (!is_held).then_some(answer)
}

#[tokio::test(start_paused = true)]
async fn an_answer_waits_for_what_may_be_read() {
    let (api, _) = service_with(&[("both", BOTH)], Some(BOTH));
    for by in ["both", ""] {
        let mut tag = api.get("/kv").by(by).send().await.etag();
        for key in ["a", "docs", "secret/a"] {
            put(&api, key, "1").await;
        }
        assert!(ask_newer(&api, by, "/kv", &tag).await.is_none(), "{by:?}");
        for key in ["cfg/a", "doc/a"] {
            put(&api, key, "1").await;
            let answer = ask_newer(&api, by, "/kv", &tag)
                .await
                .unwrap_or_else(|| panic!("{by:?}: {key}"));
            assert_eq!(answer.status, 200);
            tag = answer.etag();
        }
        delete(&api, "docs").await;
        assert!(ask_newer(&api, by, "/kv", &tag).await.is_none(), "{by:?}");
        delete(&api, "doc/a").await;
        let answer = ask_newer(&api, by, "/kv", &tag).await.expect("a delete");
        assert!(!answer.text().contains("doc/a"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_waited_in_vain_has_a_tag_that_loses_nothing() {
    let (api, _) = service(&[("both", BOTH)]);
    let tag = api.get("/kv").by("both").send().await.etag();
    put(&api, "secret/a", "1").await;
    let ask = api
        .get("/kv")
        .by("both")
        .if_none_match(&tag)
        .header("prefer", "wait=5");
    let waited = ask.send().await;
    assert_eq!(waited.status, 304);
    put(&api, "doc/z", "1").await;
    let since = format!("?since={}", waited.etag().trim_matches('"'));
    let mut events = watch(&api, "both", &since, "").await;
    assert_eq!(keys_until(&mut events, "doc/z").await, ["doc/z"]);
}

#[tokio::test(start_paused = true)]
async fn a_tag_of_other_rights_is_answered_at_once() {
    let (api, authority) = service(&[("ann", DOC)]);
    let of_admin = api.get("/kv").by(ADMIN).send().await.etag();
    let before = api.get("/kv").by("ann").send().await.etag();
    replace(&authority, &[("ann", BOTH)]);
    for tag in [of_admin, before] {
        let answer = ask_newer(&api, "ann", "/kv", &tag)
            .await
            .expect("no waiting");
        assert_eq!(answer.status, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_waits_ends_with_the_rights_of_who_waits() {
    for path in ["/kv", "/kv/doc/a"] {
        let (api, authority) = service(&[("ann", DOC)]);
        put(&api, "doc/a", "1").await;
        let tag = api.get(path).by("ann").send().await.etag();
        let waiting = api.clone();
        let ask = tokio::spawn(async move {
            let ask = waiting.get(path).by("ann").if_none_match(&tag);
            ask.header("prefer", "wait=60").send().await
        });
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let begun = Instant::now();
        replace(&authority, &[]);
        put(&api, "doc/a", "\"secret\"").await;
        let answer = ask.await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(5), "{path}");
        assert_ne!(answer.status, 200, "{path}: {answer:?}");
    }
}
