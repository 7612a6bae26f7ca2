//! One line of the log for each write that was done, or refused because it is not granted.

use super::error::or;
use super::operations::Operations;
use crate::access::Action;
use crate::model::{Entry, Key, Revision};

/// The target of these lines, by which a log switches them on and off.
pub const AUDIT_TARGET: &str = "ifmatch::audit";

impl Operations<'_> {
    pub(super) fn audit_taken(&self, is_delete: bool, entry: &Entry, revision: Revision) {
        let version = entry.record.version;
        let (action, from, to) = match (is_delete, version) {
            (true, from) => (Action::Delete, Some(from), None),
            (false, 1) => (Action::Create, None, Some(1)),
            (false, to) => (Action::Update, Some(to - 1), Some(to)),
        };
        tracing::info!(
            target: AUDIT_TARGET,
            who = %self.principal,
            action = action.as_str(),
            key = entry.key.as_str(),
            from,
            to,
            revision,
            request_id = self.request_id,
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
            "refused"
        );
    }
}
