//! What one commit is to do, and what it requires.

use std::collections::HashSet;

use thiserror::Error;

use super::commit::Origin;
use super::entry::Record;
use super::key::Key;
use super::name::Name;
use super::position::Revision;
use super::request::Request;
use super::value::Value;

/// The most operations that a transaction may have.
pub const TRANSACTION_MAX_OPERATIONS: usize = 128;
/// How much memory a change takes besides its key and value, roughly, in bytes.
const CHANGE_REST_BYTES: usize = 256;

/// What a commit requires of a key before it may change it. Any engine can compare each of these
/// in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Nothing: any record, or none.
    Any,
    /// A record, whichever it is.
    Present,
    /// No record.
    Absent,
    /// The record that the commit of this revision wrote.
    At(Revision),
}

impl Expected {
    /// Whether `current` is as required.
    #[must_use]
    pub fn is_met_by(self, current: Option<&Record>) -> bool {
        match self {
            Self::Any => true,
            Self::Present => current.is_some(),
            Self::Absent => current.is_none(),
            Self::At(revision) => current.is_some_and(|record| record.revision == revision),
        }
    }
}

/// What a change does to its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Creates or replaces the record.
    Put(Value),
    /// Removes the record. There must be one.
    Delete,
    /// Changes nothing; only the condition is checked.
    Check,
}

/// One key's part of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which key.
    pub key: Key,
    /// What is required of it at the moment of the commit.
    pub expected: Expected,
    /// What is done to it.
    pub operation: Operation,
}

/// The changes of one commit, and who makes them. Each key is in them at most once, so that a commit cannot
/// overwrite what it has itself written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeSet {
    changes: Vec<Change>,
    writer: Option<Name>,
    request: Option<Request>,
    origin: Option<Origin>,
}

/// A key is in more than one change of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the key {:?} appears twice", .0.as_str())]
pub struct RepeatedKey(pub Key);

impl ChangeSet {
    /// The changes of a commit in this order. Its writer is anonymous until [`by`](Self::by) names one.
    ///
    /// # Errors
    /// [`RepeatedKey`] with the first key that is repeated.
    pub fn new(changes: Vec<Change>) -> Result<Self, RepeatedKey> {
        let mut keys = HashSet::with_capacity(changes.len());
        match changes.iter().find(|change| !keys.insert(&change.key)) {
            None => Ok(Self::anonymous(changes)),
            Some(repeated) => Err(RepeatedKey(repeated.key.clone())),
        }
    }

    /// The same changes, made by this writer; `None` is an anonymous one.
    #[must_use]
    pub fn by(self, name: Option<Name>) -> Self {
        Self {
            writer: name,
            ..self
        }
    }

    /// Who makes them, unless the writer is anonymous.
    #[must_use]
    pub fn writer(&self) -> Option<&Name> {
        self.writer.as_ref()
    }

    /// The same changes, made for a request that is done once however often it is sent: a commit with the same
    /// writer and idempotency key is not made again.
    #[must_use]
    pub fn for_request(self, request: Option<Request>) -> Self {
        Self { request, ..self }
    }

    /// The request that is done once, if it is one.
    #[must_use]
    pub fn request(&self) -> Option<&Request> {
        self.request.as_ref()
    }

    /// The same changes, whose values come from there.
    #[must_use]
    pub fn from_origin(self, origin: Option<Origin>) -> Self {
        Self { origin, ..self }
    }

    /// Where the values come from, if not from the request alone.
    #[must_use]
    pub fn origin(&self) -> Option<Origin> {
        self.origin
    }

    /// The changes in their order.
    #[must_use]
    pub fn as_slice(&self) -> &[Change] {
        &self.changes
    }

    fn anonymous(changes: Vec<Change>) -> Self {
        Self {
            changes,
            writer: None,
            request: None,
            origin: None,
        }
    }

    /// About how much memory they take, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let value_bytes = |operation: &Operation| match operation {
            Operation::Put(value) => value.as_json().len(),
            Operation::Delete | Operation::Check => 0,
        };
        let bytes_of = |change: &Change| {
            CHANGE_REST_BYTES + change.key.as_str().len() + value_bytes(&change.operation)
        };
        self.changes.iter().map(bytes_of).sum()
    }
}

impl From<Change> for ChangeSet {
    fn from(change: Change) -> Self {
        Self::anonymous(vec![change])
    }
}

impl IntoIterator for ChangeSet {
    type Item = Change;
    type IntoIter = std::vec::IntoIter<Change>;

    fn into_iter(self) -> Self::IntoIter {
        self.changes.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Stamp, Timestamp};

    #[test]
    fn a_repeated_key_is_refused_by_name() {
        let change = |key: &str| Change {
            key: key.parse().unwrap(),
            expected: Expected::Any,
            operation: Operation::Delete,
        };
        assert!(ChangeSet::new(vec![change("a"), change("b")]).is_ok());
        let repeated = ChangeSet::new(vec![change("a"), change("b"), change("a")]).unwrap_err();
        assert_eq!(repeated.to_string(), "the key \"a\" appears twice");
    }

    #[test]
    fn an_expectation_is_met_or_not() {
        let key = "a".parse().unwrap();
        let value = Value::from_json(b"1").unwrap();
        let stamp = Stamp {
            version: 3,
            revision: 7,
            modified_at: Timestamp::from_millis(0),
            modified_by: None,
        };
        let current = Record::new(&key, value, stamp);
        for (expected, met_by_current, met_by_none) in [
            (Expected::Any, true, true),
            (Expected::Present, true, false),
            (Expected::Absent, false, true),
            (Expected::At(7), true, false),
            (Expected::At(6), false, false),
        ] {
            assert_eq!(
                expected.is_met_by(Some(&current)),
                met_by_current,
                "{expected:?}"
            );
            assert_eq!(expected.is_met_by(None), met_by_none, "{expected:?}");
        }
    }
}
