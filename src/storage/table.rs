//! The records in memory, and how a commit changes them: the part that engines have in common.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use imbl::OrdMap;
use itertools::{EitherOrBoth, Itertools as _};

use super::lease::{Lease, Leases, entry_bytes};
use super::{Committed, Snapshot};
use crate::model::{
    Change, ChangeSet, Cursor, Entry, Event, EventKind, Key, LAST_NUMBER, Operation, Page,
    Position, Range, Record, Revision, Timestamp,
};
use crate::storage::{CommitError, Conflict, StoreError};

/// All records at one revision.
#[derive(Debug, Default)]
pub struct Table {
    records: HashMap<Key, Arc<Record>>,
    /// The same records in the order of their keys, in a tree that shares its nodes with its
    /// copies: a copy costs nothing, and a writer then copies only the path to what it changes.
    ordered: OrdMap<Key, Arc<Record>>,
    revision: Revision,
    live_bytes: u64,
    /// How many places `records` has had; a map in which much was removed does not say.
    places: usize,
    leases: Leases,
}

/// How many places for records are kept however few there are.
const KEPT_CAPACITY: usize = 1024;
/// How many times as many places as records there are before some are given back; half of that
/// stays, so that a table around the border does not go to and fro.
const SPARE_FACTOR: usize = 4;

/// How long an entry is as text, without its key, value, version and revision: what is between
/// these, and the time.
const ENTRY_OVERHEAD_BYTES: u64 = 79;

impl Table {
    /// An empty table, of which readers hold at most so much of the past.
    #[must_use]
    pub fn with_leases(leases: Leases) -> Self {
        Self {
            leases,
            ..Self::default()
        }
    }

    /// Makes room for so many more records.
    pub fn reserve(&mut self, records: usize) {
        self.records.reserve(records);
    }

    /// The newest commit.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// How many records there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.records.len()
    }

    /// How long all entries are as text, in bytes, but for characters that must be escaped in a
    /// key.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// The record of a key.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Arc<Record>> {
        self.records.get(key)
    }

    /// An entry that a later commit than `revision` wrote, if there is one.
    #[must_use]
    pub fn newer_than(&self, revision: Revision) -> Option<(&Key, &Record)> {
        let mut entries = self.ordered.iter();
        let newer = entries.find(|(_, record)| record.revision > revision);
        newer.map(|(key, record)| (key, &**record))
    }

    /// The table as it is now, for a reader, in the engine's run of revisions that `history` names.
    /// Takes no time that grows with the table.
    #[must_use]
    pub fn lend(&self, history: &Arc<str>) -> LentSnapshot {
        LentSnapshot {
            ordered: self
                .leases
                .lend_tree(self.ordered.clone(), self.ordered.len()),
            position: self.position(history),
        }
    }

    /// Keeps the entries of an answer for its reader.
    #[must_use]
    pub fn hold(&self, entries: Vec<Entry>) -> Lease<Vec<Entry>> {
        self.leases.lend_entries(entries, |entry| {
            let current = self.records.get(&entry.key);
            current.is_some_and(|current| Arc::ptr_eq(current, &entry.record))
        })
    }

    /// The table as it is now, for the engine itself: nobody takes it away. In the engine's run of
    /// revisions that `history` names. Takes no time that grows with the table.
    #[must_use]
    pub fn snapshot(&self, history: &Arc<str>) -> TableSnapshot {
        TableSnapshot {
            ordered: self.ordered.clone(),
            position: self.position(history),
        }
    }

    /// When it stands so, in the engine's run of revisions that `history` names.
    #[must_use]
    pub fn position(&self, history: &Arc<str>) -> Position {
        Position {
            revision: self.revision,
            history: Arc::clone(history),
        }
    }

    /// Sets a record as it was stored, and returns the one that it replaces.
    pub fn insert(&mut self, key: Key, record: Arc<Record>) -> Option<Arc<Record>> {
        self.live_bytes += line_bytes(&key, &record);
        self.ordered.insert(key.clone(), Arc::clone(&record));
        let key_bytes = key.as_str().len();
        let replaced = self.records.insert(key, record);
        self.places = self.places.max(self.records.capacity());
        if let Some(replaced) = &replaced {
            self.live_bytes -= record_bytes(key_bytes, replaced);
        }
        replaced
    }

    /// Removes a record, if it is there.
    pub fn remove(&mut self, key: &Key) {
        self.take(key);
    }

    fn take(&mut self, key: &Key) -> Option<Arc<Record>> {
        self.ordered.remove(key);
        let removed = self.records.remove(key)?;
        self.live_bytes -= line_bytes(key, &removed);
        self.give_back_places();
        Some(removed)
    }

    fn give_back_places(&mut self) {
        let count = self.records.len();
        if self.places > KEPT_CAPACITY && count < self.places / SPARE_FACTOR {
            self.records.shrink_to((count * 2).max(KEPT_CAPACITY / 2));
            self.places = self.records.capacity();
        }
    }

    /// Leaves out the revisions up to this one, because it is not known whether they are in use.
    pub fn skip_to(&mut self, revision: Revision) {
        self.revision = self.revision.max(revision);
    }

    /// Makes what was staged on this table part of it, and returns what there is to tell of it, in
    /// the order of the commits.
    pub fn apply(&mut self, staged: Staged) -> Vec<Event> {
        self.revision = staged.revision;
        let changes = staged.changes.len() as u64;
        let mut replaced_bytes = 0;
        for (key, record) in staged.changes {
            let key_bytes = key.as_str().len();
            let replaced = match record {
                Some(record) => self.insert(key, record),
                None => self.take(&key),
            };
            if let Some(replaced) = replaced {
                replaced_bytes += entry_bytes(key_bytes, &replaced);
            }
        }
        self.leases.note_replaced(replaced_bytes, changes);
        staged.events
    }
}

