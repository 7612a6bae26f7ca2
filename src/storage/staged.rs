//! How commits change a table: checked one after the other, applied together.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::Committed;
use super::error::{CommitError, Conflict, StoreError};
use super::requests::KnownRequest;
use super::table::Table;
use crate::model::{
    Change, ChangeSet, Commit, Done, Key, LAST_NUMBER, Name, Operation, Position, Record, Request,
    Revision, Stamp, Timestamp,
};

/// Commits that were decided but are not yet in a [`Table`].
#[derive(Debug, Clone)]
pub struct Staged {
    changes: BTreeMap<Key, Option<Arc<Record>>>,
    commits: Vec<Arc<Commit>>,
    after: Position,
    position: Position,
    /// When the last commit was made.
    at: Timestamp,
    /// How many revisions are left out before each commit.
    left_out: u64,
}

impl Staged {
    /// No commits yet, on top of `table`.
    #[must_use]
    pub fn on(table: &Table) -> Self {
        Self::on_position(table.position(), table.last_commit_at())
    }

    /// The same, which leaves out so many revisions before each commit.
    #[must_use]
    pub fn leaving_out(self, left_out: u64) -> Self {
        Self { left_out, ..self }
    }

    /// No commits yet, on top of a table at this position, whose last commit was made at `at`.
    #[must_use]
    pub fn on_position(position: Position, at: Timestamp) -> Self {
        Self {
            changes: BTreeMap::new(),
            commits: Vec::new(),
            after: position,
            position,
            at,
            left_out: 0,
        }
    }

    /// Applies it to the table on which it was staged, and returns the commits in their order.
    pub fn apply_to(self, table: &mut Table) -> Vec<Arc<Commit>> {
        table.update(self.changes, self.position, self.at);
        for commit in &self.commits {
            table.requests_mut().note(commit);
        }
        self.commits
    }

    /// The commits in their order.
    #[must_use]
    pub fn commits(&self) -> &[Arc<Commit>] {
        &self.commits
    }

    /// Whether no commit changes anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The position of the table.
    #[must_use]
    pub fn after(&self) -> Position {
        self.after
    }

    /// When the last commit was made.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// The position that the table will have.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// The revision that the table will have.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.position.revision
    }

    /// Every key that is changed, ascending, with the record that it will have.
    pub fn changes(&self) -> impl Iterator<Item = (&Key, Option<&Arc<Record>>)> {
        let changes = self.changes.iter();
        changes.map(|(key, record)| (key, record.as_ref()))
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
    /// [`CommitError`] with every change whose key is not as expected, if its request was done already, or if
    /// no revision or version is left; nothing was added then.
    pub fn stage(
        &mut self,
        table: &Table,
        changes: ChangeSet,
        now: Timestamp,
    ) -> Result<Committed, CommitError> {
        if let Some(request) = changes.request() {
            self.check_is_new(table, changes.writer(), request, now)?;
        }
        let current = |key: &Key| match self.changes.get(key) {
            Some(staged) => staged.as_ref(),
            None => table.get(key),
        };
        let last_left_out = self.position.revision + self.left_out;
        let revision = last_left_out + 1;
        let mut at = Timestamp::of_write(now, None);
        let mut conflicts = Vec::new();
        let count = changes.as_slice().len();
        let (by, origin) = (changes.writer().cloned(), changes.origin());
        let request = changes.request().cloned();
        let mut records = Vec::with_capacity(count);
        let mut done = Vec::with_capacity(count);
        for (index, change) in changes.into_iter().enumerate() {
            let before = current(&change.key).cloned();
            let deletes_nothing = change.operation == Operation::Delete && before.is_none();
            if deletes_nothing || !change.expected.is_met_by(before.as_deref()) {
                let current = before;
                conflicts.push(Conflict { index, current });
                continue;
            }
            let after = match change.operation {
                Operation::Put(value) => {
                    let version = next_number(before.as_ref().map_or(0, |record| record.version))?;
                    let dated = before.as_ref().map(|record| record.modified_at);
                    let modified_at = Timestamp::of_write(now, dated);
                    // A date that was edited by hand is not that of a commit.
                    if dated.is_some_and(|dated| dated <= self.at) {
                        at = at.max(modified_at);
                    }
                    let stamp = Stamp {
                        version,
                        revision,
                        modified_at,
                        modified_by: by.clone(),
                    };
                    Some(Arc::new(Record::new(&change.key, value, stamp)))
                }
                Operation::Delete => None,
                Operation::Check => {
                    records.push(before);
                    continue;
                }
            };
            records.push(after.clone().or_else(|| before.clone()));
            done.push(Done {
                key: change.key,
                before,
                after,
            });
        }
        if !conflicts.is_empty() {
            return Err(CommitError::Conflict(conflicts));
        }
        if !done.is_empty() {
            next_number(last_left_out)?;
            self.at = self.at.max(at);
            let changes = done.iter();
            let state = changes.fold(self.position.state, |state, done| done.state_after(state));
            self.position = Position { revision, state };
            let writes = done.iter();
            self.changes
                .extend(writes.map(|done| (done.key.clone(), done.after.clone())));
            self.commits.push(Arc::new(Commit {
                position: self.position,
                at: self.at,
                by,
                request,
                origin,
                changes: done,
            }));
        }
        Ok(Committed {
            revision: self.position.revision,
            records,
        })
    }
}

impl Staged {
    /// # Errors
    /// [`CommitError::Repeated`], [`CommitError::RequestMismatch`].
    fn check_is_new(
        &self,
        table: &Table,
        writer: Option<&Name>,
        request: &Request,
        now: Timestamp,
    ) -> Result<(), CommitError> {
        let staged = self.commits.iter().find(|commit| {
            let known = commit.request.as_ref();
            commit.by.as_ref() == writer && known.is_some_and(|known| known.key == request.key)
        });
        let known = match staged {
            Some(commit) if commit.request.as_ref() == Some(request) => {
                Some(KnownRequest::Done(commit.position))
            }
            Some(_) => Some(KnownRequest::Mismatch),
            None => table.requests().known(writer, request, now),
        };
        match known {
            None => Ok(()),
            Some(KnownRequest::Done(position)) => Err(CommitError::Repeated(position.revision)),
            Some(KnownRequest::Mismatch) => Err(CommitError::RequestMismatch),
        }
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
        let snapshot = table.snapshot();
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
