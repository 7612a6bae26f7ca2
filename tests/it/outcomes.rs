//! What a write that was not acknowledged came to: 503 says that nothing was done and nothing will
//! be, 504 that it may or may not be applied.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::support::binary::{Process, in_each_mode, soon};
use crate::support::events::Events;
use crate::support::http;
use crate::support::strace::Strace;
use crate::support::writers::shown_entries;

const WRITERS: usize = 8;
/// By how much each sync is slower; longer than a request may take.
const SYNC_DELAY: Duration = Duration::from_millis(2500);
/// For how long writes are sent.
const LOAD_TIME: Duration = Duration::from_secs(20);

/// What a writer's two keys hold: the number of the write that wrote it.
type State = [Option<u64>; 2];

/// A write, and what it makes of a state. Every number is written once.
#[derive(Debug, Clone, Copy)]
enum Write {
    Put(u64),
    Patch(u64),
    Delete,
    Transact(u64),
}

impl Write {
    fn number(self) -> Option<u64> {
        match self {
            Self::Put(number) | Self::Patch(number) | Self::Transact(number) => Some(number),
            Self::Delete => None,
        }
    }

    fn after(self, [first, second]: State) -> State {
        match self {
            Self::Put(number) => [Some(number), second],
            // What is not there is not patched.
            Self::Patch(number) => [first.map(|_| number), second],
            Self::Delete => [None, second],
            Self::Transact(number) => [Some(number), Some(number)],
        }
    }
}

/// One writer: what its keys may hold, and what must never be seen of it.
struct Writer {
    name: String,
    states: BTreeSet<State>,
    refused: BTreeSet<u64>,
    told: BTreeMap<StatusCode, usize>,
}

impl Writer {
    fn keys(&self) -> [String; 2] {
        ["a", "b"].map(|key| format!("{}/{key}", self.name))
    }

    /// Writes until the time is over. Its writes come one after another, and what was answered
    /// was taken by the store before the next one is sent or never will be.
    async fn work(
        mut self,
        client: Client,
        base: String,
        first: u64,
        is_over: Arc<AtomicBool>,
    ) -> Self {
        let mut number = first;
        while !is_over.load(Ordering::Relaxed) {
            number += 1;
            let write = match number % 5 {
                0 | 3 => Write::Patch(number),
                1 => Write::Put(number),
                2 => Write::Transact(number),
                _ => Write::Delete,
            };
            let status = self.send(&client, &base, write).await;
            *self.told.entry(status).or_default() += 1;
            match status.as_u16() {
                200 | 201 => self.states = self.states.iter().map(|&of| write.after(of)).collect(),
                // Perhaps what was not known is not done yet.
                404 => assert!(matches!(write, Write::Patch(_) | Write::Delete)),
                503 => self.refused.extend(write.number()),
                504 => {
                    let applied: Vec<_> = self.states.iter().map(|&of| write.after(of)).collect();
                    self.states.extend(applied);
                }
                other => panic!("{other} to {write:?}"),
            }
        }
        self
    }

    async fn send(&self, client: &Client, base: &str, write: Write) -> StatusCode {
        let [first, second] = self.keys();
        let url = format!("{base}/kv/{first}");
        let request = match write {
            Write::Put(number) => client.put(url).json(&json!({"number": number})),
            Write::Delete => client.delete(url),
            Write::Patch(number) => client.patch(url).json(&json!({"number": number})),
            Write::Transact(number) => {
                let put = |key| json!({"op": "put", "key": key, "value": {"number": number}});
                let body = json!({"operations": [put(first), put(second)]});
                client
                    .request(Method::POST, format!("{base}/transactions"))
                    .json(&body)
            }
        };
        let answer = soon(request.send()).await.unwrap();
        let status = answer.status();
        if status.is_server_error() {
            let retry_after = answer.headers().contains_key("retry-after");
            let body: Value = answer.json().await.unwrap();
            let code = if status == 503 {
                "unavailable"
            } else {
                "outcome_unknown"
            };
            assert_eq!(body["error"], code, "{body}");
            assert!(status != 503 || retry_after, "{body}");
        }
        status
    }
}

/// All numbers that anybody has seen.
#[derive(Default)]
struct Seen(std::sync::Mutex<BTreeSet<u64>>);

impl Seen {
    fn note(&self, entries: impl IntoIterator<Item = Value>) {
        let numbers = entries
            .into_iter()
            .filter_map(|entry| entry["value"]["number"].as_u64());
        self.0.lock().unwrap().extend(numbers);
    }