fn line_bytes(key: &Key, record: &Record) -> u64 {
    record_bytes(key.as_str().len(), record)
}

fn record_bytes(key_bytes: usize, record: &Record) -> u64 {
    let texts = key_bytes + record.value.as_json().len();
    let digits = |number: u64| u64::from(number.checked_ilog10().unwrap_or(0)) + 1;
    texts as u64 + digits(record.version) + digits(record.revision) + ENTRY_OVERHEAD_BYTES
}

/// A [`Table`] as it stood at one moment.
#[derive(Debug, Clone)]
pub struct TableSnapshot {
    ordered: OrdMap<Key, Arc<Record>>,
    position: Position,
}

impl TableSnapshot {
    /// The newest commit that it has.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.position.revision
    }

    /// Every entry ascending by key.
    pub fn entries(&self) -> impl Iterator<Item = (&Key, &Record)> {
        let entries = self.ordered.iter();
        entries.map(|(key, record)| (key, &**record))
    }

    /// Every entry ascending by key as it will be once `staged` is applied.
    pub fn with<'a>(&'a self, staged: &'a Staged) -> impl Iterator<Item = (&'a Key, &'a Record)> {
        let changes = staged.changes();
        self.ordered
            .iter()
            .merge_join_by(changes, |(stored, _), (changed, _)| stored.cmp(changed))
            .filter_map(|either| match either {
                EitherOrBoth::Left((key, record)) => Some((key, &**record)),
                EitherOrBoth::Right((key, record)) | EitherOrBoth::Both(_, (key, record)) => {
                    record.map(|record| (key, record))
                }
            })
    }
}

/// A [`Table`] as it was at one moment, until it is revoked.
#[derive(Debug)]
pub struct LentSnapshot {
    ordered: Lease<OrdMap<Key, Arc<Record>>>,
    position: Position,
}

#[async_trait]
impl Snapshot for LentSnapshot {
    fn position(&self) -> &Position {
        &self.position
    }

    async fn page(&self, range: &Range) -> Result<Page, StoreError> {
        self.ordered.read(|ordered| page(ordered, range))
    }
}

fn page(ordered: &OrdMap<Key, Arc<Record>>, range: &Range) -> Page {
    let start = match range.after.as_deref() {
        Some(after) if after >= range.prefix.as_str() => Bound::Excluded(after),
        _ => Bound::Included(range.prefix.as_str()),
    };
    let mut stored = ordered
        .range::<_, str>((start, Bound::Unbounded))
        .take_while(|(key, _)| key.as_str().starts_with(&range.prefix));
    let entries = stored
        .by_ref()
        .take(range.limit.unwrap_or(usize::MAX))
        .map(|(key, record)| Entry {
            key: key.clone(),
            record: Arc::clone(record),
        })
        .collect();
    let more = stored.next().is_some();
    Page { entries, more }
}

