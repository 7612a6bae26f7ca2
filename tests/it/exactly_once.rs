//! Retries with an `Idempotency-Key` over cut connections and kills: each write is done exactly once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::support::binary::{MODES, soon};
use crate::support::http;
use crate::support::segments::keeps_history;
use crate::support::unreliable::{Persistent, Random, Reply, Unreliable, rounds};

const CLIENTS: u64 = 32;
const COUNTERS: usize = 8;
/// How often the service is killed in each mode, unless `IFMATCH_EXACTLY_ONCE_ROUNDS` says otherwise.
const ROUNDS: u32 = 4;
/// A kill comes after so many increments of its round, at most.
const INCREMENTS: u64 = 80;
/// With how many seeds the clients without keys are given a chance to count right.
const SEEDS: u64 = 5;

/// Adds 1 to counters, each time on the tags that it has read.
struct Counting {
    client: Persistent,
    server: String,
    number: u64,
    random: Random,
    /// Whether its writes have an idempotency key.
    has_keys: bool,
    requests: u64,
    /// How often each counter was incremented, as far as this client knows.
    acknowledged: [u64; COUNTERS],
    commits: u64,
    replays: u64,
    /// The last write, and how it was answered.
    last: Option<(RequestBuilder, Reply)>,
}

impl Counting {
    async fn work(mut self, enough: Arc<AtomicBool>, done: mpsc::UnboundedSender<()>) -> Self {
        while !enough.load(Ordering::Relaxed) {
            self.increment().await;
            // Whoever counts may have heard enough.
            let _ = done.send(());
        }
        self
    }

    /// Increments a counter, or two in a transaction; reads again while others are faster.
    async fn increment(&mut self) {
        let first = self.counter();
        let second = (first + 1) % COUNTERS;
        let is_transaction = self.random.below(3) == 0;
        let counters = if is_transaction {
            vec![first, second]
        } else {
            vec![first]
        };
        loop {
            let mut entries = Vec::new();
            for &counter in &counters {
                let url = format!("{}/kv/{}", self.server, key(counter));
                let read = self.client.ask(&self.client.http().get(url)).await;
                assert_eq!(read.status, StatusCode::OK, "{read:?}");
                entries.push(read.body);
            }
            let request = self.write(&entries);
            let reply = self.client.ask(&request).await;
            if reply.status == StatusCode::PRECONDITION_FAILED {
                continue;
            }
            assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
            let written = match reply.body["results"].as_array() {
                Some(results) => results.clone(),
                None => vec![reply.body.clone()],
            };
            for (entry, written) in entries.iter().zip(written) {
                assert_eq!(written["key"], entry["key"]);
                assert_eq!(written["value"], json!(number(entry) + 1));
            }
            for &counter in &counters {
                self.acknowledged[counter] += 1;
            }
            self.commits += 1;
            self.replays += u64::from(reply.is_replay);
            if self.has_keys {
                let is_same = |tag: &Option<String>| *tag == reply.etag;
                assert!(reply.tags_before.iter().all(is_same), "{reply:?}");
                self.last = Some((request, reply));
                if self.random.below(4) == 0 {
                    self.repeat_last().await;
                }
            }
            return;
        }
    }

    fn counter(&mut self) -> usize {
        usize::try_from(self.random.below(COUNTERS as u64)).unwrap()
    }

    /// A request that adds 1 to each of the entries.
    fn write(&mut self, entries: &[Value]) -> RequestBuilder {
        let http = self.client.http();
        let request = if let [entry] = entries {
            let url = format!("{}/kv/{}", self.server, entry["key"].as_str().unwrap());
            let tag = entry["etag"].as_str().unwrap();
            let put = http.put(url).header("if-match", tag);
            put.json(&(number(entry) + 1))
        } else {
            let put = |entry: &Value| {
                let value = number(entry) + 1;
                json!({"op": "put", "key": entry["key"], "value": value, "if_match": entry["etag"]})
            };
            let operations: Vec<_> = entries.iter().map(put).collect();
            let post = http.post(format!("{}/transactions", self.server));
            post.json(&json!({ "operations": operations }))
        };
        self.requests += 1;
        if !self.has_keys {
            return request;
        }
        let key = format!("\"{}:{}\"", self.number, self.requests);
        request.header("idempotency-key", key)
    }

    /// Sends the last write once more, which must be answered as it was.
    async fn repeat_last(&self) {
        let Some((request, first)) = &self.last else {
            panic!("client {} never wrote", self.number);
        };
        let again = self.client.ask(request).await;
        assert!(again.is_replay, "{again:?} after {first:?}");
        let shown = |reply: &Reply| (reply.status, reply.etag.clone(), reply.body.clone());
        assert_eq!(shown(&again), shown(first));
        assert!(again.tags_before.iter().all(|tag| *tag == first.etag));
    }
}

