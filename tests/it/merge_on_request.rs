//! `Prefer: merge`, and what a stale write is told.

use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use ifmatch::merge::merge;
use ifmatch::model::{
    Change, Expected, Filter, HistoryPoint, HistoryQuery, Operation, Origin, Value as Json,
};
use ifmatch::service::{Policy, Settings};
use ifmatch::storage::Store;
use ifmatch::storage::memory::MemoryStore;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::access::lines;
use crate::support::api::{Answer, Api, LIMITS};
use crate::support::contract::CONTRACT;
use crate::support::stores::Gated;

const PATH: &str = "/kv/doc/plan";
/// A tag that no entry has.
const NO_TAG: &str = "\"1-0000000000000000\"";

async fn put(api: &Api, value: &Value) -> Answer {
    api.put(PATH, &value.to_string()).send().await
}

async fn merged(api: &Api, base: &str, value: &Value) -> Answer {
    let call = api.put(PATH, &value.to_string()).if_match(base);
    call.header("prefer", "merge").send().await
}

fn on(store: &Arc<impl Store + 'static>) -> Api {
    let store: Arc<dyn Store> = Arc::clone(store) as Arc<dyn Store>;
    Api::with(store, Policy::AllWrites, LIMITS)
}

#[tokio::test]
async fn changes_in_different_places_are_both_kept() {
    let api = Api::in_memory();
    let base = put(&api, &json!({"title": "Plan", "budget": 100, "old": 1})).await;
    put(
        &api,
        &json!({"budget": 120, "title": "Plan", "old": 1, "owner": "ann"}),
    )
    .await;
    let mine = json!({"title": "Plan B", "budget": 100, "new": 1});
    let answer = merged(&api, &base.etag(), &mine).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("preference-applied"), Some("merge"));
    assert_eq!(answer.json()["version"], 3);
    let value = r#""value":{"budget":120,"title":"Plan B","owner":"ann","new":1}"#;
    assert!(answer.text().contains(value), "{answer:?}");
    assert_eq!(api.get(PATH).send().await.body, answer.body);
}

#[tokio::test]
async fn a_merge_may_be_answered_without_a_body() {
    let api = Api::in_memory();
    let base = put(&api, &json!({"a": 1, "b": 1})).await.etag();
    put(&api, &json!({"a": 2, "b": 1})).await;
    let call = api.put(PATH, r#"{"a":1,"b":2}"#).if_match(&base);
    let answer = call.header("prefer", "return=minimal, merge").send().await;
    assert_eq!(answer.status, 204);
    let applied = answer.header("preference-applied");
    assert_eq!(applied, Some("return=minimal, merge"));
    let entry = api.get(PATH).send().await;
    assert_eq!(entry.json()["value"], json!({"a": 2, "b": 2}));
    assert_eq!(entry.etag(), answer.etag());
}

#[tokio::test]
async fn a_base_that_is_current_is_a_plain_write() {
    let api = Api::in_memory();
    let base = put(&api, &json!({"a": 1})).await.etag();
    let answer = merged(&api, &base, &json!({"a": 1})).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("preference-applied"), None);
    assert_eq!(answer.json()["version"], 2);
}

#[tokio::test]
async fn a_merge_that_gives_the_current_value_writes_nothing() {
    let api = Api::in_memory();
    let base = put(&api, &json!({"a": 1, "b": 1})).await.etag();
    let mine = json!({"a": 2, "b": 1});
    assert_eq!(merged(&api, &base, &mine).await.status, 200);
    put(&api, &json!({"a": 2, "b": 2})).await;
    let before = api.get(PATH).send().await;
    // As it is when an answer was lost: all of it is there already.
    for value in [mine, json!({"b": 1, "a": 1})] {
        let answer = merged(&api, &base, &value).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body, before.body);
        assert_eq!(answer.header("preference-applied"), Some("merge"));
    }
    assert_eq!(api.get("/kv").send().await.json()["revision"], 3);
}

