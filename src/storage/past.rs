//! What an engine knows of its past: states, events, requests.

use std::sync::Arc;

use async_trait::async_trait;
use thiserror::Error;

use super::Snapshot;
use super::error::{CommitError, StoreError};
use crate::model::{
    Commit, HistoryPage, HistoryQuery, Key, Name, Record, Request, Revision, StateDigest, Timestamp,
};

/// What an engine knows of its past. How far back that is, is up to the engine. A revision that was left out has the
/// state before it.
///
/// Reads of it are strict, as those of a [`Store`](super::Store), unless they say otherwise: a commit that was
/// acknowledged before the call, by whichever process, is not said to be still to come, and a history has it.
#[async_trait]
pub trait Past: Send + Sync {
    /// The commit that was made for a request of this writer, if it was one of those that are remembered, of the
    /// commits that this process [knows](super::Store::known). It need not ask for others: a commit does not repeat
    /// them, and nobody is refused before a strict read.
    ///
    /// # Errors
    /// [`CommitError::RequestMismatch`] if the writer used its key for another request;
    /// [`CommitError::AnswerCompacted`] if the commit was made, but what it wrote is no longer kept;
    /// [`CommitError::Store`] if the engine fails.
    async fn committed_for(
        &self,
        writer: Option<&Name>,
        request: &Request,
    ) -> Result<Option<Arc<Commit>>, CommitError>;

    /// When the newest commit that this process knows was made; the beginning of time if that is not known. After the
    /// clock was set back, or by another clock, it can be later than the clock.
    fn newest_at(&self) -> Timestamp;

    /// The newest revision that was committed at `at` or before.
    ///
    /// # Errors
    /// [`PastError::Compacted`] if that is before what is kept; [`PastError::Store`] if the engine fails.
    async fn revision_at(&self, at: Timestamp) -> Result<Revision, PastError>;

    /// The record of a key at a revision.
    ///
    /// # Errors
    /// [`PastError`].
    async fn record_at(
        &self,
        key: &Key,
        revision: Revision,
    ) -> Result<Option<Arc<Record>>, PastError>;

    /// All entries as they were at a revision. The position has that revision, also if it was left out.
    ///
    /// # Errors
    /// [`PastError`].
    async fn snapshot_at(&self, revision: Revision) -> Result<Box<dyn Snapshot>, PastError>;

    /// What happened to some keys, the newest first, as far back as it is kept. The work for one page is
    /// bounded.
    ///
    /// # Errors
    /// [`StoreError`] if the engine fails.
    async fn history(&self, query: HistoryQuery) -> Result<HistoryPage, StoreError>;

    /// The digest of the state at a revision, if that is still known and not still to come.
    ///
    /// # Errors
    /// [`StoreError`] if the engine fails.
    async fn state_at(&self, revision: Revision) -> Result<Option<StateDigest>, StoreError>;

    /// A random text that stays the same for as long as the engine knows its past, and that all processes on it
    /// share. No client learns it.
    fn secret(&self) -> Arc<str>;
}

/// Why a state of the past, or an event, cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PastError {
    /// It is no longer kept, or was never kept.
    #[error("that part of the history is no longer kept; the oldest revision is {oldest}")]
    Compacted {
        /// The oldest state that is kept.
        oldest: Revision,
    },
    /// It is still to come.
    #[error("that revision is still to come; the newest is {newest}")]
    Future {
        /// The newest commit.
        newest: Revision,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
