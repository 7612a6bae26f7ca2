//! The engine that forgets at exit, for tests and for trying things out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use async_trait::async_trait;
use parking_lot::RwLock;
use tokio::time::Instant;

use super::feed::{DEFAULT_WATCH_BUFFER_BYTES, Feed};
use super::lease::{Lease, Leases};
use super::staged::Staged;
use super::table::Table;
use super::{Committed, Snapshot, Status, Store, Subscription};
use crate::model::{ChangeSet, Entry, Filter, Key, Record, ResumeToken};
use crate::storage::{CommitError, StoreError};
use crate::token::random_token;

/// A [`Store`] in memory alone. Nothing in it is durable.
#[derive(Debug)]
pub struct MemoryStore {
    table: RwLock<Table>,
    epoch: Arc<str>,
    feed: Feed,
    closed: AtomicBool,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::with_watch_buffer(DEFAULT_WATCH_BUFFER_BYTES)
    }

    /// An empty store that keeps so much of its changes for watchers.
    #[must_use]
    pub fn with_watch_buffer(bytes: usize) -> Self {
        let epoch = random_token();
        Self {
            table: RwLock::default(),
            feed: Feed::new(Arc::clone(&epoch), 0, bytes),
            epoch,
            closed: AtomicBool::new(false),
        }
    }

    /// The same, with this limit in bytes on what readers together hold of replaced records, instead of
    /// [`HELD_MAX_BYTES`](super::lease::HELD_MAX_BYTES).
    #[must_use]
    pub fn with_held_limit(self, bytes: u64) -> Self {
        let table = RwLock::new(Table::with_leases(Leases::of_at_most(bytes)));
        Self { table, ..self }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &Key) -> Result<Option<Arc<Record>>, StoreError> {
        Ok(self.table.read().get(key).cloned())
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        Ok(Box::new(self.table.read().lend(&self.epoch)))
    }

    fn hold(&self, entries: Vec<Entry>) -> Lease<Vec<Entry>> {
        self.table.read().hold(entries)
    }

    async fn commit(
        &self,
        changes: ChangeSet,
        deadline: Instant,
    ) -> Result<Committed, CommitError> {
        if Instant::now() >= deadline {
            return Err(StoreError::Expired.into());
        }
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError::Closed.into());
        }
        let mut table = self.table.write();
        let mut staged = Staged::on(&table);
        let committed = staged.stage(&table, changes, SystemTime::now().into())?;
        let revision = staged.revision();
        let events = staged.apply_to(&mut table);
        self.feed.publish(events, revision);
        Ok(committed)
    }

    async fn watch(
        &self,
        filter: Filter,
        since: Option<&ResumeToken>,
    ) -> Result<Subscription, StoreError> {
        Ok(self.feed.watch(filter, since))
    }

    async fn status(&self) -> Status {
        let table = self.table.read();
        Status {
            engine: "memory",
            keys: table.count(),
            position: table.position(&self.epoch),
            writable: !self.closed.load(Ordering::Acquire),
        }
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.closed.store(true, Ordering::Release);
        self.feed.close();
        Ok(())
    }
}
