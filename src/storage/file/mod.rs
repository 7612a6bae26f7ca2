//! The engine on one `data.json`: one writer task, group commit, and a journal where the file is
//! large.
//!
//! Readers share the table behind a lock that nobody holds across an await. All commits go over a
//! bounded channel to one task, which takes every commit that is waiting, checks each one against
//! the table plus what the batch has changed so far, makes the batch durable with one file
//! operation, and only then applies it to the table and answers.

mod checkpoint;
mod disk;
mod durable;
mod format;
mod journal;
mod load;
mod lock;
mod open;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};

use self::disk::Disk;
pub use self::open::OpenError;
use super::table::{Staged, Table, TableSnapshot};
use super::{Committed, Snapshot, Status, Store};
use crate::error::{CommitError, StoreError};
use crate::model::{Change, Key, Record, random_token};

/// How large the data file is, in bytes, above which commits are appended to a journal.
pub const DEFAULT_JOURNAL_ABOVE_BYTES: u64 = 1024 * 1024;
/// How many commits may wait for the writer; past that, callers wait for a place.
const QUEUE_COMMITS: usize = 1024;
/// How many commits may share one file operation.
const BATCH_MAX_COMMITS: usize = 1024;
/// How long the writer waits after a failure before it tries by itself whether the disk is back.
const RETRY_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// When commits are appended to a journal. Otherwise each group of them rewrites the data file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Journaling {
    /// At no size.
    Never,
    /// While the data file is larger than this.
    Above {
        /// The size of the data file.
        bytes: u64,
    },
}

impl Default for Journaling {
    fn default() -> Self {
        Self::Above {
            bytes: DEFAULT_JOURNAL_ABOVE_BYTES,
        }
    }
}

/// A [`Store`] on one `data.json`.
#[derive(Debug)]
pub struct FileStore {
    table: Arc<RwLock<Table>>,
    history: Arc<str>,
    writable: Arc<AtomicBool>,
    requests: mpsc::Sender<Request>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl FileStore {
    /// Opens the `data.json` at `path` with its journal and keeps other processes out of both
    /// until [`close`](Store::close). A file that is not there is an empty store.
    ///
    /// # Errors
    /// [`OpenError`]; what holds the data is as it was.
    pub async fn open(path: &Path, journaling: Journaling) -> Result<Self, OpenError> {
        let opening = path.to_owned();
        let opened = spawn_blocking(move || open::open(&opening, journaling)).await;
        let (disk, table) = opened.map_err(|ended| OpenError::Io {
            path: path.to_owned(),
            action: "opened",
            source: io::Error::other(ended),
        })??;
        let table = Arc::new(RwLock::new(table));
        let writable = Arc::new(AtomicBool::new(true));
        let (requests, received) = mpsc::channel(QUEUE_COMMITS);
        let files = Files {
            table: Arc::clone(&table),
            disk: Arc::new(Mutex::new(disk)),
        };
        let writer = Writer {
            files,
            writable: Arc::clone(&writable),
            checkpoint: None,
        };
        Ok(Self {
            table,
            history: random_token(),
            writable,
            requests,
            writer: Mutex::new(Some(tokio::spawn(writer.run(received)))),
        })
    }
}

#[async_trait]
impl Store for FileStore {
    async fn get(&self, key: &Key) -> Result<Option<Arc<Record>>, StoreError> {
        Ok(self.table.read().get(key).cloned())
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        Ok(Box::new(self.table.read().snapshot(&self.history)))
    }

    async fn commit(&self, changes: Vec<Change>) -> Result<Committed, CommitError> {
        let (reply, answer) = oneshot::channel();
        let commit = Request::Commit(Commit { changes, reply });
        if self.requests.send(commit).await.is_err() {
            return Err(StoreError::Closed.into());
        }
        answer.await.unwrap_or_else(|_| {
            let gone = io::Error::other("the writer ended before it answered");
            Err(StoreError::Unknown(gone).into())
        })
    }

    async fn status(&self) -> Status {
        let table = self.table.read();
        Status {
            engine: "file",
            keys: table.len(),
            position: table.position(&self.history),
            writable: self.writable.load(Ordering::Acquire) && !self.requests.is_closed(),
        }
    }

