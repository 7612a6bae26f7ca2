//! SIGKILL at any moment: what was acknowledged is there, and nothing is half-way.

use std::path::Path;

use reqwest::Client;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::binary::{Process, soon};
use crate::support::writers::{Writers, as_stored, random_below, shown_entries, stored_entries};

const WRITERS: usize = 64;
/// How often the server is killed, unless `IFMATCH_CRASH_ROUNDS` says otherwise.
const ROUNDS: u32 = 20;
/// A kill comes before so many acknowledgements of its round.
const ACKNOWLEDGEMENTS: u64 = 300;

#[tokio::test]
async fn a_kill_under_load_loses_nothing_that_was_acknowledged() {
    let folder = TempDir::new().unwrap();
    let mut writers = Writers::new(WRITERS);
    for _ in 0..rounds() {
        let process = Process::start(folder.path(), &[]).await;
        let mut working = writers.start(&process);
        working.acknowledged(random_below(ACKNOWLEDGEMENTS)).await;
        process.signal(Signal::KILL);
        let (status, log) = process.wait().await;
        assert_eq!(status.code(), None, "it ended by itself: {log}");
        writers = working.end().await;

        let stored = stored_entries(folder.path());
        let process = Process::start(folder.path(), &[]).await;
        let shown = shown_entries(&process).await;
        assert!(
            shown
                .iter()
                .map(|(key, entry)| (key.clone(), as_stored(entry.clone())))
                .eq(stored),
            "a restart changes nothing"
        );
        writers.check(shown);
        assert_eq!(temporary_files(folder.path()), 0);
        assert!(process.stop().await.status.success());
    }
}

#[tokio::test]
async fn an_acknowledged_write_is_in_the_file_at_the_moment_of_its_answer() {
    let folder = TempDir::new().unwrap();
    let process = Process::start(folder.path(), &[]).await;
    let client = Client::new();
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..16 {
        let key = format!("at-once/{number}");
        let url = process.url(&format!("/kv/{key}"));
        let (client, folder) = (client.clone(), folder.path().to_owned());
        writers.spawn(async move {
            for write in 0..15 {
                let put = client.put(&url).json(&json!({"write": write}));
                let entry: Value = put.send().await.unwrap().json().await.unwrap();
                let stored = stored_entries(&folder).remove(&key);
                assert_eq!(stored, Some(as_stored(entry)), "right after a PUT");
                if write % 3 == 2 {
                    let deleted = client.delete(&url).send().await.unwrap();
                    assert_eq!(deleted.status(), 200);
                    let stored = stored_entries(&folder).remove(&key);
                    assert_eq!(stored, None, "right after a DELETE");
                }
            }
        });
    }
    soon(writers.join_all()).await;
}

fn rounds() -> u32 {
    match std::env::var("IFMATCH_CRASH_ROUNDS") {
        Ok(rounds) => rounds.parse().expect("IFMATCH_CRASH_ROUNDS is a number"),
        Err(_) => ROUNDS,
    }
}

fn temporary_files(folder: &Path) -> usize {
    let files = std::fs::read_dir(folder).unwrap();
    files
        .filter(|file| {
            let name = file.as_ref().unwrap().file_name();
            name.to_string_lossy().ends_with(".tmp")
        })
        .count()
}
