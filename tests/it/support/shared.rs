//! Several processes on one store: each knows what the store was when it asked last.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant as Moment};

use async_trait::async_trait;
use ifmatch::Store;
use ifmatch::model::{
    ChangeSet, Commit, Entry, Filter, HistoryPage, HistoryQuery, Key, Name, Page, Position, Range,
    Record, Request, ResumeToken, Revision, StateDigest, Timestamp,
};
use ifmatch::service::Policy;
use ifmatch::storage::memory::MemoryStore;
use ifmatch::storage::{
    CommitError, Committed, Known, Lease, Past, PastError, Snapshot, Status, StoreError,
    Subscription,
};
use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use super::api::{Api, LIMITS};

/// Whether a process reaches the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Link {
    #[default]
    Up,
    /// It is refused at once.
    Down,
    /// Nothing answers.
    Silent,
}

/// One of the processes.
pub struct Process {
    /// What they share. It leaves revisions out.
    pub shared: Arc<MemoryStore>,
    known: RwLock<State>,
    link: Mutex<Link>,
    /// How often the store was asked for what it is.
    reads: Mutex<usize>,
    /// Whether no state of the past is kept any more.
    has_forgotten: AtomicBool,
    /// By how much the clock of the other processes is ahead, in milliseconds.
    ahead_millis: AtomicU64,
}

/// What the store was.
#[derive(Clone)]
struct State {
    entries: Arc<[Entry]>,
    position: Position,
    newest_at: Timestamp,
    when: Moment,
}

impl Process {
    /// A process that knows nothing yet.
    pub fn on(shared: &Arc<MemoryStore>) -> Arc<Self> {
        let empty = State {
            entries: Arc::new([]),
            position: Position::default(),
            newest_at: Timestamp::from_millis(0),
            when: Moment::now(),
        };
        Arc::new(Self {
            shared: Arc::clone(shared),
            known: RwLock::new(empty),
            link: Mutex::default(),
            reads: Mutex::new(0),
            has_forgotten: AtomicBool::new(false),
            ahead_millis: AtomicU64::new(0),
        })
    }

    /// Two processes with their routers.
    pub fn two() -> [(Arc<Self>, Api); 2] {
        let shared = Arc::new(MemoryStore::new().leaving_out_revisions(2));
        [(); 2].map(|()| {
            let process = Self::on(&shared);
            let store: Arc<dyn Store> = Arc::clone(&process) as _;
            let api = Api::with(store, Policy::AllWrites, LIMITS);
            (process, api)
        })
    }

    pub fn set_link(&self, link: Link) {
        *self.link.lock() = link;
    }

    /// How often the store was asked since the last call.
    pub fn take_reads(&self) -> usize {
        std::mem::take(&mut *self.reads.lock())
    }

    /// From now on no entry of the past can be read.
    pub fn forget_past(&self) {
        self.has_forgotten.store(true, Ordering::Relaxed);
    }

    /// Others write with a clock that is ahead.
    pub fn set_ahead(&self, time: Duration) {
        let millis = time.as_millis().try_into().unwrap();
        self.ahead_millis.store(millis, Ordering::Relaxed);
    }

    /// Pretends that it was asked longer ago.
    pub fn age_by(&self, time: Duration) {
        self.known.write().when -= time;
    }

    /// Makes it know what the store is now.
    pub async fn catch_up(&self) -> Result<(), StoreError> {
        self.reach().await?;
        *self.reads.lock() += 1;
        let when = Moment::now();
        let newest_at = self.shared.past().newest_at().millis();
        let newest_at = newest_at + self.ahead_millis.load(Ordering::Relaxed);
        let snapshot = self.shared.snapshot().await?;
        let page = snapshot.page(&Range::default()).await?;
        let state = State {
            entries: page.entries.into(),
            position: snapshot.position(),
            newest_at: Timestamp::from_millis(newest_at),
            when,
        };
        let mut known = self.known.write();
        if state.position.revision >= known.position.revision {
            *known = state;
        }
        Ok(())
    }

    async fn reach(&self) -> Result<(), StoreError> {
        let link = *self.link.lock();
        match link {
            Link::Up => Ok(()),
            Link::Down => Err(StoreError::Unavailable("the link is down".to_owned())),
            Link::Silent => pending().await,
        }
    }
}

#[async_trait]
impl Store for Process {
    async fn get(&self, key: &Key) -> Result<Option<Arc<Record>>, StoreError> {
        self.catch_up().await?;
        Ok(self.known().record(key))
    }

