//! Entries and lists as of then.

use std::time::{Duration, SystemTime};

use axum::http::Method;
use ifmatch::model::Timestamp;

use super::{items, with_history};
use crate::support::api::Api;

/// Waits until the clock shows another millisecond than `moment`, so that the next write has a later one.
async fn until_after(moment: &str) {
    let moment: Timestamp = moment.parse().unwrap();
    let now = || Timestamp::from(SystemTime::now());
    while now() <= moment {
        tokio::time::sleep(Duration::from_micros(100)).await;
    }
}

#[tokio::test]
async fn an_entry_of_the_past_has_its_own_headers() {
    let api = Api::in_memory();
    let first = api.put("/kv/doc/plan", "1").send().await;
    api.put("/kv/doc/plan", "2").send().await;
    let then = api.get("/kv/doc/plan?revision=1").send().await;
    assert_eq!(then.body, first.body);
    for name in ["etag", "last-modified", "cache-control", "content-type"] {
        assert_eq!(then.header(name), first.header(name), "{name}");
    }
    let head = api.call(Method::HEAD, "/kv/doc/plan?revision=1");
    let head = head.send().await;
    assert_eq!(head.status, 200);
    assert!(head.body.is_empty());
    assert_eq!(head.etag(), first.etag());
}

#[tokio::test]
async fn preconditions_are_about_the_state_of_then() {
    let api = Api::in_memory();
    let first = api.put("/kv/a", "1").send().await;
    let second = api.put("/kv/a", "2").send().await;
    let past = || api.get("/kv/a?revision=1");
    let same = past().if_none_match(&first.etag()).send().await;
    assert_eq!((same.status.as_u16(), same.etag()), (304, first.etag()));
    let other = past().if_none_match(&second.etag()).send().await;
    assert_eq!((other.status.as_u16(), &other.body), (200, &first.body));
    let matching = past().if_match(&first.etag()).send().await;
    assert_eq!(matching.body, first.body);
    let failed = past().if_match(&second.etag()).send().await;
    failed.assert_error(412, "precondition_failed");
    assert_eq!(failed.json()["current"], first.json());
    // The list of then has the tag that it had then.
    let list = api.get("/kv?revision=1").send().await;
    let query = "/kv?revision=1&prefix=a";
    let same = api.get(query).if_none_match(&list.etag()).send().await;
    assert_eq!((same.status.as_u16(), same.etag()), (304, list.etag()));
    let now = api.get("/kv").send().await.etag();
    assert_ne!(now, list.etag());
    let failed = api.get(query).if_match(&now).send().await;
    failed.assert_error(412, "precondition_failed");
}

#[tokio::test]
async fn a_wait_for_something_newer_than_the_past_is_ignored() {
    let api = Api::in_memory();
    let first = api.put("/kv/a", "1").send().await;
    let list = api.get("/kv").send().await;
    for (path, tag) in [
        ("/kv/a?revision=1", first.etag()),
        ("/kv?revision=1", list.etag()),
    ] {
        let call = api.get(path).header("prefer", "wait=30");
        let waiting = call.if_none_match(&tag).send();
        let answer = tokio::time::timeout(Duration::from_secs(20), waiting).await;
        let answer = answer.expect("it is answered at once");
        assert_eq!(answer.status, 304, "{path}");
        assert_eq!(answer.header("preference-applied"), None, "{path}");
    }
}

