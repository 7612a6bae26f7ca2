//! Why the service did not do what was asked.

use std::fmt;

use itertools::Itertools as _;
use thiserror::Error;

use crate::access::Action;
use crate::model::{Entry, Key, Revision};
use crate::patch::ApplyError;
use crate::precondition::{Mismatch, Preconditions};
use crate::storage::{PastError, StoreError};

/// Why the service did not do what was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such key.
    #[error("key does not exist")]
    NotFound,
    /// There was no such key at that revision.
    #[error("the key did not exist at revision {revision}")]
    AbsentThen {
        /// Which.
        revision: Revision,
    },
    /// There was no such key at the revision whose value was to be brought back.
    #[error("the key did not exist at revision {revision}")]
    NothingToRevert {
        /// Which.
        revision: Revision,
    },
    /// That part of the history is no longer kept.
    #[error("that part of the history is no longer kept")]
    Compacted {
        /// The oldest state that is kept.
        oldest: Revision,
    },
    /// That revision is still to come.
    #[error("that revision is still to come")]
    Future {
        /// The newest commit.
        newest: Revision,
    },
    /// That moment is still to come.
    #[error("that moment is still to come")]
    MomentToCome,
    /// The caller may not do this.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// A precondition does not hold.
    #[error("a precondition does not hold")]
    PreconditionFailed {
        /// What a merge needs.
        current: Current,
        /// Why it does not hold.
        reason: Mismatch,
        /// How the current entry compares with the state that the client has seen.
        comparison: Box<Comparison>,
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
    /// The value that a merge on request gives is longer than the service accepts.
    #[error("the merged value is longer than {limit} bytes")]
    MergedTooLarge {
        /// The limit, in bytes of JSON text.
        limit: usize,
    },
    /// The same request, or another with its idempotency key, is in progress.
    #[error("a request with this idempotency key is in progress")]
    RequestInProgress,
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used for another request")]
    RequestMismatch,
    /// The request was done before, but what it wrote is no longer kept.
    #[error(
        "the request was done before, by revision {revision}, and what it wrote is no longer kept"
    )]
    AnswerCompacted {
        /// By which.
        revision: Revision,
        /// The oldest state that is kept.
        oldest: Revision,
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

impl From<PastError> for Error {
    fn from(error: PastError) -> Self {
        match error {
            PastError::Compacted { oldest } => Self::Compacted { oldest },
            PastError::Future { newest } => Self::Future { newest },
            PastError::Store(error) => error.into(),
        }
    }
}

impl Error {
    /// The current record of a key is not as `conditions` require.
    pub(super) fn mismatch(current: Current, conditions: &Preconditions) -> Self {
        Self::PreconditionFailed {
            reason: Mismatch::of(conditions),
            current,
            comparison: Box::default(),
        }
    }

    /// The same, with a comparison.
    pub(super) fn compared(mut self, of: Comparison) -> Self {
        if let Self::PreconditionFailed { comparison, .. } = &mut self {
            **comparison = of;
        }
        self
    }
}

/// How the current entry compares with the state that `If-Match` names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Where they differ, as JSON Pointers, at most [`POINTERS_MAX`](crate::merge::POINTERS_MAX); `None` if that is
    /// not known.
    pub changed: Option<Vec<String>>,
    /// Why the write was not merged, if that was asked for.
    pub unmerged: Option<Unmerged>,
}

/// Why a write was not merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unmerged {
    /// The state that it began from is no longer kept, or the key was deleted since.
    NoBase,
    /// Others changed the same places.
    Conflicts {
        /// The entry that it began from.
        base: Entry,
        /// The places, as JSON Pointers, at most [`POINTERS_MAX`](crate::merge::POINTERS_MAX).
        pointers: Vec<String>,
    },
}

/// The current entry of a key, as far as the caller may know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Current {
    /// This one.
    Entry(Entry),
    /// There is none.
    Absent,
    /// The caller may not read the key.
    Hidden,
}

impl From<Option<Entry>> for Current {
    fn from(entry: Option<Entry>) -> Self {
        entry.map_or(Self::Absent, Self::Entry)
    }
}

/// What a caller may not do.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("you may not {} {place}", or(needed))]
pub struct Forbidden {
    /// What is not granted; of several actions, each would do.
    pub needed: &'static [Action],
    /// To which keys.
    pub place: Place,
}

impl Forbidden {
    pub(super) fn of_key(needed: &'static [Action], key: &Key) -> Self {
        Self {
            needed,
            place: Place::Key(key.clone()),
        }
    }
}

/// The keys that an action concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// This one.
    Key(Key),
    /// Every key with this prefix.
    Prefix(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(f, "the key {:?}", key.as_str()),
            Self::Prefix(prefix) if prefix.is_empty() => f.write_str("any key"),
            Self::Prefix(prefix) => write!(f, "any key with the prefix {prefix:?}"),
        }
    }
}

/// "create or update".
pub(super) fn or(actions: &[Action]) -> String {
    actions.iter().map(|action| action.as_str()).join(" or ")
}

/// An operation of a transaction whose preconditions do not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedOperation {
    /// Which, counted from 0.
    pub index: usize,
    /// Its key.
    pub key: Key,
    /// Its current entry.
    pub current: Current,
    /// Why it does not hold.
    pub reason: Mismatch,
}
