//! Watches that outlive the process: they resume from the log.

use std::fs;
use std::path::Path;

use reqwest::Client;
use serde_json::{Value, json};

use crate::support::binary::{Process, soon};
use crate::support::events::{Block, Events};
use crate::support::http;
use crate::support::segments::segments;
use crate::support::writers::random_below;

/// How often the service is ended and started again.
const RESTARTS: u32 = 10;
/// With a journal and without.
const FLAGS: [&[&str]; 2] = [
    &[],
    &["--journal-above", "0", "--history-max-bytes", "10000000"],
];

/// A client as `EventSource` is one: it sends the last id that it has seen.
struct Watcher {
    client: Client,
    last_id: String,
    /// What it was told: kind, key and revision.
    told: Vec<(String, String, u64)>,
}

impl Watcher {
    async fn connect(&self, process: &Process) -> Events {
        let watch = self.client.get(process.url("/watch"));
        let watch = watch.header("last-event-id", &self.last_id).send();
        Events::of_response(soon(watch).await.unwrap())
    }

    /// Reads events up to a revision, and maybe not all of that.
    async fn read_to(&mut self, events: &mut Events, revision: u64) {
        while self.told.last().is_none_or(|(_, _, last)| *last < revision) {
            let event = events.next().await.expect("it does not end");
            assert_ne!(
                event.event.as_deref(),
                Some("reset"),
                "after {}",
                self.last_id
            );
            self.take(event);
        }
    }

    fn take(&mut self, event: Block) {
        self.told.push(event.told());
        self.last_id = event.id.unwrap();
    }
}

/// The position of the list, to begin a watch from.
async fn position(process: &Process) -> String {
    let list = soon(http::get(process.url("/kv"))).await.unwrap();
    let tag = list.headers()["etag"].to_str().unwrap().to_owned();
    tag.trim_matches('"').to_owned()
}

/// A transaction of three puts, every second time with a deletion. Returns what a watcher is to be told.
async fn write(process: &Process, client: &Client, number: u64) -> Vec<(String, String, u64)> {
    let mut operations: Vec<_> = ["b", "a", "c"]
        .map(|key| json!({"op": "put", "key": key, "value": number}))
        .into();
    if number % 2 == 1 {
        operations.push(json!({"op": "delete", "key": "gone"}));
    } else {
        operations.push(json!({"op": "put", "key": "gone", "value": "x".repeat(3000)}));
    }
    let sent = client.post(process.url("/transactions"));
    let answer = soon(sent.json(&json!({ "operations": operations })).send());
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    let revision = answer.json::<Value>().await.unwrap()["revision"]
        .as_u64()
        .unwrap();
    let told = operations.iter().map(|operation| {
        let text = |name: &str| operation[name].as_str().unwrap().to_owned();
        (text("op"), text("key"), revision)
    });
    told.collect()
}

#[tokio::test]
async fn over_ten_restarts_there_is_no_reset_no_gap_and_no_repeat() {
    for flags in FLAGS {
        let folder = tempfile::tempdir().unwrap();
        let client = http::client();
        let mut process = Process::start(folder.path(), flags).await;
        let mut watcher = Watcher {
            client: http::client(),
            last_id: position(&process).await,
            told: Vec::new(),
        };
        let mut expected = Vec::new();
        let mut number = 0;
        for restart in 0..RESTARTS {
            let mut events = watcher.connect(&process).await;
            for _ in 0..=random_below(8) {
                expected.extend(write(&process, &client, number).await);
                number += 1;
            }
            // Often it ends in the middle of a transaction, or well before the last.
            let (_, _, newest) = *expected.last().unwrap();
            let seen = watcher.told.last().map_or(0, |(_, _, last)| *last);
            watcher
                .read_to(&mut events, seen + random_below(newest - seen + 1))
                .await;
            drop(events);
            for _ in 0..random_below(3) {
                expected.extend(write(&process, &client, number).await);
                number += 1;
            }
            if restart % 2 == 0 {
                process.kill().await;
            } else {
                assert!(process.stop().await.status.success());
            }
            process = Process::start(folder.path(), flags).await;
        }
        let mut events = watcher.connect(&process).await;
        while watcher.told.len() < expected.len() {
            let event = events.next().await.expect("it does not end");
            watcher.take(event);
        }
        assert_eq!(watcher.told, expected, "{flags:?}");
        // What comes next is new.
        let next = write(&process, &client, number).await;
        assert_eq!(events.told(next.len()).await, next);
    }
}

