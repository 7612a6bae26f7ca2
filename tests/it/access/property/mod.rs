//! Random callers with random grants: every answer and every event is the model's, and shows nothing of a key
//! that its reader may not read.

mod model;
mod steps;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use ifmatch::access::{Action, Authority, Grant, Grants, Readable, Tokens};
use ifmatch::storage::memory::MemoryStore;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::timeout;

use self::model::{Condition, KEYS, ListTag, Model, Outcome, PREFIXES, assert_hides, may};
use self::steps::{Step, some_grants, step};
use super::{ADMIN, token};
use crate::support::api::{Answer, Api};
use crate::support::events::Events;

/// The first may do everything, at first.
const NAMES: [&str; 4] = ["owner", "ann", "ben", "cat"];
/// Who has no token.
const ANONYMOUS: usize = NAMES.len();

/// A stream that was opened, and what it must bring.
struct Opened {
    events: Events,
    by: usize,
    grants: Grants,
    part: Part,
    is_reset: bool,
    after: u64,
    is_revoked: bool,
}

enum Part {
    Key(usize),
    Prefix(&'static str),
}

struct Run {
    api: Api,
    authority: Authority,
    grants: Vec<Vec<Grant>>,
    anonymous: Option<Grants>,
    model: Model,
    tags: Vec<ListTag>,
    streams: Vec<Opened>,
    values: u64,
}

impl Run {
    fn new(mut grants: Vec<Vec<Grant>>, anonymous: Option<Vec<Grant>>) -> Self {
        grants[0] = Grants::everything().as_slice().to_vec();
        let anonymous = anonymous.map(Grants::new);
        let authority = Authority::new(Self::tokens(&grants), anonymous.clone());
        let api = Api::guarded_by(Arc::new(MemoryStore::new()), authority.clone());
        Self {
            api: api.unchecked(),
            authority,
            grants,
            anonymous,
            model: Model::default(),
            tags: Vec::new(),
            streams: Vec::new(),
            values: 0,
        }
    }

    fn tokens(grants: &[Vec<Grant>]) -> Tokens {
        let text = |(name, granted): (&&str, &Vec<Grant>)| {
            let letters = |grant: &Grant| {
                let first = |action: &Action| &action.as_str()[..1];
                grant.actions.iter().map(first).collect::<String>()
            };
            let granted: Vec<_> = granted
                .iter()
                .map(|it| (&*it.prefix, letters(it)))
                .collect();
            let granted: Vec<_> = granted
                .iter()
                .map(|(prefix, it)| (*prefix, &**it))
                .collect();
            token(name, &granted, "")
        };
        let others: String = NAMES.iter().zip(grants).map(text).collect();
        let admin = token(ADMIN, &[("", "rcud")], "");
        Tokens::parse(&format!("{admin}{others}")).unwrap()
    }

    fn grants_of(&self, by: usize) -> Option<Grants> {
        match self.grants.get(by) {
            Some(grants) => Some(self.grants_with(grants)),
            None => self.anonymous.clone(),
        }
    }

    /// What a token grants, and what anybody may do.
    fn grants_with(&self, of_token: &[Grant]) -> Grants {
        let own = Grants::new(of_token.to_vec());
        let everyone = self.anonymous.as_ref();
        everyone.map_or_else(|| own.clone(), |everyone| own.with(everyone))
    }

    /// Asks, and looks at all that comes back.
    async fn ask(
        &mut self,
        by: usize,
        method: &str,
        path: &str,
        headers: &[(&str, String)],
        body: &str,
    ) -> Answer {
        let mut call = self.api.call(method.parse::<Method>().unwrap(), path);
        call = call.by(NAMES.get(by).unwrap_or(&""));
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            call = call.header("content-type", "application/json");
        }
        for (name, value) in headers {
            call = call.header(name, value);
        }
        let answer = call.body(body.to_owned()).send().await;
        let grants = self.grants_of(by);
        let is_hidden = |key| !grants.as_ref().is_some_and(|it| may(it, Action::Read, key));
        let text = format!("{:?} {}", answer.headers, answer.text());
        assert_hides(&text, &format!("{path} {body}"), is_hidden);
        for (key, tag) in &self.model.tags {
            let is_shown = text.contains(tag.trim_matches('"'));
            assert!(!(is_hidden(*key) && is_shown), "{tag} of {key}: {text}");
        }
        if grants.is_none() && path != "/health" {
            assert_eq!(answer.status, 401);
        }
        answer
    }

    fn value(&mut self, key: usize) -> String {
        self.values += 1;
        format!("\"secret-k{key}-n{}.\"", self.values)
    }

