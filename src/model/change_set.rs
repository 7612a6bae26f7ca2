//! What one commit does.

use std::collections::HashSet;

use thiserror::Error;

use super::{Change, Key, Operation};

/// What stands in memory for a change besides its key and value, roughly, in bytes.
const CHANGE_REST_BYTES: usize = 256;

/// The changes of one commit. Each key is in them at most once, so that a commit cannot overwrite what it
/// has itself written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeSet(Vec<Change>);

/// A key is in more than one change of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the key {:?} is there twice", .0.as_str())]
pub struct RepeatedKey(pub Key);

impl ChangeSet {
    /// The changes of a commit in this order.
    ///
    /// # Errors
    /// [`RepeatedKey`] with the first key that is there twice.
    pub fn new(changes: Vec<Change>) -> Result<Self, RepeatedKey> {
        let mut keys = HashSet::with_capacity(changes.len());
        match changes.iter().find(|change| !keys.insert(&change.key)) {
            None => Ok(Self(changes)),
            Some(repeated) => Err(RepeatedKey(repeated.key.clone())),
        }
    }

    /// The changes in their order.
    #[must_use]
    pub fn as_slice(&self) -> &[Change] {
        &self.0
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
        self.0.iter().map(bytes_of).sum()
    }
}

impl From<Change> for ChangeSet {
    fn from(change: Change) -> Self {
        Self(vec![change])
    }
}

impl IntoIterator for ChangeSet {
    type Item = Change;
    type IntoIter = std::vec::IntoIter<Change>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Expected;

    #[test]
    fn a_key_that_is_there_twice_is_refused_by_name() {
        let change = |key: &str| Change {
            key: key.parse().unwrap(),
            expected: Expected::Any,
            operation: Operation::Delete,
        };
        assert!(ChangeSet::new(vec![change("a"), change("b")]).is_ok());
        let repeated = ChangeSet::new(vec![change("a"), change("b"), change("a")]).unwrap_err();
        assert_eq!(repeated.to_string(), "the key \"a\" is there twice");
    }
}