/// Reads the first event of a watch that resumes after `last_id`.
async fn first_event(process: &Process, last_id: &str) -> Block {
    let watcher = Watcher {
        client: http::client(),
        last_id: last_id.to_owned(),
        told: Vec::new(),
    };
    let mut events = watcher.connect(process).await;
    events.next().await.expect("it does not end")
}

#[tokio::test]
async fn after_an_old_data_file_was_put_back_a_client_is_told_to_list_again() {
    let folder = tempfile::tempdir().unwrap();
    let client = http::client();
    let data = folder.path().join("data.json");
    let process = Process::start(folder.path(), &[]).await;
    let mut positions = Vec::new();
    for number in 0..4 {
        write(&process, &client, number).await;
        positions.push(position(&process).await);
    }
    let backup = fs::read(&data).unwrap();
    for number in 4..8 {
        write(&process, &client, number).await;
        positions.push(position(&process).await);
    }
    process.stop().await;
    fs::write(&data, backup).unwrap();
    let mut process = Process::start(folder.path(), &[]).await;
    for restart in 0..2 {
        // At first the old ids are of the future, and then of another past.
        for old in &positions[4..] {
            let event = first_event(&process, old).await;
            assert_eq!(event.event.as_deref(), Some("reset"), "{old}");
        }
        let next = write(&process, &client, 10 + restart).await;
        for (known, revision) in positions[..4].iter().zip(1..) {
            let event = first_event(&process, known).await;
            let expected = if revision < 4 { revision + 1 } else { 5 };
            assert_eq!(
                event.told().2,
                expected,
                "the history up to the backup stays"
            );
        }
        assert_eq!(next[0].2, 5 + restart);
        process.kill().await;
        process = Process::start(folder.path(), &[]).await;
    }
}

/// Writes twice; returns the id between the two, and the one after both.
async fn written_twice(folder: &Path, client: &Client) -> (String, String) {
    let process = Process::start(folder, &[]).await;
    write(&process, client, 0).await;
    let before = position(&process).await;
    write(&process, client, 1).await;
    let newest = position(&process).await;
    process.stop().await;
    (before, newest)
}

#[tokio::test]
async fn after_the_data_file_was_edited_a_client_gets_the_edit() {
    let folder = tempfile::tempdir().unwrap();
    let client = http::client();
    let (before, newest) = written_twice(folder.path(), &client).await;
    let data = folder.path().join("data.json");
    let text = fs::read_to_string(&data).unwrap();
    fs::write(&data, text.replacen("\"value\":1,", "\"value\":42,", 1)).unwrap();
    let process = Process::start(folder.path(), &[]).await;
    assert_ne!(position(&process).await, newest, "it is another state");
    let event = first_event(&process, &newest).await;
    assert_eq!(event.event.as_deref(), Some("put"));
    assert_eq!(event.json()["value"], 42);
    // Nothing before it is missed.
    let event = first_event(&process, &before).await;
    assert_eq!(event.json()["value"], 1);
}

#[tokio::test]
async fn without_the_log_a_client_is_told_to_list_again() {
    let folder = tempfile::tempdir().unwrap();
    let client = http::client();
    let (before, newest) = written_twice(folder.path(), &client).await;
    for segment in segments(folder.path()) {
        fs::remove_file(segment).unwrap();
    }
    let process = Process::start(folder.path(), &[]).await;
    let event = first_event(&process, &before).await;
    assert_eq!(event.event.as_deref(), Some("reset"));
    let next = write(&process, &client, 2).await;
    // The same state is the same point.
    let event = first_event(&process, &newest).await;
    assert_eq!(event.told(), next[0]);
}
