//! What happened to keys.

use axum::http::Method;
use ifmatch::access::Grants;
use ifmatch::model::{Change, ChangeSet, Expected, HISTORY_MAX_LIMIT, Operation, Origin, Value};
use ifmatch::service::Policy;
use ifmatch::storage::Store;
use ifmatch::storage::memory::MemoryStore;
use serde_json::{Value as Json, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

use super::{all_events, items, revert};
use crate::support::api::{Api, LIMITS};

async fn commit(store: &dyn Store, key: &str, origin: Option<Origin>) {
    let change = Change {
        key: key.parse().unwrap(),
        expected: Expected::Any,
        operation: Operation::Put(Value::from_json(b"1").unwrap()),
    };
    let changes = ChangeSet::from(change).from_origin(origin);
    let deadline = Instant::now() + Duration::from_secs(60);
    store.commit(changes, deadline).await.unwrap();
}

#[tokio::test]
async fn writings_and_deletions_come_with_who_did_them_and_the_newest_first() {
    let tokens = crate::support::access::lines(
        "ann",
        "ann-token",
        r#"allow = [{ prefix = "", actions = ["read", "create", "update", "delete"] }]"#,
    );
    let api = Api::guarded(&tokens, Some(Grants::everything()));
    let first = api.put("/kv/doc/a", r#"{"n":1}"#).send().await.json();
    let second = api.put("/kv/doc/a", r#"{"n":2}"#).by("ann-token");
    let second = second.send().await.json();
    api.put("/kv/other", "0").send().await;
    api.delete("/kv/doc/a").by("ann-token").send().await;
    revert(&api, "doc/a", 1).send().await;
    let history = api.get("/history/doc/a").send().await;
    assert_eq!(history.header("cache-control"), Some("no-store"));
    let body = history.json();
    assert_eq!(body["next"], Json::Null);
    assert_eq!(body["oldest_revision"], 0);
    let events = items(&history);
    let revisions: Vec<_> = events
        .iter()
        .map(|event| event["revision"].clone())
        .collect();
    assert_eq!(revisions, [5, 4, 2, 1]);
    let with = |entry: &Json, kind: &str| {
        let mut event = entry.clone();
        event["event"] = json!(kind);
        event
    };
    assert_eq!(events[3], with(&first, "put"));
    assert_eq!(events[2], with(&second, "put"));
    let mut deleted = with(&second, "delete");
    deleted["revision"] = json!(4);
    deleted["modified_at"] = events[1]["modified_at"].clone();
    assert_eq!(events[1], deleted);
    assert!(deleted["modified_at"].as_str() >= second["modified_at"].as_str());
    let now = api.get("/kv/doc/a").send().await.json();
    let mut reverted = with(&now, "put");
    reverted["reverted_from"] = json!(1);
    assert_eq!(events[0], reverted);
    assert_eq!(
        (&now["version"], &now["value"]),
        (&json!(1), &first["value"])
    );
}

#[tokio::test]
async fn a_write_that_was_merged_names_both_states() {
    let store = Arc::new(MemoryStore::new());
    let api = Api::with(Arc::<MemoryStore>::clone(&store), Policy::AllWrites, LIMITS);
    commit(&*store, "a", None).await;
    commit(&*store, "a", None).await;
    let origin = Origin::Merge { base: 1, theirs: 2 };
    commit(&*store, "a", Some(origin)).await;
    let events = items(&api.get("/history/a").send().await);
    assert_eq!(events[0]["merged"], json!({"base": 1, "theirs": 2}));
    assert_eq!(events[1].get("merged"), None);
}

#[tokio::test]
async fn values_are_left_out_on_request() {
    let api = Api::in_memory();
    api.put("/kv/a", "\"secret\"").send().await;
    api.delete("/kv/a").send().await;
    let with = items(&api.get("/history/a?values=true").send().await);
    assert_eq!(items(&api.get("/history/a").send().await), with);
    let without = api.get("/history/a?values=false").send().await;
    assert!(!without.text().contains("value"), "{without:?}");
    let expected = with.into_iter().map(|mut event| {
        event.as_object_mut().unwrap().shift_remove("value");
        event
    });
    assert_eq!(items(&without), expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn pages_meet_also_within_a_commit() {
    let api = Api::in_memory();
    for number in 0..3 {
        let put = |key| json!({"op": "put", "key": key, "value": number});
        let operations: Vec<_> = ["a", "b", "c", "x"].map(put).into();
        let body = json!({ "operations": operations }).to_string();
        let call = api.call(Method::POST, "/transactions").json(&body);
        assert_eq!(call.send().await.status, 200);
    }
    let whole = items(&api.get("/history").send().await);
    assert_eq!(whole.len(), 12);
    let order: Vec<_> = whole[..4]
        .iter()
        .map(|event| event["key"].clone())
        .collect();
    assert_eq!(order, ["x", "c", "b", "a"]);
    for limit in [1, 2, 3, 5, 11, 12, 13] {
        assert_eq!(all_events(&api, "/history", limit).await, whole, "{limit}");
    }
    let page = api.get("/history?limit=2").send().await.json();
    assert_eq!(page["next"], "3.2");
    let page = api.get("/history?limit=4").send().await.json();
    assert_eq!(page["next"], "3");
    let last = api.get("/history?limit=12").send().await.json();
    assert_eq!(last["next"], Json::Null);
    // A plain revision is a point as well: what was before it.
    let before = items(&api.get("/history/a?before=3").send().await);
    let revisions: Vec<_> = before
        .iter()
        .map(|event| event["revision"].clone())
        .collect();
    assert_eq!(revisions, [2, 1]);
    assert_eq!(items(&api.get("/history?before=0").send().await).len(), 0);
}

#[tokio::test]
async fn without_a_limit_there_are_a_hundred_and_no_more_than_the_most_with_one() {
    let api = Api::in_memory();
    for number in 0..105 {
        api.put("/kv/a", &number.to_string()).send().await;
    }
    let page = api.get("/history/a").send().await;
    assert_eq!(items(&page).len(), 100);
    assert_eq!(page.json()["next"], "6");
    let all = api.get(&format!("/history/a?limit={HISTORY_MAX_LIMIT}"));
    assert_eq!(items(&all.send().await).len(), 105);
    for path in ["/history", "/history/a"] {
        for query in [
            "limit=0",
            "limit=1001",
            "limit=x",
            "limit=-1",
            "before=",
            "before=x",
            "before=1.x",
            "before=-1",
            "values=1",
            "values=no",
            "values=",
            "revision=1",
            "before=1&before=2",
        ] {
            let answer = api.get(&format!("{path}?{query}")).send().await;
            answer.assert_error(400, "invalid_query");
        }
    }
}

#[tokio::test]
async fn keys_are_read_as_below_kv() {
    let api = Api::in_memory();
    for (key, other) in [
        ("a/b", "a%2Fb"),
        ("a//b/", "a%2F%2Fb%2F"),
        ("/a", "%2Fa"),
        ("/", "%2F"),
        ("%C3%BC", "%c3%bc"),
    ] {
        let written = api.put(&format!("/kv/{key}"), "1").send().await.json();
        for (written_before, spelled) in [key, other].into_iter().enumerate() {
            let events = items(&api.get(&format!("/history/{spelled}")).send().await);
            assert_eq!(events.len(), 1 + written_before, "{spelled}");
            assert_eq!(events[0]["key"], written["key"], "{spelled}");
            let head = api.call(Method::HEAD, &format!("/history/{spelled}"));
            let head = head.send().await;
            assert!(head.status == 200 && head.body.is_empty(), "{spelled}");
            let revision = written["revision"].as_u64().unwrap();
            let reverted = revert(&api, spelled, revision).send().await;
            assert_eq!(reverted.json()["key"], written["key"], "{spelled}");
        }
        api.delete(&format!("/kv/{key}")).send().await;
    }
    for invalid in ["a%00", "..", "a/./b", "%FF", "%zz"] {
        let answer = api.get(&format!("/history/{invalid}")).send().await;
        answer.assert_error(400, "invalid_key");
        let answer = revert(&api, invalid, 1).send().await;
        answer.assert_error(400, "invalid_key");
    }
    for nothing in ["/history/", "/revert/", "/revert"] {
        let answer = api.get(nothing).send().await;
        answer.assert_error(404, "not_found");
    }
    let never = api.get("/history/never").send().await;
    assert_eq!(
        never.json(),
        json!({"items": [], "next": null, "oldest_revision": 0})
    );
}

#[tokio::test]
async fn an_event_is_found_behind_very_many_of_other_keys() {
    let store = Arc::new(MemoryStore::new());
    let api = Api::with(Arc::<MemoryStore>::clone(&store), Policy::AllWrites, LIMITS);
    commit(&*store, "rare", None).await;
    // More than the store looks at for one page, several times.
    for _ in 0..25_000 {
        commit(&*store, "often", None).await;
    }
    let answer = api.get("/history/rare").send().await;
    let events = items(&answer);
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["revision"], 1);
    assert_eq!(answer.json()["next"], Json::Null);
}