    async fn get_many(&self, keys: &[&Key]) -> Result<Vec<Option<Arc<Record>>>, StoreError> {
        self.catch_up().await?;
        let state = self.known.read().clone();
        Ok(keys.iter().map(|key| state.record(key)).collect())
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        self.catch_up().await?;
        Ok(self.known().snapshot())
    }

    fn known(&self) -> &dyn Known {
        self
    }

    fn hold(&self, entries: Vec<Entry>) -> Lease<Vec<Entry>> {
        self.shared.hold(entries)
    }

    async fn commit(
        &self,
        changes: ChangeSet,
        deadline: Instant,
    ) -> Result<Committed, CommitError> {
        self.reach().await?;
        let done = self.shared.commit(changes, deadline).await;
        self.catch_up().await?;
        *self.reads.lock() -= 1;
        done
    }

    async fn watch(
        &self,
        filter: Filter,
        since: Option<ResumeToken>,
    ) -> Result<Subscription, StoreError> {
        self.reach().await?;
        self.shared.watch(filter, since).await
    }

    fn past(&self) -> &dyn Past {
        self
    }

    async fn status(&self) -> Status {
        let is_up = *self.link.lock() == Link::Up;
        let state = self.known.read().clone();
        Status {
            engine: "shared",
            keys: state.entries.len(),
            position: state.position,
            readable: is_up,
            writable: is_up,
            problem: (!is_up).then(|| "the link is down".to_owned()),
        }
    }

    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl State {
    fn record(&self, key: &Key) -> Option<Arc<Record>> {
        let place = self.entries.binary_search_by(|entry| entry.key.cmp(key));
        place
            .ok()
            .map(|place| Arc::clone(&self.entries[place].record))
    }
}

impl Known for Process {
    fn record(&self, key: &Key) -> Option<Arc<Record>> {
        self.known.read().record(key)
    }

    fn position(&self) -> Position {
        self.known.read().position
    }

    fn snapshot(&self) -> Box<dyn Snapshot> {
        Box::new(self.known.read().clone())
    }

    fn age(&self) -> Duration {
        self.known.read().when.elapsed()
    }
}

#[async_trait]
impl Snapshot for State {
    fn position(&self) -> Position {
        self.position
    }

    async fn page(&self, range: &Range) -> Result<Page, StoreError> {
        let is_in_range = |entry: &&Entry| {
            let after = range.after.as_deref();
            let key = entry.key.as_str();
            key.starts_with(&range.prefix) && after.is_none_or(|after| key > after)
        };
        let mut found = self.entries.iter().filter(is_in_range).cloned();
        let limit = range.limit.unwrap_or(usize::MAX);
        let entries = found.by_ref().take(limit).collect();
        let more = found.next().is_some();
        Ok(Page { entries, more })
    }
}

#[async_trait]
impl Past for Process {
    async fn committed_for(
        &self,
        writer: Option<&Name>,
        request: &Request,
    ) -> Result<Option<Arc<Commit>>, CommitError> {
        let known = Known::position(self).revision;
        let done = self.shared.past().committed_for(writer, request).await?;
        Ok(done.filter(|commit| commit.position.revision <= known))
    }

    fn newest_at(&self) -> Timestamp {
        self.known.read().newest_at
    }

    async fn revision_at(&self, at: Timestamp) -> Result<Revision, PastError> {
        self.catch_up().await?;
        self.shared.past().revision_at(at).await
    }

    async fn record_at(
        &self,
        key: &Key,
        revision: Revision,
    ) -> Result<Option<Arc<Record>>, PastError> {
        self.reach().await?;
        if self.has_forgotten.load(Ordering::Relaxed) {
            let oldest = self.shared.known().position().revision;
            return Err(PastError::Compacted { oldest });
        }
        self.shared.past().record_at(key, revision).await
    }

    async fn snapshot_at(&self, revision: Revision) -> Result<Box<dyn Snapshot>, PastError> {
        self.reach().await?;
        self.shared.past().snapshot_at(revision).await
    }

    async fn history(&self, query: HistoryQuery) -> Result<HistoryPage, StoreError> {
        self.reach().await?;
        self.shared.past().history(query).await
    }

    async fn state_at(&self, revision: Revision) -> Result<Option<StateDigest>, StoreError> {
        self.reach().await?;
        self.shared.past().state_at(revision).await
    }

    fn secret(&self) -> Arc<str> {
        self.shared.past().secret()
    }
}
