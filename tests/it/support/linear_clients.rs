//! Clients that note what they ask and what they are answered, for the judge in `linear`.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::Method;
use serde_json::{Value, json};
use todc_utils::Action::{self, Call, Response};

use super::binary::soon;
use super::http;
use super::linear::{Answer, Entry, Event, Operation, Request, Verb, put};

pub const CLIENTS: usize = 8;
pub const KEYS: usize = 3;
/// How many of the entries that it saw last a client may name in If-Match.
const REMEMBERED: usize = 3;

/// What all clients did and saw.
pub struct Record {
    /// What the keys begin with.
    prefix: String,
    /// Whoever has no answer goes on as somebody else.
    next_client: AtomicUsize,
    /// In the one order in which they happened.
    events: Mutex<Vec<Event>>,
    tags: Mutex<Tags>,
}

#[derive(Default)]
struct Tags {
    of_entry: HashMap<Entry, String>,
    shown_with: HashMap<String, Value>,
}

/// What became of a request.
#[derive(Debug)]
pub enum Outcome {
    Answered(Answer),
    /// It is said that nothing was done.
    Refused,
    /// It may have been done, or may still be.
    Lost,
}

impl Record {
    /// Of keys with this prefix.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
            next_client: AtomicUsize::new(CLIENTS + 1),
            events: Mutex::default(),
            tags: Mutex::default(),
        }
    }

    fn note(&self, key: usize, client: usize, action: Action<Operation>) {
        let event = Event {
            key,
            client,
            action,
        };
        self.events.lock().unwrap().push(event);
    }

    /// Takes back what was called last, which was not done.
    fn forget(&self, key: usize, client: usize) {
        let mut events = self.events.lock().unwrap();
        let is_it = |event: &Event| (event.key, event.client) == (key, client);
        let call = events.iter().rposition(is_it).expect("it was called");
        events.remove(call);
    }

    /// All events so far. The reads at the end, of every key, begin the next history.
    pub fn next_history(&self) -> Vec<Event> {
        let mut events = self.events.lock().unwrap();
        let reads = events[events.len() - 2 * KEYS..].to_vec();
        std::mem::replace(&mut *events, reads)
    }

    /// Every entry that was ever shown.
    pub fn shown(&self) -> Vec<Value> {
        let tags = self.tags.lock().unwrap();
        tags.shown_with.values().cloned().collect()
    }

    fn tag_of(&self, entry: Entry) -> String {
        self.tags.lock().unwrap().of_entry[&entry].clone()
    }

    /// An entry as it was shown, which must always be shown so.
    fn entry(&self, key: usize, shown: &Value) -> Entry {
        let entry = Entry {
            marks: serde_json::from_value(shown["value"].clone()).unwrap(),
            version: shown["version"].as_u64().unwrap(),
        };
        assert_eq!(shown["key"], self.name_of(key), "{shown}");
        let tag = shown["etag"].as_str().unwrap().to_owned();
        let mut tags = self.tags.lock().unwrap();
        let known = tags.of_entry.entry(entry).or_insert_with(|| tag.clone());
        assert_eq!(known, &tag, "another tag of {shown}");
        let known = tags.shown_with.entry(tag).or_insert_with(|| shown.clone());
        assert_eq!(known, shown, "another entry with this tag");
        entry
    }

    fn name_of(&self, key: usize) -> String {
        format!("{}/{key}", self.prefix)
    }
}

/// Somebody who asks one thing after the other.
pub struct Client {
    number: usize,
    http: reqwest::Client,
    dice: Dice,
    /// Which key it asked for last.
    key: usize,
    writes: u64,
    /// The entries of each key that it saw last.
    seen: [Vec<Entry>; KEYS],
}

impl Client {
    pub fn new(number: usize, seed: u64) -> Self {
        Self {
            number,
            http: http::client(),
            dice: Dice(seed),
            key: 0,
            writes: 0,
            seen: Default::default(),
        }
    }

    /// Asks one of the servers for something.
    pub async fn step(&mut self, servers: &[String], record: &Record) -> Outcome {
        // Whoever stays with a key knows its latest tags.
        if self.dice.below(4) == 0 {
            self.key = self.dice.below(KEYS);
        }
        let request = self.next_request(self.key);
        let server = &servers[self.dice.below(servers.len())];
        self.ask(server, record, self.key, request).await
    }

