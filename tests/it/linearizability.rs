//! Histories of concurrent clients, across kills: is there an order of all operations, each at one
//! moment between its call and its answer, in which every answer is right (Herlihy and Wing)?
//!
//! Each key is an object of its own, so its history is judged alone. A request that a kill left
//! without an answer took effect before the kill or not at all.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;

use reqwest::{Client, Method, RequestBuilder, Response};
use rustix::process::Signal;
use serde_json::{Value, json};
use todc_utils::linearizability::WGLChecker;
use todc_utils::linearizability::history::{Action, History};
use todc_utils::specifications::Specification;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::support::binary::{MODES, Process, soon};
use crate::support::writers::random_below;

const CLIENTS: usize = 8;
const KEYS: [&str; 3] = ["a", "b", "c"];
/// How often the server is killed in each mode, unless `IFMATCH_LINEAR_ROUNDS` says otherwise.
const ROUNDS: u32 = 5;
/// A kill comes before so many answers of its round.
const ANSWERS: u64 = 400;

/// An entry as the clients know it: which write made it, and its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Seen {
    write: u64,
    version: u64,
}

/// What a client asks of a key; each write has a number of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Request {
    Get,
    Put(u64),
    /// With the tag of what the client saw last.
    PutIfMatch(u64, Seen),
    Patch(u64),
    Delete,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    /// 200 or 201 with the entry that is there now, or of a DELETE the one that was.
    Done(Seen),
    /// 404.
    Absent,
    /// 412 with the entry that stands.
    Failed(Option<Seen>),
    /// No answer.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Operation {
    request: Request,
    outcome: Outcome,
}

/// One key of the service.
struct KeySpecification;

impl Specification for KeySpecification {
    /// Every state that the key may be in: after an operation whose outcome is unknown there are
    /// two where there was one.
    type State = BTreeSet<Option<Seen>>;
    type Operation = Operation;

    fn init() -> Self::State {
        BTreeSet::from([None])
    }

    fn apply(operation: &Operation, states: &Self::State) -> (bool, Self::State) {
        let mut after = BTreeSet::new();
        for before in states {
            let (outcome, state) = carried_out(&operation.request, *before);
            if operation.outcome == Outcome::Unknown {
                after.extend([*before, state]);
            } else if operation.outcome == outcome {
                after.insert(state);
            }
        }
        (!after.is_empty(), after)
    }
}

/// What the contract says of a request to a key in this state.
fn carried_out(request: &Request, before: Option<Seen>) -> (Outcome, Option<Seen>) {
    let version = before.map_or(1, |seen| seen.version + 1);
    let written = |write| {
        let seen = Seen { write, version };
        (Outcome::Done(seen), Some(seen))
    };
    match (request, before) {
        (Request::Put(write), _) | (Request::Patch(write), Some(_)) => written(*write),
        (Request::PutIfMatch(write, seen), Some(current)) if *seen == current => written(*write),
        (Request::PutIfMatch(..), _) => (Outcome::Failed(before), before),
        (Request::Get | Request::Patch(_) | Request::Delete, None) => (Outcome::Absent, None),
        (Request::Get, Some(seen)) => (Outcome::Done(seen), before),
        (Request::Delete, Some(seen)) => (Outcome::Done(seen), None),
    }
}

type Actions = Vec<(usize, Action<Operation>)>;

fn is_linearizable(actions: &Actions) -> bool {
    WGLChecker::<KeySpecification>::is_linearizable(History::from_actions(actions.clone()))
}

/// What all clients did, in the order in which they did it, and what each tag stood for.
#[derive(Default)]
struct Recorder {
    actions: HashMap<&'static str, Actions>,
    tags: HashMap<String, (&'static str, Seen)>,
}

impl Recorder {
    fn record(&mut self, client: usize, key: &'static str, action: Action<Operation>) {
        self.actions.entry(key).or_default().push((client, action));
    }

    /// The entry in an answer. A tag never stands for two.
    fn seen(&mut self, key: &'static str, entry: &Value) -> Seen {
        let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{entry}"));
        let seen = Seen {
            write: number(&entry["value"]["write"]),
            version: number(&entry["version"]),
        };
        let tag = entry["etag"].as_str().unwrap().to_owned();
        let before = *self.tags.entry(tag).or_insert((key, seen));
        assert_eq!(before, (key, seen), "{entry}");
        seen
    }

