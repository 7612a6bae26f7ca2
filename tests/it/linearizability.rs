//! Histories of clients at work across SIGKILL, each key's judged by itself.
//!
//! A history ends with a read of its key after the restart, and the next one begins with it. What
//! the kill left without an answer ends after that read: placed before it, it happened; placed
//! after it, it never did. Nothing takes effect once its process is dead (durable linearizability:
//! Izraelevitz, Mendes and Scott, DISC 2016).

use std::collections::BTreeMap;
use std::sync::Arc;

use rustix::process::Signal;
use tempfile::TempDir;
use todc_utils::Action::{Call, Response};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::support::binary::{MODES, Process, soon};
use crate::support::linear::{Answer, Event, Mark, Operation, Request, Verb, put, refused_event};
use crate::support::linear_clients::{CLIENTS, Client, Dice, KEYS, Outcome, Record};
use crate::support::segments::{Happened, histories_in};
use crate::support::writers::random_below;

/// How often the server is killed in each mode, unless `IFMATCH_LINEAR_ROUNDS` says otherwise.
const ROUNDS: u64 = 20;
/// A kill comes before so many acknowledgements of its round.
const ACKNOWLEDGEMENTS: usize = 600;

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
    let record = Arc::new(Record::new("linear"));
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
            assert_is_in(&record, &found);
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
        working.spawn(work(
            client,
            process.url(""),
            Arc::clone(record),
            acknowledge.clone(),
        ));
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

/// Works until the server is gone.
async fn work(
    mut client: Client,
    server: String,
    record: Arc<Record>,
    acknowledge: mpsc::UnboundedSender<()>,
) -> Client {
    let servers = [server];
    loop {
        match client.step(&servers, &record).await {
            // Whoever counts may have heard enough.
            Outcome::Answered(_) => drop(acknowledge.send(())),
            Outcome::Refused => panic!("nobody refuses anything"),
            Outcome::Lost => return client,
        }
    }
}

/// Every entry that was ever shown is in the history, once, and what is there of a key leads from one version to
/// the next.
fn assert_is_in(record: &Record, histories: &BTreeMap<String, Vec<Happened>>) {
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
    for shown in record.shown() {
        let history = &histories[shown["key"].as_str().unwrap()];
        let found = history
            .iter()
            .filter(|happened| happened.put.as_ref() == Some(&shown));
        assert_eq!(found.count(), 1, "{shown}");
    }
}

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect(variable))
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
