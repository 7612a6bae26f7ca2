//! Reads that need not be strict: `min_revision`, and `max-stale` while the store cannot be reached.

use std::sync::Arc;
use std::time::Duration;

use ifmatch::Store;
use ifmatch::access::{Authority, Tokens};
use ifmatch::storage::memory::MemoryStore;

use crate::support::access::{BOB, ROOT, WRITER, lines};
use crate::support::api::{Answer, Api, Call};
use crate::support::binary::soon;
use crate::support::shared::{Link, Process};

fn revision_of(answer: &Answer) -> u64 {
    answer.json()["revision"].as_u64().unwrap()
}

fn at_least(path: &str, revision: u64) -> String {
    format!("{path}?min_revision={revision}")
}

fn stale<'a>(api: &'a Api, path: &str, limit: &str) -> Call<'a> {
    api.get(path).header("cache-control", limit)
}

#[tokio::test]
async fn a_revision_that_the_process_knows_is_not_asked_for() {
    let [(_, first), (process, api)] = Process::two();
    first.put("/kv/a", "1").send().await;
    let known = api.get("/kv/a").send().await;
    let revision = revision_of(&known);
    let list = api.get("/kv").send().await;
    first.put("/kv/a", "2").send().await;
    process.take_reads();
    for link in [Link::Up, Link::Down] {
        process.set_link(link);
        for min in [0, revision - 1, revision] {
            let answer = api.get(&at_least("/kv/a", min)).send().await;
            assert_eq!((answer.status.as_u16(), &answer.body), (200, &known.body));
            assert_eq!(answer.header("age"), None, "it is as new as it was to be");
            let answer = api.get(&at_least("/kv", min)).send().await;
            assert_eq!((answer.etag(), &answer.body), (list.etag(), &list.body));
        }
        let path = at_least("/kv/a", revision);
        let answer = api.get(&path).if_none_match(&known.etag()).send().await;
        assert_eq!(answer.status, 304);
        let path = at_least("/kv", revision);
        let answer = api.get(&path).if_none_match(&list.etag()).send().await;
        assert_eq!(answer.status, 304);
        let path = at_least("/kv/b", revision);
        api.get(&path).send().await.assert_error(404, "not_found");
    }
    assert_eq!(process.take_reads(), 0);
}

#[tokio::test]
async fn a_revision_that_the_process_does_not_know_is_asked_for() {
    for path in ["/kv/a", "/kv"] {
        let [(_, first), (process, api)] = Process::two();
        first.put("/kv/a", "1").send().await;
        api.get("/kv/a").send().await;
        let written = first.put("/kv/a", "2").send().await;
        process.take_reads();
        let path = at_least(path, revision_of(&written));
        process.set_link(Link::Down);
        let answer = api.get(&path).send().await;
        answer.assert_error(503, "unavailable");
        process.set_link(Link::Up);
        let answer = api.get(&path).send().await;
        assert!(answer.text().contains("\"value\":2"), "{answer:?}");
        assert_eq!(process.take_reads(), 1);
    }
}

#[tokio::test]
async fn a_revision_that_was_never_committed_is_refused() {
    let [(_, shared), _] = Process::two();
    for api in [shared, Api::in_memory()] {
        let newest = revision_of(&api.put("/kv/a", "1").send().await);
        for path in ["/kv/a", "/kv/b", "/kv"] {
            let answer = api.get(&at_least(path, newest + 1)).send().await;
            answer.assert_error(400, "invalid_query");
            let message = answer.message();
            assert!(message.contains(&newest.to_string()), "{message}");
        }
        for path in ["/kv/a", "/kv"] {
            let answer = api.get(&at_least(path, newest)).send().await;
            assert_eq!(answer.status, 200);
            for past in ["revision=1", "at=2026-11-23T10:00:00Z"] {
                let path = format!("{path}?min_revision=0&{past}");
                let answer = api.get(&path).send().await;
                answer.assert_error(400, "invalid_query");
                assert!(answer.message().contains("min_revision"), "{answer:?}");
            }
            for text in ["", "x", "-1", "1&min_revision=1"] {
                let path = format!("{path}?min_revision={text}");
                let answer = api.get(&path).send().await;
                answer.assert_error(400, "invalid_query");
            }
        }
    }
}