    fn all(&self) -> BTreeSet<u64> {
        self.0.lock().unwrap().clone()
    }
}

/// Reads the list again and again, and watches.
async fn look_on(process: &Process, seen: &Arc<Seen>) -> JoinSet<()> {
    let mut looking = JoinSet::new();
    let watch = soon(http::get(process.url("/watch"))).await.unwrap();
    let (url, noting) = (process.url("/kv"), Arc::clone(seen));
    looking.spawn(async move {
        while let Ok(list) = http::get(&url).await {
            let list: Value = list.json().await.unwrap();
            noting.note(list["items"].as_array().unwrap().iter().cloned());
            sleep(Duration::from_millis(100)).await;
        }
    });
    let noting = Arc::clone(seen);
    looking.spawn(async move {
        let mut events = Events::of_response(watch);
        while let Some(block) = events.block().await {
            noting.note(block.event.is_some().then(|| block.json()));
        }
    });
    looking
}

/// Lets the writers write to a slow disk, then waits until the disk is as fast as before and the
/// store has done all that it will do.
async fn write_on_a_slow_disk(process: &Process) -> Vec<Writer> {
    let client = http::client();
    let strace = Strace::attach_slow_disk(process, SYNC_DELAY).await;
    let is_over = Arc::<AtomicBool>::default();
    let mut working = JoinSet::new();
    for index in 0..WRITERS {
        let writer = Writer {
            name: format!("writer/{index}"),
            states: BTreeSet::from([[None, None]]),
            refused: BTreeSet::new(),
            told: BTreeMap::new(),
        };
        let first = 1_000_000 * (index as u64 + 1);
        let base = process.url("");
        working.spawn(writer.work(client.clone(), base, first, Arc::clone(&is_over)));
    }
    sleep(LOAD_TIME).await;
    is_over.store(true, Ordering::Relaxed);
    let writers = soon(working.join_all()).await;
    strace.detach().await;
    // Commits are taken in order, so this one is after all of theirs.
    soon(async {
        let mark = || client.put(process.url("/kv/mark")).json(&0).send();
        while !mark().await.unwrap().status().is_success() {}
    })
    .await;
    writers
}

#[tokio::test]
async fn what_was_told_of_a_write_on_a_slow_disk_is_so() {
    if !Strace::is_usable().await {
        return;
    }
    in_each_mode(what_was_told_is_so).await;
}

async fn what_was_told_is_so(mode: &[&str]) {
    let folder = TempDir::new().unwrap();
    let arguments = [mode, &["--request-timeout", "1s"]].concat();
    let process = Process::start(folder.path(), &arguments).await;
    let seen = Arc::<Seen>::default();
    let mut looking = look_on(&process, &seen).await;
    let began = Instant::now();
    let writers = write_on_a_slow_disk(&process).await;
    println!("{mode:?}: {:?}", began.elapsed());
    let shown = shown_entries(&process).await;
    let ended = process.stop().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    // The watcher has read to the end of its stream.
    let _ = timeout(Duration::from_secs(5), async {
        while looking.join_next().await.is_some() {}
    })
    .await;
    let process = Process::start(folder.path(), mode).await;
    let restarted = shown_entries(&process).await;
    assert_eq!(restarted, shown, "{mode:?}");
    seen.note(restarted.into_values());
    check(mode, &writers, &shown, &seen.all());
}

fn check(mode: &[&str], writers: &[Writer], shown: &BTreeMap<String, Value>, seen: &BTreeSet<u64>) {
    let mut told = BTreeMap::new();
    let mut lies = Vec::new();
    for writer in writers {
        for (status, count) in &writer.told {
            *told.entry(status.as_u16()).or_insert(0) += count;
        }
        lies.extend(writer.refused.intersection(seen).copied());
    }
    println!("{mode:?}: {told:?}");
    assert!(
        lies.is_empty(),
        "{mode:?}: told 503, and yet seen: {lies:?}"
    );
    for writer in writers {
        let number = |key| {
            shown
                .get(key)
                .and_then(|entry| entry["value"]["number"].as_u64())
        };
        let [first, second] = writer.keys();
        let state = [number(&first), number(&second)];
        let states = &writer.states;
        assert!(
            states.contains(&state),
            "{mode:?}: {state:?} is none of {states:?}"
        );
    }
    assert!(
        told.contains_key(&503),
        "{mode:?}: no time was over: {told:?}"
    );
    let taken = [200, 201, 504].iter().filter_map(|status| told.get(status));
    assert!(
        taken.sum::<usize>() > 0,
        "{mode:?}: the store took none: {told:?}"
    );
}
