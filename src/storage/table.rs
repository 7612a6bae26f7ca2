//! The records in memory: the part that engines have in common.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use imbl::OrdMap;
use parking_lot::RwLock;

use super::Snapshot;
use super::known::Known;
use super::lease::{Lease, Leases, entry_bytes};
use super::requests::Requests;
use super::snapshot::{LentSnapshot, TableSnapshot};
use crate::model::{Entry, Key, Position, Record, Revision, StateDigest, Timestamp};

/// All records at one revision.
#[derive(Debug, Default)]
pub struct Table {
    records: HashMap<Key, Arc<Record>>,
    /// The same records in the order of their keys, in a tree that shares its nodes with its
    /// copies: a copy costs nothing, and a writer then copies only the path to what it changes.
    ordered: OrdMap<Key, Arc<Record>>,
    revision: Revision,
    state: StateDigest,
    /// When the newest commit was made, if that is known.
    last_commit_at: Timestamp,
    requests: Requests,
    live_bytes: u64,
    /// How many places `records` has had; a map in which much was removed does not say.
    places: usize,
    leases: Leases,
}

/// How many places for records are kept however few there are.
const KEPT_CAPACITY: usize = 1024;
/// How many times as many places as records there are before some are given back; half of that stays, so that
/// a table around the limit does not resize back and forth.
const SPARE_FACTOR: usize = 4;

/// How long an entry is as text, without its key, value, version, revision and the name of its writer: what is
/// between these, and the time.
const ENTRY_OVERHEAD_BYTES: u64 = 79;
/// How long the member with the name of a writer is, without the name.
const NAME_OVERHEAD_BYTES: u64 = 17;

impl Table {
    /// An empty table with these leases for its readers.
    #[must_use]
    pub fn with_leases(leases: Leases) -> Self {
        Self {
            leases,
            ..Self::default()
        }
    }

    /// The leases of its readers.
    #[must_use]
    pub fn leases(&self) -> &Leases {
        &self.leases
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

    /// When the newest commit was made; the beginning of time if that is not known.
    #[must_use]
    pub fn last_commit_at(&self) -> Timestamp {
        self.last_commit_at
    }

    /// The newest commit was made at `at`, or later.
    pub fn note_commit_at(&mut self, at: Timestamp) {
        self.last_commit_at = self.last_commit_at.max(at);
    }

    /// The requests that were done.
    #[must_use]
    pub fn requests(&self) -> &Requests {
        &self.requests
    }

    /// The same, to note or forget some.
    pub fn requests_mut(&mut self) -> &mut Requests {
        &mut self.requests
    }

    /// How many records there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.records.len()
    }