#[tokio::test]
async fn a_moment_shows_what_was_last_written_by_then() {
    let api = Api::in_memory();
    let first = api.put("/kv/a", "1").send().await;
    let at = first.json()["modified_at"].as_str().unwrap().to_owned();
    until_after(&at).await;
    let second = api.put("/kv/a", "2").send().await;
    let second_at = second.json()["modified_at"].as_str().unwrap().to_owned();
    until_after(&second_at).await;
    api.delete("/kv/a").send().await;
    for (moment, shown) in [(&at, &first), (&second_at, &second)] {
        let entry = api.get(&format!("/kv/a?at={moment}")).send().await;
        assert_eq!(entry.body, shown.body, "{moment}");
        let list = api.get(&format!("/kv?at={moment}")).send().await;
        assert_eq!(items(&list), [shown.json()], "{moment}");
        assert_eq!(list.json()["revision"], shown.json()["revision"]);
    }
    // One millisecond before the second, and before everything.
    let moment: Timestamp = second_at.parse().unwrap();
    let before = Timestamp::from_millis(moment.millis() - 1);
    let entry = api.get(&format!("/kv/a?at={before}")).send().await;
    assert_eq!(entry.body, first.body);
    let none = api.get("/kv/a?at=1999-12-31T23:59:59Z").send().await;
    none.assert_error(404, "not_found");
    let none = api.get("/kv?at=1999-12-31T23:59:59%2B01:00").send().await;
    assert_eq!(items(&none).len(), 0);
}

#[tokio::test]
async fn what_never_was_or_is_still_to_come_is_refused() {
    let api = Api::in_memory();
    api.put("/kv/a", "1").send().await;
    api.delete("/kv/a").send().await;
    for absent in ["/kv/a?revision=0", "/kv/a?revision=2", "/kv/b?revision=1"] {
        let answer = api.get(absent).send().await;
        answer.assert_error(404, "not_found");
        let revision = absent.rsplit('=').next().unwrap();
        assert!(
            answer
                .message()
                .contains(&format!("at revision {revision}"))
        );
    }
    for path in ["/kv/a", "/kv"] {
        for query in [
            "revision=3",
            "revision=18446744073709551615",
            "revision=18446744073709551616",
            "revision=-1",
            "revision=1.5",
            "revision=",
            "revision=x",
            "at=2999-01-01T00:00:00Z",
            "at=",
            "at=yesterday",
            "at=2026-11-23",
            "revision=1&at=2020-01-01T00:00:00Z",
        ] {
            let answer = api.get(&format!("{path}?{query}")).send().await;
            answer.assert_error(400, "invalid_query");
        }
    }
    // Only reads have a past.
    for method in [Method::PUT, Method::POST, Method::PATCH, Method::DELETE] {
        let call = api.call(method, "/kv/a?revision=1").json("1");
        call.send().await.assert_error(400, "invalid_query");
    }
}

#[tokio::test]
async fn what_is_no_longer_kept_is_410_with_what_is() {
    // Room for a few commits.
    let api = with_history(2000);
    for number in 0..20 {
        api.put("/kv/a", &number.to_string()).send().await;
    }
    let history = api.get("/history/a").send().await.json();
    let oldest = history["oldest_revision"].as_u64().unwrap();
    assert!((2..20).contains(&oldest), "{oldest}");
    let last = history["items"].as_array().unwrap().last().unwrap();
    assert_eq!(last["revision"], oldest + 1);
    for path in ["/kv/a", "/kv", "/kv/none"] {
        let kept = api.get(&format!("{path}?revision={oldest}")).send().await;
        assert_ne!(kept.status, 410, "{path}");
        for gone in [
            format!("revision={}", oldest - 1),
            "revision=0".to_owned(),
            "at=2020-01-01T00:00:00Z".to_owned(),
        ] {
            let answer = api.get(&format!("{path}?{gone}")).send().await;
            answer.assert_error(410, "compacted");
            assert_eq!(answer.json()["oldest_revision"], oldest);
            assert_eq!(answer.header("cache-control"), Some("no-store"));
        }
    }
    let past = api.get(&format!("/kv/a?revision={oldest}")).send().await;
    assert_eq!(past.json()["value"], oldest - 1);
    let answer = super::revert(&api, "a", oldest - 1).send().await;
    answer.assert_error(410, "compacted");
    assert_eq!(answer.json()["oldest_revision"], oldest);
}
