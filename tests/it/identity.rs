//! Files that are not those that were written: moved away, replaced, copied alone, or another's.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::journal::{ALWAYS, NEVER, journal_of, leave_a_journal, named_journal, put, refused};
use crate::support::binary::{Process, command, run, soon};
use crate::support::writers::shown_entries;

/// What a process shows, by key.
type Entries = BTreeMap<String, Value>;

/// What somebody may do to the files of a store that runs.
#[derive(Debug, Clone, Copy)]
enum Meddling {
    Moved(&'static str),
    Removed(&'static str),
    /// By a copy, which has the same content.
    Replaced(&'static str),
    Emptied(&'static str),
}

const MEDDLINGS: [Meddling; 8] = [
    Meddling::Moved("data.json"),
    Meddling::Removed("data.json"),
    Meddling::Replaced("data.json"),
    Meddling::Emptied("data.json"),
    Meddling::Moved("data.json.journal"),
    Meddling::Removed("data.json.journal"),
    Meddling::Replaced("data.json.journal"),
    Meddling::Emptied("data.json.journal"),
];

impl Meddling {
    /// Returns the file that it was done to.
    fn with(self, folder: &Path) -> &'static str {
        let copy = folder.join("copy");
        let (Self::Moved(name) | Self::Removed(name) | Self::Replaced(name) | Self::Emptied(name)) =
            self;
        let file = folder.join(name);
        match self {
            Self::Moved(_) => fs::rename(&file, copy).unwrap(),
            Self::Removed(_) => fs::remove_file(&file).unwrap(),
            Self::Replaced(_) => {
                fs::copy(&file, &copy).unwrap();
                fs::rename(&copy, &file).unwrap();
            }
            Self::Emptied(_) => fs::write(&file, "").unwrap(),
        }
        name
    }
}

/// A process with three entries, and how it shows them.
async fn start_with_three(folder: &Path) -> (Process, Entries) {
    let process = Process::start(folder, &ALWAYS).await;
    put(&process, "a", 1).await;
    put(&process, "b", 2).await;
    put(&process, "c", 3).await;
    let shown = shown_entries(&process).await;
    (process, shown)
}

/// The next process shows the same entries.
async fn assert_shown_again(folder: &Path, meddling: Meddling, shown: &Entries) {
    let process = Process::start(folder, &ALWAYS).await;
    assert_eq!(shown_entries(&process).await, *shown, "{meddling:?}");
}

/// The next commit after a meddling makes everything durable, and the log says what happened.
#[tokio::test]
async fn a_file_that_is_not_the_one_that_was_written_is_noticed_at_the_next_commit() {
    for meddling in MEDDLINGS {
        let folder = tempfile::tempdir().unwrap();
        let (process, _) = start_with_three(folder.path()).await;
        let name = meddling.with(folder.path());
        put(&process, "c", 4).await;
        put(&process, "d", 5).await;
        let shown = shown_entries(&process).await;
        let log = process.kill().await.log;
        assert!(
            log.contains("WARN") && log.contains(name),
            "{meddling:?}: {log}"
        );
        assert_shown_again(folder.path(), meddling, &shown).await;
        assert_eq!(shown.len(), 4);
    }
}

/// Nobody commits any more, and the process is killed: what was acknowledged is there all the same.
#[tokio::test]
async fn a_file_that_is_moved_away_from_an_idle_store_is_made_up_for() {
    for meddling in MEDDLINGS {
        let folder = tempfile::tempdir().unwrap();
        let (process, shown) = start_with_three(folder.path()).await;
        meddling.with(folder.path());
        soon(async {
            // Then it is all, and there is no journal.
            let is_all = || {
                let text = fs::read_to_string(folder.path().join("data.json")).unwrap_or_default();
                text.contains("\"c\"") && !text.contains("\"journal\"")
            };
            while !is_all() || journal_of(folder.path()).is_some() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        process.kill().await;
        assert_shown_again(folder.path(), meddling, &shown).await;
    }
}

#[tokio::test]
async fn a_file_that_is_moved_away_just_before_a_stop_is_made_up_for() {
    for meddling in MEDDLINGS {
        let folder = tempfile::tempdir().unwrap();
        let (process, shown) = start_with_three(folder.path()).await;
        let name = meddling.with(folder.path());
        let ended = process.stop().await;
        assert!(ended.status.success(), "{meddling:?}: {}", ended.log);
        assert!(ended.log.contains(name), "{meddling:?}: {}", ended.log);
        assert_shown_again(folder.path(), meddling, &shown).await;
    }
}

/// Also without a journal: a data file that is gone is written again.
#[tokio::test]
async fn a_small_data_file_that_is_removed_is_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data.json");
    let process = Process::start(folder.path(), &NEVER).await;
    put(&process, "a", 1).await;
    let text = fs::read(&data).unwrap();
    fs::remove_file(&data).unwrap();
    soon(async {
        while !data.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(fs::read(&data).unwrap(), text);
    fs::remove_file(&data).unwrap();
    let ended = process.stop().await;
    assert!(ended.status.success(), "{}", ended.log);
    assert_eq!(fs::read(&data).unwrap(), text);
}

#[tokio::test]
async fn a_copy_of_the_data_file_alone_is_recognised() {
    let folder = tempfile::tempdir().unwrap();
    leave_a_journal(folder.path()).await;
    let copy = tempfile::tempdir().unwrap();
    let data = copy.path().join("data.json");
    fs::copy(folder.path().join("data.json"), &data).unwrap();
    let text = fs::read_to_string(&data).unwrap();
    for arguments in [&ALWAYS[..], &NEVER, &[]] {
        let mut command = command(copy.path());
        command.args(arguments).args(["--listen", "127.0.0.1:0"]);
        let output = run(command).await;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let message = String::from_utf8(output.stderr).unwrap();
        for said in [
            "data.json cannot be loaded",
            "data.json.journal, which is missing",
            "commits after revision 2",
            "restore both files",
        ] {
            assert!(message.contains(said), "{said}: {message}");
        }
        assert_eq!(message.lines().count(), 1, "{message}");
        assert_eq!(fs::read_to_string(&data).unwrap(), text);
    }
    // What the sentence says is what helps.
    let id = named_journal(copy.path()).unwrap();
    let edited = text.replace(&format!("\"journal\":\"{id}\","), "");
    fs::write(&data, edited).unwrap();
    let process = Process::start(copy.path(), &ALWAYS).await;
    let shown = shown_entries(&process).await;
    assert_eq!(shown.keys().collect::<Vec<_>>(), ["a", "b"]);
}

#[tokio::test]
async fn a_journal_of_another_data_file_is_recognised() {
    let (ours, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    leave_a_journal(ours.path()).await;
    leave_a_journal(others.path()).await;
    let journal = ours.path().join("data.json.journal");
    let ours_text = fs::read(&journal).unwrap();
    fs::copy(others.path().join("data.json.journal"), &journal).unwrap();
    let message = refused(ours.path()).await;
    assert!(
        message.contains("data.json.journal cannot be loaded"),
        "{message}"
    );
    assert!(message.contains("put that one back"), "{message}");

    // Beside a data file from before there was one.
    fs::write(&journal, &ours_text).unwrap();
    let data = ours.path().join("data.json");
    let older = "{\"format\":1,\"revision\":0,\"entries\":{}}";
    fs::write(&data, older).unwrap();
    let message = refused(ours.path()).await;
    assert!(
        message.contains("it belongs to another data.json"),
        "{message}"
    );
    assert!(message.contains("move the journal away"), "{message}");
    assert_eq!(fs::read(&journal).unwrap(), ours_text);
    assert_eq!(fs::read_to_string(&data).unwrap(), older);
    fs::remove_file(&journal).unwrap();
    let process = Process::start(ours.path(), &ALWAYS).await;
    assert!(shown_entries(&process).await.is_empty());
}

/// What a crash between two steps leaves, or somebody who has taken the id out of a data file that
/// has everything.
#[tokio::test]
async fn a_journal_that_is_not_named_and_adds_nothing_goes() {
    let folder = tempfile::tempdir().unwrap();
    leave_a_journal(folder.path()).await;
    let journal = folder.path().join("data.json.journal");
    let left = fs::read(&journal).unwrap();
    let process = Process::start(folder.path(), &NEVER).await;
    let shown = shown_entries(&process).await;
    process.stop().await;
    fs::write(&journal, left).unwrap();
    let process = Process::start(folder.path(), &ALWAYS).await;
    assert!(!journal.exists());
    assert_eq!(shown_entries(&process).await, shown);
    put(&process, "d", 4).await;
    let ended = process.stop().await;
    assert!(ended.log.contains("is not needed"), "{}", ended.log);
}

/// As the version before the id left them, to the letter.
#[tokio::test]
async fn files_without_an_id_are_loaded_and_then_get_one() {
    const DATA: &str = "{\"format\":1,\"revision\":1,\"entries\":{\n\
        \"a\":{\"value\":1,\"version\":1,\"revision\":1,\"modified_at\":\"2026-11-23T10:00:00.000Z\"}\n}}\n";
    const FIRST: &str = "\u{1e}000000000019 af4dc076 {\"format\":1,\"revision\":1}\n";
    const SECOND: &str = "\u{1e}000000000076 0d6a8abe {\"after\":1,\"revision\":2,\"changes\":{\"b\":\
        {\"value\":2,\"version\":1,\"revision\":2,\"modified_at\":\"2026-11-23T10:00:01.000Z\"}}}\n";
    for arguments in [&ALWAYS[..], &NEVER] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("data.json"), DATA).unwrap();
        let journal = folder.path().join("data.json.journal");
        fs::write(&journal, format!("{FIRST}{SECOND}")).unwrap();
        let process = Process::start(folder.path(), arguments).await;
        let shown = shown_entries(&process).await;
        assert_eq!(shown.keys().collect::<Vec<_>>(), ["a", "b"]);
        put(&process, "c", 3).await;
        put(&process, "d", 4).await;
        assert_eq!(
            named_journal(folder.path()).is_some(),
            arguments == ALWAYS,
            "{arguments:?}"
        );
        let shown = shown_entries(&process).await;
        process.kill().await;
        let process = Process::start(folder.path(), arguments).await;
        assert_eq!(shown_entries(&process).await, shown);
    }
}

/// The revision can be past the journal's only by somebody's hand.
#[tokio::test]
async fn a_data_file_that_is_past_its_journal_says_so() {
    let folder = tempfile::tempdir().unwrap();
    leave_a_journal(folder.path()).await;
    let data = folder.path().join("data.json");
    let text = fs::read_to_string(&data).unwrap();
    fs::write(&data, text.replacen("\"revision\":2", "\"revision\":99", 1)).unwrap();
    let process = Process::start(folder.path(), &ALWAYS).await;
    let shown = shown_entries(&process).await;
    assert_eq!(shown.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(journal_of(folder.path()), None);
    let ended = process.stop().await;
    for said in ["later revision than its journal", "journal=4", "data=99"] {
        assert!(ended.log.contains(said), "{said}: {}", ended.log);
    }
}
