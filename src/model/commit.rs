//! What one commit did: the unit of the log, of the feed and of the history.

use std::sync::Arc;

use super::entry::{Entry, Record};
use super::event::{Event, EventKind};
use super::key::Key;
use super::name::Name;
use super::position::{Position, ResumeToken, Revision, StateDigest};
use super::request::Request;
use super::timestamp::Timestamp;

/// A commit that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its revision, and the state after it.
    pub position: Position,
    /// When it was made; never before the commit before it.
    pub at: Timestamp,
    /// Who made it, unless the writer is anonymous.
    pub by: Option<Name>,
    /// The request that can be repeated without being done again, if it was one.
    pub request: Option<Request>,
    /// Where its values come from, if not from the request alone.
    pub origin: Option<Origin>,
    /// What it did to each key, in its order.
    pub changes: Vec<Done>,
}

/// Where the values of a commit come from, if not from its request alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A value of the past was written again.
    Revert {
        /// The revision at which the key had that value.
        revision: Revision,
    },
    /// The request was merged with the changes of others.
    Merge {
        /// The revision of the state from which the request began.
        base: Revision,
        /// The revision of the state with which it was merged.
        theirs: Revision,
    },
}

/// What a commit did to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// Which key.
    pub key: Key,
    /// Its record before, if it had one. An engine that reads the commit again may know only that of a deletion.
    pub before: Option<Arc<Record>>,
    /// Its record after, unless it was deleted.
    pub after: Option<Arc<Record>>,
}

impl Done {
    /// What that was.
    #[must_use]
    pub fn kind(&self) -> EventKind {
        match self.after {
            Some(_) => EventKind::Put,
            None => EventKind::Delete,
        }
    }
}

impl Done {
    /// The digest of a state after this, which was `state` before.
    #[must_use]
    pub fn state_after(&self, state: StateDigest) -> StateDigest {
        let state = match &self.before {
            Some(before) => state.without(before.state_hash()),
            None => state,
        };
        match &self.after {
            Some(after) => state.with(after.state_hash()),
            None => state,
        }
    }
}

impl Commit {
    /// The event of the change with this index, if it has so many.
    #[must_use]
    pub fn event(&self, index: usize) -> Option<Event> {
        let done = self.changes.get(index)?;
        let record = match (&done.after, &done.before) {
            (Some(after), _) => Arc::clone(after),
            (None, before) => {
                let deleted = before.as_ref()?;
                Arc::new(deleted.deleted_at(self.position.revision, self.by.clone()))
            }
        };
        Some(Event {
            cursor: ResumeToken::after_change(self.position, index, self.changes.len()),
            kind: done.kind(),
            entry: Entry {
                key: done.key.clone(),
                record,
            },
        })
    }

    /// The events of all changes, in their order.
    pub fn events(&self) -> impl Iterator<Item = Event> {
        (0..self.changes.len()).filter_map(|index| self.event(index))
    }
}
