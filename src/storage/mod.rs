//! Where records are kept.

#[cfg(test)]
mod conformance;
pub mod file;
pub mod memory;
pub mod table;

use std::sync::Arc;

use async_trait::async_trait;

use crate::error::{CommitError, StoreError};
use crate::model::{Change, Key, Page, Position, Range, Record, Revision};

/// The smallest set of verbs that an engine must have. Every engine passes the suite in
/// `storage/conformance.rs`.
#[async_trait]
pub trait Store: Send + Sync {
    /// The record of a key. It is durable, and it is at least as new as the last commit that was
    /// acknowledged before the call.
    ///
    /// # Errors
    /// [`StoreError`] if the engine cannot say.
    async fn get(&self, key: &Key) -> Result<Option<Arc<Record>>, StoreError>;

    /// All entries as they stand now, to be read at leisure. Whoever reads holds nobody up.
    ///
    /// # Errors
    /// [`StoreError`] if the engine cannot say.
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError>;

    /// Makes all of `changes` or none, under one new revision; checks alone take none. Whether every key is as expected is
    /// decided atomically with the change; a delete expects a record whatever it says. Each key
    /// stands at most once in `changes`. Returns when the commit would survive a power cut.
    ///
    /// A commit whose caller goes away is finished or not begun, never torn.
    ///
    /// # Errors
    /// [`CommitError::Conflict`] with every change whose key was not as expected;
    /// [`CommitError::Store`] if it could not be made durable.
    async fn commit(&self, changes: Vec<Change>) -> Result<Committed, CommitError>;

    /// How the engine is.
    async fn status(&self) -> Status;

    /// Finishes the commits that are under way and takes no more.
    async fn close(&self);
}

/// A store as it stood at one moment.
#[async_trait]
pub trait Snapshot: Send + Sync {
    /// When that was.
    fn position(&self) -> &Position;

    /// The entries of a range, ascending by the bytes of the key.
    ///
    /// # Errors
    /// [`StoreError`] if the engine cannot say.
    async fn page(&self, range: &Range) -> Result<Page, StoreError>;
}

/// A commit that is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Its number; of checks alone, that of the state that they hold for.
    pub revision: Revision,
    /// For each change in order the record that it wrote, deleted or found.
    pub records: Vec<Option<Arc<Record>>>,
}

/// How an engine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Its name.
    pub engine: &'static str,
    /// How many keys it holds.
    pub keys: usize,
    /// Its newest commit.
    pub position: Position,
    /// Whether it can commit, as far as it knows.
    pub writable: bool,
}
