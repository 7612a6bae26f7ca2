//! The files of a commit log, and what a kill leaves in them of the history.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ifmatch::model::{EventKind, Filter, HistoryPoint, HistoryQuery, PastEvent, Revision};
use ifmatch::storage::Store;
use ifmatch::storage::file::{FileStore, History, Journaling, Settings};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The flags that keep no history.
pub const NO_HISTORY: [&str; 2] = ["--history", "never"];

/// The flags with the default history, and with none.
pub fn with_and_without_history<'a>(flags: &[&'a str]) -> [Vec<&'a str>; 2] {
    [flags.to_vec(), [flags, &NO_HISTORY].concat()]
}

/// Whether these flags keep a history.
pub fn keeps_history(flags: &[&str]) -> bool {
    !flags.windows(2).any(|two| two == NO_HISTORY)
}

/// Whether with these flags every commit goes to a journal once there is a data file.
pub fn keeps_journal(flags: &[&str]) -> bool {
    flags.windows(2).any(|two| two == ["--journal-above", "0"])
}

/// The segments beside the data file, the oldest first.
pub fn segments(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    let mut segments: Vec<_> = files
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.starts_with("data.json.commits.")
        })
        .collect();
    segments.sort();
    segments
}

/// What a kill leaves at this moment, as a copy.
pub fn copy_of(folder: &Path) -> TempDir {
    let files = || {
        let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap());
        let mut files: Vec<_> = files
            .filter_map(|file| Some((file.file_name(), file.metadata().ok()?)))
            .map(|(name, metadata)| (name, metadata.ino(), metadata.len()))
            .collect();
        files.sort();
        files
    };
    loop {
        // A checkpoint may be made meanwhile.
        let before = files();
        let copy = copy_once(folder);
        if files() == before {
            return copy;
        }
    }
}

fn copy_once(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in fs::read_dir(folder).unwrap() {
        let file = file.unwrap();
        let name = file.file_name();
        let text = name.to_string_lossy();
        if text.starts_with("data.json") && !text.ends_with(".lock") {
            // It may be gone by now.
            let _ = fs::copy(file.path(), copy.path().join(name));
        }
    }
    copy
}

/// Something that happened to a key.
#[derive(Debug, Clone, PartialEq)]
pub struct Happened {
    pub revision: Revision,
    pub key: String,
    /// The entry that was put, as the service shows it; of a deletion nothing.
    pub put: Option<Value>,
    /// The version that was put or deleted.
    pub version: u64,
}

impl From<&PastEvent> for Happened {
    fn from(event: &PastEvent) -> Self {
        let record = &event.entry.record;
        let value: Value = serde_json::from_str(record.value.as_json()).unwrap();
        let mut entry = json!({
            "key": event.entry.key.as_str(),
            "value": value,
            "version": record.version,
            "revision": record.revision,
            "etag": record.etag().to_string(),
            "modified_at": record.modified_at.to_string(),
        });
        if let Some(name) = &record.modified_by {
            entry["modified_by"] = name.as_str().into();
        }
        Self {
            revision: event.point.revision,
            key: event.entry.key.as_str().to_owned(),
            put: (event.kind == EventKind::Put).then_some(entry),
            version: record.version,
        }
    }
}

/// The history in a copy of `folder`, the oldest first, in the order of the commits. Nothing if `flags` keep none.
/// No process may write meanwhile.
pub async fn history_in(folder: &Path, flags: &[&str]) -> Option<Vec<Happened>> {
    let copy = copy_of(folder);
    let settings = settings(flags);
    let path = copy.path().join("data.json");
    let store = FileStore::open(&path, settings).await.unwrap();
    let mut events = Vec::new();
    let mut before = HistoryPoint::END;
    loop {
        let query = HistoryQuery {
            filters: vec![Filter::Prefix(String::new())],
            before,
            limit: 1000,
            max_bytes: usize::MAX,
        };
        let page = store.past().history(query).await.unwrap();
        events.extend(page.events);
        match page.next {
            None => break,
            Some(next) => before = next,
        }
    }
    events.reverse();
    assert!(
        events.is_sorted_by(|one, next| one.point < next.point),
        "each once, in order"
    );
    // Each event is a state of the past as well.
    for event in events.iter().rev().take(20) {
        let (key, revision) = (&event.entry.key, event.point.revision);
        let then = store.past().record_at(key, revision).await.unwrap();
        let is_put = event.kind == EventKind::Put;
        assert_eq!(
            then,
            is_put.then(|| event.entry.record.clone()),
            "{event:?}"
        );
    }
    store.close().await.unwrap();
    if settings.history == History::Never {
        assert_eq!(events, []);
        return None;
    }
    Some(events.iter().map(Happened::from).collect())
}

/// The same by key.
pub async fn histories_in(
    folder: &Path,
    flags: &[&str],
) -> Option<BTreeMap<String, Vec<Happened>>> {
    let mut by_key = BTreeMap::<_, Vec<_>>::new();
    for happened in history_in(folder, flags).await? {
        by_key
            .entry(happened.key.clone())
            .or_default()
            .push(happened);
    }
    Some(by_key)
}

fn settings(flags: &[&str]) -> Settings {
    let value_of = |name: &str| {
        let at = flags.iter().position(|flag| *flag == name)?;
        Some(flags[at + 1])
    };
    let journaling = match value_of("--journal-above") {
        None => Journaling::default(),
        Some("never") => Journaling::Never,
        Some(bytes) => Journaling::Above {
            bytes: bytes.parse().unwrap(),
        },
    };
    let mut settings = Settings::from(journaling);
    if !keeps_history(flags) {
        settings.history = History::Never;
    } else if let Some(max_bytes) = value_of("--history-max-bytes") {
        settings.history = History::For {
            time: Duration::from_secs(3600),
            max_bytes: max_bytes.parse().unwrap(),
        };
    }
    settings
}