#[tokio::test]
async fn a_reader_of_a_known_revision_waits_for_a_newer_one() {
    for path in ["/kv/a", "/kv"] {
        let [(_, first), (_, api)] = Process::two();
        first.put("/kv/a", "1").send().await;
        let read = api.get(path).send().await;
        let min = at_least(path, revision_of(&read));
        let waiting = api.clone();
        let tag = read.etag();
        let waiting = tokio::spawn(async move {
            let call = waiting.get(&min).if_none_match(&tag);
            call.header("prefer", "wait=60").send().await
        });
        while !waiting.is_finished() {
            first.put("/kv/a", "2").send().await;
            tokio::task::yield_now().await;
        }
        let answer = soon(waiting).await.unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("preference-applied"), Some("wait=60"));
        assert!(answer.text().contains("\"value\":2"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_stale_answer_is_given_to_who_accepts_it_while_the_store_cannot_be_reached() {
    let [(_, first), (process, api)] = Process::two();
    first.put("/kv/a", "1").send().await;
    let known = api.get("/kv/a").send().await;
    let list = api.get("/kv").send().await;
    first.put("/kv/a", "2").send().await;
    process.set_link(Link::Down);
    process.age_by(Duration::from_secs(60));
    for limit in ["max-stale", "max-stale=70", "no-transform, max-stale=70"] {
        let answer = stale(&api, "/kv/a", limit).send().await;
        assert_eq!((answer.status.as_u16(), &answer.body), (200, &known.body));
        assert_eq!(answer.header("age"), Some("60"));
        let answer = stale(&api, "/kv", limit).send().await;
        assert_eq!((answer.etag(), &answer.body), (list.etag(), &list.body));
        assert_eq!(answer.header("age"), Some("60"));
        for (path, tag) in [("/kv/a", known.etag()), ("/kv", list.etag())] {
            for prefer in ["wait=60", ""] {
                let call = stale(&api, path, limit).if_none_match(&tag);
                let answer = soon(call.header("prefer", prefer).send()).await;
                assert_eq!(
                    (answer.status.as_u16(), answer.header("age")),
                    (304, Some("60"))
                );
                assert_eq!(answer.header("preference-applied"), None, "it did not wait");
            }
            let other = stale(&api, path, limit).if_match("\"1-0000000000000000\"");
            let answer = other.send().await;
            answer.assert_error(412, "precondition_failed");
            assert_eq!(answer.header("age"), Some("60"));
        }
        let answer = stale(&api, "/kv/b", limit).send().await;
        answer.assert_error(404, "not_found");
        assert_eq!(answer.header("age"), Some("60"));
    }
    for limit in [
        "max-stale=59",
        "max-stale=0",
        "max-stale=70, no-cache",
        "max-age=70",
    ] {
        for path in ["/kv/a", "/kv"] {
            let answer = stale(&api, path, limit).send().await;
            answer.assert_error(503, "unavailable");
            assert_eq!(answer.header("age"), None);
        }
    }
    // Nothing else is stale because a reader may be.
    let past = stale(&api, "/kv/a?revision=1", "max-stale").send().await;
    past.assert_error(503, "unavailable");
    let put = api.put("/kv/a", "3").header("cache-control", "max-stale");
    put.send().await.assert_error(503, "unavailable");

    process.set_link(Link::Up);
    for path in ["/kv/a", "/kv"] {
        let answer = stale(&api, path, "max-stale").send().await;
        assert!(answer.text().contains("\"value\":2"), "{answer:?}");
        assert_eq!(answer.header("age"), None, "it is current");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_is_waited_for_a_second() {
    let [(_, first), (process, api)] = Process::two();
    first.put("/kv/a", "1").send().await;
    api.get("/kv/a").send().await;
    process.set_link(Link::Silent);
    let begun = tokio::time::Instant::now();
    let answer = stale(&api, "/kv/a", "max-stale").send().await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("age")),
        (200, Some("0"))
    );
    assert!(begun.elapsed() < Duration::from_secs(2));
    process.age_by(Duration::from_secs(60));
    let answer = stale(&api, "/kv/a", "max-stale=10").send().await;
    answer.assert_error(503, "unavailable");
}

#[tokio::test]
async fn the_store_of_one_process_is_never_stale() {
    let api = Api::in_memory();
    let written = api.put("/kv/a", "1").send().await;
    for path in ["/kv/a", "/kv"] {
        let answer = stale(&api, path, "max-stale=0").send().await;
        assert_eq!((answer.status.as_u16(), answer.header("age")), (200, None));
        let path = at_least(path, revision_of(&written));
        let answer = api.get(&path).send().await;
        assert_eq!((answer.status.as_u16(), answer.header("age")), (200, None));
    }
}

#[tokio::test]
async fn whoever_may_not_read_learns_nothing() {
    let read_doc = "allow = [{ prefix = \"doc/\", actions = [\"read\"] }]";
    let tokens = [
        lines(
            "root",
            ROOT,
            "allow = [{ prefix = \"\", actions = [\"read\", \"create\"] }]",
        ),
        lines("bob", BOB, read_doc),
        lines(
            "writer",
            WRITER,
            "allow = [{ prefix = \"\", actions = [\"create\"] }]",
        ),
    ];
    let process = Process::on(&Arc::new(MemoryStore::new()));
    let authority = Authority::new(Tokens::parse(&tokens.concat()).unwrap(), None);
    let api = Api::guarded_by(Arc::clone(&process) as Arc<dyn Store>, authority);
    for key in ["doc/a", "other"] {
        let put = api.put(&format!("/kv/{key}"), "1").by(ROOT);
        assert_eq!(put.send().await.status, 201);
    }
    let strict = api.get("/kv").by(BOB).send().await;
    for link in [Link::Up, Link::Down] {
        process.set_link(link);
        for (query, limit) in [("?min_revision=2", "no-store"), ("", "max-stale")] {
            let get = |path: &str, by: &str| {
                let call = stale(&api, &format!("{path}{query}"), limit);
                call.by(by).send()
            };
            // The part of the list that is read, with its own tag.
            let list = get("/kv", BOB).await;
            assert_eq!((list.etag(), &list.body), (strict.etag(), &strict.body));
            get("/kv/other", BOB).await.assert_error(403, "forbidden");
            get("/kv/other", WRITER)
                .await
                .assert_error(403, "forbidden");
            get("/kv", WRITER).await.assert_error(403, "forbidden");
        }
        // Not even which revision is the newest.
        let future = api.get("/kv/other?min_revision=99").by(BOB).send().await;
        future.assert_error(403, "forbidden");
    }
}
