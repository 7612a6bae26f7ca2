//! How a store can fail. "Not applied" and "outcome unknown" are different errors.

use std::io;
use std::sync::Arc;

use thiserror::Error;

use crate::model::{Record, Revision};

/// How a store can fail.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The commit could not be made durable. Memory and disk are as before.
    #[error("the commit was not applied")]
    NotApplied(#[source] io::Error),
    /// The commit may or may not exist after a restart. Memory is as before.
    #[error("it is not known whether the commit was applied")]
    Unknown(#[source] io::Error),
    /// The deadline came before the commit was begun. It was withdrawn: nothing was done, and
    /// nothing will be.
    #[error("the deadline came before the commit was begun")]
    Expired,
    /// The deadline came while the commit was being made durable. It may be applied, now or later.
    #[error("the deadline came while the commit was being made durable")]
    OutcomeUnknown,
    /// The store is shutting down and accepts no more commits.
    #[error("the store is closed")]
    Closed,
    /// What was written cannot be read.
    #[error("what was written cannot be read")]
    Unreadable(#[source] io::Error),
    /// A reader was so slow that what it reads has been dropped.
    #[error("what is read was replaced, and has been dropped")]
    Revoked,
    /// The engine cannot be reached, and this says why. Nothing was done, and nothing will be.
    #[error("the store cannot be reached: {0}")]
    Unavailable(String),
    /// The engine takes no commit of this size. Nothing was done, and nothing will be. The text names the limit, in
    /// words for the client who sent the commit.
    #[error("the commit is too large: {0}")]
    TooLarge(String),
}

impl StoreError {
    /// The same failure for another commit that shared it.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        let same = |error: &io::Error| io::Error::new(error.kind(), error.to_string());
        match self {
            Self::NotApplied(error) => Self::NotApplied(same(error)),
            Self::Unknown(error) => Self::Unknown(same(error)),
            Self::Expired => Self::Expired,
            Self::OutcomeUnknown => Self::OutcomeUnknown,
            Self::Closed => Self::Closed,
            Self::Unreadable(error) => Self::Unreadable(same(error)),
            Self::Revoked => Self::Revoked,
            Self::Unavailable(reason) => Self::Unavailable(reason.clone()),
            Self::TooLarge(limit) => Self::TooLarge(limit.clone()),
        }
    }

    /// Whether a commit that failed with it may have been applied all the same, or may be later.
    #[must_use]
    pub fn leaves_outcome_unknown(&self) -> bool {
        match self {
            Self::Unknown(_) | Self::OutcomeUnknown => true,
            Self::NotApplied(_)
            | Self::Expired
            | Self::Closed
            | Self::Unreadable(_)
            | Self::Revoked
            | Self::Unavailable(_)
            | Self::TooLarge(_) => false,
        }
    }
}

/// How a commit can fail.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CommitError {
    /// Not every key was as expected; nothing was changed.
    #[error("{} keys are not as expected", .0.len())]
    Conflict(Vec<Conflict>),
    /// The request was done already, by this commit. Nothing was changed.
    #[error("the request was done already, by revision {0}")]
    Repeated(Revision),
    /// The request was done already, but what it wrote is no longer kept. Nothing was changed.
    #[error(
        "the request was done already, by revision {revision}, and what it wrote is no longer kept"
    )]
    AnswerCompacted {
        /// The commit.
        revision: Revision,
        /// The oldest state that is kept.
        oldest: Revision,
    },
    /// The writer used the idempotency key for another request. Nothing was changed.
    #[error("the idempotency key was used for another request")]
    RequestMismatch,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One change whose key was not as expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Which change of the commit, counted from 0.
    pub index: usize,
    /// The current record, if there is one: as new as by a strict read that began with the commit.
    pub current: Option<Arc<Record>>,
}
