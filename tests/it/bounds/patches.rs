//! Patches that ask for as much work as a request of their size can.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};

use crate::support::binary::soon;
use crate::support::load::{Ending, MEMORY_MAX_BYTES, Setup, Trial, key};
use crate::support::raw::{ask, connect, get, request};

const JSON_PATCH: &str = "Content-Type: application/json-patch+json\r\n";
const MERGE_PATCH: &str = "Content-Type: application/merge-patch+json\r\n";
/// The largest value and the largest patch.
const MAX_BYTES: usize = 1024 * 1024;
/// As many as a value of the largest size has room for.
const ELEMENTS: usize = 500_000;
/// As many moves as a patch of the largest size has room for.
const MOST_MOVES: usize = 27_000;
/// What a patch under load may be told: it was done, it asks for too much, there is no room or
/// no time.
const TOLD: [u16; 4] = [200, 413, 503, 504];

fn list_of(element: &str, count: usize) -> String {
    format!("[{}]", vec![element; count].join(","))
}

/// So many moves, each of which shifts the whole array if it is done naively.
fn moves(count: usize) -> String {
    list_of(r#"{"op":"move","from":"/0","path":"/1"}"#, count)
}

fn patch(key: &str, content_type: &str, body: &str) -> String {
    assert!(body.len() <= MAX_BYTES, "{}", body.len());
    request("PATCH", &format!("/kv/{key}"), content_type, body)
}

fn arrays(count: usize) -> impl Iterator<Item = (String, String)> {
    (0..count).map(|number| (key(number), list_of("1", ELEMENTS)))
}

/// Clients that send a patch and hang up before it can have been answered; returns once they have.
async fn hang_up_on(trial: &Trial, patches: impl IntoIterator<Item = String>) {
    let mut streams = Vec::new();
    for patch in patches {
        let mut stream = connect(&trial.address).await;
        soon(stream.write_all(patch.as_bytes())).await.unwrap();
        streams.push(stream);
    }
    // Half-way: the patches are being worked on.
    sleep(Duration::from_millis(300)).await;
}

/// Clients that send a patch each and wait for the answer. Those that are answered are told
/// something; an end without a word is that of the process.
async fn all_are_told(trial: &Trial, patches: Vec<String>, within: Duration) {
    let asked = patches.iter().map(|patch| ask(&trial.address, patch));
    let answers = timeout(within, futures_util::future::join_all(asked)).await;
    let answers = answers.unwrap_or_else(|_| panic!("not all were answered within {within:?}"));
    for answer in answers {
        answer.unwrap().assert_is_one_of(&TOLD);
    }
}

#[tokio::test]
async fn patches_of_many_moves_on_a_large_value_hold_up_nobody() {
    let setup = Setup::new(&["--request-timeout", "5s"]).values(arrays(4));
    let mut trial = setup.start().await;
    for count in [1_000, MOST_MOVES] {
        let all = (0..4).map(|number| patch(&key(number), JSON_PATCH, &moves(count)));
        hang_up_on(&trial, all.clone()).await;
        all_are_told(&trial, all.collect(), Duration::from_secs(12)).await;
    }
    for number in 0..4 {
        let patch = patch(&key(number), JSON_PATCH, &moves(MOST_MOVES));
        let mut stream = connect(&trial.address).await;
        stream.write_all(patch.as_bytes()).await.unwrap();
        trial.client(async move { drop(stream.read(&mut [0]).await) });
    }
    trial.finish(MEMORY_MAX_BYTES).await;
}

#[tokio::test]
async fn a_patch_whose_client_hung_up_costs_nothing_any_more() {
    let huge_number = (key(4), format!("[{},2]", "1".repeat(900_000)));
    let setup = Setup::new(&["--request-timeout", "1h"]);
    let setup = setup.values(arrays(4)).values([huge_number]);
    let mut trial = setup.ending(Ending::SecondSignal).start().await;
    let all = (0..4).map(|number| patch(&key(number), JSON_PATCH, &moves(MOST_MOVES)));
    let tests = list_of(r#"{"op":"test","path":"/1","value":2.0}"#, 20_000);
    let all = all.chain([patch(&key(4), JSON_PATCH, &tests)]);
    hang_up_on(&trial, all).await;
    trial.becomes_idle().await;
    trial.finish(MEMORY_MAX_BYTES).await;
}

/// The value alone says nothing of what a patch costs.
#[tokio::test]
async fn large_patches_of_small_values_hold_up_nobody() {
    let huge = "1".repeat(40_000);
    let values = [
        ("tiny", "[]".to_owned()),
        ("object", "{}".to_owned()),
        // Not small, but neither so large that it costs much to read.
        ("number", format!("[{huge}]")),
    ];
    let values = values.map(|(key, value)| (key.to_owned(), value));
    let setup = Setup::new(&["--request-timeout", "5s"]).values(values);
    let trial = setup.start().await;
    let members = |value: &str, count: usize| {
        let members = (0..count).map(|number| format!("\"{number}\":{value}"));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    };
    let add = |path: &str, count| {
        list_of(
            &format!(r#"{{"op":"add","path":"{path}","value":[0]}}"#),
            count,
        )
    };
    let patches = [
        ("tiny", JSON_PATCH, add("/-", 25_000)),
        ("tiny", JSON_PATCH, add("/0", 25_000)),
        (
            "tiny",
            JSON_PATCH,
            list_of(r#"{"op":"test","path":"","value":[]}"#, 25_000),
        ),
        (
            "tiny",
            JSON_PATCH,
            list_of(r#"{"op":"copy","from":"","path":"/-"}"#, 25_000),
        ),
        (
            "number",
            JSON_PATCH,
            list_of(r#"{"op":"test","path":"/0","value":1e39999}"#, 20_000),
        ),
        (
            "number",
            JSON_PATCH,
            list_of(r#"{"op":"copy","from":"/0","path":"/-"}"#, 25_000),
        ),
        ("object", MERGE_PATCH, members("1", 100_000)),
        ("object", MERGE_PATCH, members("null", 70_000)),
        ("object", MERGE_PATCH, members("{\"a\":{}}", 60_000)),
    ];
    for _ in 0..2 {
        let all = patches
            .iter()
            .map(|(key, kind, body)| patch(key, kind, body));
        let asked = all.map(|patch| {
            let address = trial.address.clone();
            async move { ask(&address, &patch).await.unwrap() }
        });
        let answers = timeout(
            Duration::from_secs(15),
            futures_util::future::join_all(asked),
        );
        for answer in answers.await.expect("all are answered") {
            // A `test` that fails is a conflict.
            answer.assert_is_one_of(&[200, 409, 413, 503, 504]);
        }
    }
    trial.finish(MEMORY_MAX_BYTES).await;
}

/// How large the value is that is rewritten all the time, and how long its patch, so that the
/// value has been rewritten whenever the patch was made.
const HOT_ELEMENTS: usize = 5_000;
const HOT_OPERATIONS: usize = 3_000;
const HOT_PATCHES: usize = 6;
/// What marks a patched value; its number follows.
const MARK: &str = "patched-";
/// From here on marks are those of the test itself.
const SYNC_MARKS: usize = 1_000_000;

#[tokio::test]
async fn a_patch_that_loses_every_race_ends_with_its_request() {
    let hot = || format!("{{\"by\":\"put\",\"of\":{}}}", list_of("1", HOT_ELEMENTS));
    let arguments = ["--request-timeout", "1s", "--watch-buffer", "268435456"];
    let setup = Setup::new(&arguments).values([("hot".to_owned(), hot())]);
    let mut trial = setup.start().await;
    let mut marks = Marks::watch(&mut trial).await;
    let is_over = Arc::<AtomicBool>::default();
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (address, is_over) = (trial.address.clone(), Arc::clone(&is_over));
        writers.spawn(async move {
            let put = request("PUT", "/kv/hot", "Prefer: return=minimal\r\n", &hot());
            while !is_over.load(Ordering::Relaxed) {
                ask(&address, &put)
                    .await
                    .unwrap()
                    .assert_is_one_of(&[204, 503, 504]);
            }
        });
    }
    let marked = |number: usize| {
        let operation = r#"{"op":"move","from":"/of/0","path":"/of/1"}"#;
        let mark = format!(r#"{{"op":"replace","path":"/by","value":"{MARK}{number}"}}"#);
        let operations = list_of(operation, HOT_OPERATIONS);
        patch(
            "hot",
            JSON_PATCH,
            &operations.replacen('[', &format!("[{mark},"), 1),
        )
    };
    let hung_up = HOT_PATCHES..2 * HOT_PATCHES;
    hang_up_on(&trial, hung_up.clone().map(marked)).await;
    let asked = (0..HOT_PATCHES).map(|number| {
        let (address, patch) = (trial.address.clone(), marked(number));
        async move { (number, ask(&address, &patch).await.unwrap()) }
    });
    let answers = timeout(
        Duration::from_secs(10),
        futures_util::future::join_all(asked),
    );
    let answers = answers
        .await
        .expect("all are answered when their time is over");
    let mut refused = BTreeSet::new();
    for (number, answer) in answers {
        answer.assert_is_one_of(&TOLD);
        if [413, 503].contains(&answer.status) {
            refused.insert(number);
        }
    }
    // The time of those that hung up is over as well.
    sleep(Duration::from_secs(1)).await;
    let in_time = marks.up_to_now(&trial).await.len();
    is_over.store(true, Ordering::Relaxed);
    soon(writers.join_all()).await;
    trial.becomes_idle().await;
    let seen = marks.up_to_now(&trial).await;
    let late: Vec<_> = seen[in_time..]
        .iter()
        .filter(|&&mark| mark < SYNC_MARKS)
        .collect();
    assert!(
        late.is_empty(),
        "{late:?} were applied when their time was over"
    );
    let lies: Vec<_> = seen.iter().filter(|mark| refused.contains(mark)).collect();
    assert!(lies.is_empty(), "{lies:?} were told that nothing was done");
    trial.finish(MEMORY_MAX_BYTES).await;
}

/// The marks that a watcher has seen, in order.
struct Marks {
    seen: Arc<Mutex<Vec<usize>>>,
    next_sync: usize,
}

impl Marks {
    async fn watch(trial: &mut Trial) -> Self {
        let mut stream = connect(&trial.address).await;
        stream
            .write_all(get("/watch", "").as_bytes())
            .await
            .unwrap();
        stream.readable().await.unwrap();
        let seen = Arc::<Mutex<Vec<usize>>>::default();
        let marks = Arc::clone(&seen);
        trial.client(async move {
            let mut text = Vec::new();
            while stream.read_buf(&mut text).await.is_ok_and(|read| read > 0) {
                let Some(end) = text.iter().rposition(|&byte| byte == b'\n') else {
                    continue;
                };
                let rest = text.split_off(end);
                for after in String::from_utf8(text).unwrap().split(MARK).skip(1) {
                    let digits = after.split('"').next().unwrap();
                    marks.lock().unwrap().push(digits.parse().unwrap());
                }
                text = rest;
            }
        });
        let next_sync = SYNC_MARKS;
        Self { seen, next_sync }
    }

    /// All up to now: a mark of its own that is written now has been seen.
    async fn up_to_now(&mut self, trial: &Trial) -> Vec<usize> {
        let mark = self.next_sync;
        self.next_sync += 1;
        let value = format!("\"{MARK}{mark}\"");
        let put = request("PUT", "/kv/sync", "", &value);
        soon(async {
            while ask(&trial.address, &put).await.unwrap().status >= 300 {}
            loop {
                let seen = self.seen.lock().unwrap().clone();
                if seen.contains(&mark) {
                    return seen;
                }
                sleep(Duration::from_millis(10)).await;
            }
        })
        .await
    }
}
