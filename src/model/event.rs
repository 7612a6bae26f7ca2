//! What is done to keys, and which events a watcher subscribes to.

use super::entry::Entry;
use super::key::Key;
use super::position::ResumeToken;

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
    pub cursor: ResumeToken,
    /// What was done.
    pub kind: EventKind,
    /// The entry as it was written; for a deletion the last one, but with the deleting revision and
    /// who deleted it.
    pub entry: Entry,
}

/// Which events a watcher subscribes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// Those of one key.
    Key(Key),
    /// Those of every key with this prefix.
    Prefix(String),
}

impl Filter {
    /// Whether it matches the events of a key.
    #[must_use]
    pub fn matches(&self, key: &Key) -> bool {
        match self {
            Self::Key(one) => one == key,
            Self::Prefix(prefix) => key.as_str().starts_with(prefix),
        }
    }
}