/// Commits that were decided but are not yet in a [`Table`].
#[derive(Debug, Default)]
pub struct Staged {
    changes: BTreeMap<Key, Option<Arc<Record>>>,
    events: Vec<Event>,
    after: Revision,
    revision: Revision,
}

impl Staged {
    /// Nothing yet on top of `table`.
    #[must_use]
    pub fn on(table: &Table) -> Self {
        Self::on_revision(table.revision)
    }

    /// Nothing yet on top of a table of this revision.
    #[must_use]
    pub fn on_revision(revision: Revision) -> Self {
        Self {
            changes: BTreeMap::new(),
            events: Vec::new(),
            after: revision,
            revision,
        }
    }

    /// Whether no commit changes anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The revision that the table has.
    #[must_use]
    pub fn after(&self) -> Revision {
        self.after
    }

    /// The revision that the table will have.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Every key that is changed, ascending, with the record that it will have.
    pub fn changes(&self) -> impl Iterator<Item = (&Key, Option<&Record>)> {
        let changes = self.changes.iter();
        changes.map(|(key, record)| (key, record.as_deref()))
    }

    /// Whether one of the commits so far changed one of these keys.
    #[must_use]
    pub fn touches(&self, changes: &[Change]) -> bool {
        changes
            .iter()
            .any(|change| self.changes.contains_key(&change.key))
    }

    /// Adds a commit, checked against `table` and the commits before it.
    ///
    /// # Errors
    /// Every change whose key is not as expected, or that no revision or version is left; nothing was added
    /// then.
    pub fn stage(
        &mut self,
        table: &Table,
        changes: ChangeSet,
        now: Timestamp,
    ) -> Result<Committed, CommitError> {
        let current = |key: &Key| match self.changes.get(key) {
            Some(staged) => staged.as_ref(),
            None => table.get(key),
        };
        let revision = self.revision + 1;
        let mut conflicts = Vec::new();
        let count = changes.as_slice().len();
        let mut records = Vec::with_capacity(count);
        let mut writes = Vec::with_capacity(count);
        let mut told = Vec::with_capacity(count);
        for (index, change) in changes.into_iter().enumerate() {
            let before = current(&change.key);
            let deletes_nothing = change.operation == Operation::Delete && before.is_none();
            if deletes_nothing || !change.expected.is_met_by(before.map(|record| &**record)) {
                let current = before.cloned();
                conflicts.push(Conflict { index, current });
                continue;
            }
            match change.operation {
                Operation::Put(value) => {
                    let version = next_number(before.map_or(0, |record| record.version))?;
                    let before = before.map(|record| record.modified_at);
                    let modified_at = Timestamp::of_write(now, before);
                    let record = Record::new(&change.key, value, version, revision, modified_at);
                    let record = Arc::new(record);
                    records.push(Some(Arc::clone(&record)));
                    told.push((EventKind::Put, change.key.clone(), Arc::clone(&record)));
                    writes.push((change.key, Some(record)));
                }
                Operation::Delete => {
                    if let Some(before) = before {
                        let deleted = before.deleted_at(revision).into();
                        told.push((EventKind::Delete, change.key.clone(), deleted));
                    }
                    records.push(before.cloned());
                    writes.push((change.key, None));
                }
                Operation::Check => records.push(before.cloned()),
            }
        }
        if !conflicts.is_empty() {
            return Err(CommitError::Conflict(conflicts));
        }
        if !writes.is_empty() {
            self.revision = next_number(self.revision)?;
            self.changes.extend(writes);
            let count = told.len();
            let events = told.into_iter().enumerate();
            self.events
                .extend(events.map(|(index, (kind, key, record))| Event {
                    cursor: Cursor::after_change(revision, index, count),
                    kind,
                    entry: Entry { key, record },
                }));
        }
        let revision = self.revision;
        Ok(Committed { revision, records })
    }
}