    /// Reads every key, of a server that answers.
    pub async fn read_all(&mut self, server: &str, record: &Record) {
        let read = Request::new(Verb::Get);
        for key in 0..KEYS {
            let outcome = soon(self.ask(server, record, key, read)).await;
            assert!(matches!(outcome, Outcome::Answered(_)), "{outcome:?}");
        }
    }

    fn next_request(&mut self, key: usize) -> Request {
        self.writes += 1;
        let mark = (self.number, self.writes);
        let (verb, conditional) = match self.dice.below(20) {
            0..5 => (Verb::Get, false),
            5..7 => (Verb::Put(mark), false),
            7..16 => (Verb::Put(mark), true),
            16..18 => (Verb::Patch(mark), self.dice.below(2) == 0),
            _ => (Verb::Delete, self.dice.below(2) == 0),
        };
        let seen = &self.seen[key];
        let if_match = if conditional && !seen.is_empty() {
            // The last of them in two cases of three, so that some writes go through.
            let back = self.dice.below(seen.len()) * self.dice.below(2);
            Some(seen[seen.len() - 1 - back])
        } else {
            None
        };
        Request { verb, if_match }
    }

    async fn ask(
        &mut self,
        server: &str,
        record: &Record,
        key: usize,
        request: Request,
    ) -> Outcome {
        let answer = None;
        let operation = Operation { request, answer };
        record.note(key, self.number, Call(operation));
        let outcome = self.send(server, record, key, request).await;
        let answer = match outcome {
            Outcome::Answered(answer) => answer,
            Outcome::Refused => {
                record.forget(key, self.number);
                return outcome;
            }
            Outcome::Lost => {
                self.number = record.next_client.fetch_add(1, Ordering::Relaxed);
                return outcome;
            }
        };
        let operation = Operation {
            answer: Some(answer),
            ..operation
        };
        record.note(key, self.number, Response(operation));
        if let Answer::Shown(entry) | Answer::Created(entry) | Answer::Mismatch(Some(entry)) =
            answer
        {
            let seen = &mut self.seen[key];
            seen.push(entry);
            seen.drain(..seen.len().saturating_sub(REMEMBERED));
        }
        outcome
    }

    async fn send(
        &self,
        server: &str,
        record: &Record,
        key: usize,
        Request { verb, if_match }: Request,
    ) -> Outcome {
        let url = format!("{server}/kv/{}", record.name_of(key));
        let mut call = match verb {
            Verb::Get => self.http.get(url),
            Verb::Put(mark) => self.http.put(url).json(&put(mark, 1).marks),
            Verb::Patch(mark) => {
                let patch = json!({ "patch": mark }).to_string();
                let call = self.http.request(Method::PATCH, url).body(patch);
                call.header("content-type", "application/merge-patch+json")
            }
            Verb::Delete => self.http.delete(url),
        };
        if let Some(entry) = if_match {
            call = call.header("if-match", record.tag_of(entry));
        }
        let Ok(answer) = call.send().await else {
            return Outcome::Lost;
        };
        let status = answer.status().as_u16();
        let tag = answer.headers().get("etag").cloned();
        let Ok(body) = answer.json::<Value>().await else {
            return Outcome::Lost;
        };
        let shown = match status {
            412 => &body["current"],
            _ => &body,
        };
        let shown_tag = shown["etag"].as_str();
        assert_eq!(tag.as_ref().map(|tag| tag.to_str().unwrap()), shown_tag);
        Outcome::Answered(match (status, body["error"].as_str()) {
            (503, Some("unavailable")) => return Outcome::Refused,
            (504, Some("outcome_unknown")) => return Outcome::Lost,
            (200, None) => Answer::Shown(record.entry(key, shown)),
            (201, None) => Answer::Created(record.entry(key, shown)),
            (404, Some("not_found")) => Answer::NotFound,
            (412, Some("precondition_failed")) => {
                let current = (!shown.is_null()).then(|| record.entry(key, shown));
                Answer::Mismatch(current)
            }
            _ => panic!("{status} {body} to {verb:?} with {if_match:?}"),
        })
    }
}

/// `SplitMix64`: the same rolls for the same seed.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to `end`, without it.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap();
        (self.roll() % end).try_into().unwrap()
    }
}