#[tokio::test]
async fn changes_in_the_same_place_are_refused_with_all_that_a_person_needs() {
    let api = Api::in_memory();
    let first = put(&api, &json!({"title": "Plan", "budget": 100})).await;
    let second = put(&api, &json!({"title": "Plan", "budget": 120})).await;
    let mine = json!({"title": "Plan B", "budget": 150});
    let answer = merged(&api, &first.etag(), &mine).await;
    answer.assert_error(412, "precondition_failed");
    assert_eq!(answer.etag(), second.etag());
    let body = answer.json();
    assert_eq!(body["current"], second.json());
    assert_eq!(body["base"], first.json());
    assert_eq!(body["changed"], json!(["/budget"]));
    assert_eq!(body["conflicts"], json!(["/budget"]));
    assert_eq!(api.get(PATH).send().await.body, second.body);
    // It is the example of the contract, but for the moments.
    let without_moments = |value: &Value| {
        let mut value = value.clone();
        for entry in ["current", "base"] {
            value[entry].as_object_mut().unwrap().remove("modified_at");
        }
        value
    };
    let example = &CONTRACT["components"]["responses"]["NotMerged"];
    let example = &example["content"]["application/json"]["example"];
    assert_eq!(without_moments(&body), without_moments(example));
}

#[tokio::test]
async fn a_base_that_is_not_kept_is_null() {
    let store = Arc::new(MemoryStore::new().with_history_limit(0));
    let api = on(&store);
    let base = put(&api, &json!({"a": 1})).await.etag();
    let current = put(&api, &json!({"a": 2})).await;
    for tag in [&base, NO_TAG, "\"x\"", "\"99-0000000000000000\""] {
        let answer = merged(&api, tag, &json!({"b": 1})).await;
        answer.assert_error(412, "precondition_failed");
        let body = answer.json();
        assert_eq!(body["base"], Value::Null);
        assert_eq!(body["current"], current.json());
        assert!(body.get("base").is_some() && body.get("conflicts").is_none());
        assert!(body.get("changed").is_none());
        assert!(answer.message().contains("no longer kept"));
    }
}

#[tokio::test]
async fn a_key_that_was_deleted_since_is_not_merged() {
    let api = Api::in_memory();
    let base = put(&api, &json!({"a": 1})).await.etag();
    api.delete(PATH).send().await;
    let answer = merged(&api, &base, &json!({"a": 1, "b": 1})).await;
    answer.assert_error(412, "precondition_failed");
    assert_eq!(answer.json()["current"], Value::Null);
    assert!(answer.json().get("base").is_some_and(Value::is_null));
    // Nor if it was created again, however often it was written since.
    for number in 1..4 {
        let current = put(&api, &json!({"a": number})).await;
        let answer = merged(&api, &base, &json!({"a": 1, "b": 1})).await;
        answer.assert_error(412, "precondition_failed");
        assert_eq!(answer.json()["current"], current.json());
        assert!(answer.json().get("base").is_some_and(Value::is_null));
    }
}

#[tokio::test]
async fn the_oldest_state_that_is_kept_is_a_base_although_its_write_is_not_kept() {
    const ROOM_FOR_ONE_COMMIT: usize = 800;
    let store = Arc::new(MemoryStore::new().with_history_limit(ROOM_FOR_ONE_COMMIT));
    let api = on(&store);
    let base = put(&api, &json!({"a": 1, "b": 1})).await.etag();
    put(&api, &json!({"a": 2, "b": 1})).await;
    let answer = merged(&api, &base, &json!({"a": 1, "b": 2})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["value"], json!({"a": 2, "b": 2}));
}

/// Replaces the value of `doc/plan` so many times.
async fn replace(store: &MemoryStore, times: usize) {
    for number in 0..times {
        let value = json!({"a": number, "b": 0}).to_string();
        let change = Change {
            key: "doc/plan".parse().unwrap(),
            expected: Expected::Any,
            operation: Operation::Put(Json::from_json(value.as_bytes()).unwrap()),
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        store.commit(change.into(), deadline).await.unwrap();
    }
}

#[tokio::test]
async fn a_base_is_found_behind_many_versions_but_not_behind_any_number() {
    let store = Arc::new(MemoryStore::new());
    let api = on(&store);
    let base = put(&api, &json!({"a": 0, "b": 0})).await.etag();
    replace(&store, 9_999).await;
    let mine = json!({"a": 0, "b": 1});
    let answer = merged(&api, &base, &mine).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["value"], json!({"a": 9_998, "b": 1}));
    let answer = merged(&api, &base, &json!({"a": 0, "b": 2})).await;
    answer.assert_error(412, "precondition_failed");
    assert_eq!(answer.json()["conflicts"], json!(["/b"]));
    replace(&store, 1).await;
    let answer = merged(&api, &base, &mine).await;
    assert!(answer.json().get("base").is_some_and(Value::is_null));
}

