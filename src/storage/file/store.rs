//! The side of the engine that its callers see.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use super::commit::pending_commit;
use super::log::{Follower, LogReader, PastSnapshot};
use super::open::{self, OpenError, Opened};
use super::settings::{History, Settings};
use super::writer::{Task, Writer};
use crate::model::{
    ChangeSet, Commit, Entry, Filter, HistoryPage, HistoryQuery, Key, Name, Position, Record,
    Request, ResumeToken, Revision, StateDigest, Timestamp,
};
use crate::storage::feed::Feed;
use crate::storage::known::Known;
use crate::storage::lease::Lease;
use crate::storage::past::{Past, PastError};
use crate::storage::requests::KnownRequest;
use crate::storage::table::Table;
use crate::storage::{
    CommitError, Committed, OUTCOME_WAIT, Snapshot, Start, Status, Store, StoreError, Subscription,
};

/// How many commits may wait for the writer; past that, callers wait for a place.
const QUEUE_COMMITS: usize = 1024;
/// The problem of a store that serves reads alone.
const CANNOT_WRITE: &str =
    "the data file cannot be written; reads still work, and the log says why";

/// A [`Store`] on one `data.json`.
#[derive(Debug)]
pub struct FileStore {
    table: Arc<RwLock<Table>>,
    feed: Arc<Feed>,
    past: LogReader,
    secret: Arc<str>,
    writable: Arc<AtomicBool>,
    tasks: mpsc::Sender<Task>,
    /// How the writer ended.
    writer_ended: Mutex<Option<oneshot::Receiver<Result<(), StoreError>>>>,
}

impl FileStore {
    /// Opens the `data.json` at `path` with its journal and keeps other processes out of both
    /// until [`close`](Store::close). A file that is not there is an empty store.
    ///
    /// # Errors
    /// [`OpenError`]; the data is unchanged.
    pub async fn open(path: &Path, settings: impl Into<Settings>) -> Result<Self, OpenError> {
        let settings = settings.into();
        let failed = |action| {
            move |source| OpenError::Io {
                path: path.to_owned(),
                action,
                source,
            }
        };
        let opening = path.to_owned();
        let opened = spawn_blocking(move || open::open(&opening, &settings)).await;
        let Opened { disk, table } =
            opened.map_err(|ended| failed("opened")(io::Error::other(ended)))??;
        let feed = Feed::new(table.position(), settings.watch_buffer_bytes);
        let keeps_history = settings.history != History::Never;
        let secret = disk.log_id().shared();
        let feed = Arc::new(feed);
        let table = Arc::new(RwLock::new(table));
        let segments = Arc::clone(disk.segments());
        let past = LogReader::new(segments, Arc::clone(&table), keeps_history);
        let writable = Arc::new(AtomicBool::new(true));
        let (tasks, received) = mpsc::channel(QUEUE_COMMITS);
        let (ended, writer_ended) = oneshot::channel();
        Writer::new(
            Arc::clone(&table),
            Arc::clone(&feed),
            disk,
            Arc::clone(&writable),
            tasks.downgrade(),
        )
        .spawn(received, ended)
        .map_err(failed("written without a thread, which"))?;
        Ok(Self {
            table,
            feed,
            past,
            secret,
            writable,
            tasks,
            writer_ended: Mutex::new(Some(writer_ended)),
        })
    }
}

