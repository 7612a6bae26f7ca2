//! The records in memory, and how a commit changes them: the part that engines have in common.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use itertools::{EitherOrBoth, Itertools as _};

use super::Committed;
use crate::error::Conflict;
use crate::model::{Change, Entry, Key, Operation, Range, Record, Revision, Timestamp};

/// All records at one revision.
#[derive(Debug, Default)]
pub struct Table {
    records: HashMap<Key, Record>,
    /// The same keys in order, for lists.
    ordered: BTreeSet<Key>,
    revision: Revision,
}

impl Table {
    /// A table as it was stored.
    pub fn new(revision: Revision, entries: impl IntoIterator<Item = (Key, Record)>) -> Self {
        let records: HashMap<_, _> = entries.into_iter().collect();
        let ordered = records.keys().cloned().collect();
        Self {
            records,
            ordered,
            revision,
        }
    }

    pub fn revision(&self) -> Revision {
        self.revision
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn get(&self, key: &Key) -> Option<&Record> {
        self.records.get(key)
    }

    /// The entries of a range, and whether it goes on after them.
    pub fn range(&self, range: &Range) -> (Vec<Entry>, bool) {
        let start = match range.after.as_deref() {
            Some(after) if after >= range.prefix.as_str() => Bound::Excluded(after),
            _ => Bound::Included(range.prefix.as_str()),
        };
        let mut keys = self
            .ordered
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(|key| key.as_str().starts_with(&range.prefix));
        let entries = keys
            .by_ref()
            .take(range.limit.unwrap_or(usize::MAX))
            .map(|key| Entry {
                key: key.clone(),
                record: self.records[key].clone(),
            })
            .collect();
        (entries, keys.next().is_some())
    }

    /// Every entry ascending by key as it will be once `staged` is applied.
    pub fn with<'a>(&'a self, staged: &'a Staged) -> impl Iterator<Item = (&'a Key, &'a Record)> {
        let stored = self.ordered.iter().map(|key| (key, &self.records[key]));
        stored
            .merge_join_by(&staged.changes, |(stored, _), (changed, _)| {
                stored.cmp(changed)
            })
            .filter_map(|either| match either {
                EitherOrBoth::Left(stored) => Some(stored),
                EitherOrBoth::Right((key, record)) | EitherOrBoth::Both(_, (key, record)) => {
                    record.as_ref().map(|record| (key, record))
                }
            })
    }

    /// Leaves out the revisions up to this one, because it is not known whether they are in use.
    pub fn skip_to(&mut self, revision: Revision) {
        self.revision = self.revision.max(revision);
    }

    pub fn apply(&mut self, staged: Staged) {
        self.revision = staged.revision;
        for (key, record) in staged.changes {
            match record {
                Some(record) => {
                    if self.records.insert(key.clone(), record).is_none() {
                        self.ordered.insert(key);
                    }
                }
                None => {
                    self.records.remove(&key);
                    self.ordered.remove(&key);
                }
            }
        }
    }
}

/// Commits that were decided but are not yet in a [`Table`].
#[derive(Debug, Default)]
pub struct Staged {
    changes: BTreeMap<Key, Option<Record>>,
    revision: Revision,
}

impl Staged {
    /// Nothing yet on top of `table`.
    pub fn on(table: &Table) -> Self {
        Self {
            changes: BTreeMap::new(),
            revision: table.revision,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The revision that the table will have.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Whether one of the commits so far changed one of these keys.
    pub fn touches(&self, changes: &[Change]) -> bool {
        changes
            .iter()
            .any(|change| self.changes.contains_key(&change.key))
    }

    /// Adds a commit, checked against `table` and the commits before it.
    ///
    /// # Errors
    /// Every change whose key is not as expected; nothing was added then.
    pub fn stage(
        &mut self,
        table: &Table,
        changes: Vec<Change>,
        now: Timestamp,
    ) -> Result<Committed, Vec<Conflict>> {
        let current = |key: &Key| match self.changes.get(key) {
            Some(staged) => staged.as_ref(),
            None => table.get(key),
        };
        let revision = self.revision + 1;
        let mut conflicts = Vec::new();
        let mut records = Vec::with_capacity(changes.len());
        let mut writes = Vec::with_capacity(changes.len());
        for (index, change) in changes.into_iter().enumerate() {
            let before = current(&change.key);
            let deletes_nothing = change.operation == Operation::Delete && before.is_none();
            if deletes_nothing || !change.expected.is_met_by(before) {
                let current = before.cloned();
                conflicts.push(Conflict { index, current });
                continue;
            }
            match change.operation {
                Operation::Put(value) => {
                    let version = before.map_or(1, |record| record.version + 1);
                    // A clock that was set back does not make an entry older than it was.
                    let modified_at = before.map_or(now, |record| record.modified_at.max(now));
                    let record = Record::new(&change.key, value, version, revision, modified_at);
                    records.push(Some(record.clone()));
                    writes.push((change.key, Some(record)));
                }
                Operation::Delete => {
                    records.push(before.cloned());
                    writes.push((change.key, None));
                }
                Operation::Check => records.push(before.cloned()),
            }
        }
        if !conflicts.is_empty() {
            return Err(conflicts);
        }
        if !writes.is_empty() {
            self.revision = revision;
            self.changes.extend(writes);
        }
        let revision = self.revision;
        Ok(Committed { revision, records })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Expected, Value};

    fn put(table: &mut Table, value: &str, now: u64) -> Record {
        let change = Change {
            key: "a".parse().unwrap(),
            expected: Expected::Any,
            operation: Operation::Put(Value::from_json(value.as_bytes()).unwrap()),
        };
        let mut staged = Staged::on(table);
        let now = Timestamp::from_millis(now);
        let committed = staged.stage(table, vec![change], now).unwrap();
        table.apply(staged);
        committed.records[0].clone().unwrap()
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_make_an_entry_older() {
        let mut table = Table::default();
        let first = put(&mut table, "1", 5000);
        let second = put(&mut table, "2", 4000);
        assert_eq!(second.modified_at, first.modified_at);
        assert_eq!(
            put(&mut table, "3", 6000).modified_at,
            Timestamp::from_millis(6000)
        );
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
            .stage(&table, vec![delete], Timestamp::from_millis(2))
            .unwrap();
        assert_eq!((table.len(), table.revision()), (1, 1));
        assert_eq!(table.with(&staged).count(), 0);
        table.apply(staged);
        assert_eq!((table.len(), table.revision()), (0, 2));
    }
}
