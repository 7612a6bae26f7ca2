//! Where a store or a watcher is: revisions, and points between them.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The last version and the last revision that there can be: JSON readers that take numbers for doubles would
/// confuse those above (RFC 8259 §6). At a million commits a second they last for 285 years.
pub const LAST_NUMBER: u64 = (1 << 53) - 1;

/// How often a key was written since it was created: 1 at creation. For people.
pub type Version = u64;

/// The number of a commit of a store: ever larger, never reused. An engine that others share leaves some out; one of
/// those has the state of the revision before it.
pub type Revision = u64;

/// What stands for all records of a store: the sum of a hash of each, so that a commit changes it in as many
/// steps as it has changes, and the same records have the same digest after a restart. Written as 16
/// hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StateDigest(u64);

impl StateDigest {
    /// How many digits it is written with.
    const DIGITS: usize = 2 * size_of::<u64>();

    /// From its bits.
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Its bits.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// The digest of the same records and the one with this hash.
    #[must_use]
    pub fn with(self, record_hash: u64) -> Self {
        Self(self.0.wrapping_add(record_hash))
    }

    /// The digest of the same records without the one with this hash.
    #[must_use]
    pub fn without(self, record_hash: u64) -> Self {
        Self(self.0.wrapping_sub(record_hash))
    }
}

impl StateDigest {
    /// As it is written: hexadecimal digits in ASCII.
    ///
    /// # Panics
    /// Never: there are two digits for a byte.
    #[must_use]
    pub fn digits(self) -> [u8; Self::DIGITS] {
        let mut digits = [0; Self::DIGITS];
        hex::encode_to_slice(self.0.to_be_bytes(), &mut digits).expect("two digits for a byte");
        digits
    }
}

impl fmt::Display for StateDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for StateDigest {
    type Err = ResumeTokenError;

    fn from_str(text: &str) -> Result<Self, ResumeTokenError> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let is_written_so = text.len() == Self::DIGITS && text.bytes().all(is_digit);
        let bits = u64::from_str_radix(text, 16).ok();
        bits.filter(|_| is_written_so)
            .map(Self)
            .ok_or(ResumeTokenError)
    }
}

/// A state of a store. The same revision of another past has another digest, so that it is not mistaken for
/// this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Position {
    /// The newest commit.
    pub revision: Revision,
    /// All records.
    pub state: StateDigest,
}

/// Where a watcher can resume: after a whole commit, or after the first changes of one. Written
/// `<revision>-<state>` after a whole commit, so that the entity tag of a list without its quotes is one, and
/// `<revision>.<changes>-<state>` within a commit, where the digits are those after the commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ResumeToken {
    position: Position,
    /// How many changes of the commit are before it, if not all.
    changes: u32,
}

impl ResumeToken {
    const ALL: u32 = u32::MAX;

    /// A point of no store.
    #[must_use]
    pub fn unknown() -> Self {
        Self::after(Position {
            revision: Revision::MAX,
            state: StateDigest::default(),
        })
    }

    /// After a whole commit.
    #[must_use]
    pub fn after(position: Position) -> Self {
        Self {
            position,
            changes: Self::ALL,
        }
    }

    /// After the change with this index, counted from 0, of a commit that has `count` of them.
    #[must_use]
    pub fn after_change(position: Position, index: usize, count: usize) -> Self {
        let whole = index + 1 >= count;
        Self {
            position,
            changes: u32::try_from(index + 1)
                .ok()
                .filter(|_| !whole)
                .unwrap_or(Self::ALL),
        }
    }

    /// The commit that it is after or in.
    #[must_use]
    pub fn revision(self) -> Revision {
        self.position.revision
    }

    /// The state after that commit.
    #[must_use]
    pub fn position(self) -> Position {
        self.position
    }

    /// Whether it is after the whole commit, not in it.
    #[must_use]
    pub fn is_after_whole_commit(self) -> bool {
        self.changes == Self::ALL
    }

    /// The same point of the same commit, where other digits stand for the state.
    #[must_use]
    pub fn in_state(self, state: StateDigest) -> Self {
        let position = Position {
            state,
            ..self.position
        };
        Self { position, ..self }
    }
}

/// Why a text is not a [`ResumeToken`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("it is neither an event's id nor the ETag of a list")]
pub struct ResumeTokenError;

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.revision, self.state)
    }
}

impl fmt::Display for ResumeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { revision, state } = self.position;
        match self.changes {
            Self::ALL => write!(f, "{revision}-{state}"),
            changes => write!(f, "{revision}.{changes}-{state}"),
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
        let (point, state) = text.split_once('-').ok_or(ResumeTokenError)?;
        let state = state.parse()?;
        let at = |revision| Position { revision, state };
        Ok(match point.split_once('.') {
            None => Self::after(at(number(point)?)),
            Some((revision, changes)) => Self {
                position: at(number(revision)?),
                changes: number(changes)?.try_into().map_err(|_| ResumeTokenError)?,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: StateDigest = StateDigest(0xaf);

    fn at(revision: Revision) -> Position {
        Position {
            revision,
            state: STATE,
        }
    }

    #[test]
    fn a_resume_token_is_read_as_it_is_written() {
        for (text, token) in [
            ("0-00000000000000af", ResumeToken::after(at(0))),
            ("42-00000000000000af", ResumeToken::after(at(42))),
            (
                "42-00000000000000af",
                ResumeToken::after_change(at(42), 0, 1),
            ),
            (
                "42.1-00000000000000af",
                ResumeToken::after_change(at(42), 0, 2),
            ),
            (
                "42-00000000000000af",
                ResumeToken::after_change(at(42), 1, 2),
            ),
        ] {
            assert_eq!(token.to_string(), text);
            assert_eq!(text.parse(), Ok(token));
        }
        for text in [
            "",
            "42",
            "-",
            "42-",
            "42-af",
            "x-00000000000000af",
            "+1-00000000000000af",
            "1.-00000000000000af",
            ".1-00000000000000af",
            "1.x-00000000000000af",
            "1.2.3-00000000000000af",
            "1-00000000000000aF",
            "1-+0000000000000af",
        ] {
            assert_eq!(text.parse::<ResumeToken>(), Err(ResumeTokenError), "{text}");
        }
    }

    #[test]
    fn the_changes_of_a_commit_lie_between_it_and_the_one_before() {
        let in_order = [
            ResumeToken::after(at(41)),
            ResumeToken::after_change(at(42), 0, 3),
            ResumeToken::after_change(at(42), 1, 3),
            ResumeToken::after_change(at(42), 2, 3),
            ResumeToken::after_change(at(43), 0, 1),
        ];
        assert!(in_order.is_sorted_by(|one, next| one < next));
        assert_eq!(in_order[3], ResumeToken::after(at(42)));
    }
}