    fn tag_of(&self, key: &'static str, seen: Seen) -> Option<&String> {
        let tag = self.tags.iter().find(|(_, of)| **of == (key, seen));
        tag.map(|(tag, _)| tag)
    }
}

/// Sends requests until the server is gone. Returns the key and the request that was not answered.
async fn work(
    number: usize,
    server: String,
    recorder: &'static Mutex<Recorder>,
    answered: mpsc::UnboundedSender<()>,
) -> (usize, &'static str, Request) {
    let client = Client::new();
    let mut last_seen: HashMap<&str, Seen> = HashMap::new();
    loop {
        let key = KEYS[usize::try_from(random_below(KEYS.len() as u64)).unwrap()];
        let request = next_request(last_seen.get(key).copied());
        let sent = {
            let mut recorder = recorder.lock().unwrap();
            let operation = Operation {
                request: request.clone(),
                outcome: Outcome::Unknown,
            };
            recorder.record(number, key, Action::Call(operation));
            let tag = match request {
                Request::PutIfMatch(_, seen) => recorder.tag_of(key, seen).cloned(),
                _ => None,
            };
            to_http(&client, &format!("{server}/kv/{key}"), &request, tag)
        };
        let Some((status, body)) = answer(sent.send().await).await else {
            return (number, key, request);
        };
        let mut recorder = recorder.lock().unwrap();
        let outcome = match status {
            200 | 201 => Outcome::Done(recorder.seen(key, &body)),
            404 => Outcome::Absent,
            412 => {
                let current = &body["current"];
                let current = (!current.is_null()).then(|| recorder.seen(key, current));
                Outcome::Failed(current)
            }
            other => panic!("{other}: {body}"),
        };
        match (&outcome, &request) {
            (Outcome::Done(seen), request) if *request != Request::Delete => {
                last_seen.insert(key, *seen);
            }
            (Outcome::Failed(Some(seen)), _) if random_below(2) == 0 => {
                last_seen.insert(key, *seen);
            }
            _ => {}
        }
        recorder.record(
            number,
            key,
            Action::Response(Operation { request, outcome }),
        );
        // Whoever counts may have heard enough.
        let _ = answered.send(());
    }
}

fn next_request(last_seen: Option<Seen>) -> Request {
    // Unique among all writes of a test, which are far fewer than 2^64.
    let write = random_below(u64::MAX);
    match (random_below(10), last_seen) {
        (0..=2, _) => Request::Get,
        (3..=6, Some(seen)) => Request::PutIfMatch(write, seen),
        (7, _) => Request::Patch(write),
        (8, _) => Request::Delete,
        _ => Request::Put(write),
    }
}

fn to_http(client: &Client, url: &str, request: &Request, tag: Option<String>) -> RequestBuilder {
    let (method, write) = match request {
        Request::Get => return client.get(url),
        Request::Delete => return client.delete(url),
        Request::Put(write) | Request::PutIfMatch(write, _) => (Method::PUT, write),
        Request::Patch(write) => (Method::PATCH, write),
    };
    let sent = client.request(method, url).json(&json!({"write": write}));
    match tag {
        Some(tag) => sent.header("if-match", tag),
        None => sent,
    }
}

/// Status and body, if there was a whole answer.
async fn answer(sent: reqwest::Result<Response>) -> Option<(u16, Value)> {
    let answer = sent.ok()?;
    let status = answer.status().as_u16();
    Some((status, answer.json().await.ok()?))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_history_across_kills_is_linearizable() {
    for mode in MODES {
        let folder = tempfile::tempdir().unwrap();
        // The clients' tasks outlive no test, but the compiler cannot know.
        let recorder: &'static Mutex<Recorder> = Box::leak(Box::default());
        for _ in 0..rounds() {
            let process = Process::start(folder.path(), mode).await;
            let (sender, mut answered) = mpsc::unbounded_channel();
            let mut clients = JoinSet::new();
            for number in 0..CLIENTS {
                clients.spawn(work(number, process.url(""), recorder, sender.clone()));
            }
            for _ in 0..20 + random_below(ANSWERS) {
                soon(answered.recv()).await.unwrap();
            }
            process.signal(Signal::KILL);
            process.wait().await;
            for (client, key, request) in soon(clients.join_all()).await {
                let outcome = Outcome::Unknown;
                let ended = Action::Response(Operation { request, outcome });
                recorder.lock().unwrap().record(client, key, ended);
            }
        }
        for (key, actions) in &recorder.lock().unwrap().actions {
            let operations = actions.len() / 2;
            assert!(operations > 50, "{operations} operations on {key}");
            assert!(is_linearizable(actions), "{mode:?} {key}: {actions:#?}");
        }
    }
}

fn rounds() -> u32 {
    match std::env::var("IFMATCH_LINEAR_ROUNDS") {
        Ok(rounds) => rounds.parse().expect("IFMATCH_LINEAR_ROUNDS is a number"),
        Err(_) => ROUNDS,
    }
}

/// A history from a drawing: client, request, outcome; `None` opens an operation that the next
/// line of the same client ends.
fn history(lines: &[(usize, Request, Option<Outcome>)]) -> Actions {
    let operation = |request: &Request, outcome: Outcome| Operation {
        request: request.clone(),
        outcome,
    };
    let mut open = BTreeSet::new();
    let mut actions = Vec::new();
    for (client, request, outcome) in lines {
        if open.remove(client) {
            let ended = operation(request, outcome.clone().unwrap());
            actions.push((*client, Action::Response(ended)));
            continue;
        }
        actions.push((*client, Action::Call(operation(request, Outcome::Unknown))));
        match outcome {
            Some(outcome) => {
                let ended = operation(request, outcome.clone());
                actions.push((*client, Action::Response(ended)));
            }
            None => drop(open.insert(*client)),
        }
    }
    actions
}

fn seen(write: u64, version: u64) -> Seen {
    Seen { write, version }
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "what ends an operation in a drawing"
)]
fn done(write: u64, version: u64) -> Option<Outcome> {
    Some(Outcome::Done(seen(write, version)))
}

#[test]
fn the_judge_takes_what_the_contract_allows() {
    use Request::{Delete, Get, Patch, Put, PutIfMatch};
    let absent = Some(Outcome::Absent);
    let unknown = Some(Outcome::Unknown);
    let failed = Some(Outcome::Failed(Some(seen(2, 2))));
    for lines in [
        vec![
            (0, Get, absent.clone()),
            (0, Put(1), done(1, 1)),
            (1, Patch(2), done(2, 2)),
            (0, PutIfMatch(3, seen(1, 1)), failed),
            (0, Delete, done(2, 2)),
            (1, Delete, absent.clone()),
        ],
        // Answers may come in another order than the effects.
        vec![
            (0, Put(1), None),
            (1, Put(2), None),
            (2, Get, done(2, 1)),
            (2, Get, done(1, 2)),
            (0, Put(1), done(1, 2)),
            (1, Put(2), done(2, 1)),
        ],
        // What was under way at a kill may have been done, unseen too, or not.
        vec![(0, Put(1), unknown.clone()), (0, Get, done(1, 1))],
        vec![(0, Put(1), unknown.clone()), (0, Get, absent)],
        vec![(0, Put(1), unknown), (0, Put(2), done(2, 2))],
    ] {
        assert!(is_linearizable(&history(&lines)), "{lines:?}");
    }
}

#[test]
fn the_judge_rejects_a_lost_update() {
    use Request::{Delete, Get, Patch, Put, PutIfMatch};
    let absent = Some(Outcome::Absent);
    for lines in [
        // Two editors with one tag, and both are told that they won.
        vec![
            (0, Put(1), done(1, 1)),
            (0, PutIfMatch(2, seen(1, 1)), None),
            (1, PutIfMatch(3, seen(1, 1)), None),
            (0, PutIfMatch(2, seen(1, 1)), done(2, 2)),
            (1, PutIfMatch(3, seen(1, 1)), done(3, 2)),
        ],
        vec![
            (0, Put(1), done(1, 1)),
            (0, PutIfMatch(2, seen(1, 1)), done(2, 2)),
            (1, PutIfMatch(3, seen(1, 1)), done(3, 3)),
        ],
        // An acknowledged write that a reader does not see, or that a restart has lost.
        vec![(0, Put(1), done(1, 1)), (1, Get, absent.clone())],
        vec![
            (0, Put(1), done(1, 1)),
            (0, Put(2), done(2, 2)),
            (1, Get, done(1, 1)),
        ],
        // A write whose trace is gone from the versions, a ghost, a deletion undone.
        vec![(0, Put(1), done(1, 1)), (1, Patch(2), done(2, 1))],
        vec![(0, Get, done(9, 1))],
        vec![
            (0, Put(1), done(1, 1)),
            (0, Delete, done(1, 1)),
            (0, Get, done(1, 1)),
        ],
        // A read that goes back behind another.
        vec![
            (0, Put(1), None),
            (1, Get, done(1, 1)),
            (1, Get, absent),
            (0, Put(1), done(1, 1)),
        ],
    ] {
        assert!(!is_linearizable(&history(&lines)), "{lines:?}");
    }
}