#[tokio::test]
async fn without_one_strong_tag_the_preference_is_ignored() {
    let api = Api::in_memory();
    let base = put(&api, &json!({"a": 1, "b": 1})).await.etag();
    put(&api, &json!({"a": 2, "b": 1})).await;
    let two = format!("{base}, {NO_TAG}");
    let weak = format!("W/{base}");
    for tags in [&two, &weak] {
        let answer = merged(&api, tags, &json!({"a": 1, "b": 2})).await;
        answer.assert_error(412, "precondition_failed");
        assert!(answer.json().get("base").is_none());
        assert!(answer.json().get("changed").is_none());
    }
    let call = api.put(PATH, "1").if_match(&base).if_none_match("*");
    let answer = call.header("prefer", "merge").send().await;
    answer.assert_error(412, "precondition_failed");
    assert!(answer.json().get("base").is_none());
    for (prefer, tag) in [("merge", "*"), ("merge=1", "*")] {
        let call = api.put(PATH, "1").if_match(tag).header("prefer", prefer);
        let answer = call.send().await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("preference-applied"), None);
    }
    let call = api.put(PATH, "2").header("prefer", "merge");
    assert_eq!(call.send().await.json()["value"], 2);
    let patch = api.call(Method::PATCH, PATH).json("{}").if_match(&base);
    let answer = patch.header("prefer", "merge").send().await;
    answer.assert_error(412, "precondition_failed");
    assert!(answer.json().get("base").is_none());
}

#[tokio::test]
async fn what_is_merged_must_not_be_too_large() {
    let settings = Settings {
        max_value_bytes: 40,
        ..Settings::default()
    };
    let api = Api::with_settings(Arc::new(MemoryStore::new()), settings, LIMITS);
    let long = "x".repeat(20);
    let base = put(&api, &json!({})).await.etag();
    put(&api, &json!({"a": long})).await;
    let answer = merged(&api, &base, &json!({"b": long})).await;
    answer.assert_error(413, "value_too_large");
    assert!(answer.message().contains("40"), "{}", answer.message());
    assert_eq!(api.get(PATH).send().await.json()["version"], 2);
}