    /// How long all entries are as text, in bytes, but for characters that must be escaped in a
    /// key or a name.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// The record of a key.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Arc<Record>> {
        self.records.get(key)
    }

    /// The records of these keys, in their order.
    #[must_use]
    pub fn get_many(&self, keys: &[&Key]) -> Vec<Option<Arc<Record>>> {
        keys.iter().map(|key| self.get(key).cloned()).collect()
    }

    /// An entry that a later commit than `revision` wrote, if there is one.
    #[must_use]
    pub fn newer_than(&self, revision: Revision) -> Option<(&Key, &Record)> {
        let mut entries = self.ordered.iter();
        let newer = entries.find(|(_, record)| record.revision > revision);
        newer.map(|(key, record)| (key, &**record))
    }

    /// The table as it is now, for a reader. Takes constant time.
    #[must_use]
    pub fn lend(&self) -> LentSnapshot {
        let ordered = self
            .leases
            .lend_tree(self.ordered.clone(), self.ordered.len());
        LentSnapshot::new(ordered, self.position())
    }

    /// The table as it was at `position`, for a reader: `changed` has what was changed since, as it was then.
    #[must_use]
    pub fn lend_past(
        &self,
        changed: BTreeMap<Key, Option<Arc<Record>>>,
        position: Position,
    ) -> LentSnapshot {
        self.basis().lend_past(changed, position)
    }

    /// What the past is made from, by whoever has the time. Takes constant time.
    #[must_use]
    pub fn basis(&self) -> Basis {
        Basis {
            ordered: self.ordered.clone(),
            leases: self.leases.clone(),
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

    /// The table as it is now, for the engine itself: it is never revoked. Takes constant time.
    #[must_use]
    pub fn snapshot(&self) -> TableSnapshot {
        TableSnapshot::new(self.ordered.clone(), self.position())
    }

    /// Its current position.
    #[must_use]
    pub fn position(&self) -> Position {
        Position {
            revision: self.revision,
            state: self.state,
        }
    }

    /// Sets a record as it was stored, and returns the one that it replaces.
    pub fn insert(&mut self, key: Key, record: Arc<Record>) -> Option<Arc<Record>> {
        self.state = self.state.with(record.state_hash());
        let replaced = self.set(key, record);
        if let Some(replaced) = &replaced {
            self.state = self.state.without(replaced.state_hash());
        }
        replaced
    }

    fn set(&mut self, key: Key, record: Arc<Record>) -> Option<Arc<Record>> {
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

    /// Removes a record, if it exists.
    pub fn remove(&mut self, key: &Key) {
        self.take(key);
    }

    /// Removes a record and returns it, if it exists.
    pub fn take(&mut self, key: &Key) -> Option<Arc<Record>> {
        let removed = self.unset(key)?;
        self.state = self.state.without(removed.state_hash());
        Some(removed)
    }

    fn unset(&mut self, key: &Key) -> Option<Arc<Record>> {
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

    /// Sets or removes records by commits that lead to `position`, the last of which was made at `at`. Who staged
    /// them has computed the digest of the state.
    pub fn update(
        &mut self,
        changes: BTreeMap<Key, Option<Arc<Record>>>,
        position: Position,
        at: Timestamp,
    ) {
        self.revision = position.revision;
        self.state = position.state;
        self.note_commit_at(at);
        let count = changes.len() as u64;
        let mut replaced_bytes = 0;
        for (key, record) in changes {
            let key_bytes = key.as_str().len();
            let replaced = match record {
                Some(record) => self.set(key, record),
                None => self.unset(&key),
            };
            if let Some(replaced) = replaced {
                replaced_bytes += entry_bytes(key_bytes, &replaced);
            }
        }
        self.leases.note_replaced(replaced_bytes, count);
    }
}

/// The records as they are now, from which those of the past are made.
#[derive(Debug)]
pub struct Basis {
    ordered: OrdMap<Key, Arc<Record>>,
    leases: Leases,
}

impl Basis {
    /// The table as it was at `position`, for a reader: `changed` has what was changed since, as it was then.
    #[must_use]
    pub fn lend_past(
        self,
        changed: BTreeMap<Key, Option<Arc<Record>>>,
        position: Position,
    ) -> LentSnapshot {
        let Self {
            mut ordered,
            leases,
        } = self;
        let count = changed.len();
        let mut record_bytes = 0;
        for (key, record) in changed {
            match record {
                Some(record) => {
                    record_bytes += entry_bytes(key.as_str().len(), &record);
                    ordered.insert(key, record)
                }
                None => ordered.remove(&key),
            };
        }
        let keys = ordered.len();
        let lent = leases.lend_past_tree(ordered, keys, count, record_bytes);
        LentSnapshot::new(lent, position)
    }
}

/// A table that is shared with readers is all that they can know without waiting.
impl Known for RwLock<Table> {
    fn record(&self, key: &Key) -> Option<Arc<Record>> {
        self.read().get(key).cloned()
    }

    fn position(&self) -> Position {
        self.read().position()
    }

    fn snapshot(&self) -> Box<dyn Snapshot> {
        Box::new(self.read().lend())
    }
}

fn line_bytes(key: &Key, record: &Record) -> u64 {
    record_bytes(key.as_str().len(), record)
}

fn record_bytes(key_bytes: usize, record: &Record) -> u64 {
    let texts = key_bytes + record.text_bytes();
    let digits = |number: u64| u64::from(number.checked_ilog10().unwrap_or(0)) + 1;
    let name_overhead = match record.modified_by {
        Some(_) => NAME_OVERHEAD_BYTES,
        None => 0,
    };
    let numbers = digits(record.version) + digits(record.revision);
    texts as u64 + numbers + ENTRY_OVERHEAD_BYTES + name_overhead
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Stamp, Value};

    #[test]
    fn live_bytes_are_the_length_of_the_written_entries() {
        let mut table = Table::default();
        let keys = ["a", "doc/b", "\u{e4}"];
        for (count, key) in keys.iter().cycle().take(12).enumerate() {
            let value = Value::from_json("9".repeat(count + 1).as_bytes()).unwrap();
            let key: Key = key.parse().unwrap();
            let stamp = Stamp {
                version: 99,
                revision: 100,
                modified_at: Timestamp::from_millis(1),
                modified_by: (count % 5 < 2).then(|| "Ann".parse().unwrap()),
            };
            let record = Record::new(&key, value, stamp);
            table.insert(key, Arc::new(record));
        }
        let mut text = Vec::new();
        let snapshot = table.snapshot();
        crate::storage::file::format::encode(&mut text, 100, None, snapshot.entries()).unwrap();
        let lines: usize = text
            .split_inclusive(|byte| *byte == b'\n')
            .skip(1)
            .map(<[u8]>::len)
            .sum();
        // The last entry has no comma behind it, but there is a last line.
        assert_eq!(table.live_bytes() - 1 + 3, lines as u64);
        for key in keys {
            table.remove(&key.parse().unwrap());
            table.remove(&key.parse().unwrap());
        }
        assert_eq!(table.live_bytes(), 0);
    }

    #[test]
    fn a_table_that_shrank_gives_memory_back() {
        let mut table = Table::default();
        let key = |number: usize| format!("k/{number}").parse::<Key>().unwrap();
        for number in 0..20_000 {
            let value = Value::from_json(b"1").unwrap();
            let stamp = Stamp {
                version: 1,
                revision: 1,
                modified_at: Timestamp::from_millis(1),
                modified_by: None,
            };
            let record = Record::new(&key(number), value, stamp);
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
}
