//! One line of the log for each write that was done, or refused because it is not granted.

use std::mem;

use super::error::or;
use super::operations::Operations;
use crate::access::Action;
use crate::model::{Change, ChangeSet, Expected, Key, Operation, Record, Revision};
use crate::storage::Committed;

/// The target of these lines, by which a log switches them on and off.
pub const AUDIT_TARGET: &str = "ifmatch::audit";

/// The writes of a commit that has been begun. Its caller may be gone before it is done, and that undoes nothing:
/// unless it is known what became of them, their lines say so.
pub(super) struct Begun<'a> {
    operations: Operations<'a>,
    /// By their place in the commit.
    writes: Vec<(usize, Key, &'static [Action])>,
}

impl<'a> Operations<'a> {
    /// To be called before a commit.
    pub(super) fn audit_begun(&self, changes: &ChangeSet) -> Begun<'a> {
        let write = |(index, change): (usize, &Change)| {
            let actions: &'static [Action] = match (&change.operation, change.expected) {
                (Operation::Check, _) => return None,
                (Operation::Delete, _) => &[Action::Delete],
                (Operation::Put(_), Expected::Absent) => &[Action::Create],
                (Operation::Put(_), Expected::Present | Expected::At(_)) => &[Action::Update],
                (Operation::Put(_), Expected::Any) => &[Action::Create, Action::Update],
            };
            Some((index, change.key.clone(), actions))
        };
        let is_audited = tracing::enabled!(target: AUDIT_TARGET, tracing::Level::INFO);
        let changes = changes.as_slice().iter().enumerate();
        let writes = is_audited.then(|| changes.filter_map(write).collect());
        Begun {
            operations: *self,
            writes: writes.unwrap_or_default(),
        }
    }

    fn audit_taken(&self, is_delete: bool, key: &Key, record: &Record, revision: Revision) {
        let (action, from, to) = match (is_delete, record.version) {
            (true, from) => (Action::Delete, Some(from), None),
            (false, 1) => (Action::Create, None, Some(1)),
            (false, to) => (Action::Update, Some(to - 1), Some(to)),
        };
        tracing::info!(
            target: AUDIT_TARGET,
            who = %self.principal,
            action = action.as_str(),
            key = key.as_str(),
            from,
            to,
            revision,
            request_id = self.request_id,
            address = self.address.map(tracing::field::display),
            "written"
        );
    }

    pub(super) fn audit_refused(&self, needed: &[Action], key: &Key) {
        tracing::info!(
            target: AUDIT_TARGET,
            who = %self.principal,
            action = or(needed),
            key = key.as_str(),
            request_id = self.request_id,
            address = self.address.map(tracing::field::display),
            "refused"
        );
    }
}

impl Begun<'_> {
    /// The commit was done.
    pub(super) fn were_done(mut self, committed: &Committed) {
        for (index, key, actions) in mem::take(&mut self.writes) {
            if let Some(Some(record)) = committed.records.get(index) {
                let is_delete = actions == [Action::Delete];
                let revision = committed.revision;
                self.operations
                    .audit_taken(is_delete, &key, record, revision);
            }
        }
    }

    /// Nothing of the commit was done.
    pub(super) fn were_not_done(mut self) {
        self.writes.clear();
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        for (_, key, actions) in &self.writes {
            tracing::info!(
                target: AUDIT_TARGET,
                who = %self.operations.principal,
                action = or(actions),
                key = key.as_str(),
                request_id = self.operations.request_id,
                address = self.operations.address.map(tracing::field::display),
                "begun; it is not known whether it was written"
            );
        }
    }
}