#[async_trait]
impl Store for FileStore {
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
        &*self.table
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
        let (commit, mut pending) = pending_commit(changes);
        let answered = timeout_at(deadline, async {
            let sent = self.tasks.send(Task::Commit(commit)).await;
            sent.map_err(|_| StoreError::Closed)?;
            Ok::<_, StoreError>((&mut pending.answer).await)
        });
        match answered.await {
            Ok(answered) => answered?,
            Err(_) if pending.withdraw() => return Err(StoreError::Expired.into()),
            Err(_) => match timeout_at(deadline + OUTCOME_WAIT, &mut pending.answer).await {
                Ok(answered) => answered,
                Err(_) => return Err(StoreError::OutcomeUnknown.into()),
            },
        }
        .unwrap_or_else(|_| {
            let gone = io::Error::other("the writer ended before it answered");
            Err(StoreError::Unknown(gone).into())
        })
    }

    async fn watch(
        &self,
        filter: Filter,
        since: Option<ResumeToken>,
    ) -> Result<Subscription, StoreError> {
        let subscription = self.feed.watch(filter.clone(), since);
        match since {
            Some(since) if subscription.start == Start::Reset && self.is_in_log(since).await? => {
                drop(subscription);
                let (past, feed) = (self.past.clone(), Arc::clone(&self.feed));
                Ok(Subscription {
                    start: Start::Resumed,
                    position: since,
                    changes: Box::new(Follower::new(past, feed, filter, since)),
                })
            }
            _ => Ok(subscription),
        }
    }

    fn past(&self) -> &dyn Past {
        self
    }

    async fn status(&self) -> Status {
        let can_write = self.writable.load(Ordering::Acquire);
        let table = self.table.read();
        Status {
            engine: "file",
            keys: table.count(),
            position: table.position(),
            readable: true,
            writable: can_write && !self.tasks.is_closed(),
            problem: (!can_write).then(|| CANNOT_WRITE.to_owned()),
        }
    }

    async fn close(&self) -> Result<(), StoreError> {
        // If it is closed already, there is no writer and nothing to wait for.
        let _ = self.tasks.send(Task::Close).await;
        let ended = self.writer_ended.lock().take();
        let closed = match ended {
            Some(ended) => ended.await.unwrap_or_else(|_| {
                let gone = io::Error::other("the writer thread panicked");
                Err(StoreError::Unknown(gone))
            }),
            None => Ok(()),
        };
        self.feed.close();
        closed
    }
}

impl FileStore {
    /// Whether `since` is a point of the past that the log knows.
    async fn is_in_log(&self, since: ResumeToken) -> Result<bool, StoreError> {
        let state = self.past().state_at(since.revision()).await?;
        Ok(state == Some(since.position().state))
    }
}

#[async_trait]
impl Past for FileStore {
    async fn committed_for(
        &self,
        writer: Option<&Name>,
        request: &Request,
    ) -> Result<Option<Arc<Commit>>, CommitError> {
        let now = SystemTime::now().into();
        let known = self.table.read().requests().known(writer, request, now);
        let revision = match known {
            None => return Ok(None),
            Some(KnownRequest::Mismatch) => return Err(CommitError::RequestMismatch),
            Some(KnownRequest::Done(position)) => position.revision,
        };
        Ok(self
            .past
            .on_thread(move |past| past.commit(revision))
            .await?)
    }

    fn newest_at(&self) -> Timestamp {
        self.table.read().last_commit_at()
    }

    async fn revision_at(&self, at: Timestamp) -> Result<Revision, PastError> {
        self.past.on_thread(move |past| past.revision_at(at)).await
    }

    async fn record_at(
        &self,
        key: &Key,
        revision: Revision,
    ) -> Result<Option<Arc<Record>>, PastError> {
        self.past.check(revision)?;
        let current = self.table.read().get(key).cloned();
        if current
            .as_ref()
            .is_some_and(|current| current.revision <= revision)
        {
            return Ok(current);
        }
        let key = key.clone();
        self.past
            .on_thread(move |past| past.record_at(&key, revision))
            .await
    }

    async fn snapshot_at(&self, revision: Revision) -> Result<Box<dyn Snapshot>, PastError> {
        self.past.check(revision)?;
        let current = self.table.read().lend();
        let read = self.past.on_thread(move |past| {
            let state = past.state_at(revision)?.unwrap_or_default();
            let deleted = past.deleted_since(revision)?;
            Ok::<_, PastError>((Position { revision, state }, deleted))
        });
        let (position, deleted) = read.await?;
        let reader = self.past.clone();
        Ok(Box::new(PastSnapshot::new(
            reader, current, deleted, position,
        )))
    }

    async fn history(&self, query: HistoryQuery) -> Result<HistoryPage, StoreError> {
        self.past.on_thread(move |past| past.history(&query)).await
    }

    async fn state_at(&self, revision: Revision) -> Result<Option<StateDigest>, StoreError> {
        if let Some(state) = self.feed.state_at(revision) {
            return Ok(Some(state));
        }
        self.past
            .on_thread(move |past| past.state_at(revision))
            .await
    }

    fn secret(&self) -> Arc<str> {
        Arc::clone(&self.secret)
    }
}
