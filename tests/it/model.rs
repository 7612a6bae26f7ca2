//! The service against a plain model: random operations, every answer compared.

use std::collections::BTreeMap;

use axum::http::Method;
use ifmatch::storage::file::{History, Journaling, Settings};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::api::{Answer, Api};

#[derive(Debug, Clone)]
enum Step {
    Write {
        key: u8,
        value: u8,
        post: bool,
        condition: Condition,
    },
    Delete {
        key: u8,
        condition: Condition,
    },
    Read {
        key: u8,
        head: bool,
        condition: Condition,
    },
    List {
        prefix: u8,
        after: Option<u8>,
        limit: Option<usize>,
    },
    Restart,
}

/// What a request names; tags by the age of the state that they belong to.
#[derive(Debug, Clone)]
enum Condition {
    None,
    IfMatch(Named),
    IfNoneMatch(Named),
}

#[derive(Debug, Clone)]
enum Named {
    Any,
    Current,
    WeakCurrent,
    /// The current one in a list, behind one that never was.
    Listed,
    /// Of the state that many writes of this key ago.
    Old(usize),
}

fn condition() -> impl Strategy<Value = Condition> {
    let named = || {
        prop_oneof![
            2 => Just(Named::Any),
            4 => Just(Named::Current),
            1 => Just(Named::WeakCurrent),
            1 => Just(Named::Listed),
            2 => (1..4_usize).prop_map(Named::Old),
        ]
    };
    prop_oneof![
        2 => Just(Condition::None),
        2 => named().prop_map(Condition::IfMatch),
        2 => named().prop_map(Condition::IfNoneMatch),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0..4_u8;
    prop_oneof![
        8 => (key(), any::<u8>(), any::<bool>(), condition())
            .prop_map(|(key, value, post, condition)| Step::Write { key, value, post, condition }),
        3 => (key(), condition()).prop_map(|(key, condition)| Step::Delete { key, condition }),
        3 => (key(), any::<bool>(), condition())
            .prop_map(|(key, head, condition)| Step::Read { key, head, condition }),
        2 => (0..3_u8, proptest::option::of(key()), proptest::option::of(1..4_usize))
            .prop_map(|(prefix, after, limit)| Step::List { prefix, after, limit }),
        1 => Just(Step::Restart),
    ]
}

const KEYS: [&str; 4] = ["a", "b/1", "b/2", "ü"];
const PREFIXES: [&str; 3] = ["", "b/", "x"];

#[derive(Default)]
struct Model {
    entries: BTreeMap<&'static str, Value>,
    /// Every tag that a key ever had, newest last.
    tags: BTreeMap<&'static str, Vec<String>>,
    revision: u64,
    /// The tag of the last list, and the revision that it was of.
    list: Option<(String, u64)>,
}

impl Model {
    fn tag(&self, key: &str, age: usize) -> String {
        let tags = self.tags.get(key).map_or(&[][..], Vec::as_slice);
        let tag = tags
            .len()
            .checked_sub(age + 1)
            .map(|index| tags[index].clone());
        tag.unwrap_or_else(|| "\"9-ffffffffffffffff\"".to_owned())
    }

    fn current_tag(&self, key: &str) -> Option<String> {
        let entry = self.entries.get(key)?;
        Some(entry["etag"].as_str().unwrap().to_owned())
    }

    /// The header's text, and whether it matches by strong and by weak comparison.
    fn named(&self, key: &str, named: &Named) -> (String, bool, bool) {
        let newest = self.tag(key, 0);
        let is_current = self.current_tag(key).as_ref() == Some(&newest);
        match named {
            Named::Any => (
                "*".to_owned(),
                self.entries.contains_key(key),
                self.entries.contains_key(key),
            ),
            Named::Current => (newest, is_current, is_current),
            Named::WeakCurrent => (format!("W/{newest}"), false, is_current),
            Named::Listed => (format!("\"x\" , {newest}"), is_current, is_current),
            Named::Old(age) => (self.tag(key, *age), false, false),
        }
    }

    /// The header to send, and whether the request may go on.
    fn allows(&self, key: &str, condition: &Condition) -> (Option<(&'static str, String)>, bool) {
        match condition {
            Condition::None => (None, true),
            Condition::IfMatch(named) => {
                let (text, strong, _) = self.named(key, named);
                (Some(("if-match", text)), strong)
            }
            Condition::IfNoneMatch(named) => {
                let (text, _, weak) = self.named(key, named);
                (Some(("if-none-match", text)), !weak)
            }
        }
    }

    /// Takes over an entry that the service wrote, after checking what can be known before.
    fn wrote(&mut self, key: &'static str, value: u8, answer: &Answer) {
        let entry = answer.json();
        self.revision += 1;
        let version = self
            .entries
            .get(key)
            .map_or(0, |old| old["version"].as_u64().unwrap());
        assert_eq!(entry["key"], key);
        assert_eq!(entry["value"], json!({ "v": value }));
        assert_eq!(entry["version"], version + 1);
        assert_eq!(entry["revision"], self.revision);
        assert_eq!(entry["etag"], answer.etag());
        let tags = self.tags.entry(key).or_default();
        assert!(!tags.contains(&answer.etag()), "a tag came back");
        tags.push(answer.etag());
        self.entries.insert(key, entry);
    }
}

impl Model {
    /// Compares the tag of a list with that of the one before: the same as long as nothing was
    /// written, and then 304 to who sends it.
    async fn compare_tag(&mut self, api: &Api, query: &str, tag: String) {
        if let Some((before, revision)) = &self.list {
            let unchanged = *revision == self.revision;
            assert_eq!(tag == *before, unchanged, "{query}");
            let answer = api.get(query).if_none_match(before).send().await;
            let status = if unchanged { 304 } else { 200 };
            assert_eq!(answer.status.as_u16(), status, "{query}");
        }
        self.list = Some((tag, self.revision));
    }
}

fn path(key: &str) -> String {
    format!("/kv/{}", key.replace('ü', "%C3%BC"))
}

async fn send(
    api: &Api,
    method: Method,
    key: &str,
    header: Option<(&str, String)>,
    body: Option<u8>,
) -> Answer {
    let mut call = api.call(method, &path(key));
    if let Some((name, value)) = header {
        call = call.header(name, &value);
    }
    if let Some(value) = body {
        call = call.json(&json!({ "v": value }).to_string());
    }
    call.send().await
}

fn assert_412(answer: &Answer, current: Option<&Value>) {
    answer.assert_error(412, "precondition_failed");
    assert_eq!(
        answer.json()["current"],
        current.cloned().unwrap_or(Value::Null)
    );
}

async fn take(api: &Api, model: &mut Model, step: &Step) {
    match step {
        Step::Write {
            key,
            value,
            post,
            condition,
        } => {
            let key = KEYS[usize::from(*key)];
            let (header, allowed) = model.allows(key, condition);
            let existed = model.entries.contains_key(key);
            let method = if *post { Method::POST } else { Method::PUT };
            let answer = send(api, method, key, header, Some(*value)).await;
            if allowed {
                assert_eq!(
                    answer.status.as_u16(),
                    if existed { 200 } else { 201 },
                    "{answer:?}"
                );
                model.wrote(key, *value, &answer);
            } else {
                assert_412(&answer, model.entries.get(key));
            }
        }
        Step::Delete { key, condition } => {
            let key = KEYS[usize::from(*key)];
            let (header, allowed) = model.allows(key, condition);
            let answer = send(api, Method::DELETE, key, header, None).await;
            match model.entries.get(key) {
                None => answer.assert_error(404, "not_found"),
                Some(entry) if allowed => {
                    assert_eq!(answer.status.as_u16(), 200);
                    assert_eq!(answer.json(), *entry);
                    model.entries.remove(key);
                    model.revision += 1;
                }
                current => assert_412(&answer, current),
            }
        }
        Step::Read {
            key,
            head,
            condition,
        } => {
            let key = KEYS[usize::from(*key)];
            let (header, allowed) = model.allows(key, condition);
            let method = if *head { Method::HEAD } else { Method::GET };
            let answer = send(api, method, key, header, None).await;
            let expected = match (model.entries.get(key), condition) {
                (None, _) => 404,
                (Some(_), _) if allowed => 200,
                (Some(_), Condition::IfMatch(_)) => 412,
                (Some(_), _) => 304,
            };
            assert_eq!(answer.status.as_u16(), expected, "{answer:?}");
            if let Some(entry) = model.entries.get(key) {
                assert_eq!(answer.etag(), entry["etag"].as_str().unwrap());
                assert!(
                    expected != 200 || *head || answer.json() == *entry,
                    "{answer:?}"
                );
            }
        }
        Step::List {
            prefix,
            after,
            limit,
        } => {
            let (prefix, after) = (
                PREFIXES[usize::from(*prefix)],
                after.map(|key| KEYS[usize::from(key)]),
            );
            let mut query = format!("/kv?prefix={prefix}");
            if let Some(after) = after {
                query += &format!("&after={}", after.replace('ü', "%C3%BC"));
            }
            if let Some(limit) = limit {
                query += &format!("&limit={limit}");
            }
            let all: Vec<_> = model
                .entries
                .iter()
                .filter(|(key, _)| {
                    key.starts_with(prefix) && after.is_none_or(|after| **key > after)
                })
                .collect();
            let shown = &all[..all.len().min(limit.unwrap_or(usize::MAX))];
            let next = shown
                .last()
                .filter(|_| shown.len() < all.len())
                .map(|(key, _)| *key);
            let items: Vec<_> = shown.iter().map(|(_, entry)| *entry).collect();
            let expected = json!({ "items": items, "revision": model.revision, "next": next });
            let answer = api.get(&query).send().await;
            assert_eq!(answer.json(), expected, "{query}");
            model.compare_tag(api, &query, answer.etag()).await;
        }
        Step::Restart => {}
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn in_memory_every_answer_is_the_models(steps in proptest::collection::vec(step(), 1..60)) {
        runtime().block_on(async {
            let (api, mut model) = (Api::in_memory(), Model::default());
            for step in &steps {
                take(&api, &mut model, step).await;
            }
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn on_a_file_with_restarts_every_answer_is_the_models(
        steps in proptest::collection::vec(step(), 1..60),
        journaling in proptest::sample::select(vec![Journaling::Never, Journaling::Above { bytes: 0 }]),
        history in proptest::sample::select(vec![History::default(), History::Never]),
    ) {
        runtime().block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let settings = Settings { history, ..journaling.into() };
            let mut api = Api::in_folder_with(folder.path(), settings).await;
            let mut model = Model::default();
            for step in &steps {
                if matches!(step, Step::Restart) {
                    api.close().await;
                    api = Api::in_folder_with(folder.path(), settings).await;
                }
                take(&api, &mut model, step).await;
            }
            api.close().await;
        });
    }
}
