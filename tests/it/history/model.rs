//! Random commits, and every state and event of the past compared with what was seen then.

use std::collections::BTreeMap;

use axum::http::Method;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{all_events, items, revert};
use crate::support::api::Api;

const KEYS: [&str; 5] = ["a", "b/1", "b/2", "b//c", "ü"];
const PREFIXES: [&str; 3] = ["", "b/", "x"];

#[derive(Debug, Clone)]
enum Step {
    Put(usize, u8),
    Delete(usize),
    /// Writes some keys and deletes others, in one commit.
    Transact(Vec<(usize, bool)>),
    /// Brings back what a key was that many commits ago.
    Revert(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0..KEYS.len();
    let several = prop::collection::btree_map(key(), any::<bool>(), 1..4);
    prop_oneof![
        5 => (key(), any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        2 => key().prop_map(Step::Delete),
        2 => several.prop_map(|several| Step::Transact(several.into_iter().collect())),
        2 => (key(), 0..6_usize).prop_map(|(key, ago)| Step::Revert(key, ago)),
    ]
}

type Entries = BTreeMap<String, Value>;

/// A state that was seen while it was the current one.
struct Seen {
    entries: Entries,
    etag: String,
}

struct Model {
    /// By their revisions.
    states: Vec<Seen>,
    /// The newest first.
    events: Vec<Value>,
}

impl Model {
    fn current(&self) -> &Entries {
        &self.states.last().unwrap().entries
    }

    /// Looks at the state after a commit, and notes what happened to these keys.
    async fn note(&mut self, api: &Api, keys: &[&str], reverted_from: Option<&Value>) {
        let list = api.get("/kv").send().await;
        let entries: Entries = items(&list)
            .into_iter()
            .map(|entry| (entry["key"].as_str().unwrap().to_owned(), entry))
            .collect();
        let revision = self.states.len();
        assert_eq!(list.json()["revision"], revision);
        for key in keys {
            let (kind, mut entry) = match entries.get(*key) {
                Some(entry) => ("put", entry.clone()),
                None => ("delete", self.current()[*key].clone()),
            };
            entry["event"] = json!(kind);
            entry["revision"] = json!(revision);
            if let Some(from) = reverted_from {
                entry["reverted_from"] = from.clone();
            }
            self.events.insert(0, entry);
        }
        self.states.push(Seen {
            entries,
            etag: list.etag(),
        });
    }
}

fn path(key: &str) -> String {
    key.replace('ü', "%C3%BC")
}

async fn take(api: &Api, model: &mut Model, step: &Step) {
    match step {
        Step::Put(key, value) => {
            let key = KEYS[*key];
            let put = api.put(&format!("/kv/{}", path(key)), &value.to_string());
            assert!(put.send().await.status.is_success());
            model.note(api, &[key], None).await;
        }
        Step::Delete(key) => {
            let key = KEYS[*key];
            let answer = api.delete(&format!("/kv/{}", path(key))).send().await;
            if model.current().contains_key(key) {
                assert_eq!(answer.status, 200);
                model.note(api, &[key], None).await;
            }
        }
        Step::Transact(several) => {
            let has = |key: &str| model.current().contains_key(key);
            let several: Vec<_> = several
                .iter()
                .map(|(key, is_put)| (KEYS[*key], *is_put))
                .filter(|(key, is_put)| *is_put || has(key))
                .collect();
            let operation = |(key, is_put): &(&str, bool)| {
                if *is_put {
                    json!({"op": "put", "key": key, "value": {"of": key}})
                } else {
                    json!({"op": "delete", "key": key})
                }
            };
            let operations: Vec<_> = several.iter().map(operation).collect();
            if operations.is_empty() {
                return;
            }
            let body = json!({ "operations": operations }).to_string();
            let call = api.call(Method::POST, "/transactions").json(&body);
            assert_eq!(call.send().await.status, 200);
            let keys: Vec<_> = several.iter().map(|(key, _)| *key).collect();
            model.note(api, &keys, None).await;
        }
        Step::Revert(key, ago) => {
            let key = KEYS[*key];
            let revision = (model.states.len() - 1).saturating_sub(*ago);
            let answer = revert(api, &path(key), revision as u64).send().await;
            let Some(then) = model.states[revision].entries.get(key).cloned() else {
                answer.assert_error(404, "not_found");
                return;
            };
            let is_new = !model.current().contains_key(key);
            assert_eq!(answer.status, if is_new { 201 } else { 200 });
            assert_eq!(answer.json()["value"], then["value"]);
            model.note(api, &[key], Some(&then["revision"])).await;
        }
    }
}

async fn compare_states(api: &Api, model: &Model) {
    for (revision, seen) in model.states.iter().enumerate() {
        for prefix in PREFIXES {
            let query = format!("/kv?prefix={prefix}&revision={revision}");
            let list = api.get(&query).send().await;
            let with_prefix = |(key, _): &(&String, &Value)| key.starts_with(prefix);
            let expected: Vec<_> = seen.entries.iter().filter(with_prefix).collect();
            let shown: Vec<_> = expected.iter().map(|(_, entry)| (*entry).clone()).collect();
            assert_eq!(
                list.json(),
                json!({ "items": shown, "revision": revision, "next": null }),
                "{query}"
            );
            assert_eq!(list.etag(), seen.etag, "{query}");
            let first = api.get(&format!("{query}&limit=1")).send().await.json();
            let next = expected.first().filter(|_| expected.len() > 1);
            assert_eq!(first["next"], json!(next.map(|(key, _)| key)), "{query}");
        }
        for key in KEYS {
            let query = format!("/kv/{}?revision={revision}", path(key));
            let answer = api.get(&query).send().await;
            match seen.entries.get(key) {
                None => answer.assert_error(404, "not_found"),
                Some(entry) => {
                    assert_eq!(answer.json(), *entry, "{query}");
                    assert_eq!(answer.etag(), entry["etag"].as_str().unwrap(), "{query}");
                }
            }
        }
    }
}

/// Without when it was: a deletion has a moment of its own.
fn without_moment(mut event: Value) -> Value {
    event.as_object_mut().unwrap().shift_remove("modified_at");
    event
}

async fn compare_events(api: &Api, model: &Model, limit: usize) {
    let compare = async |path: String, matches: &dyn Fn(&str) -> bool| {
        let events = all_events(api, &path, limit).await;
        let is_expected = |event: &&Value| matches(event["key"].as_str().unwrap());
        let expected = model.events.iter().filter(is_expected).cloned();
        let expected: Vec<_> = expected.map(without_moment).collect();
        let events: Vec<_> = events.into_iter().map(without_moment).collect();
        assert_eq!(events, expected, "{path} by {limit}");
    };
    for prefix in PREFIXES {
        compare(format!("/history?prefix={prefix}"), &|key| {
            key.starts_with(prefix)
        })
        .await;
    }
    for key in KEYS {
        compare(format!("/history/{}", path(key)), &|of| of == key).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn every_state_and_every_event_of_the_past_is_what_was_seen_then(
        steps in prop::collection::vec(step(), 1..30),
        limit in 1..8_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let api = Api::in_memory();
            let nothing = Seen {
                entries: Entries::new(),
                etag: api.get("/kv").send().await.etag(),
            };
            let mut model = Model { states: vec![nothing], events: Vec::new() };
            for step in &steps {
                take(&api, &mut model, step).await;
            }
            compare_states(&api, &model).await;
            compare_events(&api, &model, limit).await;
        });
    }
}
