//! Histories of clients at work across SIGKILL, each key's judged by itself.
//!
//! A history ends with a read of its key after the restart, and the next one begins with it. What
//! the kill left without an answer ends after that read: placed before it, it happened; placed
//! after it, it never did. Nothing takes effect once its process is dead (durable linearizability:
//! Izraelevitz, Mendes and Scott, DISC 2016).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use todc_utils::Action::{self, Call, Response};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::support::binary::{MODES, Process, soon};
use crate::support::http;
use crate::support::linear::{
    Answer, Entry, Event, Mark, Operation, Request, Verb, put, refused_event,
};
use crate::support::segments::{Happened, histories_in};
use crate::support::writers::random_below;

const CLIENTS: usize = 8;
const KEYS: usize = 3;
/// How often the server is killed in each mode, unless `IFMATCH_LINEAR_ROUNDS` says otherwise.
const ROUNDS: u64 = 20;
/// A kill comes before so many acknowledgements of its round.
const ACKNOWLEDGEMENTS: usize = 600;
/// How many of the entries that it saw last a client may name in If-Match.
const REMEMBERED: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn every_key_is_linearizable_also_across_kills() {
    // A seed repeats what the clients try, though not how the server comes to interleave it.
    let seed = number_from("IFMATCH_LINEAR_SEED").unwrap_or_else(|| random_below(u64::MAX));
    for arguments in MODES {
        // Shown when the test fails, wherever it does.
        println!("{arguments:?} with IFMATCH_LINEAR_SEED={seed}");
        kill_and_judge(arguments, Dice(seed)).await;
    }
}

async fn kill_and_judge(arguments: &[&str], mut dice: Dice) {
    let folder = TempDir::new().unwrap();
    let record = Arc::new(Record::default());
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|number| Client::new(number, dice.roll()))
        .collect();
    let mut observer = Client::new(CLIENTS, dice.roll());
    let mut process = Process::start(folder.path(), arguments).await;
    observer.read_all(&process.url(""), &record).await;
    for round in 0..number_from("IFMATCH_LINEAR_ROUNDS").unwrap_or(ROUNDS) {
        let kill_after = dice.below(ACKNOWLEDGEMENTS);
        clients = work_until_killed(process, clients, &record, kill_after).await;
        let found = histories_in(folder.path(), arguments).await;
        process = Process::start(folder.path(), arguments).await;
        observer.read_all(&process.url(""), &record).await;
        let events = record.next_history();
        for key in 0..KEYS {
            let history: Vec<_> = events.iter().filter(|event| event.key == key).collect();
            if let Some(refused) = refused_event(&history) {
                for event in &history[..=refused] {
                    println!("{event:?}");
                }
                panic!("round {round}: no order explains the last of these events");
            }
        }
        if let Some(found) = found {
            record.assert_is_in(&found);
        }
    }
    assert!(process.stop().await.status.success());
}

async fn work_until_killed(
    process: Process,
    clients: Vec<Client>,
    record: &Arc<Record>,
    kill_after: usize,
) -> Vec<Client> {
    let (acknowledge, mut acknowledgements) = mpsc::unbounded_channel();
    let mut working = JoinSet::new();
    for client in clients {
        working.spawn(client.work(process.url(""), Arc::clone(record), acknowledge.clone()));
    }
    drop(acknowledge);
    for _ in 0..kill_after {
        let next = soon(acknowledgements.recv()).await;
        next.expect("the clients ended early");
    }
    let ended = working.try_join_next();
    assert!(ended.is_none(), "no answer from a server that lives");
    process.signal(Signal::KILL);
    let (status, log) = process.wait().await;
    assert_eq!(status.code(), None, "it ended by itself: {log}");
    soon(working.join_all()).await
}

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect(variable))
}

/// What all clients did and saw.
#[derive(Default)]
struct Record {
    /// In the one order in which they happened.
    events: Mutex<Vec<Event>>,
    tags: Mutex<Tags>,
}

#[derive(Default)]
struct Tags {
    of_entry: HashMap<Entry, String>,
    shown_with: HashMap<String, Value>,
}

impl Record {
    fn note(&self, key: usize, client: usize, action: Action<Operation>) {
        let event = Event {
            key,
            client,
            action,
        };
        self.events.lock().unwrap().push(event);
    }

