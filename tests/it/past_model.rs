//! The past of a store on a file against a plain model: every state at every revision that is kept.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ifmatch::model::{
    Change, ChangeSet, EventKind, Expected, Filter, HistoryPoint, HistoryQuery, Key, Operation,
    PastEvent, Range, Record, Revision, StateDigest, Timestamp, Value,
};
use ifmatch::storage::file::{FileStore, History, Journaling, Settings};
use ifmatch::storage::{PastError, Store};
use proptest::prelude::*;
use tokio::time::Instant;

const KEYS: [&str; 5] = ["a", "b/1", "b/2", "b/3", "ü"];
const PREFIXES: [&str; 3] = ["", "b/", "x"];
/// Segments are at least a quarter of this.
const HISTORY_MAX_BYTES: u64 = 256 * 1024;
/// The longest value: some of them fill a segment, or make a checkpoint due.
const VALUE_MAX_BYTES: usize = 24_000;

#[derive(Debug, Clone)]
enum Step {
    /// Puts and deletions by key; of a key that is not there a deletion is left out.
    Commit(BTreeMap<usize, Option<usize>>),
    /// Several commits at once, which may share a frame: puts of the first key, and a deletion of each other one.
    Together {
        lengths: Vec<usize>,
        deletes: bool,
    },
    Stop,
    /// The files are copied as they are, and the copy is opened.
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    let change = || proptest::option::weighted(0.7, 1..VALUE_MAX_BYTES);
    prop_oneof![
        12 => proptest::collection::btree_map(0..KEYS.len(), change(), 1..4).prop_map(Step::Commit),
        3 => (proptest::collection::vec(1..VALUE_MAX_BYTES, 2..6), any::<bool>())
            .prop_map(|(lengths, deletes)| Step::Together { lengths, deletes }),
        1 => Just(Step::Stop),
        1 => Just(Step::Kill),
    ]
}

/// A state of the store.
#[derive(Debug, Clone, Default)]
struct State {
    entries: BTreeMap<&'static str, Arc<Record>>,
    digest: StateDigest,
    at: Timestamp,
}

struct Model {
    folder: tempfile::TempDir,
    settings: Settings,
    store: Arc<FileStore>,
    /// By revision.
    states: Vec<State>,
}

fn key(name: &str) -> Key {
    name.parse().unwrap()
}

fn value(number: usize, bytes: usize) -> Value {
    let text = format!("[{number},\"{}\"]", "x".repeat(bytes));
    Value::from_json(text.as_bytes()).unwrap()
}

fn put(name: &str, value: Value) -> Change {
    Change {
        key: key(name),
        expected: Expected::Any,
        operation: Operation::Put(value),
    }
}

fn later() -> Instant {
    Instant::now() + Duration::from_secs(600)
}

async fn open(folder: &Path, settings: Settings) -> Arc<FileStore> {
    Arc::new(
        FileStore::open(&folder.join("data.json"), settings)
            .await
            .unwrap(),
    )
}

