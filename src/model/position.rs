//! Where a store or a watcher is: revisions, and points between them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

/// The last version and the last revision that there can be: JSON readers that take numbers for doubles would
/// confuse those above (RFC 8259 §6). At a million commits a second they last for 285 years.
pub const LAST_NUMBER: u64 = (1 << 53) - 1;

/// How often a key was written since it was created: 1 at creation. For people.
pub type Version = u64;

/// The number of a commit in the store's history: +1 per commit, never reused.
pub type Revision = u64;
/// A point in a store's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The newest commit.
    pub revision: Revision,
    /// A token of the engine's own for this run of revisions, so that the same number of another
    /// run is not mistaken for it: 16 hexadecimal digits.
    pub history: Arc<str>,
}
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