    /// All events so far. The reads at the end, of every key, begin the next history.
    fn next_history(&self) -> Vec<Event> {
        let mut events = self.events.lock().unwrap();
        let reads = events[events.len() - 2 * KEYS..].to_vec();
        std::mem::replace(&mut *events, reads)
    }

    /// Every entry that was ever shown is in the history, once, and what is there of a key leads from one version to
    /// the next.
    fn assert_is_in(&self, histories: &BTreeMap<String, Vec<Happened>>) {
        for history in histories.values() {
            let mut version = 0;
            for happened in history {
                version += u64::from(happened.put.is_some());
                assert_eq!(happened.version, version, "{happened:?}");
                if happened.put.is_none() {
                    version = 0;
                }
            }
        }
        for shown in self.tags.lock().unwrap().shown_with.values() {
            let history = &histories[shown["key"].as_str().unwrap()];
            let found = history
                .iter()
                .filter(|happened| happened.put.as_ref() == Some(shown));
            assert_eq!(found.count(), 1, "{shown}");
        }
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
        assert_eq!(shown["key"], name_of(key), "{shown}");
        let tag = shown["etag"].as_str().unwrap().to_owned();
        let mut tags = self.tags.lock().unwrap();
        let known = tags.of_entry.entry(entry).or_insert_with(|| tag.clone());
        assert_eq!(known, &tag, "another tag of {shown}");
        let known = tags.shown_with.entry(tag).or_insert_with(|| shown.clone());
        assert_eq!(known, shown, "another entry with this tag");
        entry
    }
}

fn name_of(key: usize) -> String {
    format!("linear/{key}")
}

struct Client {
    number: usize,
    http: reqwest::Client,
    dice: Dice,
    writes: u64,
    /// The entries of each key that it saw last.
    seen: [Vec<Entry>; KEYS],
}

impl Client {
    fn new(number: usize, seed: u64) -> Self {
        Self {
            number,
            http: http::client(),
            dice: Dice(seed),
            writes: 0,
            seen: Default::default(),
        }
    }

    /// Works until the server is gone.
    async fn work(
        mut self,
        server: String,
        record: Arc<Record>,
        acknowledge: mpsc::UnboundedSender<()>,
    ) -> Self {
        let mut key = self.dice.below(KEYS);
        loop {
            // Whoever stays with a key knows its latest tags.
            if self.dice.below(4) == 0 {
                key = self.dice.below(KEYS);
            }
            let request = self.next_request(key);
            if self.ask(&server, &record, key, request).await.is_none() {
                return self;
            }
            // Whoever counts may have heard enough.
            let _ = acknowledge.send(());
        }
    }

