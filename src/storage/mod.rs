//! Where records are kept.
//!
//! [`Store`] is what an engine must do; [`file::FileStore`] and [`memory::MemoryStore`] do it. A custom
//! engine can deliver changes with [`Feed`] and lend to readers with [`Leases`].

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod error;
#[cfg(feature = "etcd")]
pub mod etcd;
mod feed;
pub mod file;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals;
mod known;
mod lease;
pub mod memory;
mod past;
mod recent_commits;
mod requests;
mod shared_event;
mod snapshot;
mod staged;
mod table;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::Stream;
use tokio::time::Instant;

pub use self::error::{CommitError, Conflict, StoreError};
pub use self::feed::{DEFAULT_WATCH_BUFFER_BYTES, Feed};
pub use self::known::Known;
pub use self::lease::{HELD_MAX_BYTES, Lease, Leases};
pub use self::past::{Past, PastError};
pub use self::requests::{DEFAULT_IDEMPOTENCY_WINDOW, REQUESTS_MAX};
pub use self::shared_event::SharedEvent;
use crate::model::{
    ChangeSet, Entry, Filter, Key, Page, Position, Range, Record, ResumeToken, Revision,
};

/// How long after its deadline the store waits for a commit that was begun.
pub const OUTCOME_WAIT: Duration = Duration::from_secs(2);

/// The smallest set of operations that an engine must have. Every engine passes the suite in `conformance`,
/// which is public with the feature of that name.
///
/// An engine may belong to one process or be shared by several, in which others read and write as well. A read is
/// *strict*: it is durable, and at least as new as the last commit that was acknowledged before the call, by whichever
/// process. Each operation fails with [`StoreError::Unavailable`] if the engine cannot be reached, and has done nothing
/// then. What [`known`](Self::known) returns is neither strict nor does it fail.
#[async_trait]
pub trait Store: Send + Sync {
    /// The record of a key, by a strict read.
    ///
    /// # Errors
    /// [`StoreError`] if the engine fails.
    async fn get(&self, key: &Key) -> Result<Option<Arc<Record>>, StoreError>;

    /// The records of these keys in their order, all as of one moment, by a strict read.
    ///
    /// # Errors
    /// [`StoreError`] if the engine fails.
    async fn get_many(&self, keys: &[&Key]) -> Result<Vec<Option<Arc<Record>>>, StoreError>;

    /// All entries as they are now, by a strict read. Reading them does not block writers. What is replaced
    /// meanwhile is kept for all readers together up to a limit, from the newest back; a reader that still
    /// needs more than that fails.
    ///
    /// # Errors
    /// [`StoreError`] if the engine fails.
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError>;

    /// What this process knows without asking anybody.
    fn known(&self) -> &dyn Known;

    /// Keeps the entries of an answer that is sent piece by piece, within the same limit.
    fn hold(&self, entries: Vec<Entry>) -> Lease<Vec<Entry>>;

    /// Makes all of `changes` or none, under one new revision, which is larger than all before it; revisions may
    /// be left out. Checks alone take none. Whether every key is as expected is decided atomically with the
    /// change; a delete expects a record in any case. Returns when the commit would survive a power cut and
    /// [`known`](Self::known) has it. Every record that it puts, and every event of a deletion, has the name of
    /// its writer.
    ///
    /// A commit that has not been begun by `deadline` is withdrawn: nothing of it is ever applied. One
    /// that has been begun is finished, and waited for until [`OUTCOME_WAIT`] after that. If the caller
    /// drops the future, the commit is finished if it has been begun, and withdrawn if not; it is never
    /// torn.
    ///
    /// # Errors
    /// [`CommitError::Conflict`] with every change whose key was not as expected, and the record of each of these
    /// keys, as new as by a strict read that began with the commit; [`CommitError::Store`] if it could not be made
    /// durable, with [`StoreError::Expired`] if it was withdrawn, [`StoreError::OutcomeUnknown`] if it is not done
    /// yet, and [`StoreError::TooLarge`] if the engine takes no commit of this size.
    async fn commit(&self, changes: ChangeSet, deadline: Instant)
    -> Result<Committed, CommitError>;

    /// Subscribes to every change that matches `filter` and is committed from now on or, if it is still
    /// known, after `since`: each once, in the order of the commits, and not before [`get`](Self::get) shows it. The
    /// position of a snapshot is a valid `since`, so that nothing is lost between the two. A revision that was left
    /// out has the state before it, so it is a valid `since` with the digest of that.
    ///
    /// # Errors
    /// [`StoreError`] if the engine fails.
    async fn watch(
        &self,
        filter: Filter,
        since: Option<ResumeToken>,
    ) -> Result<Subscription, StoreError>;

    /// What the engine knows of its past.
    fn past(&self) -> &dyn Past;

    /// The status of the engine. It does not wait for anything that may not come.
    async fn status(&self) -> Status;

    /// Finishes the commits in progress and accepts no more.
    ///
    /// # Errors
    /// [`StoreError`] if the store could not be closed cleanly; nothing that was acknowledged is
    /// lost by that.
    async fn close(&self) -> Result<(), StoreError>;
}

/// A store as it was at one moment.
#[async_trait]
pub trait Snapshot: Send + Sync {
    /// When that was.
    fn position(&self) -> Position;

    /// The entries of a range, ascending by the bytes of the key. They may be fewer than the range allows, but one at
    /// least, if there are more; after such a page there may be none.
    ///
    /// # Errors
    /// [`StoreError::Revoked`] if the reader was too slow; [`StoreError`] if the engine fails.
    async fn page(&self, range: &Range) -> Result<Page, StoreError>;
}

/// What a watcher has subscribed to.
pub struct Subscription {
    /// Whether it begins where requested.
    pub start: Start,
    /// Where it begins.
    pub position: ResumeToken,
    /// What comes after that.
    pub changes: Box<dyn ChangeStream>,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("start", &self.start)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

/// Where a watcher begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Now, as requested.
    Now,
    /// At the requested point.
    Resumed,
    /// Now, because the changes since the requested point are no longer known.
    Reset,
}

/// The changes that match a subscription. They end when the store is closed, and when the watcher
/// has fallen so far behind that what it has not seen yet has been dropped.
pub trait ChangeStream: Stream<Item = Arc<SharedEvent>> + Send + Unpin {
    /// How far it has come: past every change that it has returned, and past those that do not match.
    fn position(&self) -> ResumeToken;
}

/// A commit that is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Its revision; of checks alone, that of the state that they hold for.
    pub revision: Revision,
    /// For each change in order the record that it wrote, deleted or found.
    pub records: Vec<Option<Arc<Record>>>,
}

/// The status of an engine, as far as this process knows it without asking: it is shown within a second whatever
/// the engine waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Its name.
    pub engine: &'static str,
    /// How many keys it holds.
    pub keys: usize,
    /// Its newest commit.
    pub position: Position,
    /// Whether strict reads succeed.
    pub readable: bool,
    /// Whether commits succeed.
    pub writable: bool,
    /// What is wrong, or will be soon, in a sentence for the operator. The engine may well be readable and writable
    /// with it.
    pub problem: Option<String>,
}
