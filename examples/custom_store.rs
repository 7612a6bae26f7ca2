//! A storage engine of one's own: it hands everything on to another engine and counts what is committed.
//! That it keeps the promises of every engine is shown by the suite that all of them pass:
//! `cargo run --example custom_store --features conformance`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use ifmatch::model::{ChangeSet, Filter, Record, ResumeToken};
use ifmatch::storage::{
    CommitError, Committed, Known, Lease, Past, Snapshot, Status, Subscription, conformance,
};
use ifmatch::{Entry, Key, MemoryStore, Store, StoreError};
use tokio::time::Instant;

/// An engine around another one.
struct Counted<S> {
    inner: S,
    commits: AtomicU64,
}

impl<S> Counted<S> {
    fn new(inner: S) -> Self {
        let commits = AtomicU64::new(0);
        Self { inner, commits }
    }
}

#[async_trait]
impl<S: Store> Store for Counted<S> {
    async fn get(&self, key: &Key) -> Result<Option<Arc<Record>>, StoreError> {
        self.inner.get(key).await
    }

    async fn get_many(&self, keys: &[&Key]) -> Result<Vec<Option<Arc<Record>>>, StoreError> {
        self.inner.get_many(keys).await
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        self.inner.snapshot().await
    }

    fn known(&self) -> &dyn Known {
        self.inner.known()
    }

    fn hold(&self, entries: Vec<Entry>) -> Lease<Vec<Entry>> {
        self.inner.hold(entries)
    }

    async fn commit(
        &self,
        changes: ChangeSet,
        deadline: Instant,
    ) -> Result<Committed, CommitError> {
        let committed = self.inner.commit(changes, deadline).await?;
        self.commits.fetch_add(1, Ordering::Relaxed);
        Ok(committed)
    }

    async fn watch(
        &self,
        filter: Filter,
        since: Option<ResumeToken>,
    ) -> Result<Subscription, StoreError> {
        self.inner.watch(filter, since).await
    }

    fn past(&self) -> &dyn Past {
        self.inner.past()
    }

    async fn status(&self) -> Status {
        Status {
            engine: "counted",
            ..self.inner.status().await
        }
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.inner.close().await?;
        let commits = self.commits.load(Ordering::Relaxed);
        println!("{commits} commits");
        Ok(())
    }
}

#[tokio::main]
async fn main() {
    conformance::check_engine(async || {
        Arc::new(Counted::new(MemoryStore::new())) as Arc<dyn Store>
    })
    .await;
    println!("It keeps every promise.");
}