    async fn read_all(&mut self, server: &str, record: &Record) {
        let read = Request::new(Verb::Get);
        for key in 0..KEYS {
            let answer = soon(self.ask(server, record, key, read)).await;
            answer.expect("it serves");
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

    /// The answer, if there was a whole one.
    async fn ask(
        &mut self,
        server: &str,
        record: &Record,
        key: usize,
        request: Request,
    ) -> Option<Answer> {
        let answer = None;
        let operation = Operation { request, answer };
        record.note(key, self.number, Call(operation));
        let answer = self.send(server, record, key, request).await?;
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
        Some(answer)
    }

    async fn send(
        &self,
        server: &str,
        record: &Record,
        key: usize,
        Request { verb, if_match }: Request,
    ) -> Option<Answer> {
        let url = format!("{server}/kv/{}", name_of(key));
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
        let answer = call.send().await.ok()?;
        let status = answer.status().as_u16();
        let tag = answer.headers().get("etag").cloned();
        let body: Value = answer.json().await.ok()?;
        let shown = match status {
            412 => &body["current"],
            _ => &body,
        };
        let shown_tag = shown["etag"].as_str();
        assert_eq!(tag.as_ref().map(|tag| tag.to_str().unwrap()), shown_tag);
        Some(match (status, body["error"].as_str()) {
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
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to `end`, without it.
    fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap();
        (self.roll() % end).try_into().unwrap()
    }
}

/// A history that somebody could have seen, of one key that is absent at first.
struct Told(Vec<Event>);

impl Told {
    fn new() -> Self {
        Self(Vec::new()).then(CLIENTS, READ, Answer::NotFound)
    }

    /// `client` asks, and has its answer before anything else happens.
    fn then(self, client: usize, request: Request, answer: Answer) -> Self {
        self.asks(client, request).hears(client, request, answer)
    }

    fn asks(self, client: usize, request: Request) -> Self {
        self.with(client, request, None)
    }

    fn hears(self, client: usize, request: Request, answer: Answer) -> Self {
        self.with(client, request, Some(answer))
    }

    fn with(mut self, client: usize, request: Request, answer: Option<Answer>) -> Self {
        let operation = Operation { request, answer };
        let action = answer.map_or(Call(operation), |_| Response(operation));
        let key = 0;
        let event = Event {
            key,
            client,
            action,
        };
        self.0.push(event);
        self
    }

    /// Which event is refused, if one is.
    fn refused(&self) -> Option<usize> {
        refused_event(&self.0.iter().collect::<Vec<_>>())
    }
}

const READ: Request = Request::new(Verb::Get);
const DELETE: Request = Request::new(Verb::Delete);

fn set(mark: Mark) -> Request {
    Request::new(Verb::Put(mark))
}

#[test]
fn of_two_writers_with_one_tag_both_answered_200_the_second_is_refused() {
    let [first, second, third] = [put((0, 1), 1), put((1, 1), 2), put((2, 1), 3)];
    let created = || Told::new().then(0, set((0, 1)), Answer::Created(first));
    let [one, other] = [set((1, 1)).if_match(first), set((2, 1)).if_match(first)];
    let in_turn =
        created()
            .then(1, one, Answer::Shown(second))
            .then(2, other, Answer::Shown(third));
    assert_eq!(in_turn.refused(), Some(7));
    let both = || created().asks(1, one).asks(2, other);
    let at_once = both()
        .hears(2, other, Answer::Shown(third))
        .hears(1, one, Answer::Shown(second));
    assert_eq!(at_once.refused(), Some(6), "no 3 before a 2");
    let twice_the_version =
        both()
            .hears(1, one, Answer::Shown(second))
            .hears(2, other, Answer::Shown(put((2, 1), 2)));
    assert_eq!(twice_the_version.refused(), Some(7));
    let right = both()
        .hears(2, other, Answer::Mismatch(Some(second)))
        .hears(1, one, Answer::Shown(second));
    assert_eq!(right.refused(), None);
}

#[test]
fn a_read_of_what_was_overwritten_is_refused() {
    let [first, second] = [put((0, 1), 1), put((1, 1), 2)];
    let overwrite = set((1, 1)).if_match(first);
    let created = || Told::new().then(0, set((0, 1)), Answer::Created(first));
    let overwritten = created().then(1, overwrite, Answer::Shown(second));
    let stale = overwritten.then(2, READ, Answer::Shown(first));
    assert_eq!(stale.refused(), Some(7));
    let during = created()
        .asks(1, overwrite)
        .then(2, READ, Answer::Shown(first))
        .hears(1, overwrite, Answer::Shown(second));
    assert_eq!(during.refused(), None);
}

#[test]
fn an_acknowledged_write_that_is_gone_after_a_restart_is_refused() {
    let entry = put((0, 1), 1);
    let created = || Told::new().then(0, set((0, 1)), Answer::Created(entry));
    let lost = created().then(CLIENTS, READ, Answer::NotFound);
    assert_eq!(lost.refused(), Some(5));
    let deleted = created().then(1, DELETE, Answer::Shown(entry));
    let back = deleted.then(CLIENTS, READ, Answer::Shown(entry));
    assert_eq!(back.refused(), Some(7));
}

#[test]
fn what_was_not_answered_happened_or_did_not() {
    let [first, second] = [put((0, 1), 1), put((1, 1), 2)];
    let killed = || {
        let created = Told::new().then(0, set((0, 1)), Answer::Created(first));
        created.asks(1, set((1, 1))).asks(2, DELETE)
    };
    let afterwards = [
        (Answer::Shown(first), None),
        (Answer::Shown(second), None),
        (Answer::NotFound, None),
        // Created by the write after the delete.
        (Answer::Shown(put((1, 1), 1)), None),
        (Answer::Shown(put((1, 1), 3)), Some(7)),
        (Answer::Shown(put((3, 1), 2)), Some(7)),
    ];
    for (found, refused) in afterwards {
        let told = killed().then(CLIENTS, READ, found);
        assert_eq!(told.refused(), refused, "{found:?}");
    }
}

#[test]
fn a_write_that_comes_only_after_the_restart_is_refused() {
    let late = Told::new().then(1, READ, Answer::Shown(put((0, 1), 1)));
    assert_eq!(late.refused(), Some(3));
}
