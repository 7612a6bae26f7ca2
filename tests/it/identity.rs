//! Files that are not those that were written: moved away, replaced, copied alone, or another's.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;

use crate::journal::{
    ALWAYS, NEVER, journal_of, last_segment, leave_a_journal, named_journal, put, refused,
};
use crate::support::binary::{Process, soon};
use crate::support::segments::{history_in, keeps_history, segments, with_and_without_history};
use crate::support::writers::shown_entries;

/// What a process shows, by key.
type Entries = BTreeMap<String, Value>;

/// A file of a store.
#[derive(Debug, Clone, Copy)]
enum Which {
    Data,
    /// The segment of the log that is appended to.
    Log,
}

impl Which {
    fn path_in(self, folder: &Path) -> PathBuf {
        match self {
            Self::Data => folder.join("data.json"),
            Self::Log => last_segment(folder),
        }
    }
}

/// What somebody may do to the files of a store that runs.
#[derive(Debug, Clone, Copy)]
enum Meddling {
    Moved(Which),
    Removed(Which),
    /// By a copy, which has the same content.
    Replaced(Which),
    Emptied(Which),
}

const MEDDLINGS: [Meddling; 8] = [
    Meddling::Moved(Which::Data),
    Meddling::Removed(Which::Data),
    Meddling::Replaced(Which::Data),
    Meddling::Emptied(Which::Data),
    Meddling::Moved(Which::Log),
    Meddling::Removed(Which::Log),
    Meddling::Replaced(Which::Log),
    Meddling::Emptied(Which::Log),
];

impl Meddling {
    /// Returns the name of the file that it was done to.
    fn with(self, folder: &Path) -> String {
        let copy = folder.join("copy");
        let (Self::Moved(which)
        | Self::Removed(which)
        | Self::Replaced(which)
        | Self::Emptied(which)) = self;
        let file = which.path_in(folder);
        match self {
            Self::Moved(_) => fs::rename(&file, copy).unwrap(),
            Self::Removed(_) => fs::remove_file(&file).unwrap(),
            Self::Replaced(_) => {
                fs::copy(&file, &copy).unwrap();
                fs::rename(&copy, &file).unwrap();
            }
            Self::Emptied(_) => fs::write(&file, "").unwrap(),
        }
        file.file_name().unwrap().to_str().unwrap().to_owned()
    }
}

/// Every meddling, with the flags of a store with and without a history.
fn meddlings() -> impl Iterator<Item = (Meddling, Vec<&'static str>)> {
    let both = |meddling| with_and_without_history(&ALWAYS).map(|flags| (meddling, flags));
    MEDDLINGS.into_iter().flat_map(both)
}

/// A process with three entries, and how it shows them.
async fn start_with_three(folder: &Path, flags: &[&str]) -> (Process, Entries) {
    let process = Process::start(folder, flags).await;
    put(&process, "a", 1).await;
    put(&process, "b", 2).await;
    put(&process, "c", 3).await;
    let shown = shown_entries(&process).await;
    (process, shown)
}

/// The next process shows the same entries, and what it shows of the past is right.
async fn assert_shown_again(folder: &Path, flags: &[&str], meddling: Meddling, shown: &Entries) {
    let process = Process::start(folder, flags).await;
    assert_eq!(
        shown_entries(&process).await,
        *shown,
        "{meddling:?} {flags:?}"
    );
    let last = put(&process, "last", 1).await;
    process.kill().await;
    if let Some(history) = history_in(folder, flags).await {
        let newest = history.last().unwrap();
        assert_eq!(newest.put.as_ref(), Some(&last), "{meddling:?}");
        let revisions: Vec<_> = history.iter().map(|happened| happened.revision).collect();
        let begin = revisions[0];
        let end = begin + revisions.len() as u64;
        assert_eq!(
            revisions,
            (begin..end).collect::<Vec<_>>(),
            "{meddling:?}: a gap"
        );
    }
}

