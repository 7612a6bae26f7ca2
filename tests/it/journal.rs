//! The log as the journal of a large data file: when it is one, what it survives, when it is refused.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Client;
use serde_json::{Value, json};

use crate::support::binary::{Process, command, run, soon};
use crate::support::http;
use crate::support::segments::{history_in, keeps_history, segments, with_and_without_history};
use crate::support::writers::{as_stored, shown_entries, stored_entries};

/// Every commit goes to the journal once there is a data file.
pub const ALWAYS: [&str; 2] = ["--journal-above", "0"];
pub const NEVER: [&str; 2] = ["--journal-above", "never"];
/// How long a journal may become, in bytes, before a test calls its checkpoint missing: hundreds of
/// times as long as it takes for one. On a machine that is slow, so are those who write.
const CHECKPOINT_MISSED_BYTES: usize = 32 * 1024 * 1024;
/// How many commits more may come before a test calls the new journal missing.
const NEW_JOURNAL_MISSED_COMMITS: u32 = 10_000;

pub async fn put(process: &Process, key: &str, value: impl Into<Value>) -> Value {
    let url = process.url(&format!("/kv/{key}"));
    let sent = http::client().put(url).json(&value.into()).send();
    let answer = sent.await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
    answer.json().await.unwrap()
}

async fn delete(process: &Process, key: &str) {
    let sent = http::client()
        .delete(process.url(&format!("/kv/{key}")))
        .send();
    assert_eq!(sent.await.unwrap().status(), 200);
}

/// The last segment of the log.
pub fn last_segment(folder: &Path) -> PathBuf {
    segments(folder).pop().expect("there is a segment")
}

/// What is in the last segment, if the data file needs the log.
pub fn journal_of(folder: &Path) -> Option<Vec<u8>> {
    named_journal(folder)?;
    Some(fs::read(last_segment(folder)).unwrap())
}

/// Asserts that the log is not needed: with a history it is there all the same.
fn assert_no_journal(folder: &Path, flags: &[&str]) {
    assert_eq!(named_journal(folder), None, "{flags:?}");
    assert_eq!(
        !segments(folder).is_empty(),
        keeps_history(flags),
        "{flags:?}"
    );
}

/// The first line of the data file, as JSON.
fn head_of(folder: &Path) -> Value {
    let text = fs::read_to_string(folder.join("data.json")).unwrap();
    let line = text.lines().next().unwrap();
    serde_json::from_str(&format!("{line}}}}}")).unwrap()
}

/// The id of the log that the data file says it is not all without.
pub fn named_journal(folder: &Path) -> Option<String> {
    let head = head_of(folder);
    head.get("journal")
        .map(|id| id.as_str().unwrap().to_owned())
}

