//! Questions about the past of a store, and the answers.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::commit::Origin;
use super::entry::Entry;
use super::event::{EventKind, Filter};
use super::key::Key;
use super::position::Revision;
use super::timestamp::Timestamp;

/// The most events that one page of a history has.
pub const HISTORY_MAX_LIMIT: usize = 1000;

/// A point in the history: before a change of a commit. Written `<revision>`, for the point before the whole
/// commit, or `<revision>.<changes>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HistoryPoint {
    /// The commit.
    pub revision: Revision,
    /// How many of its changes are before the point.
    pub changes: u32,
}

impl HistoryPoint {
    /// After everything.
    pub const END: Self = Self {
        revision: Revision::MAX,
        changes: u32::MAX,
    };
}

/// A text is not a [`HistoryPoint`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("it is not a revision, nor the next of a history")]
pub struct HistoryPointError;

impl fmt::Display for HistoryPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.changes {
            0 => write!(f, "{}", self.revision),
            changes => write!(f, "{}.{changes}", self.revision),
        }
    }
}

impl FromStr for HistoryPoint {
    type Err = HistoryPointError;

    fn from_str(text: &str) -> Result<Self, HistoryPointError> {
        let (revision, changes) = text.split_once('.').unwrap_or((text, "0"));
        let has_digits_only = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
        if !has_digits_only(revision) || !has_digits_only(changes) {
            return Err(HistoryPointError);
        }
        Ok(Self {
            revision: revision.parse().map_err(|_| HistoryPointError)?,
            changes: changes.parse().map_err(|_| HistoryPointError)?,
        })
    }
}

/// Which events of the past are asked for, the newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Those that match one of these.
    pub filters: Vec<Filter>,
    /// Those before this point.
    pub before: HistoryPoint,
    /// At most so many.
    pub limit: usize,
    /// About so many bytes of values and keys at the most, but one event in any case.
    pub max_bytes: usize,
}

impl HistoryQuery {
    /// Whether it asks for the events of a key.
    #[must_use]
    pub fn matches(&self, key: &Key) -> bool {
        self.filters.iter().any(|filter| filter.matches(key))
    }
}

/// Something that happened to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastEvent {
    /// The point before it.
    pub point: HistoryPoint,
    /// What was done.
    pub kind: EventKind,
    /// The entry as it was written; of a deletion the last one, but with the deleting revision, and with who
    /// deleted it and when.
    pub entry: Entry,
    /// When the commit was made.
    pub at: Timestamp,
    /// Where the value comes from, if not from the request alone.
    pub origin: Option<Origin>,
}

/// A part of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryPage {
    /// What happened, the newest first.
    pub events: Vec<PastEvent>,
    /// The point before which there may be more. A page can be empty although there is.
    pub next: Option<HistoryPoint>,
    /// The oldest state that is kept.
    pub oldest_revision: Revision,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_read_as_it_is_written() {
        for (text, revision, changes) in [("0", 0, 0), ("42", 42, 0), ("42.3", 42, 3)] {
            let point = HistoryPoint { revision, changes };
            assert_eq!(text.parse(), Ok(point));
            assert_eq!(point.to_string(), text);
        }
        for text in [
            "",
            "x",
            "-1",
            "+1",
            "1.",
            ".1",
            "1.x",
            "1.2.3",
            "99999999999999999999",
        ] {
            assert_eq!(
                text.parse::<HistoryPoint>(),
                Err(HistoryPointError),
                "{text}"
            );
        }
    }
}
