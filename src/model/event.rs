//! What is done to keys, and which of it somebody wants to know.

use super::entry::Entry;
use super::key::Key;
use super::position::Cursor;

/// What was done to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It was created or replaced.
    Put,
    /// It was deleted.
    Delete,
}

/// One change of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The point right after it.
    pub cursor: Cursor,
    /// What was done.
    pub kind: EventKind,
    /// The entry as it was written; of a deletion as it was, but with the deleting revision.
    pub entry: Entry,
}

/// Which events a watcher is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// Those of one key.
    Key(Key),
    /// Those of every key that begins so.
    Prefix(String),
}

impl Filter {
    /// Whether a key's events are among them.
    #[must_use]
    pub fn matches(&self, key: &Key) -> bool {
        match self {
            Self::Key(one) => one == key,
            Self::Prefix(prefix) => key.as_str().starts_with(prefix),
        }
    }
}
