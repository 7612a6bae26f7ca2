//! The side of the engine that its callers see.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use super::commit::pending_commit;
use super::open::{self, OpenError};
use super::settings::Settings;
use super::writer::{Request, Writer};
use crate::model::{ChangeSet, Entry, Filter, Key, Record, ResumeToken};
use crate::storage::feed::Feed;
use crate::storage::lease::Lease;
use crate::storage::table::Table;
use crate::storage::{
    CommitError, Committed, OUTCOME_WAIT, Snapshot, Status, Store, StoreError, Subscription,
};
use crate::token::random_token;

/// How many commits may wait for the writer; past that, callers wait for a place.
const QUEUE_COMMITS: usize = 1024;
/// A [`Store`] on one `data.json`.
#[derive(Debug)]
pub struct FileStore {
    table: Arc<RwLock<Table>>,
    feed: Arc<Feed>,
    epoch: Arc<str>,
    writable: Arc<AtomicBool>,
    requests: mpsc::Sender<Request>,
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
        let opened = spawn_blocking(move || open::open(&opening, settings.journaling)).await;
        let (disk, table) = opened.map_err(|ended| failed("opened")(io::Error::other(ended)))??;
        let epoch = random_token();
        let feed = Feed::new(
            Arc::clone(&epoch),
            table.revision(),
            settings.watch_buffer_bytes,
        );
        let feed = Arc::new(feed);
        let table = Arc::new(RwLock::new(table));
        let writable = Arc::new(AtomicBool::new(true));
        let (requests, received) = mpsc::channel(QUEUE_COMMITS);
        let (ended, writer_ended) = oneshot::channel();
        Writer::new(
            Arc::clone(&table),
            Arc::clone(&feed),
            disk,
            Arc::clone(&writable),
            requests.downgrade(),
        )
        .spawn(received, ended)
        .map_err(failed("written without a thread, which"))?;
        Ok(Self {
            table,
            feed,
            epoch,
            writable,
            requests,
            writer_ended: Mutex::new(Some(writer_ended)),
        })
    }
}

#[async_trait]
impl Store for FileStore {
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
        let (commit, mut pending) = pending_commit(changes);
        let answered = timeout_at(deadline, async {
            let sent = self.requests.send(Request::Commit(commit)).await;
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
        since: Option<&ResumeToken>,
    ) -> Result<Subscription, StoreError> {
        Ok(self.feed.watch(filter, since))
    }

    async fn status(&self) -> Status {
        let table = self.table.read();
        Status {
            engine: "file",
            keys: table.count(),
            position: table.position(&self.epoch),
            writable: self.writable.load(Ordering::Acquire) && !self.requests.is_closed(),
        }
    }

    async fn close(&self) -> Result<(), StoreError> {
        // If it is closed already, there is no writer and nothing to wait for.
        let _ = self.requests.send(Request::Close).await;
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
