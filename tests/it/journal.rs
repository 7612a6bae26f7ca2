//! The journal beside a large data file: when there is one, what it survives, when it is refused.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use reqwest::Client;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::binary::{Process, command, run};
use crate::support::writers::{as_stored, shown_entries, stored_entries};

/// Every commit goes to the journal once there is a data file.
const ALWAYS: [&str; 2] = ["--journal-above", "0"];
const NEVER: [&str; 2] = ["--journal-above", "never"];
/// How long a checkpoint in the background may take before a test calls it missing.
const CHECKPOINT_DEADLINE: Duration = Duration::from_secs(20);

async fn put(process: &Process, key: &str, value: impl Into<Value>) -> Value {
    let url = process.url(&format!("/kv/{key}"));
    let sent = Client::new().put(url).json(&value.into()).send();
    let answer = sent.await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
    answer.json().await.unwrap()
}

async fn delete(process: &Process, key: &str) {
    let sent = Client::new()
        .delete(process.url(&format!("/kv/{key}")))
        .send();
    assert_eq!(sent.await.unwrap().status(), 200);
}

fn journal_of(folder: &Path) -> Option<Vec<u8>> {
    fs::read(folder.join("data.json.journal")).ok()
}

/// Puts `a` into the data file and `b`, `c` and a deletion of `b` into the journal, and kills the
/// process. Returns the answer for `c`.
async fn leave_a_journal(folder: &Path) -> Value {
    let process = Process::start(folder, &ALWAYS).await;
    put(&process, "a", 1).await;
    put(&process, "b", 2).await;
    delete(&process, "b").await;
    let entry = put(&process, "c", "three").await;
    process.signal(Signal::KILL);
    process.wait().await;
    entry
}

#[tokio::test]
async fn commits_go_to_the_journal_and_a_clean_stop_takes_it_up() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &ALWAYS).await;
    put(&process, "a", 1).await;
    assert_eq!(
        journal_of(folder.path()),
        None,
        "the first commit makes the data file"
    );
    let data = fs::read(folder.path().join("data.json")).unwrap();
    let entry = put(&process, "b", "two").await;
    let journal = journal_of(folder.path()).unwrap();
    put(&process, "c", 3).await;
    let longer = journal_of(folder.path()).unwrap();
    assert!(
        longer.len() > journal.len() && longer.starts_with(&journal),
        "it was appended to"
    );
    assert_eq!(fs::read(folder.path().join("data.json")).unwrap(), data);
    let shown = shown_entries(&process).await;
    assert!(process.stop().await.status.success());

    assert_eq!(journal_of(folder.path()), None);
    let stored = stored_entries(folder.path());
    assert_eq!(stored["b"], as_stored(entry));
    assert_eq!(stored.len(), 3);
    let process = Process::start(folder.path(), &ALWAYS).await;
    assert_eq!(shown_entries(&process).await, shown, "tags too");
}

#[tokio::test]
async fn a_journal_begins_when_the_data_file_is_larger_than_the_flag_says() {
    for (arguments, is_expected) in [(&["--journal-above", "3000"][..], true), (&NEVER, false)] {
        let folder = tempfile::tempdir().unwrap();
        let process = Process::start(folder.path(), arguments).await;
        put(&process, "large", "x".repeat(2000)).await;
        put(&process, "small", 1).await;
        assert_eq!(journal_of(folder.path()), None, "it is smaller");
        put(&process, "larger", "x".repeat(2000)).await;
        put(&process, "small", 2).await;
        assert_eq!(journal_of(folder.path()).is_some(), is_expected);
        process.signal(Signal::KILL);
        process.wait().await;
        let process = Process::start(folder.path(), arguments).await;
        assert_eq!(shown_entries(&process).await["small"]["value"], 2);
    }
}

#[tokio::test]
async fn a_journal_that_is_left_behind_is_replayed_and_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let entry = leave_a_journal(folder.path()).await;
    let before = journal_of(folder.path()).unwrap();
    let process = Process::start(folder.path(), &ALWAYS).await;
    let shown = shown_entries(&process).await;
    assert_eq!(shown.keys().collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(shown["c"], entry);
    let next = put(&process, "c", 4).await;
    assert_eq!(next["version"], 2);
    assert_eq!(next["revision"], 5);
    assert!(journal_of(folder.path()).unwrap().starts_with(&before));
}

#[tokio::test]
async fn without_journaling_a_journal_that_is_left_behind_is_taken_up() {
    let folder = tempfile::tempdir().unwrap();
    let entry = leave_a_journal(folder.path()).await;
    // The data file is small, so the default is not to have a journal.
    for arguments in [&NEVER[..], &[]] {
        let process = Process::start(folder.path(), arguments).await;
        assert_eq!(journal_of(folder.path()), None);
        assert_eq!(stored_entries(folder.path())["c"], as_stored(entry.clone()));
        assert_eq!(shown_entries(&process).await["c"], entry);
        process.signal(Signal::KILL);
        process.wait().await;
    }
}

