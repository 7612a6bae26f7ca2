//! SIGKILL at any moment: what was acknowledged is there, and nothing is half-way.

use std::collections::BTreeMap;
use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::binary::{MODES, Process, in_each_mode, soon};
use crate::support::http;
use crate::support::segments::{history_in, keeps_history, keeps_journal};
use crate::support::strace::{Fault, Strace};
use crate::support::writers::{Writers, as_stored, random_below, shown_entries, stored_entries};

const WRITERS: usize = 64;
/// How often the server is killed, unless `IFMATCH_CRASH_ROUNDS` says otherwise.
const ROUNDS: u32 = 20;
/// After how many of them the next begins with an empty folder: the longer a history, the longer it takes to judge.
const ROUNDS_PER_FOLDER: u32 = 10;
/// A kill comes before so many acknowledgements of its round.
const ACKNOWLEDGEMENTS: u64 = 300;
/// With as much alive as the writers write, a journal begins and ends again and again.
const BETWEEN: [&[&str]; 2] = [
    &["--journal-above", "100000"],
    &["--journal-above", "100000", "--history", "never"],
];

/// A test for each mode, so that they run beside each other.
mod a_kill_under_load_loses_nothing_that_was_acknowledged {
    use super::{BETWEEN, MODES, killed_under_load};

    #[tokio::test]
    async fn of_a_data_file() {
        killed_under_load(MODES[0]).await;
    }

    #[tokio::test]
    async fn of_a_data_file_without_history() {
        killed_under_load(MODES[1]).await;
    }

    #[tokio::test]
    async fn of_a_journal() {
        killed_under_load(MODES[2]).await;
    }

    #[tokio::test]
    async fn of_a_journal_without_history() {
        killed_under_load(MODES[3]).await;
    }

    #[tokio::test]
    async fn between_the_two() {
        killed_under_load(BETWEEN[0]).await;
    }

    #[tokio::test]
    async fn between_the_two_without_history() {
        killed_under_load(BETWEEN[1]).await;
    }
}

async fn killed_under_load(mode: &[&str]) {
    let mut folder = TempDir::new().unwrap();
    let mut writers = Writers::new(WRITERS);
    for round in 0..rounds() {
        if round > 0 && round.is_multiple_of(ROUNDS_PER_FOLDER) {
            folder = TempDir::new().unwrap();
            writers = Writers::new(WRITERS);
        }
        let process = Process::start(folder.path(), mode).await;
        let mut working = writers.start(&process);
        working.acknowledged(random_below(ACKNOWLEDGEMENTS)).await;
        process.signal(Signal::KILL);
        let (status, log) = process.wait().await;
        assert_eq!(status.code(), None, "it ended by itself: {log}");
        writers = working.end().await;

        let process = Process::start(folder.path(), mode).await;
        let shown = shown_entries(&process).await;
        writers.check(shown.clone());
        assert!(process.stop().await.status.success());
        let stored = stored_entries(folder.path());
        assert!(
            shown
                .into_iter()
                .map(|(key, entry)| (key, as_stored(entry)))
                .eq(stored),
            "what a start shows is in data.json after a clean stop"
        );
        assert_eq!(temporary_files(folder.path()), 0);
        writers.check_history(folder.path(), mode).await;
    }
}