impl Model {
    async fn new(settings: Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path(), settings).await;
        Self {
            folder,
            settings,
            store,
            states: vec![State::default()],
        }
    }

    fn newest(&self) -> Revision {
        self.states.len() as Revision - 1
    }

    async fn take(&mut self, step: &Step) {
        match step {
            Step::Commit(changes) => self.commit(changes).await,
            Step::Together { lengths, deletes } => self.commit_together(lengths, *deletes).await,
            Step::Stop => {
                self.store.close().await.unwrap();
                self.store = open(self.folder.path(), self.settings).await;
                self.check().await;
            }
            Step::Kill => {
                let copy = crate::support::segments::copy_of(self.folder.path());
                self.store.close().await.unwrap();
                self.store = open(copy.path(), self.settings).await;
                self.folder = copy;
                self.check().await;
            }
        }
    }

    async fn commit(&mut self, changes: &BTreeMap<usize, Option<usize>>) {
        let number = self.states.len();
        let mut state = self.states.last().unwrap().clone();
        let mut set = Vec::new();
        for (index, bytes) in changes {
            let name = KEYS[*index];
            match bytes {
                Some(bytes) => set.push(put(name, value(number, *bytes))),
                None if state.entries.contains_key(name) => set.push(Change {
                    key: key(name),
                    expected: Expected::Present,
                    operation: Operation::Delete,
                }),
                None => {}
            }
        }
        if set.is_empty() {
            return;
        }
        let committed = self
            .store
            .commit(ChangeSet::new(set.clone()).unwrap(), later())
            .await
            .unwrap();
        assert_eq!(committed.revision, number as Revision);
        for (change, record) in set.iter().zip(committed.records) {
            let name = *KEYS
                .iter()
                .find(|name| **name == change.key.as_str())
                .unwrap();
            match change.operation {
                Operation::Put(_) => drop(state.entries.insert(name, record.unwrap())),
                _ => assert_eq!(state.entries.remove(name), record),
            }
        }
        self.push(state).await;
    }

    /// Notes the newest state.
    async fn push(&mut self, mut state: State) {
        let position = self.store.status().await.position;
        assert_eq!(position.revision, self.states.len() as Revision);
        state.digest = position.state;
        let revision = position.revision;
        let page = self
            .store
            .past()
            .history(query(all(), HistoryPoint::END, 1));
        state.at = match page.await.unwrap().events.first() {
            Some(event) => {
                assert_eq!(event.point.revision, revision);
                event.at
            }
            None => Timestamp::default(),
        };
        self.states.push(state);
    }

    /// Each changes one key, so that the order is known by the revision.
    async fn commit_together(&mut self, lengths: &[usize], deletes: bool) {
        let mut state = self.states.last().unwrap().clone();
        let puts = lengths.iter().map(|bytes| put("a", value(0, *bytes)));
        let others = state.entries.keys();
        let others = others.filter(|name| deletes && **name != "a");
        let deletions = others.map(|name| Change {
            key: key(name),
            expected: Expected::Present,
            operation: Operation::Delete,
        });
        let changes: Vec<_> = puts.chain(deletions).collect();
        let commits = changes.iter().map(async |change| {
            let set = ChangeSet::new(vec![change.clone()]).unwrap();
            let committed = self.store.commit(set, later()).await.unwrap();
            (committed, change)
        });
        let mut committed = futures_util::future::join_all(commits).await;
        committed.sort_by_key(|(committed, _)| committed.revision);
        let past = self.store.past();
        let page = past.history(query(all(), HistoryPoint::END, changes.len()));
        let events = page.await.unwrap().events;
        for (mut committed, change) in committed {
            let revision = committed.revision;
            assert_eq!(revision, self.states.len() as Revision);
            let record = committed.records.remove(0);
            match change.operation {
                Operation::Put(_) => drop(state.entries.insert("a", record.unwrap())),
                _ => assert_eq!(state.entries.remove(change.key.as_str()), record),
            }
            let event = events.iter().find(|event| event.point.revision == revision);
            state.at = event.map_or(Timestamp::default(), |event| event.at);
            // The feed knows it, whether or not there is a history.
            state.digest = past.state_at(revision).await.unwrap().unwrap();
            self.states.push(state.clone());
        }
    }

    /// The events of revision, the last change first.
    fn events(&self, revision: Revision) -> Vec<(&'static str, EventKind, Arc<Record>)> {
        let at = usize::try_from(revision).unwrap();
        let (before, after) = (&self.states[at - 1], &self.states[at]);
        let mut events = Vec::new();
        for name in KEYS {
            match (before.entries.get(name), after.entries.get(name)) {
                (_, Some(record)) if record.revision == revision => {
                    events.push((name, EventKind::Put, Arc::clone(record)));
                }
                (Some(record), None) => events.push((name, EventKind::Delete, Arc::clone(record))),
                _ => {}
            }
        }
        events.reverse();
        events
    }

    /// Compares all that is kept. What is dropped by the way is not compared.
    async fn check(&self) {
        let past = self.store.past();
        let oldest = self.oldest().await;
        for (state, revision) in self.states.iter().zip(0..) {
            let known = past.state_at(revision).await.unwrap();
            if revision < oldest {
                let record = past.record_at(&key("a"), revision).await;
                assert_compacted(record, oldest);
                assert_compacted(past.snapshot_at(revision).await.map(drop), oldest);
                assert_eq!(known, None, "{revision}");
                continue;
            }
            assert_eq!(known, Some(state.digest), "at {revision}");
            for name in KEYS {
                let record = past.record_at(&key(name), revision).await.unwrap();
                assert_eq!(
                    record.as_ref(),
                    state.entries.get(name),
                    "{name} at {revision}"
                );
            }
            self.check_snapshot(state, revision).await;
        }
        let future = past.record_at(&key("a"), self.newest() + 1).await;
        assert!(matches!(future, Err(PastError::Future { newest }) if newest == self.newest()));
        self.check_moments(oldest).await;
        for limit in [2, 1000] {
            for prefix in PREFIXES {
                let filter = Filter::Prefix(prefix.to_owned());
                self.check_history(filter, oldest, limit).await;
            }
            for name in KEYS {
                self.check_history(Filter::Key(key(name)), oldest, limit)
                    .await;
            }
        }
    }

    async fn oldest(&self) -> Revision {
        let page = self
            .store
            .past()
            .history(query(all(), HistoryPoint::END, 1));
        let oldest = page.await.unwrap().oldest_revision;
        if self.settings.history == History::Never {
            assert_eq!(oldest, self.newest());
        }
        oldest
    }

    async fn check_snapshot(&self, state: &State, revision: Revision) {
        let snapshot = self.store.past().snapshot_at(revision).await.unwrap();
        assert_eq!(snapshot.position().revision, revision);
        assert_eq!(snapshot.position().state, state.digest);
        for prefix in PREFIXES {
            for limit in [1, 100] {
                let mut range = Range {
                    prefix: prefix.to_owned(),
                    after: None,
                    limit: Some(limit),
                };
                let mut entries = Vec::new();
                loop {
                    let page = snapshot.page(&range).await.unwrap();
                    assert!(page.entries.len() <= limit);
                    entries.extend(page.entries);
                    if !page.more {
                        break;
                    }
                    range.after = Some(entries.last().unwrap().key.as_str().to_owned());
                }
                let found: Vec<_> = entries
                    .iter()
                    .map(|entry| (entry.key.as_str(), &entry.record))
                    .collect();
                let expected = state.entries.iter().map(|(name, record)| (*name, record));
                let expected: Vec<_> = expected
                    .filter(|(name, _)| name.starts_with(prefix))
                    .collect();
                assert_eq!(found, expected, "{prefix} at {revision} by {limit}");
            }
        }
    }

    /// On the millisecond.
    async fn check_moments(&self, oldest: Revision) {
        if self.settings.history == History::Never {
            return;
        }
        let kept = self
            .states
            .iter()
            .zip(0..)
            .skip(usize::try_from(oldest).unwrap() + 1);
        for (state, _) in kept {
            for at in [
                state.at.millis() - 1,
                state.at.millis(),
                state.at.millis() + 1,
            ] {
                let at = Timestamp::from_millis(at);
                let expected = self.states.partition_point(|state| state.at <= at) as Revision - 1;
                match self.store.past().revision_at(at).await {
                    Ok(found) => assert_eq!(found, expected, "{at}"),
                    // Then the state before is the oldest, and its moment is not kept.
                    Err(PastError::Compacted { oldest: of }) => {
                        assert!(expected <= oldest && of == oldest, "{at}: {expected}");
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        }
    }

    async fn check_history(&self, filter: Filter, oldest: Revision, limit: usize) {
        let revisions = (oldest + 1..=self.newest()).rev();
        let expected = revisions.flat_map(|revision| {
            let events = self.events(revision).into_iter();
            events.map(move |event| (revision, event))
        });
        let expected: Vec<_> = expected
            .filter(|(_, (name, ..))| filter.matches(&key(name)))
            .collect();
        let mut found: Vec<PastEvent> = Vec::new();
        let mut before = HistoryPoint::END;
        loop {
            let page = self
                .store
                .past()
                .history(query(filter.clone(), before, limit));
            let page = page.await.unwrap();
            assert!(page.events.len() <= limit);
            found.extend(page.events);
            match page.next {
                None => break,
                Some(next) => before = next,
            }
        }
        assert_eq!(found.len(), expected.len(), "{filter:?} by {limit}");
        for (event, (revision, (name, kind, record))) in found.iter().zip(expected) {
            assert_eq!(event.point.revision, revision);
            assert_eq!((event.entry.key.as_str(), event.kind), (name, kind));
            let state = &self.states[usize::try_from(revision).unwrap()];
            assert_eq!(event.at, state.at);
            let shown = &event.entry.record;
            assert_eq!(
                (&shown.value, shown.version),
                (&record.value, record.version)
            );
            assert_eq!(shown.revision, revision, "that of the commit");
            assert_eq!(shown.modified_at, state.at);
        }
    }
}

fn all() -> Filter {
    Filter::Prefix(String::new())
}

fn query(filter: Filter, before: HistoryPoint, limit: usize) -> HistoryQuery {
    HistoryQuery {
        filters: vec![filter],
        before,
        limit,
        max_bytes: usize::MAX,
    }
}

#[track_caller]
fn assert_compacted<T>(result: Result<T, PastError>, oldest: Revision) {
    match result {
        Err(PastError::Compacted { oldest: of }) => assert_eq!(of, oldest),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it is shown"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn every_state_that_is_kept_is_the_models(
        steps in proptest::collection::vec(step(), 1..60),
        journaling in proptest::sample::select(vec![
            Journaling::Never,
            Journaling::Above { bytes: 0 },
            Journaling::Above { bytes: 40_000 },
        ]),
        history in proptest::sample::select(vec![
            History::default(),
            History::For { time: Duration::from_secs(3600), max_bytes: HISTORY_MAX_BYTES },
            History::For { time: Duration::from_secs(3600), max_bytes: HISTORY_MAX_BYTES },
            History::Never,
        ]),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let settings = Settings { history, ..journaling.into() };
            let mut model = Model::new(settings).await;
            for step in &steps {
                model.take(step).await;
            }
            model.take(&Step::Kill).await;
            model.take(&Step::Stop).await;
            model.store.close().await.unwrap();
        });
    }
}