#[tokio::test]
async fn a_merge_needs_the_right_to_read_whatever_is_current() {
    let grants = |actions: &str| format!("allow = [{{ prefix = \"\", actions = [{actions}] }}]");
    let tokens = [
        lines("blind", "blind", &grants("\"create\", \"update\"")),
        lines("ann", "ann", &grants("\"read\", \"update\"")),
        lines("creator", "creator", &grants("\"read\", \"create\"")),
    ];
    let api = Api::guarded(&tokens.concat(), None);
    let put = |value: &str, by| api.put(PATH, value).by(by).send();
    let base = put(r#"{"a":1,"b":1}"#, "blind").await.etag();
    let merged = |by| {
        let call = api.put(PATH, r#"{"a":1,"b":2}"#).if_match(&base);
        call.header("prefer", "merge").by(by).send()
    };
    for _ in 0..2 {
        let answer = merged("blind").await;
        answer.assert_error(403, "forbidden");
        assert!(answer.message().contains("read"), "{}", answer.message());
        merged("creator").await.assert_error(403, "forbidden");
        put(r#"{"a":2,"b":1}"#, "ann").await;
    }
    let answer = merged("ann").await;
    assert_eq!(answer.json()["value"], json!({"a": 2, "b": 2}));
    // A plain stale write reveals nothing of what has changed.
    let answer = api.put(PATH, "1").if_match(&base).by("blind").send().await;
    answer.assert_error(412, "precondition_failed");
    let members = answer.json().as_object().unwrap().len();
    assert_eq!(members, 2, "{answer:?}");
}

#[tokio::test]
async fn who_loses_a_race_is_merged_again() {
    let store = Arc::new(Gated::default());
    let api = on(&store);
    store.open.add_permits(2);
    let base = put(&api, &json!({"a": 0, "b": 0, "c": 0})).await.etag();
    put(&api, &json!({"a": 0, "b": 0, "c": 1})).await;
    store.waiting.acquire_many(2).await.unwrap().forget();
    let mut writers = JoinSet::new();
    for mine in [
        json!({"a": 1, "b": 0, "c": 0}),
        json!({"a": 0, "b": 1, "c": 0}),
    ] {
        let (api, base) = (api.clone(), base.clone());
        writers.spawn(async move { merged(&api, &base, &mine).await });
    }
    // Both were merged with the same state.
    store.waiting.acquire_many(2).await.unwrap().forget();
    store.open.add_permits(3);
    for answer in writers.join_all().await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let entry = api.get(PATH).send().await.json();
    assert_eq!(entry["value"], json!({"a": 1, "b": 1, "c": 1}));
    assert_eq!(entry["version"], 4);
}

#[tokio::test]
async fn the_history_names_both_states_that_were_merged() {
    let store = Arc::new(MemoryStore::new());
    let api = on(&store);
    let base = put(&api, &json!({"a": 1, "b": 1})).await.etag();
    put(&api, &json!({"a": 2, "b": 1})).await;
    merged(&api, &base, &json!({"a": 1, "b": 2})).await;
    let query = HistoryQuery {
        filters: vec![Filter::Key("doc/plan".parse().unwrap())],
        before: HistoryPoint::END,
        limit: 3,
        max_bytes: 1000,
    };
    let page = store.past().history(query).await.unwrap();
    let origins: Vec<_> = page.events.iter().map(|event| event.origin).collect();
    let merge = Origin::Merge { base: 1, theirs: 2 };
    assert_eq!(origins, [Some(merge), None, None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_32_editors_of_one_document_nobody_loses_a_change() {
    const EDITORS: usize = 32;
    const ROUNDS: usize = 20;
    let folder = tempfile::tempdir().unwrap();
    let api = Api::in_folder(folder.path()).await.unchecked();
    put(&api, &json!({"saves": {}})).await;
    let mut editors = JoinSet::new();
    for editor in 0..EDITORS {
        let api = api.clone();
        editors.spawn(async move {
            // Each keeps what it has read first, and its own changes: that is always stale.
            let mut read = api.get(PATH).send().await.json();
            let mut merges = 0;
            for round in 1..=ROUNDS {
                let mut mine = read["value"].clone();
                mine["saves"][editor.to_string()] = json!(round);
                let base = read["etag"].as_str().unwrap();
                let answer = merged(&api, base, &mine).await;
                assert_eq!(answer.status, 200, "{answer:?}");
                merges += usize::from(answer.header("preference-applied").is_some());
                read = answer.json();
                assert_eq!(read["value"]["saves"][editor.to_string()], json!(round));
            }
            merges
        });
    }
    let merges: usize = editors.join_all().await.into_iter().sum();
    assert!(merges > 0, "they did not meet");
    let entry = api.get(PATH).send().await.json();
    let saves = entry["value"]["saves"].as_object().unwrap();
    assert_eq!(saves.len(), EDITORS);
    assert!(
        saves.values().all(|round| *round == json!(ROUNDS)),
        "{entry}"
    );
    assert_eq!(entry["version"], EDITORS * ROUNDS + 1);
    api.close().await;
}

/// Small enough that two of them often have something in common.
fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        (0..3).prop_map(Value::from),
        "[a-c]?".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        let name = prop_oneof![Just("a"), Just("b"), Just("c/~"), Just("")];
        prop_oneof![
            3 => prop::collection::vec((name, inner.clone()), 0..4).prop_map(|members| {
                members.into_iter().map(|(name, member)| (name.to_owned(), member)).collect()
            }),
            1 => prop::collection::vec(inner, 0..3).prop_map(Value::Array),
        ]
    })
}

proptest! {
    #[test]
    fn the_service_merges_as_clients_do(base in tree(), mine in tree(), theirs in tree()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (before, after) = runtime.block_on(async {
            let api = Api::in_memory();
            let tag = put(&api, &base).await.etag();
            let before = put(&api, &theirs).await;
            (before, merged(&api, &tag, &mine).await)
        });
        match merge(Some(&base), Some(&mine), Some(&theirs)) {
            Ok(merged) => {
                let merged = merged.unwrap();
                prop_assert_eq!(after.status.as_u16(), 200);
                prop_assert_eq!(&after.json()["value"], &merged);
                if merged == theirs {
                    prop_assert_eq!(after.body, before.body);
                } else {
                    let text = format!("\"value\":{merged},\"version\":3");
                    prop_assert!(after.text().contains(&text), "{} {}", text, after.text());
                }
            }
            Err(overlaps) => {
                let pointers: Vec<_> = overlaps.into_iter().map(|of| of.pointer).collect();
                prop_assert_eq!(after.status.as_u16(), 412);
                prop_assert_eq!(&after.json()["conflicts"], &json!(pointers));
                prop_assert_eq!(&after.json()["current"], &before.json());
                prop_assert_eq!(&after.json()["base"]["value"], &base);
            }
        }
    }
}

/// A stale write of each kind.
async fn stale_writes(api: &Api, tag: &str) -> Vec<Answer> {
    let mut answers = Vec::new();
    for method in [Method::PUT, Method::POST, Method::PATCH, Method::DELETE] {
        let call = api.call(method, PATH).json("{}").if_match(tag);
        let answer = call.send().await;
        answer.assert_error(412, "precondition_failed");
        answers.push(answer);
    }
    answers
}

#[tokio::test]
async fn a_stale_write_is_told_what_has_changed_since_it_was_read() {
    let api = Api::in_memory();
    let tag = put(&api, &json!({"a": {"b": 1, "c": [1]}, "d": 1}))
        .await
        .etag();
    for (value, changed) in [
        (json!({"a": {"b": 2, "c": [1]}, "d": 1}), json!(["/a/b"])),
        (
            json!({"a": {"b": 1, "c": [2]}, "e": 1}),
            json!(["/a/c", "/e", "/d"]),
        ),
        (json!({"d": 1, "a": {"c": [1], "b": 1}}), json!([])),
        (json!(1), json!([""])),
    ] {
        put(&api, &value).await;
        for answer in stale_writes(&api, &tag).await {
            assert_eq!(answer.json()["changed"], changed, "{answer:?}");
            assert!(answer.json().get("base").is_none());
        }
    }
}

#[tokio::test]
async fn what_has_changed_is_left_out_when_it_is_not_known() {
    let short = Arc::new(MemoryStore::new().with_history_limit(0));
    for (api, is_kept) in [(Api::in_memory(), true), (on(&short), false)] {
        let first = put(&api, &json!({"a": 1})).await.etag();
        put(&api, &json!({"a": 2})).await;
        let stale = api.put(PATH, "1").if_match(&first).send().await;
        assert_eq!(stale.json().get("changed").is_some(), is_kept);
        let two = format!("{first}, {NO_TAG}");
        let weak = format!("W/{first}");
        for tags in [NO_TAG, "\"9-0000000000000000\"", "\"x\"", &two, &weak] {
            for answer in stale_writes(&api, tags).await {
                assert!(answer.json().get("changed").is_none(), "{answer:?}");
            }
        }
        api.delete(PATH).send().await;
        let gone = api.put(PATH, "1").if_match(&first).send().await;
        gone.assert_error(412, "precondition_failed");
        assert!(gone.json().get("changed").is_none());
        put(&api, &json!({"a": 1})).await;
        put(&api, &json!({"a": 1})).await;
        for answer in stale_writes(&api, &first).await {
            assert!(answer.json().get("changed").is_none(), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn what_has_changed_is_bounded() {
    let api = Api::in_memory();
    let wide = |number: usize| {
        let members = (0..500).map(|name| (name.to_string(), json!(number)));
        Value::Object(members.collect())
    };
    let tag = put(&api, &wide(1)).await.etag();
    put(&api, &wide(2)).await;
    let answer = api.put(PATH, "1").if_match(&tag).send().await;
    let changed = answer.json()["changed"].clone();
    let expected: Vec<_> = (0..100).map(|name| format!("/{name}")).collect();
    assert_eq!(changed, json!(expected));
    let answer = merged(&api, &tag, &wide(3)).await;
    assert_eq!(answer.json()["conflicts"], json!(expected));
    let long = |number: usize| json!({"a": number, "long": "x".repeat(600 * 1024)});
    let tag = put(&api, &long(1)).await.etag();
    put(&api, &long(2)).await;
    let answer = api.put(PATH, "1").if_match(&tag).send().await;
    answer.assert_error(412, "precondition_failed");
    assert!(answer.json().get("changed").is_none());
    // What was asked for is not left out.
    let answer = merged(&api, &tag, &json!({"a": 1, "long": ""})).await;
    assert_eq!(answer.json()["value"], json!({"a": 2, "long": ""}));
}