#[tokio::test]
async fn an_acknowledged_write_is_in_the_file_at_the_moment_of_its_answer() {
    let folder = TempDir::new().unwrap();
    let process = Process::start(folder.path(), &[]).await;
    let client = http::client();
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

/// How many clients transfer at once, and between how many accounts.
const TRANSFERRERS: u32 = 32;
const ACCOUNTS: u32 = 4;
/// What all accounts hold together.
const SUM: i64 = 4000;
/// How often the transfers are cut short by a kill.
const TRANSFER_ROUNDS: u32 = 5;

#[tokio::test]
async fn transfers_never_change_the_sum_also_across_kills_and_at_no_revision() {
    let folder = TempDir::new().unwrap();
    let mut process = Process::start(folder.path(), &[]).await;
    for account in 0..ACCOUNTS {
        let url = process.url(&format!("/kv/account/{account}"));
        let put = http::client().put(url).json(&(SUM / i64::from(ACCOUNTS)));
        assert_eq!(put.send().await.unwrap().status(), 201);
    }
    for _ in 0..TRANSFER_ROUNDS {
        let (done, mut count) = tokio::sync::mpsc::unbounded_channel();
        let mut clients = tokio::task::JoinSet::new();
        for client in 0..TRANSFERRERS {
            clients.spawn(transfer_until_gone(process.url(""), client, done.clone()));
        }
        for _ in 0..50 + random_below(100) {
            soon(count.recv()).await.unwrap();
            assert_eq!(
                sum_of(&process).await,
                SUM,
                "a list shows all or nothing of a transfer"
            );
        }
        process.kill().await;
        soon(clients.join_all()).await;
        assert_sum_at_every_revision(folder.path()).await;
        process = Process::start(folder.path(), &[]).await;
        assert_eq!(sum_of(&process).await, SUM);
    }
}

/// A transfer is in the history as a whole or not at all.
async fn assert_sum_at_every_revision(folder: &Path) {
    let mut accounts = BTreeMap::new();
    let mut last = 0;
    for happened in history_in(folder, &[]).await.unwrap() {
        let is_complete = accounts.len() == usize::try_from(ACCOUNTS).unwrap();
        if is_complete && happened.revision > last {
            assert_eq!(accounts.values().sum::<i64>(), SUM, "at {last}");
        }
        last = happened.revision;
        let value = happened.put.unwrap()["value"].as_i64().unwrap();
        accounts.insert(happened.key, value);
    }
    assert_eq!(accounts.values().sum::<i64>(), SUM, "at {last}");
}

async fn sum_of(process: &Process) -> i64 {
    let entries = shown_entries(process).await;
    assert_eq!(entries.len(), usize::try_from(ACCOUNTS).unwrap());
    entries
        .values()
        .map(|entry| entry["value"].as_i64().unwrap())
        .sum()
}

/// Moves amounts between two accounts, each time on the tags that it has read.
async fn transfer_until_gone(
    server: String,
    client: u32,
    done: tokio::sync::mpsc::UnboundedSender<()>,
) {
    let http = http::client();
    let read = async |account: u32| -> Option<Value> {
        let got = http
            .get(format!("{server}/kv/account/{account}"))
            .send()
            .await
            .ok()?;
        got.json().await.ok()
    };
    for round in client.. {
        let (from, to) = (round % ACCOUNTS, (round + 1 + client % 3) % ACCOUNTS);
        let (Some(a), Some(b)) = (read(from).await, read(to).await) else {
            return;
        };
        let amount = i64::from(round % 7 + 1);
        let put = |entry: &Value, change: i64| {
            let value = entry["value"].as_i64().unwrap() + change;
            json!({"op": "put", "key": entry["key"], "value": value, "if_match": entry["etag"]})
        };
        let body = json!({"operations": [put(&a, -amount), put(&b, amount)]});
        let sent = http
            .post(format!("{server}/transactions"))
            .json(&body)
            .send();
        match sent.await.map(|answer| answer.status().as_u16()) {
            // Whoever counts may have heard enough.
            Ok(200) => drop(done.send(())),
            Ok(412) => {}
            Ok(other) => panic!("{other}"),
            Err(_) => return,
        }
    }
}

/// The call that removes a file.
const REMOVE: &str = "?unlink,unlinkat";
/// The calls that change files.
const STEPS: [&str; 6] = [
    "?rename,?renameat,renameat2",
    "fsync",
    "fdatasync",
    "pwrite64",
    REMOVE,
    "?chmod,fchmod",
];
/// Two of these and a journal is due for a checkpoint.
const LARGE_BYTES: usize = 40_000;

/// From the first data file over the beginning of a journal, checkpoints and an end, the process is
/// killed in place of each call that it makes.
#[tokio::test]
async fn a_kill_at_any_step_leaves_files_that_open_with_what_was_acknowledged() {
    if !Strace::is_usable().await {
        return;
    }
    in_each_mode(|mode| async move {
        for calls in STEPS {
            let mut nth = 1;
            while dies_at_step(mode, calls, nth).await {
                nth += 1;
            }
            // With a history only what a cancelled checkpoint leaves is removed, and there need not be one.
            let removes_files = keeps_journal(mode) && !keeps_history(mode);
            let is_sure = match calls {
                REMOVE => removes_files,
                _ => keeps_journal(mode) || ["fsync", STEPS[0]].contains(&calls),
            };
            assert!(nth > 1 || !is_sure, "{calls} is called");
        }
    })
    .await;
}

/// Whether the process came to that step.
async fn dies_at_step(mode: &[&str], calls: &'static str, nth: u32) -> bool {
    let folder = TempDir::new().unwrap();
    let process = Process::start(folder.path(), mode).await;
    let fault = Fault {
        calls,
        error: "EIO:signal=KILL",
        when: nth.to_string(),
        files: Vec::new(),
    };
    let strace = Strace::attach(&process, &fault).await;
    let mut acknowledged = BTreeMap::new();
    for number in 0..6 {
        let key = format!("key/{number}");
        let url = process.url(&format!("/kv/{key}"));
        let put = http::client().put(url).json(&"x".repeat(LARGE_BYTES));
        let Ok(answer) = soon(put.send()).await else {
            break;
        };
        let Ok(entry) = answer.json::<Value>().await else {
            break;
        };
        acknowledged.insert(key, entry);
    }
    // If it is still there, it comes to the end of the journal.
    let pid = process.pid();
    let _ = rustix::process::kill_process(pid, Signal::TERM);
    let (status, log) = process.wait().await;
    drop(strace);
    let left = |folder: &Path| {
        let files = std::fs::read_dir(folder).unwrap();
        files
            .map(|file| file.unwrap().file_name())
            .collect::<Vec<_>>()
    };
    let left = left(folder.path());
    let mut command = crate::support::binary::command(folder.path());
    command.args(["--listen", "127.0.0.1:0"]).args(mode);
    let process = match Process::try_spawn(command).await {
        Ok(process) => process,
        Err(refused) => panic!("{fault:?} left {left:?}: {refused:?}"),
    };
    let shown = shown_entries(&process).await;
    for (key, entry) in &acknowledged {
        assert_eq!(
            shown.get(key),
            Some(entry),
            "{fault:?} left {left:?}: {log}"
        );
    }
    assert!(shown.len() <= acknowledged.len() + 1, "{fault:?}: {left:?}");
    process.kill().await;
    if let Some(history) = history_in(folder.path(), mode).await {
        let past: Vec<_> = history.into_iter().map(|happened| happened.put).collect();
        // The keys are in the order in which they were put.
        let shown: Vec<_> = shown.into_values().map(Some).collect();
        assert_eq!(past, shown, "{mode:?} {fault:?} left {left:?}");
    }
    status.code() != Some(0)
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