    /// Takes over the tags, and compares all entries.
    async fn compare(&mut self) {
        let list = self.api.get("/kv").by(ADMIN).send().await.json();
        assert_eq!(list["revision"], self.model.revision);
        let items = list["items"].as_array().unwrap();
        assert_eq!(items.len(), self.model.entries.len());
        for item in items {
            let key = KEYS.iter().position(|key| item["key"] == *key).unwrap();
            let entry = self.model.entries.get_mut(&key).unwrap();
            assert_eq!(item["value"].to_string(), entry.value);
            assert_eq!(item["version"], entry.version);
            let tag = item["etag"].as_str().unwrap();
            tag.clone_into(&mut entry.tag);
            self.model.tags.push((key, tag.to_owned()));
        }
        self.model.tags.sort();
        self.model.tags.dedup();
    }

    async fn write(&mut self, by: usize, grants: &Grants, step: &Step) {
        let (key, condition) = match step {
            Step::Put(key, condition)
            | Step::Patch(key, condition, _)
            | Step::Delete(key, condition) => (*key, *condition),
            other => panic!("{other:?} is no write"),
        };
        let value = self.value(key);
        let granted = |action| may(grants, action, key);
        let reads = granted(Action::Read);
        let mut headers: Vec<_> = self.model.header(key, condition).into_iter().collect();
        let exists = self.model.entries.contains_key(&key);
        let (method, body, outcome, done) = match step {
            Step::Put(..) => {
                let method = if self.values.is_multiple_of(2) {
                    "PUT"
                } else {
                    "POST"
                };
                let outcome = self.model.put(grants, key, condition);
                (
                    method,
                    value.clone(),
                    outcome,
                    if exists { 200 } else { 201 },
                )
            }
            Step::Patch(_, _, is_json) => {
                let kind = if *is_json { "json" } else { "merge" };
                headers.push(("content-type", format!("application/{kind}-patch+json")));
                let body = match is_json {
                    true => format!(r#"[{{"op":"replace","path":"","value":{value}}}]"#),
                    false => value.clone(),
                };
                let is_granted = granted(Action::Update) && (reads || !is_json);
                let outcome = self.model.of_existing(is_granted, key, condition);
                ("PATCH", body, outcome, if reads { 200 } else { 204 })
            }
            _ => {
                let outcome = self
                    .model
                    .of_existing(granted(Action::Delete), key, condition);
                (
                    "DELETE",
                    String::new(),
                    outcome,
                    if reads { 200 } else { 204 },
                )
            }
        };
        let answer = self
            .ask(by, method, &format!("/kv/{}", KEYS[key]), &headers, &body)
            .await;
        let status = status(outcome, done);
        assert_eq!(answer.status, status, "{answer:?}");
        if status == 412 {
            assert_eq!(answer.json().get("current").is_some(), reads, "{answer:?}");
        }
        if outcome == Outcome::Done {
            let value = (method != "DELETE").then_some(value);
            self.model.commit(&[(key, value)]);
        }
    }

    async fn transact(&mut self, by: usize, grants: &Grants, of: &[(u8, usize, Condition)]) {
        let (mut operations, mut outcomes, mut writes) = (Vec::new(), Vec::new(), Vec::new());
        for (kind, key, condition) in of {
            let (name, outcome) = match kind {
                0 => ("put", self.model.put(grants, *key, *condition)),
                1 => {
                    let is_granted = may(grants, Action::Delete, *key);
                    (
                        "delete",
                        self.model.of_existing(is_granted, *key, *condition),
                    )
                }
                _ => ("check", self.model.check(grants, *key, *condition)),
            };
            let mut operation = json!({"op": name, "key": KEYS[*key]});
            if name == "put" {
                let value = self.value(*key);
                operation["value"] = serde_json::from_str(&value).unwrap();
                writes.push((*key, Some(value)));
            } else if name == "delete" {
                writes.push((*key, None));
            }
            if let Some((name, tags)) = self.model.header(*key, *condition) {
                operation[name.replace('-', "_")] = tags.into();
            }
            operations.push(operation);
            outcomes.push(outcome);
        }
        let body = json!({ "operations": operations }).to_string();
        let answer = self.ask(by, "POST", "/transactions", &[], &body).await;
        if outcomes.contains(&Outcome::Forbidden) {
            assert_eq!(answer.status, 403, "{answer:?}");
            return;
        }
        let is_failed = |outcome: &Outcome| *outcome != Outcome::Done;
        if outcomes.iter().any(is_failed) {
            assert_eq!(answer.status, 412, "{answer:?}");
            let failed = answer.json()["failed"].as_array().unwrap().clone();
            let index = |it: &Value| usize::try_from(it["index"].as_u64().unwrap()).unwrap();
            let wanted = (0..of.len()).filter(|it| is_failed(&outcomes[*it]));
            assert!(wanted.eq(failed.iter().map(index)), "{answer:?}");
            for one in &failed {
                let key = of[index(one)].1;
                let reads = may(grants, Action::Read, key);
                assert_eq!(one.get("current").is_some(), reads, "{answer:?}");
            }
            return;
        }
        assert_eq!(answer.status, 200, "{answer:?}");
        for ((kind, key, _), result) in of.iter().zip(answer.json()["results"].as_array().unwrap())
        {
            let is_shown = *kind == 0
                || (may(grants, Action::Read, *key) && self.model.entries.contains_key(key));
            assert_eq!(!result.is_null(), is_shown, "{answer:?}");
        }
        if !writes.is_empty() {
            self.model.commit(&writes);
        }
    }

    async fn list(&mut self, by: usize, grants: &Grants, step: &Step) {
        let Step::List {
            prefix,
            after,
            limit,
            tag,
            wait,
        } = step
        else {
            panic!("{step:?} is no list");
        };
        let prefix = PREFIXES[*prefix];
        let mut path = format!("/kv?prefix={prefix}");
        path += &after.map_or(String::new(), |after| format!("&after={}", KEYS[after]));
        path += &limit.map_or(String::new(), |limit| format!("&limit={limit}"));
        let mut headers = Vec::new();
        let tag = tag.and_then(|tag| self.tags.iter().rev().nth(tag)).cloned();
        headers.extend(tag.iter().map(|tag| ("if-none-match", tag.text.clone())));
        if *wait {
            headers.push(("prefer", "wait=1".to_owned()));
        }
        let answer = self.ask(by, "GET", &path, &headers, "").await;
        let part = grants.readable_with_prefix(prefix);
        if part == Readable::Nothing {
            assert_eq!(answer.status, 403, "{answer:?}");
            return;
        }
        let is_current = tag.as_ref().is_some_and(|tag| {
            let changes = self.model.changes_after(tag.revision, |key| {
                KEYS[key].starts_with(prefix)
                    && may(grants, Action::Read, key)
                    && after.is_none_or(|after| KEYS[key] > KEYS[after])
            });
            let is_newest = tag.revision == self.model.revision;
            tag.part == part && (is_newest || (*wait && changes.is_empty()))
        });
        assert_eq!(
            answer.status,
            if is_current { 304 } else { 200 },
            "{answer:?}"
        );
        if is_current {
            assert_eq!(answer.etag(), tag.unwrap().text);
            return;
        }
        let list = answer.json();
        let (keys, next) = self.model.list(grants, prefix, *after, *limit);
        let keys: Vec<_> = keys.iter().map(|key| KEYS[*key]).collect();
        let items = list["items"].as_array().unwrap();
        let listed: Vec<_> = items.iter().map(|it| it["key"].as_str().unwrap()).collect();
        assert_eq!(listed, keys);
        assert_eq!(
            list["next"],
            next.map_or(Value::Null, |key| KEYS[key].into())
        );
        self.tags.push(ListTag {
            part,
            revision: self.model.revision,
            text: answer.etag(),
        });
    }

    async fn watch(&mut self, by: usize, prefix: usize, key: Option<usize>, since: Option<usize>) {
        let (query, part) = match key {
            Some(key) => (format!("key={}", KEYS[key]), Part::Key(key)),
            None => (
                format!("prefix={}", PREFIXES[prefix]),
                Part::Prefix(PREFIXES[prefix]),
            ),
        };
        let since = since
            .and_then(|since| self.tags.iter().rev().nth(since))
            .cloned();
        let opaque = |tag: &ListTag| format!("&since={}", tag.text.trim_matches('"'));
        let path = format!(
            "/watch?{query}{}",
            since.as_ref().map_or(String::new(), opaque)
        );
        let mut request = Request::get(path);
        if let Some(name) = NAMES.get(by) {
            request = request.header("authorization", format!("Bearer {name}"));
        }
        let response = self.api.begin(request.body(Body::empty()).unwrap()).await;
        let Some(grants) = self.grants_of(by) else {
            assert_eq!(response.status(), 401);
            return;
        };
        let readable = match &part {
            Part::Key(key) if may(&grants, Action::Read, *key) => Readable::Everything,
            Part::Key(_) => Readable::Nothing,
            Part::Prefix(prefix) => grants.readable_with_prefix(prefix),
        };
        if readable == Readable::Nothing {
            assert_eq!(response.status(), 403);
            return;
        }
        assert_eq!(response.status(), 200);
        let is_known = since.as_ref().is_some_and(|tag| tag.part == readable);
        self.streams.push(Opened {
            events: Events::of(response.into_body()),
            by,
            grants,
            part,
            is_reset: since.is_some() && !is_known,
            after: since
                .filter(|_| is_known)
                .map_or(self.model.revision, |tag| tag.revision),
            is_revoked: false,
        });
    }

    async fn take(&mut self, by: usize, step: &Step) {
        let none = || Grants::new(Vec::new());
        let grants = self.grants_of(by).unwrap_or_else(none);
        match step {
            // The model of who has no grants at all is 403, where no right to ask is 401.
            _ if by == ANONYMOUS && self.anonymous.is_none() => {
                self.ask(by, "GET", "/kv", &[], "").await;
                self.ask(by, "DELETE", "/kv/a-k0", &[], "").await;
            }
            Step::Put(..) | Step::Patch(..) | Step::Delete(..) => {
                self.write(by, &grants, step).await;
            }
            Step::Get(key, condition, head) => {
                let headers: Vec<_> = self.model.header(*key, *condition).into_iter().collect();
                let method = if *head { "HEAD" } else { "GET" };
                let path = format!("/kv/{}", KEYS[*key]);
                let answer = self.ask(by, method, &path, &headers, "").await;
                let is_granted = may(&grants, Action::Read, *key);
                let status = match self.model.of_existing(is_granted, *key, *condition) {
                    Outcome::Failed if *condition != Condition::MatchOther => 304,
                    outcome => status(outcome, 200),
                };
                assert_eq!(answer.status, status, "{answer:?}");
            }
            Step::List { .. } => self.list(by, &grants, step).await,
            Step::Transact(operations) => self.transact(by, &grants, operations).await,
            Step::Watch { prefix, key, since } => self.watch(by, *prefix, *key, *since).await,
            Step::Health => {
                let health = self.ask(by, "GET", "/health", &[], "").await.json();
                let shown = health["store"].get("keys").is_some();
                assert_eq!(shown, grants.read_everything());
            }
            Step::Regrant(to) if by < ANONYMOUS && self.grants[by] != *to => {
                let is_same = self.grants_with(to) == self.grants_with(&self.grants[by]);
                self.grants[by].clone_from(to);
                self.authority.replace(Self::tokens(&self.grants));
                let own = self.streams.iter_mut().filter(|stream| stream.by == by);
                own.for_each(|stream| stream.is_revoked |= !is_same);
            }
            Step::Regrant(_) => {}
        }
        self.compare().await;
    }

    /// Reads every stream up to where it waits or ends.
    async fn read_streams(self) {
        for mut stream in self.streams {
            let first = stream.events.block().await.unwrap();
            assert_eq!(first.event.is_some(), stream.is_reset, "{first:?}");
            let is_hidden = |key| !may(&stream.grants, Action::Read, key);
            let mut told = Vec::new();
            let ended = loop {
                // The clock only goes on when there is nothing left to do.
                match timeout(Duration::from_secs(1), stream.events.block()).await {
                    Err(_) => break false,
                    Ok(None) => break true,
                    Ok(Some(block)) => {
                        assert_hides(&format!("{block:?}"), "", is_hidden);
                        told.push(block.told());
                    }
                }
            };
            assert_eq!(ended, stream.is_revoked);
            let wanted = self.model.changes_after(stream.after, |key| {
                let matches = match stream.part {
                    Part::Key(wanted) => key == wanted,
                    Part::Prefix(prefix) => KEYS[key].starts_with(prefix),
                };
                matches && !is_hidden(key) && !stream.is_revoked
            });
            let wanted = wanted.into_iter();
            let wanted = wanted.map(|(at, kind, key)| (kind.to_owned(), KEYS[key].to_owned(), at));
            assert!(wanted.eq(told.clone()), "{told:?}");
        }
    }
}

fn status(outcome: Outcome, done: u16) -> u16 {
    match outcome {
        Outcome::Done => done,
        Outcome::Failed => 412,
        Outcome::NotFound => 404,
        Outcome::Forbidden => 403,
    }
}

proptest! {
    #[test]
    fn nobody_sees_or_does_what_is_not_granted(
        grants in prop::collection::vec(some_grants(), NAMES.len()),
        anonymous in proptest::option::of(some_grants()),
        steps in prop::collection::vec((0..=ANONYMOUS, step()), 1..50),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut run = Run::new(grants, anonymous);
            for (by, step) in &steps {
                run.take(*by, step).await;
            }
            run.read_streams().await;
        });
    }
}
