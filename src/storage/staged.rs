//! How commits change a table: checked one after the other, applied together.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::Committed;
use super::error::{CommitError, Conflict, StoreError};
use super::table::Table;
use crate::model::{
    Change, ChangeSet, Cursor, Entry, Event, EventKind, Key, LAST_NUMBER, Operation, Record,
    Revision, Stamp, Timestamp,
};

/// Commits that were decided but are not yet in a [`Table`].
#[derive(Debug, Default)]
pub struct Staged {
    changes: BTreeMap<Key, Option<Arc<Record>>>,
    events: Vec<Event>,
    after: Revision,
    revision: Revision,
}

impl Staged {
    /// No commits yet, on top of `table`.
    #[must_use]
    pub fn on(table: &Table) -> Self {
        Self::on_revision(table.revision())
    }

    /// No commits yet, on top of a table of this revision.
    #[must_use]
    pub fn on_revision(revision: Revision) -> Self {
        Self {
            changes: BTreeMap::new(),
            events: Vec::new(),
            after: revision,
            revision,
        }
    }

    /// Applies it to the table on which it was staged, and returns the events in the order of the commits.
    pub fn apply_to(self, table: &mut Table) -> Vec<Event> {
        table.update(self.changes, self.revision);
        self.events
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
    /// [`CommitError`] with every change whose key is not as expected, or if no revision or version
    /// is left; nothing was added then.
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
        let by = changes.writer().cloned();
        let mut records = Vec::with_capacity(count);
        let mut writes = Vec::with_capacity(count);
        let mut events = Vec::with_capacity(count);
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
                    let stamp = Stamp {
                        version,
                        revision,
                        modified_at: Timestamp::of_write(now, before),
                        modified_by: by.clone(),
                    };
                    let record = Arc::new(Record::new(&change.key, value, stamp));
                    records.push(Some(Arc::clone(&record)));
                    events.push((EventKind::Put, change.key.clone(), Arc::clone(&record)));
                    writes.push((change.key, Some(record)));
                }
                Operation::Delete => {
                    if let Some(before) = before {
                        let deleted = before.deleted_at(revision, by.clone()).into();
                        events.push((EventKind::Delete, change.key.clone(), deleted));
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
            let count = events.len();
            let events = events.into_iter().enumerate();
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
        staged.apply_to(table);
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
        assert_eq!(snapshot.with(staged.changes()).count(), 0);
        staged.apply_to(&mut table);
        assert_eq!((table.count(), table.revision()), (0, 2));
        let nothing = Staged::on(&table);
        assert_eq!(
            snapshot.with(nothing.changes()).count(),
            1,
            "a snapshot does not change"
        );
    }
}