fn key(counter: usize) -> String {
    format!("counter/{counter}")
}

fn number(entry: &Value) -> u64 {
    entry["value"].as_u64().unwrap()
}

/// What a run came to.
#[derive(Debug)]
struct Outcome {
    /// What the counters are.
    counted: Vec<u64>,
    /// What the clients were told.
    acknowledged: Vec<u64>,
}

/// Lets the clients count while the service is killed so often.
async fn count(mode: &'static [&'static str], seed: u64, has_keys: bool, rounds: u32) -> Outcome {
    let mut service = Unreliable::start(mode, seed).await;
    for counter in 0..COUNTERS {
        let url = service.url(&format!("/kv/{}", key(counter)));
        let put = http::client().put(url).json(&0);
        assert_eq!(put.send().await.unwrap().status(), StatusCode::CREATED);
    }
    let client = Persistent::new();
    let enough = Arc::<AtomicBool>::default();
    let (done, mut increments) = mpsc::unbounded_channel();
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let counting = Counting {
            client: client.clone(),
            server: service.unreliable_url(""),
            number,
            random: Random::new((seed << 8) | number),
            has_keys,
            requests: 0,
            acknowledged: [0; COUNTERS],
            commits: 0,
            replays: 0,
            last: None,
        };
        clients.spawn(counting.work(Arc::clone(&enough), done.clone()));
    }
    let mut random = Random::new(seed);
    for _ in 0..rounds {
        for _ in 0..=random.below(INCREMENTS) {
            soon(increments.recv()).await.unwrap();
        }
        service.restart().await;
    }
    enough.store(true, Ordering::Relaxed);
    let clients = soon(clients.join_all()).await;
    assert!(client.repeated() > 0, "no connection was cut");
    let acknowledged = (0..COUNTERS)
        .map(|counter| {
            clients
                .iter()
                .map(|client| client.acknowledged[counter])
                .sum()
        })
        .collect();
    if has_keys {
        service.restart().await;
        for client in &clients {
            client.repeat_last().await;
        }
        let replays: u64 = clients.iter().map(|client| client.replays).sum();
        assert!(replays > 0, "no answer was lost");
        let commits: u64 = clients.iter().map(|client| client.commits).sum();
        println!("{mode:?}: {commits} commits, {replays} answered by a replay");
        let list: Value = get(&service.url("/kv")).await;
        assert_eq!(list["revision"], json!(COUNTERS as u64 + commits));
    }
    let mut counted = Vec::new();
    for counter in 0..COUNTERS {
        let key = key(counter);
        let entry = get(&service.url(&format!("/kv/{key}"))).await;
        assert_eq!(entry["version"], json!(number(&entry) + 1));
        counted.push(number(&entry));
        if keeps_history(mode) {
            assert_history(&service.url(&format!("/history/{key}?limit=1000")), &entry).await;
        }
    }
    Outcome {
        counted,
        acknowledged,
    }
}

async fn get(url: &str) -> Value {
    let answer = soon(http::get(url)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "{url}");
    answer.json().await.unwrap()
}

/// Asserts that the history has every value of a counter once.
async fn assert_history(url: &str, newest: &Value) {
    let mut values = Vec::new();
    let mut before = String::new();
    loop {
        let page = get(&format!("{url}{before}")).await;
        for event in page["items"].as_array().unwrap() {
            assert_eq!(event["event"], "put");
            assert_eq!(event["version"], json!(number(event) + 1));
            values.push(number(event));
        }
        match page["next"].as_str() {
            Some(next) => before = format!("&before={next}"),
            None => break,
        }
    }
    assert!(values.into_iter().eq((0..=number(newest)).rev()), "{url}");
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_with_a_key_are_done_once_over_cut_connections_and_kills() {
    for (mode, seed) in MODES.into_iter().zip(1..) {
        let outcome = count(mode, seed, true, rounds(ROUNDS)).await;
        assert_eq!(outcome.counted, outcome.acknowledged, "{mode:?}");
    }
}

/// If the same clients counted right without keys, the test above would show nothing.
#[tokio::test(flavor = "multi_thread")]
async fn without_keys_the_same_retries_count_twice() {
    for seed in 1..=SEEDS {
        let outcome = count(&[], seed, false, 1).await;
        let is_doubled = |(counted, acknowledged): (&u64, &u64)| {
            assert!(
                counted >= acknowledged,
                "an increment was lost: {outcome:?}"
            );
            counted > acknowledged
        };
        let counters = outcome.counted.iter().zip(&outcome.acknowledged);
        // Each of them is looked at.
        if counters.filter(|&counter| is_doubled(counter)).count() > 0 {
            return;
        }
    }
    panic!("no increment was counted twice");
}
