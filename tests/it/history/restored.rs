//! What is known of the past after an older `data.json` was put in place of a newer one.

use std::path::Path;

use reqwest::Response;
use serde_json::{Value, json};

use crate::journal::refused;
use crate::support::binary::{MODES, Process};
use crate::support::events::Events;
use crate::support::http;

const JOURNAL: [&str; 2] = ["--journal-above", "0"];
/// The modes that keep a history.
const WITH_HISTORY: [&[&str]; 2] = [&[], &JOURNAL];

async fn put(process: &Process, value: &str) -> Value {
    let put = http::client().put(process.url("/kv/a")).json(value);
    put.send().await.unwrap().json().await.unwrap()
}

async fn get(process: &Process, path: &str) -> Response {
    http::get(process.url(path)).await.unwrap()
}

async fn json_at(process: &Process, path: &str) -> Value {
    get(process, path).await.json().await.unwrap()
}

/// The id of a watcher that knows everything.
async fn position(process: &Process) -> String {
    let list = get(process, "/kv").await;
    let tag = list.headers()["etag"].to_str().unwrap();
    tag.trim_matches('"').to_owned()
}

async fn watch(process: &Process, since: &str) -> Events {
    Events::of_response(get(process, &format!("/watch?since={since}")).await)
}

async fn assert_reset(process: &Process, since: &str, revision: u64) {
    let first = watch(process, since).await.block().await.unwrap();
    assert_eq!(
        first.event.as_deref(),
        Some("reset"),
        "after {since}: {first:?}"
    );
    assert_eq!(first.json(), json!({ "revision": revision }));
}

/// Stops the process after a commit and copies its data file.
async fn stop_and_keep(process: Process, folder: &Path) -> Vec<u8> {
    assert!(process.stop().await.status.success());
    std::fs::read(folder.join("data.json")).unwrap()
}

fn values(history: &Value) -> Vec<&str> {
    let items = history["items"].as_array().unwrap().iter();
    items.map(|item| item["value"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn what_came_after_an_older_data_file_is_no_longer_known() {
    for mode in WITH_HISTORY {
        after_an_older_data_file(mode).await;
    }
}

async fn after_an_older_data_file(mode: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), mode).await;
    put(&process, "one").await;
    let common = position(&process).await;
    put(&process, "two").await;
    let three = put(&process, "three").await;
    let older = stop_and_keep(process, folder.path()).await;

    let process = Process::start(folder.path(), mode).await;
    let mut void = Vec::new();
    let mut moments = Vec::new();
    for value in ["void 4", "void 5", "void 6", "void 7"] {
        let entry = put(&process, value).await;
        void.push(position(&process).await);
        moments.push(entry["modified_at"].as_str().unwrap().to_owned());
    }
    assert!(process.stop().await.status.success());
    std::fs::write(folder.path().join("data.json"), &older).unwrap();

    let mut process = Process::start(folder.path(), mode).await;
    for since in &void {
        assert_reset(&process, since, 3).await;
    }
    put(&process, "four").await;
    put(&process, "five").await;
    put(&process, "six").await;
    // Once more after a restart, when nothing is in memory.
    for _ in 0..2 {
        for since in &void {
            assert_reset(&process, since, 6).await;
        }
        let all = ["six", "five", "four", "three", "two", "one"];
        for path in ["/history", "/history/a", "/history?prefix=a"] {
            assert_eq!(values(&json_at(&process, path).await), all, "{path}");
        }
        for moment in &moments {
            let then = json_at(&process, &format!("/kv/a?at={moment}")).await;
            assert_eq!(then, three, "at {moment}");
        }
        for (revision, value) in (1..).zip(all.iter().rev()) {
            let then = json_at(&process, &format!("/kv/a?revision={revision}")).await;
            assert_eq!(then["value"], **value, "at revision {revision}");
        }
        let mut events = watch(&process, &common).await;
        for value in all.iter().rev().skip(1) {
            let event = events.next().await.unwrap();
            assert_eq!(event.event.as_deref(), Some("put"));
            assert_eq!(event.json()["value"], **value);
        }
        assert!(process.stop().await.status.success());
        process = Process::start(folder.path(), mode).await;
    }
}

/// The log has acknowledged commits that no data file has ever had.
#[tokio::test]
async fn an_older_data_file_beside_a_journal_that_was_not_closed_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data.json");
    let process = Process::start(folder.path(), &JOURNAL).await;
    put(&process, "one").await;
    put(&process, "two").await;
    let older = stop_and_keep(process, folder.path()).await;
    let process = Process::start(folder.path(), &JOURNAL).await;
    put(&process, "three").await;
    put(&process, "four").await;
    process.kill().await;
    let newer = std::fs::read(&data).unwrap();
    std::fs::write(&data, &older).unwrap();
    for mode in MODES {
        let message = refused(folder.path(), mode).await;
        for said in [
            "commits up to revision 4",
            "the data file is of revision 2",
            "put the newer data.json back",
            "move the log away",
        ] {
            assert!(message.contains(said), "{said}: {message}");
        }
    }
    std::fs::write(&data, newer).unwrap();
    let process = Process::start(folder.path(), &[]).await;
    let all = ["four", "three", "two", "one"];
    assert_eq!(values(&json_at(&process, "/history/a").await), all);
}
