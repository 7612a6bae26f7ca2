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

/// The number of a commit of a store: +1 per commit, never reused.
pub type Revision = u64;
/// A state of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The newest commit.
    pub revision: Revision,
    /// The engine's token for this run of revisions, so that the same number of another run is not
    /// mistaken for it: 16 hexadecimal digits.
    pub epoch: Arc<str>,
}
/// A point in a run of revisions: after a whole commit, or after the first changes of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    revision: Revision,
    /// How many changes of the commit are before it, if not all.
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

/// Where a watcher can resume: a cursor and its epoch, the run of revisions that it is in. Written
/// `<revision>-<epoch>` after a whole commit, so that the entity tag of a list without its quotes
/// is one, and `<revision>.<changes>-<epoch>` within a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumeToken {
    /// How far.
    pub cursor: Cursor,
    /// In which run of revisions it is.
    pub epoch: Arc<str>,
}

impl ResumeToken {
    /// A token of no run of revisions.
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            cursor: Cursor::after(0),
            epoch: Arc::default(),
        }
    }
}

/// Why a text is not a [`ResumeToken`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("it is neither an event's id nor the ETag of a list")]
pub struct ResumeTokenError;

impl From<&Position> for ResumeToken {
    fn from(position: &Position) -> Self {
        Self {
            cursor: Cursor::after(position.revision),
            epoch: Arc::clone(&position.epoch),
        }
    }
}

impl fmt::Display for ResumeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cursor { revision, changes } = self.cursor;
        match changes {
            Cursor::ALL => write!(f, "{revision}-{}", self.epoch),
            _ => write!(f, "{revision}.{changes}-{}", self.epoch),
        }
    }
}

impl FromStr for ResumeToken {
    type Err = ResumeTokenError;

    fn from_str(text: &str) -> Result<Self, ResumeTokenError> {
        let number = |digits: &str| {
            let signed = !digits.bytes().all(|byte| byte.is_ascii_digit());
            digits
                .parse()
                .ok()
                .filter(|_| !signed)
                .ok_or(ResumeTokenError)
        };
        let (point, epoch) = text.split_once('-').ok_or(ResumeTokenError)?;
        let cursor = match point.split_once('.') {
            None => Cursor::after(number(point)?),
            Some((revision, changes)) => Cursor {
                revision: number(revision)?,
                changes: number(changes)?.try_into().map_err(|_| ResumeTokenError)?,
            },
        };
        let epoch = epoch.into();
        Ok(Self { cursor, epoch })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resume_token_is_read_as_it_is_written() {
        let token = |cursor| ResumeToken {
            cursor,
            epoch: "0af".into(),
        };
        for (text, cursor) in [
            ("0-0af", Cursor::after(0)),
            ("42-0af", Cursor::after(42)),
            ("42-0af", Cursor::after_change(42, 0, 1)),
            ("42.1-0af", Cursor::after_change(42, 0, 2)),
            ("42-0af", Cursor::after_change(42, 1, 2)),
        ] {
            assert_eq!(token(cursor).to_string(), text);
            assert_eq!(text.parse(), Ok(token(cursor)));
        }
        for text in [
            "", "42", "-", "x-0af", "+1-0af", "1.-0af", ".1-0af", "1.x-0af", "1.2.3-a",
        ] {
            assert_eq!(text.parse::<ResumeToken>(), Err(ResumeTokenError), "{text}");
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