#[tokio::test]
async fn a_torn_last_commit_is_cut_off_with_a_log_line() {
    let folder = tempfile::tempdir().unwrap();
    leave_a_journal(folder.path()).await;
    let journal = journal_of(folder.path()).unwrap();
    let torn = &journal[..journal.len() - 7];
    fs::write(folder.path().join("data.json.journal"), torn).unwrap();
    let process = Process::start(folder.path(), &ALWAYS).await;
    assert_eq!(shown_entries(&process).await.len(), 1, "c was not whole");
    let rest = journal_of(folder.path()).unwrap();
    assert!(rest.len() < torn.len() && torn.starts_with(&rest));
    put(&process, "d", 4).await;
    process.signal(Signal::KILL);
    let (_, log) = process.wait().await;
    assert!(log.contains("cutting off"), "{log}");
    assert!(
        log.contains(&format!("bytes={}", torn.len() - rest.len())),
        "{log}"
    );
    let process = Process::start(folder.path(), &ALWAYS).await;
    let shown = shown_entries(&process).await;
    assert_eq!(shown.keys().collect::<Vec<_>>(), ["a", "d"]);
}

#[tokio::test]
async fn a_damaged_journal_stops_the_start_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    leave_a_journal(folder.path()).await;
    let path = folder.path().join("data.json.journal");
    let data = folder.path().join("data.json");
    let journal = fs::read(&path).unwrap();
    let second = journal.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let mut flipped = journal.clone();
    flipped[second + 40] ^= 1;
    let whole = fs::read_to_string(&data).unwrap();
    let older = "{\"format\":1,\"revision\":0,\"entries\":{}}".to_owned();
    for (journal, data_text, place) in [
        (flipped, whole.clone(), format!("at byte {second}")),
        (Vec::new(), whole, "at byte 0".to_owned()),
        (journal.clone(), older, "at byte 0".to_owned()),
    ] {
        fs::write(&path, &journal).unwrap();
        fs::write(&data, &data_text).unwrap();
        let mut command = command(folder.path());
        command.args(ALWAYS);
        let output = run(command).await;
        assert_eq!(output.status.code(), Some(1));
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(
            message.contains("data.json.journal cannot be loaded"),
            "{message}"
        );
        assert!(message.contains(&place), "{message}");
        assert_eq!(fs::read(&path).unwrap(), journal);
        assert_eq!(fs::read_to_string(&data).unwrap(), data_text);
    }
    fs::write(&path, &journal).unwrap();
    fs::remove_file(&data).unwrap();
    let output = run(command(folder.path())).await;
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        message.contains("data.json.journal cannot be loaded"),
        "{message}"
    );
    assert!(!data.exists());
}

#[tokio::test]
async fn a_journal_is_for_those_for_whom_the_data_file_is() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &ALWAYS).await;
    put(&process, "a", 1).await;
    let mode = |name: &str| {
        let metadata = fs::metadata(folder.path().join(name)).unwrap();
        metadata.permissions().mode() & 0o7777
    };
    let private = Permissions::from_mode(0o600);
    fs::set_permissions(folder.path().join("data.json"), private).unwrap();
    put(&process, "b", 1).await;
    assert_eq!(mode("data.json.journal"), 0o600);
}

#[tokio::test]
async fn a_journal_that_was_removed_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &ALWAYS).await;
    put(&process, "a", 1).await;
    put(&process, "b", 2).await;
    fs::remove_file(folder.path().join("data.json.journal")).unwrap();
    let sent = Client::new()
        .put(process.url("/kv/c"))
        .json(&json!(3))
        .send();
    assert_eq!(sent.await.unwrap().status(), 500);
    put(&process, "c", 4).await;
    let shown = shown_entries(&process).await;
    process.signal(Signal::KILL);
    process.wait().await;
    let process = Process::start(folder.path(), &ALWAYS).await;
    assert_eq!(shown_entries(&process).await, shown);
    assert_eq!(shown.len(), 3);
}

#[tokio::test]
async fn a_journal_that_has_outgrown_the_data_file_is_taken_up_while_commits_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &ALWAYS).await;
    put(&process, "a", 0).await;
    let data = folder.path().join("data.json");
    let first = fs::read(&data).unwrap();
    let text = "x".repeat(10_000);
    let outgrow = async {
        for count in 0_u32.. {
            put(&process, "a", json!({"count": count, "text": text})).await;
            if fs::read(&data).unwrap() != first {
                return;
            }
        }
    };
    let outgrown = tokio::time::timeout(CHECKPOINT_DEADLINE, outgrow).await;
    outgrown.expect("there is no checkpoint");
    let taken_up = async {
        let length = journal_of(folder.path()).unwrap().len();
        while journal_of(folder.path()).unwrap().len() > length / 2 {
            put(&process, "b", "small").await;
        }
    };
    let taken_up = tokio::time::timeout(CHECKPOINT_DEADLINE, taken_up).await;
    taken_up.expect("there is no new journal");
    let last = put(&process, "c", 3).await;
    let shown = shown_entries(&process).await;
    process.signal(Signal::KILL);
    process.wait().await;
    let process = Process::start(folder.path(), &ALWAYS).await;
    assert_eq!(shown_entries(&process).await, shown);
    assert_eq!(shown["c"], last);
}
