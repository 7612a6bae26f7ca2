//! Logs that are whole, torn, damaged, shortened and of another past.

mod clock;
mod damage;
mod edited;
mod held;
mod kept;
mod other_past;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::RwLock;
use tempfile::TempDir;

use super::LogReader;
use crate::model::{
    Change, ChangeSet, Expected, Filter, HistoryPoint, HistoryQuery, Key, Operation, PastEvent,
    Record, Request, Revision, Timestamp, Value,
};
use crate::storage::PastError;
use crate::storage::file::disk::Disk;
use crate::storage::file::open::{OpenError, Opened, open};
use crate::storage::file::{History, Journaling, Settings};
use crate::storage::staged::Staged;
use crate::storage::table::Table;

/// Every commit goes to the journal once there is a data file.
const JOURNAL: Journaling = Journaling::Above { bytes: 0 };
/// No commit does.
const SMALL: Journaling = Journaling::Never;
/// So much of a history is in segments that are as short as they can be, in bytes.
const KEPT_BYTES: u64 = 1024 * 1024;

/// The files of a folder with the table that they hold.
struct Store {
    disk: Disk,
    table: Arc<RwLock<Table>>,
    past: LogReader,
}

/// What a commit does to a key: its new value, or nothing if it is deleted.
type Step<'a> = (&'a str, Option<&'a str>);

impl Store {
    fn open(folder: &Path, journaling: Journaling) -> Self {
        Self::open_with(folder, &journaling.into()).unwrap()
    }

    fn open_with(folder: &Path, settings: &Settings) -> Result<Self, OpenError> {
        let Opened { disk, table } = open(&folder.join("data.json"), settings)?;
        let table = Arc::new(RwLock::new(table));
        let segments = Arc::clone(disk.segments());
        let keeps_history = settings.history != History::Never;
        let past = LogReader::new(segments, Arc::clone(&table), keeps_history);
        Ok(Self { disk, table, past })
    }

    /// Makes a commit.
    fn commit(&mut self, steps: &[Step<'_>]) {
        self.commit_group(&[steps], SystemTime::now().into());
    }

    /// Makes some commits with one file operation at this moment.
    fn commit_group(&mut self, commits: &[&[Step<'_>]], at: Timestamp) {
        self.commit_group_for(None, commits, at);
    }

    /// The same for a request that is remembered.
    fn commit_group_for(
        &mut self,
        request: Option<&Request>,
        commits: &[&[Step<'_>]],
        at: Timestamp,
    ) {
        let mut table = self.table.write();
        let mut staged = Staged::on(&table);
        for steps in commits {
            let changes = steps.iter().map(|(key, value)| Change {
                key: key.parse().unwrap(),
                expected: Expected::Any,
                operation: match value {
                    Some(json) => Operation::Put(Value::from_json(json.as_bytes()).unwrap()),
                    None => Operation::Delete,
                },
            });
            let changes = ChangeSet::new(changes.collect()).unwrap();
            let changes = changes.for_request(request.cloned());
            staged.stage(&table, changes, at).unwrap();
        }
        let before = table.snapshot();
        self.disk.commit(|| before.clone(), &staged).unwrap();
        staged.apply_to(&mut table);
        // It is told how much is alive by that.
        self.disk.is_checkpoint_due(table.live_bytes());
    }

    /// Ends it as a clean stop does.
    fn close(mut self) {
        let before = self.table.read().snapshot();
        self.disk.close(|| before.clone()).unwrap();
    }

    fn revision(&self) -> Revision {
        self.table.read().revision()
    }

    /// The state as a text.
    fn state(&self) -> String {
        let snapshot = self.table.read().snapshot();
        let entries: Vec<_> = snapshot.entries().collect();
        format!("{:?} {entries:?}", snapshot.position())
    }

    /// All of the history, the oldest first, read in pages of a few events.
    fn history(&self) -> Vec<PastEvent> {
        let mut query = HistoryQuery {
            filters: vec![Filter::Prefix(String::new())],
            before: HistoryPoint::END,
            limit: 7,
            max_bytes: usize::MAX,
        };
        let mut events = Vec::new();
        loop {
            let page = self.past.history(&query).unwrap();
            events.extend(page.events);
            match page.next {
                None => break,
                Some(next) => {
                    assert!(next < query.before);
                    query.before = next;
                }
            }
        }
        events.reverse();
        assert!(events.is_sorted_by(|one, next| one.point < next.point));
        events
    }

    /// The revisions in the history, and what was done, as a text.
    fn told(&self) -> Vec<String> {
        let history = self.history();
        let told = history.iter().map(|event| {
            let (point, key) = (event.point, event.entry.key.as_str());
            let value = event.entry.record.value.as_json();
            format!("{point} {:?} {key} {value}", event.kind)
        });
        told.collect()
    }

    fn record_at(&self, name: &str, revision: Revision) -> Result<Option<Arc<Record>>, PastError> {
        self.past.record_at(&key(name), revision)
    }
}

fn key(name: &str) -> Key {
    name.parse().unwrap()
}

/// The data file of a folder.
fn data(folder: &Path) -> PathBuf {
    folder.join("data.json")
}

/// The segments of a folder, the oldest first.
fn segments(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    let mut segments: Vec<_> = files
        .filter(|path| path.to_string_lossy().contains(".commits."))
        .collect();
    segments.sort();
    segments
}

/// What a kill at this moment leaves.
fn copy_of(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in fs::read_dir(folder).unwrap() {
        let file = file.unwrap();
        if !file.file_name().to_string_lossy().ends_with(".lock") {
            fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
    }
    copy
}

/// Settings that keep so much of the history.
fn keeping(journaling: Journaling, time: Duration, max_bytes: u64) -> Settings {
    Settings {
        history: History::For { time, max_bytes },
        ..journaling.into()
    }
}

/// Settings that keep few segments, each as short as it can be.
fn few_segments(journaling: Journaling) -> Settings {
    keeping(journaling, Duration::from_secs(1000), KEPT_BYTES)
}

/// A JSON string of this length.
fn long(bytes: usize) -> String {
    format!("\"{}\"", "x".repeat(bytes))
}

/// The reason why a folder cannot be opened, and its file.
fn refused(folder: &Path, settings: &Settings) -> (PathBuf, String) {
    match Store::open_with(folder, settings) {
        Ok(_) => panic!("it was opened"),
        Err(OpenError::Damaged { path, reason }) => (path, reason),
        Err(other) => panic!("{other}"),
    }
}