/// The next commit after a meddling makes everything durable, and the log says what happened.
#[tokio::test]
async fn a_file_that_is_not_the_one_that_was_written_is_noticed_at_the_next_commit() {
    for (meddling, flags) in meddlings() {
        let folder = tempfile::tempdir().unwrap();
        let (process, _) = start_with_three(folder.path(), &flags).await;
        let name = meddling.with(folder.path());
        put(&process, "c", 4).await;
        put(&process, "d", 5).await;
        let shown = shown_entries(&process).await;
        let log = process.kill().await.log;
        assert!(
            log.contains("WARN") && log.contains(&name),
            "{meddling:?}: {log}"
        );
        assert_shown_again(folder.path(), &flags, meddling, &shown).await;
        assert_eq!(shown.len(), 4);
    }
}

/// Nobody commits any more, and the process is killed: what was acknowledged is there all the same.
#[tokio::test]
async fn a_file_that_is_moved_away_from_an_idle_store_is_made_up_for() {
    // All at once, because each waits until its store has been idle for a while.
    let idle = |(meddling, flags): (Meddling, Vec<&'static str>)| async move {
        let folder = tempfile::tempdir().unwrap();
        let (process, shown) = start_with_three(folder.path(), &flags).await;
        let name = meddling.with(folder.path());
        soon(async {
            // Then it is all, and there is no journal.
            let is_all = || {
                let text = fs::read_to_string(folder.path().join("data.json")).unwrap_or_default();
                text.contains("\"c\"") && !text.contains("\"journal\"")
            };
            // What took the place of a segment gives way once the data file is all.
            let gives_way = matches!(
                meddling,
                Meddling::Replaced(Which::Log) | Meddling::Emptied(Which::Log)
            );
            let is_there = || gives_way && folder.path().join(&name).exists();
            while !is_all() || is_there() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        process.kill().await;
        assert_shown_again(folder.path(), &flags, meddling, &shown).await;
    };
    join_all(meddlings().map(idle)).await;
}

#[tokio::test]
async fn a_file_that_is_moved_away_just_before_a_stop_is_made_up_for() {
    for (meddling, flags) in meddlings() {
        let folder = tempfile::tempdir().unwrap();
        let (process, shown) = start_with_three(folder.path(), &flags).await;
        let name = meddling.with(folder.path());
        let ended = process.stop().await;
        assert!(ended.status.success(), "{meddling:?}: {}", ended.log);
        assert!(ended.log.contains(&name), "{meddling:?}: {}", ended.log);
        assert_shown_again(folder.path(), &flags, meddling, &shown).await;
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
    for history in with_and_without_history(&[]) {
        let flags = [&ALWAYS[..], &history].concat();
        let folder = tempfile::tempdir().unwrap();
        leave_a_journal(folder.path(), &flags).await;
        let copy = tempfile::tempdir().unwrap();
        let data = copy.path().join("data.json");
        fs::copy(folder.path().join("data.json"), &data).unwrap();
        let text = fs::read_to_string(&data).unwrap();
        for journal in [&ALWAYS[..], &NEVER, &[]] {
            let message = refused(copy.path(), &[journal, &history].concat()).await;
            for said in [
                "data.json cannot be loaded",
                "are in data.json.commits.*",
                "which are missing",
                "commits after revision 1",
                "restore all files",
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
        let process = Process::start(copy.path(), &flags).await;
        let shown = shown_entries(&process).await;
        assert_eq!(shown.keys().collect::<Vec<_>>(), ["a"]);
    }
}

#[tokio::test]
async fn a_log_of_another_data_file_is_recognised() {
    for flags in with_and_without_history(&ALWAYS) {
        let (ours, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        leave_a_journal(ours.path(), &flags).await;
        leave_a_journal(others.path(), &flags).await;
        let journal = last_segment(ours.path());
        let ours_text = fs::read(&journal).unwrap();
        fs::copy(last_segment(others.path()), &journal).unwrap();
        let message = refused(ours.path(), &flags).await;
        assert!(message.contains("data.json cannot be loaded"), "{message}");
        assert!(message.contains("put them back"), "{message}");

        // Beside a data file from before there was one.
        fs::write(&journal, &ours_text).unwrap();
        let data = ours.path().join("data.json");
        let older = "{\"format\":1,\"revision\":0,\"entries\":{}}";
        fs::write(&data, older).unwrap();
        let message = refused(ours.path(), &flags).await;
        assert!(
            message.contains("it belongs to another data.json"),
            "{message}"
        );
        assert!(message.contains("move the log away"), "{message}");
        assert_eq!(fs::read(&journal).unwrap(), ours_text);
        assert_eq!(fs::read_to_string(&data).unwrap(), older);
        for segment in segments(ours.path()) {
            fs::remove_file(segment).unwrap();
        }
        let process = Process::start(ours.path(), &flags).await;
        assert!(shown_entries(&process).await.is_empty());
    }
}

/// What a crash between two steps leaves, or somebody who has taken the id out of a data file that
/// has everything.
#[tokio::test]
async fn a_journal_that_is_not_named_and_adds_nothing_is_not_needed() {
    for flags in with_and_without_history(&ALWAYS) {
        let folder = tempfile::tempdir().unwrap();
        leave_a_journal(folder.path(), &flags).await;
        let journal = last_segment(folder.path());
        let left = fs::read(&journal).unwrap();
        let process = Process::start(folder.path(), &flags).await;
        let shown = shown_entries(&process).await;
        process.stop().await;
        fs::write(&journal, left).unwrap();
        let process = Process::start(folder.path(), &flags).await;
        assert_eq!(journal.exists(), keeps_history(&flags));
        assert_eq!(shown_entries(&process).await, shown);
        put(&process, "d", 4).await;
        process.kill().await;
        if let Some(history) = history_in(folder.path(), &flags).await {
            assert_eq!(history.len(), 5);
        }
        let process = Process::start(folder.path(), &flags).await;
        assert_eq!(shown_entries(&process).await.len(), 3);
    }
}

/// The revision can be past the log's only by somebody's hand.
#[tokio::test]
async fn a_data_file_that_is_past_its_log_says_so() {
    for flags in with_and_without_history(&ALWAYS) {
        let folder = tempfile::tempdir().unwrap();
        leave_a_journal(folder.path(), &flags).await;
        let data = folder.path().join("data.json");
        let text = fs::read_to_string(&data).unwrap();
        fs::write(&data, text.replacen("\"revision\":1", "\"revision\":99", 1)).unwrap();
        let process = Process::start(folder.path(), &flags).await;
        let shown = shown_entries(&process).await;
        assert_eq!(shown.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(journal_of(folder.path()), None);
        let ended = process.stop().await;
        for said in ["the log does not lead to", "log=4", "data=99"] {
            assert!(ended.log.contains(said), "{said}: {}", ended.log);
        }
    }
}

#[tokio::test]
async fn what_was_edited_in_a_data_file_is_a_commit_and_the_log_says_so_once() {
    for mode in [&[][..], &ALWAYS] {
        let folder = tempfile::tempdir().unwrap();
        let process = Process::start(folder.path(), mode).await;
        put(&process, "a", "one").await;
        put(&process, "b", 2).await;
        process.stop().await;
        let data = folder.path().join("data.json");
        let text = fs::read_to_string(&data).unwrap();
        fs::write(&data, text.replace("\"one\"", "\"by hand\"")).unwrap();
        let process = Process::start(folder.path(), mode).await;
        let edited = shown_entries(&process).await["a"].clone();
        assert_eq!(edited["value"], "by hand");
        assert_eq!(
            (&edited["version"], &edited["revision"]),
            (&2.into(), &3.into())
        );
        put(&process, "b", 3).await;
        let log = process.stop().await.log;
        assert!(
            log.contains("WARN") && log.contains("the data file was edited"),
            "{log}"
        );
        let history = history_in(folder.path(), mode).await.unwrap();
        let values: Vec<_> = history
            .iter()
            .map(|happened| happened.put.as_ref().unwrap()["value"].clone())
            .collect();
        assert_eq!(
            values,
            ["one".into(), Value::from(2), "by hand".into(), 3.into()]
        );
        let process = Process::start(folder.path(), mode).await;
        let log = process.stop().await.log;
        assert!(!log.contains("WARN"), "it is said once: {log}");
    }
}