/// Starts on what cannot be started on; what it says.
pub async fn refused(folder: &Path, flags: &[&str]) -> String {
    let mut command = command(folder);
    command.args(flags).args(["--listen", "127.0.0.1:0"]);
    let output = run(command).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Puts `a` into the data file and `b`, `c` and a deletion of `b` into the journal, and kills the
/// process. Returns the answer for `c`.
pub async fn leave_a_journal(folder: &Path, flags: &[&str]) -> Value {
    let process = Process::start(folder, flags).await;
    put(&process, "a", 1).await;
    put(&process, "b", 2).await;
    delete(&process, "b").await;
    let entry = put(&process, "c", "three").await;
    process.kill().await;
    entry
}

#[tokio::test]
async fn commits_go_to_the_journal_and_a_clean_stop_takes_it_up() {
    for flags in with_and_without_history(&ALWAYS) {
        let folder = tempfile::tempdir().unwrap();
        let process = Process::start(folder.path(), &flags).await;
        put(&process, "a", 1).await;
        // The first commit makes the data file.
        assert_no_journal(folder.path(), &flags);
        let entry = put(&process, "b", "two").await;
        let data = fs::read(folder.path().join("data.json")).unwrap();
        let id = named_journal(folder.path()).expect("it says that it is not all");
        let journal = journal_of(folder.path()).unwrap();
        put(&process, "c", 3).await;
        let longer = journal_of(folder.path()).unwrap();
        assert!(
            longer.len() > journal.len() && longer.starts_with(&journal),
            "it was appended to"
        );
        let begin = format!("{{\"format\":1,\"log\":\"{id}\",\"journal\":true,\"revision\":1,");
        let first = String::from_utf8_lossy(&journal)
            .lines()
            .next()
            .unwrap()
            .to_owned();
        assert!(first.contains(&begin), "{begin}: {first}");
        assert_eq!(fs::read(folder.path().join("data.json")).unwrap(), data);
        let shown = shown_entries(&process).await;
        assert!(process.stop().await.status.success());

        // The data file is all.
        assert_no_journal(folder.path(), &flags);
        let stored = stored_entries(folder.path());
        assert_eq!(stored["b"], as_stored(entry));
        assert_eq!(stored.len(), 3);
        let process = Process::start(folder.path(), &flags).await;
        assert_eq!(shown_entries(&process).await, shown, "tags too");
    }
}

#[tokio::test]
async fn a_journal_begins_when_the_data_file_is_larger_than_the_flag_says() {
    for (journal, is_expected) in [(["--journal-above", "3000"], true), (NEVER, false)] {
        for flags in with_and_without_history(&journal) {
            let folder = tempfile::tempdir().unwrap();
            let process = Process::start(folder.path(), &flags).await;
            put(&process, "large", "x".repeat(2000)).await;
            put(&process, "small", 1).await;
            // It is smaller.
            assert_no_journal(folder.path(), &flags);
            put(&process, "larger", "x".repeat(2000)).await;
            put(&process, "small", 2).await;
            assert_eq!(journal_of(folder.path()).is_some(), is_expected);
            process.kill().await;
            let process = Process::start(folder.path(), &flags).await;
            assert_eq!(shown_entries(&process).await["small"]["value"], 2);
        }
    }
}

#[tokio::test]
async fn a_journal_that_is_left_behind_is_replayed_and_gone_on_with() {
    for flags in with_and_without_history(&ALWAYS) {
        let folder = tempfile::tempdir().unwrap();
        let entry = leave_a_journal(folder.path(), &flags).await;
        let before = journal_of(folder.path()).unwrap();
        let process = Process::start(folder.path(), &flags).await;
        let shown = shown_entries(&process).await;
        assert_eq!(shown.keys().collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(shown["c"], entry);
        let next = put(&process, "c", 4).await;
        assert_eq!(next["version"], 2);
        assert_eq!(next["revision"], 5);
        assert!(journal_of(folder.path()).unwrap().starts_with(&before));
        process.kill().await;
        assert_history_has(folder.path(), &flags, 5).await;
    }
}

/// With a history all of the first revisions are in it, and no more.
async fn assert_history_has(folder: &Path, flags: &[&str], newest: u64) {
    if let Some(history) = history_in(folder, flags).await {
        let revisions: Vec<_> = history.iter().map(|happened| happened.revision).collect();
        assert_eq!(revisions, (1..=newest).collect::<Vec<_>>(), "{flags:?}");
    }
}

#[tokio::test]
async fn without_journaling_a_journal_that_is_left_behind_is_taken_up() {
    for left in with_and_without_history(&ALWAYS) {
        let folder = tempfile::tempdir().unwrap();
        let entry = leave_a_journal(folder.path(), &left).await;
        // The data file is small, so the default is not to have a journal.
        for journal in [&NEVER[..], &[]] {
            let flags = [journal, &left[ALWAYS.len()..]].concat();
            let process = Process::start(folder.path(), &flags).await;
            assert_no_journal(folder.path(), &flags);
            assert_eq!(stored_entries(folder.path())["c"], as_stored(entry.clone()));
            assert_eq!(shown_entries(&process).await["c"], entry);
            process.kill().await;
            assert_history_has(folder.path(), &flags, 4).await;
        }
    }
}

#[tokio::test]
async fn a_torn_last_commit_is_cut_off_with_a_log_line() {
    for flags in with_and_without_history(&ALWAYS) {
        let folder = tempfile::tempdir().unwrap();
        leave_a_journal(folder.path(), &flags).await;
        let journal = journal_of(folder.path()).unwrap();
        let torn = &journal[..journal.len() - 7];
        fs::write(last_segment(folder.path()), torn).unwrap();
        let process = Process::start(folder.path(), &flags).await;
        assert_eq!(shown_entries(&process).await.len(), 1, "c was not whole");
        let rest = journal_of(folder.path()).unwrap();
        assert!(rest.len() < torn.len() && torn.starts_with(&rest));
        put(&process, "d", 4).await;
        let log = process.kill().await.log;
        assert!(log.contains("cutting off"), "{log}");
        assert!(
            log.contains(&format!("bytes={}", torn.len() - rest.len())),
            "{log}"
        );
        assert_history_has(folder.path(), &flags, 4).await;
        let process = Process::start(folder.path(), &flags).await;
        let shown = shown_entries(&process).await;
        assert_eq!(shown.keys().collect::<Vec<_>>(), ["a", "d"]);
    }
}

#[tokio::test]
async fn a_damaged_journal_stops_the_start_and_stays_as_it_is() {
    for flags in with_and_without_history(&ALWAYS) {
        let folder = tempfile::tempdir().unwrap();
        leave_a_journal(folder.path(), &flags).await;
        let path = last_segment(folder.path());
        let name = path.file_name().unwrap().to_str().unwrap();
        let data = folder.path().join("data.json");
        let journal = fs::read(&path).unwrap();
        let second = journal.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let mut flipped = journal.clone();
        flipped[second + 40] ^= 1;
        let whole = fs::read_to_string(&data).unwrap();
        for (journal, place) in [
            (flipped, format!("at byte {second}")),
            (Vec::new(), "at byte 0".to_owned()),
        ] {
            fs::write(&path, &journal).unwrap();
            let message = refused(folder.path(), &flags).await;
            assert!(
                message.contains(&format!("{name} cannot be loaded")),
                "{message}"
            );
            assert!(message.contains(&place), "{message}");
            assert_eq!(fs::read(&path).unwrap(), journal);
            assert_eq!(fs::read_to_string(&data).unwrap(), whole);
        }
        fs::write(&path, &journal).unwrap();
        fs::remove_file(&data).unwrap();
        let message = refused(folder.path(), &flags).await;
        let said = "data.json cannot be loaded: it is missing, but the log";
        assert!(message.contains(said), "{message}");
        assert!(message.contains(name), "{message}");
        assert!(!data.exists());
        assert_eq!(fs::read(&path).unwrap(), journal);
    }
}

#[tokio::test]
async fn a_journal_is_for_those_for_whom_the_data_file_is() {
    for flags in with_and_without_history(&ALWAYS) {
        let folder = tempfile::tempdir().unwrap();
        let process = Process::start(folder.path(), &flags).await;
        put(&process, "a", 1).await;
        for chosen in [0o600, 0o640] {
            let chosen = Permissions::from_mode(chosen);
            fs::set_permissions(folder.path().join("data.json"), chosen.clone()).unwrap();
            put(&process, "b", 1).await;
            let metadata = fs::metadata(last_segment(folder.path())).unwrap();
            assert_eq!(
                metadata.permissions().mode() & 0o7777,
                0o600,
                "when it was begun"
            );
        }
        process.stop().await;
        let process = Process::start(folder.path(), &flags).await;
        put(&process, "b", 2).await;
        let metadata = fs::metadata(last_segment(folder.path())).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o640);
    }
}

#[tokio::test]
async fn a_journal_that_has_outgrown_the_data_file_is_taken_up_while_commits_go_on() {
    for flags in with_and_without_history(&ALWAYS) {
        let folder = tempfile::tempdir().unwrap();
        let process = Process::start(folder.path(), &flags).await;
        put(&process, "a", 0).await;
        put(&process, "b", 0).await;
        let revision = || head_of(folder.path())["revision"].as_u64().unwrap();
        let first = revision();
        let text = "x".repeat(10_000);
        let mut newest = 2;
        for count in 0_u32.. {
            put(&process, "a", json!({"count": count, "text": text})).await;
            newest += 1;
            if revision() != first {
                break;
            }
            let journal = journal_of(folder.path()).unwrap();
            assert!(
                journal.len() < CHECKPOINT_MISSED_BYTES,
                "there is no checkpoint"
            );
        }
        let begins_at_checkpoint = || {
            let journal = journal_of(folder.path()).unwrap();
            let line = journal.split(|byte| *byte == b'\n').next().unwrap();
            let revision = format!("\"revision\":{},", revision());
            String::from_utf8_lossy(line).contains(&revision)
        };
        let mut commits = 0;
        while !begins_at_checkpoint() {
            put(&process, "b", "small").await;
            commits += 1;
            assert!(
                commits < NEW_JOURNAL_MISSED_COMMITS,
                "there is no new segment"
            );
        }
        let last = put(&process, "c", 3).await;
        newest += u64::from(commits) + 1;
        let shown = shown_entries(&process).await;
        process.kill().await;
        assert_history_has(folder.path(), &flags, newest).await;
        let process = Process::start(folder.path(), &flags).await;
        assert_eq!(shown_entries(&process).await, shown);
        assert_eq!(shown["c"], last);
    }
}

/// How much is stored in parts, and deleted again.
const PARTS: u32 = 40;
const PART_OPERATIONS: u32 = 100;
const PART_VALUE_BYTES: usize = 8000;

async fn transact(client: &Client, process: &Process, operations: Vec<Value>) {
    let url = process.url("/transactions");
    let sent = client.post(url).json(&json!({ "operations": operations }));
    let answer = sent.send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
}

/// How much memory the process has taken for data, in bytes.
fn resident(process: &Process) -> u64 {
    let path = format!("/proc/{}/status", process.pid());
    let status = fs::read_to_string(path).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let kib: u64 = line
        .and_then(|line| line.split_whitespace().nth(1))
        .and_then(|number| number.parse().ok())
        .unwrap();
    kib * 1024
}

/// After everything was deleted there is a small data file, no journal, and little memory.
#[tokio::test]
async fn a_store_that_is_emptied_gives_disk_and_memory_back() {
    for flags in with_and_without_history(&["--watch-buffer", "1048576"]) {
        let folder = tempfile::tempdir().unwrap();
        let process = Process::start(folder.path(), &flags).await;
        put(&process, "kept", 1).await;
        let (client, empty) = (http::client(), resident(&process));
        let keys =
            |part: u32| (0..PART_OPERATIONS).map(move |number| format!("part/{part}/{number}"));
        let text = "x".repeat(PART_VALUE_BYTES);
        for part in 0..PARTS {
            let put = |key| json!({"op": "put", "key": key, "value": text});
            transact(&client, &process, keys(part).map(put).collect()).await;
        }
        let full = resident(&process);
        for part in 0..PARTS {
            let delete = |key| json!({"op": "delete", "key": key, "if_match": "*"});
            transact(&client, &process, keys(part).map(delete).collect()).await;
        }
        let data = folder.path().join("data.json");
        soon(async {
            let has_log = || !segments(folder.path()).is_empty();
            while fs::metadata(&data).unwrap().len() > 1000
                || journal_of(folder.path()).is_some()
                || has_log() != keeps_history(&flags)
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        assert_no_journal(folder.path(), &flags);
        // The allocator takes its time, and keeps some for what comes next, however much there was.
        let enough = empty + (full - empty) * 2 / 3;
        soon(async {
            while resident(&process) > enough {
                let got = client.get(process.url("/kv")).send().await.unwrap();
                got.bytes().await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        let shown = shown_entries(&process).await;
        assert_eq!(shown.keys().collect::<Vec<_>>(), ["kept"]);
    }
}
