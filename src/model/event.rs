//! What watchers are told, and how far they have come.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use thiserror::Error;

use super::{Entry, Position, Revision};

/// How long the text of an event is besides its key and value, in bytes, roughly.
const TEXT_REST_BYTES: usize = 256;
/// The longest text of an event that its watchers share, in bytes. A longer one is made piece by
/// piece for each of them: one that does not read must not keep it in memory.
const SHARED_TEXT_MAX_BYTES: usize = 16 * 1024;

/// A point in a run of revisions: after a whole commit, or after the first changes of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    revision: Revision,
    /// How many changes of the commit lie before it, if not all.
    changes: u32,
}

impl Cursor {
    const ALL: u32 = u32::MAX;

    /// After a whole commit.
    #[must_use]
    pub fn after(revision: Revision) -> Self {
        Self {
            revision,
            changes: Self::ALL,
        }
    }

    /// After the change with this index, counted from 0, of a commit that has `count` of them.
    #[must_use]
    pub fn after_change(revision: Revision, index: usize, count: usize) -> Self {
        let whole = index + 1 >= count;
        Self {
            revision,
            changes: u32::try_from(index + 1)
                .ok()
                .filter(|_| !whole)
                .unwrap_or(Self::ALL),
        }
    }

    /// The commit that it is after or in.
    #[must_use]
    pub fn revision(self) -> Revision {
        self.revision
    }
}

/// Where a watcher can go on: a cursor and the run of revisions that it is in. Written
/// `<revision>-<history>` after a whole commit, so that the entity tag of a list without its quotes
/// is one, and `<revision>.<changes>-<history>` within a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bookmark {
    /// How far.
    pub cursor: Cursor,
    /// In which run of revisions.
    pub history: Arc<str>,
}

impl Bookmark {
    /// One that is in no run of revisions.
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            cursor: Cursor::after(0),
            history: Arc::default(),
        }
    }
}

/// Why a text is no [`Bookmark`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("it is neither an event's id nor the ETag of a list")]
pub struct BookmarkError;

impl From<&Position> for Bookmark {
    fn from(position: &Position) -> Self {
        Self {
            cursor: Cursor::after(position.revision),
            history: Arc::clone(&position.history),
        }
    }
}

impl fmt::Display for Bookmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cursor { revision, changes } = self.cursor;
        match changes {
            Cursor::ALL => write!(f, "{revision}-{}", self.history),
            _ => write!(f, "{revision}.{changes}-{}", self.history),
        }
    }
}

impl FromStr for Bookmark {
    type Err = BookmarkError;

    fn from_str(text: &str) -> Result<Self, BookmarkError> {
        let number = |digits: &str| {
            let signed = !digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|_| !signed).ok_or(BookmarkError)
        };
        let (point, history) = text.split_once('-').ok_or(BookmarkError)?;
        let cursor = match point.split_once('.') {
            None => Cursor::after(number(point)?),
            Some((revision, changes)) => Cursor {
                revision: number(revision)?,
                changes: number(changes)?.try_into().map_err(|_| BookmarkError)?,
            },
        };
        let history = history.into();
        Ok(Self { cursor, history })
    }
}

/// What was done to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It was created or replaced.
    Put,
    /// It was deleted.
    Delete,
}

/// One change of a commit, as watchers are told of it.
#[derive(Debug)]
pub struct Event {
    /// Where a watcher stands that has seen it.
    pub cursor: Cursor,
    /// What was done.
    pub kind: EventKind,
    /// The entry as it was written; of a deletion as it was, but with the deleting revision.
    pub entry: Entry,
    shown: OnceLock<Bytes>,
}

impl Event {
    /// An event that nobody has been shown yet.
    #[must_use]
    pub fn new(cursor: Cursor, kind: EventKind, entry: Entry) -> Self {
        Self {
            cursor,
            kind,
            entry,
            shown: OnceLock::new(),
        }
    }

    /// Whether its text is too long to be made as a whole.
    #[must_use]
    pub fn is_long(&self) -> bool {
        self.text_bytes() > SHARED_TEXT_MAX_BYTES
    }

    /// The text that it is shown as, which `write` makes for the first of its watchers and all
    /// others share. Not for one that [is long](Self::is_long).
    pub fn shown(&self, write: impl FnOnce(&Self) -> Vec<u8>) -> Bytes {
        self.shown.get_or_init(|| write(self).into()).clone()
    }

    /// About how long its text is, in bytes.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        let Entry { key, record } = &self.entry;
        key.as_str().len() + record.value.as_json().len() + TEXT_REST_BYTES
    }

    /// About how much memory it takes, in bytes, once somebody was shown it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let shown = if self.is_long() { 0 } else { self.text_bytes() };
        self.text_bytes() + shown
    }
}

/// Which events a watcher is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// Those of one key.
    Key(super::Key),
    /// Those of every key that begins so.
    Prefix(String),
}

impl Filter {
    /// Whether a key's events are among them.
    #[must_use]
    pub fn matches(&self, key: &super::Key) -> bool {
        match self {
            Self::Key(one) => one == key,
            Self::Prefix(prefix) => key.as_str().starts_with(prefix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bookmark_is_read_as_it_is_written() {
        let bookmark = |cursor| Bookmark {
            cursor,
            history: "0af".into(),
        };
        for (text, cursor) in [
            ("0-0af", Cursor::after(0)),
            ("42-0af", Cursor::after(42)),
            ("42-0af", Cursor::after_change(42, 0, 1)),
            ("42.1-0af", Cursor::after_change(42, 0, 2)),
            ("42-0af", Cursor::after_change(42, 1, 2)),
        ] {
            assert_eq!(bookmark(cursor).to_string(), text);
            assert_eq!(text.parse(), Ok(bookmark(cursor)));
        }
        for text in [
            "", "42", "-", "x-0af", "+1-0af", "1.-0af", ".1-0af", "1.x-0af", "1.2.3-a",
        ] {
            assert_eq!(text.parse::<Bookmark>(), Err(BookmarkError), "{text}");
        }
    }

    #[test]
    fn the_changes_of_a_commit_lie_between_it_and_the_one_before() {
        let in_order = [
            Cursor::after(41),
            Cursor::after_change(42, 0, 3),
            Cursor::after_change(42, 1, 3),
            Cursor::after_change(42, 2, 3),
            Cursor::after_change(43, 0, 1),
        ];
        assert!(in_order.is_sorted_by(|one, next| one < next));
        assert_eq!(in_order[3], Cursor::after(42));
    }
}