    async fn close(&self) {
        // If it is closed already, there is nobody to tell and nothing to wait for.
        let _ = self.requests.send(Request::Close).await;
        let writer = self.writer.lock().take();
        if let Some(writer) = writer
            && let Err(error) = writer.await
        {
            tracing::error!(%error, "the writer ended badly");
        }
    }
}

#[derive(Debug)]
enum Request {
    Commit(Commit),
    Close,
}

#[derive(Debug)]
struct Commit {
    changes: Vec<Change>,
    reply: Reply,
}

type Outcome = Result<Committed, CommitError>;
type Reply = oneshot::Sender<Outcome>;

/// The one task that changes the table and the files.
struct Writer {
    files: Files,
    writable: Arc<AtomicBool>,
    /// Yields once the checkpoint that is under way is made.
    checkpoint: Option<oneshot::Receiver<disk::Outcome>>,
}

impl Writer {
    async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                biased;
                outcome = made(&mut self.checkpoint) => self.finish_checkpoint(outcome).await,
                received = requests.recv_many(&mut batch, BATCH_MAX_COMMITS) => {
                    if received == 0 {
                        break;
                    }
                    let mut commits = Vec::with_capacity(batch.len());
                    for request in batch.drain(..) {
                        match request {
                            Request::Commit(commit) => commits.push(commit),
                            // What was sent before is still received; `recv_many` says 0 after that.
                            Request::Close => requests.close(),
                        }
                    }
                    self.commit(commits).await;
                }
                () = time_to_retry(&self.writable) => self.try_disk().await,
            }
        }
        if let Err(error) = self.files.work(|disk, table| disk.close(table)).await {
            tracing::error!(%error, "the journal could not be taken up into the data file");
        }
    }

    /// Decides a batch, makes it durable, applies it, answers it.
    async fn commit(&mut self, commits: Vec<Commit>) {
        let (staged, decided) = self.decide(commits);
        if staged.is_empty() {
            // Nothing but checks, and of a state that is on disk.
            answer(decided);
            return;
        }
        let revision = staged.revision();
        match self.make_durable(staged).await {
            Ok(staged) => {
                self.files.table.write().apply(staged);
                answer(decided);
                self.begin_checkpoint_if_due();
            }
            Err(error) => {
                if matches!(error, StoreError::Unknown(_)) {
                    self.files.table.write().skip_to(revision);
                }
                for (reply, _) in decided {
                    let _ = reply.send(Err(error.again().into()));
                }
            }
        }
    }

    /// Stages what can be committed. A commit that fails against the table alone is answered at
    /// once; whatever rests on others of the batch waits until these are durable, because nobody
    /// may be told of a state that can still go away.
    fn decide(&self, commits: Vec<Commit>) -> (Staged, Vec<(Reply, Outcome)>) {
        let table = self.files.table.read();
        let now = SystemTime::now().into();
        let mut staged = Staged::on(&table);
        let mut decided = Vec::with_capacity(commits.len());
        for Commit { changes, reply } in commits {
            let rests_on_batch = staged.touches(&changes);
            match staged.stage(&table, changes, now) {
                Err(conflicts) if !rests_on_batch => {
                    let _ = reply.send(Err(CommitError::Conflict(conflicts)));
                }
                outcome => decided.push((reply, outcome.map_err(CommitError::Conflict))),
            }
        }
        (staged, decided)
    }

    async fn make_durable(&self, staged: Staged) -> Result<Staged, StoreError> {
        let work = self.files.work(|disk, table| {
            disk.commit(table, &staged)?;
            Ok(staged)
        });
        let written = work.await;
        self.note_writable(written.as_ref().err());
        written
    }

    /// Finds out whether the disk takes writes again.
    async fn try_disk(&self) {
        let nothing = Staged::on(&self.files.table.read());
        // The outcome is in `writable`.
        let _ = self.make_durable(nothing).await;
    }

    fn begin_checkpoint_if_due(&mut self) {
        let mut disk = self.files.disk.lock();
        if disk.is_checkpoint_due() {
            let table = snapshot(&self.files.table);
            self.checkpoint = disk.begin_checkpoint(table);
        }
    }

    async fn finish_checkpoint(&mut self, outcome: disk::Outcome) {
        self.checkpoint = None;
        let finish = self
            .files
            .work(|disk, table| disk.finish_checkpoint(outcome, table));
        if let Err(error) = finish.await {
            tracing::warn!(%error, "the checkpoint could not be finished");
            self.note_writable(Some(&error));
        }
    }

    /// Notes whether the disk takes writes, and logs when that has changed. A commit's own failure
    /// is logged where it is answered.
    fn note_writable(&self, failure: Option<&StoreError>) {
        let before = self.writable.swap(failure.is_none(), Ordering::AcqRel);
        match failure {
            None if !before => tracing::info!("the data file can be written again"),
            Some(_) if before => tracing::warn!("the data file cannot be written; reads go on"),
            _ => {}
        }
    }
}

/// A while after the disk has failed; never, if it has not.
async fn time_to_retry(writable: &AtomicBool) {
    if writable.load(Ordering::Acquire) {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(RETRY_AFTER_FAILURE).await;
}

/// The outcome of the checkpoint that is under way; never, if there is none.
async fn made(checkpoint: &mut Option<oneshot::Receiver<disk::Outcome>>) -> disk::Outcome {
    match checkpoint {
        Some(outcome) => match outcome.await {
            Ok(outcome) => outcome,
            Err(_) => Err(io::Error::other("the checkpoint ended badly")),
        },
        None => std::future::pending().await,
    }
}

/// The table with the files that keep it.
struct Files {
    table: Arc<RwLock<Table>>,
    disk: Arc<Mutex<Disk>>,
}

impl Files {
    /// Does with the files what takes time, where it holds up nobody else.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Disk, &dyn Fn() -> TableSnapshot) -> Result<T, StoreError>
        + Send
        + 'static,
    ) -> Result<T, StoreError> {
        let table = Arc::clone(&self.table);
        let disk = Arc::clone(&self.disk);
        spawn_blocking(move || work(&mut disk.lock(), &|| snapshot(&table)))
            .await
            .unwrap_or_else(|ended| Err(StoreError::Unknown(io::Error::other(ended))))
    }
}

/// The table as it stands; in files no history is kept.
fn snapshot(table: &RwLock<Table>) -> TableSnapshot {
    table.read().snapshot(&Arc::default())
}

fn answer(decided: Vec<(Reply, Outcome)>) {
    for (reply, outcome) in decided {
        // A caller that went away does not need an answer.
        let _ = reply.send(outcome);
    }
}
