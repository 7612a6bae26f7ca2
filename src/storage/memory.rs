//! The engine that forgets at exit, for tests and for trying things out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use super::feed::{DEFAULT_WATCH_BUFFER_BYTES, Feed};
use super::known::Known;
use super::lease::{Lease, Leases};
use super::past::{Past, PastError};
use super::recent_commits::{RECENT_COMMITS_MAX_BYTES, RecentCommits};
use super::requests::KnownRequest;
use super::staged::Staged;
use super::table::Table;
use super::{Committed, Snapshot, Status, Store, Subscription};
use crate::model::{
    ChangeSet, Commit, Entry, Filter, HistoryPage, HistoryQuery, Key, Name, Position, Record,
    Request, ResumeToken, Revision, StateDigest, Timestamp,
};
use crate::storage::{CommitError, StoreError};
use crate::token::random_token;

/// A [`Store`] in memory alone. Nothing in it is durable.
#[derive(Debug)]
pub struct MemoryStore {
    table: RwLock<Table>,
    /// Changed while the table is locked for writing.
    past: Mutex<RecentCommits>,
    secret: Arc<str>,
    feed: Feed,
    closed: AtomicBool,
    /// How many revisions are left out before each commit.
    left_out: u64,
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
        Self {
            table: RwLock::default(),
            past: Mutex::new(RecentCommits::since(
                Position::default(),
                RECENT_COMMITS_MAX_BYTES,
            )),
            secret: random_token(),
            feed: Feed::new(Position::default(), bytes),
            closed: AtomicBool::new(false),
            left_out: 0,
        }
    }

    /// The same, with this limit in bytes on what readers together hold of replaced records, instead of
    /// [`HELD_MAX_BYTES`](super::lease::HELD_MAX_BYTES).
    #[must_use]
    pub fn with_held_limit(self, bytes: u64) -> Self {
        let table = RwLock::new(Table::with_leases(Leases::of_at_most(bytes)));
        Self { table, ..self }
    }

    /// The same, with a history of so many bytes.
    #[must_use]
    pub fn with_history_limit(self, bytes: usize) -> Self {
        let past = Mutex::new(RecentCommits::since(Position::default(), bytes));
        Self { past, ..self }
    }

    /// The same, which leaves out so many revisions before each commit, as an engine does that others share: to test
    /// what must not rely on a revision that counts the commits.
    #[must_use]
    pub fn leaving_out_revisions(self, left_out: u64) -> Self {
        Self { left_out, ..self }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

/// # Errors
/// [`PastError::Future`].
fn check_is_past(table: &Table, revision: Revision) -> Result<(), PastError> {
    let newest = table.revision();
    if revision > newest {
        return Err(PastError::Future { newest });
    }
    Ok(())
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &Key) -> Result<Option<Arc<Record>>, StoreError> {
        Ok(self.table.read().get(key).cloned())
    }

    async fn get_many(&self, keys: &[&Key]) -> Result<Vec<Option<Arc<Record>>>, StoreError> {
        Ok(self.table.read().get_many(keys))
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        Ok(Box::new(self.table.read().lend()))
    }

    fn known(&self) -> &dyn Known {
        &self.table
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
        let mut staged = Staged::on(&table).leaving_out(self.left_out);
        let committed = staged.stage(&table, changes, SystemTime::now().into())?;
        let commits = staged.apply_to(&mut table);
        let oldest = self.past.lock().add(&commits);
        table.requests_mut().forget_to(oldest);
        self.feed.publish(&commits, table.position());
        Ok(committed)
    }

    async fn watch(
        &self,
        filter: Filter,
        since: Option<ResumeToken>,
    ) -> Result<Subscription, StoreError> {
        Ok(self.feed.watch(filter, since))
    }

    fn past(&self) -> &dyn Past {
        self
    }

    async fn status(&self) -> Status {
        let table = self.table.read();
        Status {
            engine: "memory",
            keys: table.count(),
            position: table.position(),
            readable: true,
            writable: !self.closed.load(Ordering::Acquire),
            problem: None,
        }
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.closed.store(true, Ordering::Release);
        self.feed.close();
        Ok(())
    }
}

#[async_trait]
impl Past for MemoryStore {
    async fn committed_for(
        &self,
        writer: Option<&Name>,
        request: &Request,
    ) -> Result<Option<Arc<Commit>>, CommitError> {
        let table = self.table.read();
        let now = SystemTime::now().into();
        match table.requests().known(writer, request, now) {
            None => Ok(None),
            Some(KnownRequest::Done(position)) => {
                Ok(self.past.lock().get(position.revision).cloned())
            }
            Some(KnownRequest::Mismatch) => Err(CommitError::RequestMismatch),
        }
    }

    fn newest_at(&self) -> Timestamp {
        self.table.read().last_commit_at()
    }

    async fn revision_at(&self, at: Timestamp) -> Result<Revision, PastError> {
        self.past.lock().revision_at(at)
    }

    async fn record_at(
        &self,
        key: &Key,
        revision: Revision,
    ) -> Result<Option<Arc<Record>>, PastError> {
        let table = self.table.read();
        check_is_past(&table, revision)?;
        Ok(match self.past.lock().before_change(key, revision)? {
            Some(done) => done.before.clone(),
            None => table.get(key).cloned(),
        })
    }

    async fn snapshot_at(&self, revision: Revision) -> Result<Box<dyn Snapshot>, PastError> {
        let table = self.table.read();
        check_is_past(&table, revision)?;
        let past = self.past.lock();
        let changed = past.changed_since(revision)?;
        let state = past.state_at(revision).unwrap_or_default();
        let position = Position { revision, state };
        Ok(Box::new(table.lend_past(changed, position)))
    }

    async fn history(&self, query: HistoryQuery) -> Result<HistoryPage, StoreError> {
        Ok(self.past.lock().history(&query))
    }

    async fn state_at(&self, revision: Revision) -> Result<Option<StateDigest>, StoreError> {
        Ok(self.past.lock().state_at(revision))
    }

    fn secret(&self) -> Arc<str> {
        Arc::clone(&self.secret)
    }
}