/// The version or revision after this one.
///
/// # Errors
/// [`StoreError::NotApplied`] after the last one.
fn next_number(number: u64) -> Result<u64, StoreError> {
    if number >= LAST_NUMBER {
        let reason = format!("{LAST_NUMBER} was the last version or revision that there can be");
        return Err(StoreError::NotApplied(io::Error::other(reason)));
    }
    Ok(number + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Expected, Value};

    fn put(table: &mut Table, value: &str, now: u64) -> Arc<Record> {
        let change = Change {
            key: "a".parse().unwrap(),
            expected: Expected::Any,
            operation: Operation::Put(Value::from_json(value.as_bytes()).unwrap()),
        };
        let mut staged = Staged::on(table);
        let now = Timestamp::from_millis(now);
        let committed = staged.stage(table, change.into(), now).unwrap();
        table.apply(staged);
        committed.records[0].clone().unwrap()
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_give_two_states_one_date() {
        let mut table = Table::default();
        let mut dated = |value, now| {
            let record = put(&mut table, value, now);
            (record.modified_at, record.modified_at.seconds())
        };
        assert_eq!(dated("1", 5300), (Timestamp::from_millis(5300), 5));
        let (set_back, second) = dated("2", 4000);
        assert_eq!(second, 6);
        // While the clock is behind it does not run ahead any further.
        for now in [4100, 5300, 6998] {
            assert_eq!(dated("3", now), (set_back, second));
        }
        assert_eq!(dated("4", 7000), (Timestamp::from_millis(7000), 7));
        // Again, and when an ordinary date has the millisecond of those ahead.
        assert_eq!(dated("5", 8999).1, 8);
        assert_eq!(dated("6", 8000).1, 9);
    }

    #[test]
    fn what_is_alive_is_as_long_as_it_is_written() {
        let mut table = Table::default();
        let keys = ["a", "doc/b", "\u{e4}"];
        for (count, key) in keys.iter().cycle().take(12).enumerate() {
            let value = Value::from_json("9".repeat(count + 1).as_bytes()).unwrap();
            let key: Key = key.parse().unwrap();
            let record = Record::new(&key, value, 99, 100, Timestamp::from_millis(1));
            table.insert(key, Arc::new(record));
        }
        let mut text = Vec::new();
        let snapshot = table.snapshot(&"".into());
        crate::storage::file::format::encode(&mut text, 100, None, snapshot.entries()).unwrap();
        let lines: usize = text
            .split_inclusive(|byte| *byte == b'\n')
            .skip(1)
            .map(<[u8]>::len)
            .sum();
        // The last entry has no comma behind it, but the last line is there.
        assert_eq!(table.live_bytes() - 1 + 3, lines as u64);
        for key in keys {
            table.remove(&key.parse().unwrap());
            table.remove(&key.parse().unwrap());
        }
        assert_eq!(table.live_bytes(), 0);
    }

    #[test]
    fn a_table_that_shrank_gives_places_back() {
        let mut table = Table::default();
        let key = |number: usize| format!("k/{number}").parse::<Key>().unwrap();
        for number in 0..20_000 {
            let value = Value::from_json(b"1").unwrap();
            let record = Record::new(&key(number), value, 1, 1, Timestamp::from_millis(1));
            table.insert(key(number), Arc::new(record));
        }
        let full = table.records.capacity();
        let mut times = 0;
        for number in 0..20_000 {
            let before = table.places;
            table.remove(&key(number));
            times += u32::from(table.places != before);
        }
        assert!(
            table.records.capacity() <= full / 10,
            "{}",
            table.records.capacity()
        );
        assert!(times <= 10, "{times}");
    }

    #[test]
    fn what_is_staged_is_not_in_the_table_until_it_is_applied() {
        let mut table = Table::default();
        put(&mut table, "1", 1);
        let mut staged = Staged::on(&table);
        let delete = Change {
            key: "a".parse().unwrap(),
            expected: Expected::Present,
            operation: Operation::Delete,
        };
        staged
            .stage(&table, delete.into(), Timestamp::from_millis(2))
            .unwrap();
        assert_eq!((table.count(), table.revision()), (1, 1));
        let snapshot = table.snapshot(&"".into());
        assert_eq!(snapshot.with(&staged).count(), 0);
        table.apply(staged);
        assert_eq!((table.count(), table.revision()), (0, 2));
        let nothing = Staged::on(&table);
        assert_eq!(
            snapshot.with(&nothing).count(),
            1,
            "a snapshot stays as it was"
        );
    }
}
