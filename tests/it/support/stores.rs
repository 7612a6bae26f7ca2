//! A store in memory that does some things otherwise.

use std::ops::Deref;
use std::sync::Arc;

use async_trait::async_trait;
use ifmatch::model::{ChangeSet, Entry, Filter, Key, Position, Record, ResumeToken};
use ifmatch::storage::memory::MemoryStore;
use ifmatch::storage::{
    CommitError, Committed, Known, Lease, Past, Snapshot, Status, Store, StoreError, Subscription,
};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// What is done otherwise: nothing, unless an implementation says so.
#[async_trait]
pub trait Otherwise: Send + Sync + 'static {
    async fn get(
        &self,
        store: &Arc<MemoryStore>,
        key: &Key,
    ) -> Result<Option<Arc<Record>>, StoreError> {
        store.get(key).await
    }

    fn known(&self, store: &Arc<MemoryStore>, key: &Key) -> Option<Arc<Record>> {
        store.known().record(key)
    }

    async fn commit(
        &self,
        store: &Arc<MemoryStore>,
        changes: ChangeSet,
        deadline: Instant,
    ) -> Result<Committed, CommitError> {
        store.commit(changes, deadline).await
    }
}

/// The store, which hands on all else.
#[derive(Default)]
pub struct Changed<T> {
    pub store: Arc<MemoryStore>,
    otherwise: T,
}

impl<T> Deref for Changed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.otherwise
    }
}

#[async_trait]
impl<T: Otherwise> Store for Changed<T> {
    async fn get(&self, key: &Key) -> Result<Option<Arc<Record>>, StoreError> {
        self.otherwise.get(&self.store, key).await
    }

    async fn get_many(&self, keys: &[&Key]) -> Result<Vec<Option<Arc<Record>>>, StoreError> {
        let mut records = Vec::new();
        for key in keys {
            records.push(self.get(key).await?);
        }
        Ok(records)
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        self.store.snapshot().await
    }

    fn known(&self) -> &dyn Known {
        self
    }

    fn hold(&self, entries: Vec<Entry>) -> Lease<Vec<Entry>> {
        self.store.hold(entries)
    }

    async fn commit(
        &self,
        changes: ChangeSet,
        deadline: Instant,
    ) -> Result<Committed, CommitError> {
        self.otherwise.commit(&self.store, changes, deadline).await
    }

    async fn watch(
        &self,
        filter: Filter,
        since: Option<ResumeToken>,
    ) -> Result<Subscription, StoreError> {
        self.store.watch(filter, since).await
    }

    fn past(&self) -> &dyn Past {
        self.store.past()
    }

    async fn status(&self) -> Status {
        self.store.status().await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.store.close().await
    }
}

impl<T: Otherwise> Known for Changed<T> {
    fn record(&self, key: &Key) -> Option<Arc<Record>> {
        self.otherwise.known(&self.store, key)
    }

    fn position(&self) -> Position {
        self.store.known().position()
    }

    fn snapshot(&self) -> Box<dyn Snapshot> {
        self.store.known().snapshot()
    }
}

/// Commits wait until they are let through.
pub struct Gate {
    pub waiting: Semaphore,
    pub open: Arc<Semaphore>,
}

/// A store whose commits do so.
pub type Gated = Changed<Gate>;

impl Default for Gate {
    fn default() -> Self {
        Self {
            waiting: Semaphore::new(0),
            open: Arc::new(Semaphore::new(0)),
        }
    }
}

#[async_trait]
impl Otherwise for Gate {
    async fn commit(
        &self,
        store: &Arc<MemoryStore>,
        changes: ChangeSet,
        deadline: Instant,
    ) -> Result<Committed, CommitError> {
        let (store, open) = (Arc::clone(store), Arc::clone(&self.open));
        // It is begun, so it is finished whatever becomes of the caller.
        let begun = tokio::spawn(async move {
            open.acquire().await.unwrap().forget();
            store.commit(changes, deadline).await
        });
        self.waiting.add_permits(1);
        begun.await.unwrap()
    }
}
