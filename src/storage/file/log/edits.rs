//! What somebody has changed in a data file while no process had it open. The log knows what the entries were before
//! that, unless they were written before it begins; its digest says whether it knows all of them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::scan::{ScanError, Scanned, for_each_commit};
use crate::model::{Change, ChangeSet, Expected, Key, Operation, Record, RepeatedKey, StateDigest};
use crate::storage::file::format::Names;
use crate::storage::table::Table;

/// What was changed.
#[derive(Debug)]
pub struct Edits(Vec<Change>);

impl Edits {
    /// What leads from the last state of a log, whose digest is `state`, to the content of a data file, which is in
    /// `table`. The table becomes that last state. Nothing if the log does not know what it was.
    ///
    /// # Errors
    /// [`ScanError`].
    pub fn undo(
        scanned: &Scanned,
        state: StateDigest,
        table: &mut Table,
    ) -> Result<Option<Self>, ScanError> {
        let mut last = HashMap::new();
        for_each_record(
            scanned,
            |_| true,
            |key, record| {
                let hash = record.map(|record| record.state_hash());
                match last.get_mut(key) {
                    Some(known) => *known = hash,
                    None => drop(last.insert(key.clone(), hash)),
                }
            },
        )?;
        let Some(keys) = differing(scanned, &last, state, table) else {
            return Ok(None);
        };
        let keys: BTreeSet<_> = keys.into_iter().collect();
        let mut last = HashMap::new();
        for_each_record(
            scanned,
            |key| keys.contains(key),
            |key, record| {
                last.insert(key.clone(), record);
            },
        )?;
        let mut changes = Vec::with_capacity(keys.len());
        for key in keys {
            let edited = match last.remove(&key).flatten() {
                Some(record) => table.insert(key.clone(), record),
                None => table.take(&key),
            };
            let operation = edited.map_or(Operation::Delete, |edited| {
                Operation::Put(edited.value.clone())
            });
            changes.push(Change {
                key,
                expected: Expected::Any,
                operation,
            });
        }
        Ok(Some(Self(changes)))
    }

    /// How many entries were changed.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// As a commit on what was before.
    ///
    /// # Errors
    /// Never: no key is repeated.
    pub fn into_changes(self) -> Result<ChangeSet, RepeatedKey> {
        ChangeSet::new(self.0)
    }
}

/// The keys whose entries are not those that the log leads to. `last` has the hashes of the entries that are in the
/// log. Nothing if the other entries are not what they were either: the digests tell.
fn differing(
    scanned: &Scanned,
    last: &HashMap<Key, Option<u64>>,
    state: StateDigest,
    table: &Table,
) -> Option<Vec<Key>> {
    let begins = scanned.segments.first()?.start.position.revision;
    let mut found = table.position().state;
    let mut keys = Vec::new();
    let content = table.snapshot();
    for (key, record) in content.entries() {
        let hash = record.state_hash();
        let before = match last.get(key) {
            Some(before) => *before,
            // Nobody has written it since the log begins, so it was there then, or it was added by hand.
            None => (record.revision <= begins).then_some(hash),
        };
        if before == Some(hash) {
            continue;
        }
        found = found.without(hash);
        found = before.map_or(found, |before| found.with(before));
        keys.push(key.clone());
    }
    for (key, before) in last {
        if let Some(before) = before
            && table.get(key).is_none()
        {
            found = found.with(*before);
            keys.push(key.clone());
        }
    }
    (found == state).then_some(keys)
}

/// Calls `each` with every record of the keys that are wanted, in the order of the commits, and with nothing for a
/// deletion.
fn for_each_record(
    scanned: &Scanned,
    is_wanted: impl Fn(&Key) -> bool,
    mut each: impl FnMut(&Key, Option<Arc<Record>>),
) -> Result<(), ScanError> {
    let mut names = Names::default();
    for segment in &scanned.segments {
        let read = for_each_commit(segment, segment.start.position.revision, |commit| {
            for record in commit.records_of(&mut names, &is_wanted) {
                let (key, record) = record?;
                each(key, record);
            }
            Ok(true)
        });
        read.map_err(|error| ScanError::Damaged {
            path: segment.path.path().to_owned(),
            reason: error.to_string(),
        })?;
    }
    Ok(())
}
