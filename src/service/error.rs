//! Why the service did not do what was asked.

use std::sync::Arc;

use thiserror::Error;

use crate::model::{Entry, Key, Record};
use crate::patch::ApplyError;
use crate::precondition::{Mismatch, Preconditions};
use crate::storage::StoreError;

/// Why the service did not do what was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such key.
    #[error("key does not exist")]
    NotFound,
    /// A precondition does not hold; `current` is the current entry, if there is one.
    #[error("a precondition does not hold")]
    PreconditionFailed {
        /// What a merge needs.
        current: Option<Entry>,
        /// Why it does not hold.
        reason: Mismatch,
    },
    /// The preconditions of some operations of a transaction do not hold; nothing of it was done.
    #[error("{} operations do not hold", .0.len())]
    TransactionFailed(Vec<FailedOperation>),
    /// A patch does not fit the value.
    #[error(transparent)]
    Patch(#[from] ApplyError),
    /// The service accepts only writes that name an entity tag.
    #[error("a write must name an entity tag")]
    PreconditionRequired,
    /// The value is longer than the service accepts.
    #[error("the value is longer than {limit} bytes")]
    ValueTooLarge {
        /// The limit, in bytes of JSON text.
        limit: usize,
    },
    /// Two changes of one commit have the same key.
    #[error("the key {:?} appears twice", .0.as_str())]
    RepeatedKey(Key),
    /// It was not begun, or the store failed.
    #[error(transparent)]
    Unserved(#[from] Unserved),
}

/// What can go wrong with any request, whatever the store holds.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Unserved {
    /// Too much is in progress, so this was not begun. Nothing was done.
    #[error("too much is in progress")]
    Overloaded,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Unserved(error.into())
    }
}

impl Error {
    /// The current record of a key is not as `conditions` require.
    pub(super) fn mismatch(
        key: Key,
        current: Option<Arc<Record>>,
        conditions: &Preconditions,
    ) -> Self {
        Self::PreconditionFailed {
            reason: Mismatch::of(conditions),
            current: current.map(|record| Entry { key, record }),
        }
    }
}

/// An operation of a transaction whose preconditions do not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedOperation {
    /// Which, counted from 0.
    pub index: usize,
    /// Its key.
    pub key: Key,
    /// Its current entry.
    pub current: Option<Entry>,
    /// Why it does not hold.
    pub reason: Mismatch,
}
