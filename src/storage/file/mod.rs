//! The engine on one `data.json`: one writer thread, group commit, and a journal where the file is
//! large.
//!
//! Readers share the table behind a lock that nobody holds across an await. All commits go over a
//! bounded channel to one thread, which takes every commit that is waiting, checks each one against
//! the table plus what the batch has changed so far, makes the batch durable with one file
//! operation, and only then applies it to the table, publishes it to watchers and answers.

mod checkpoint;
mod commit;
mod disk;
pub mod format;
pub mod identity;
pub mod journal;
mod load;
mod lock;
mod open;
mod open_journal;
mod policy;
mod suitable;

use std::io;
use std::mem;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use self::commit::{Commit, Outcome, Reply, Taken, pending_commit};
use self::disk::Disk;
pub use self::open::OpenError;
use super::feed::{DEFAULT_WATCH_BUFFER_BYTES, Feed};
use super::lease::Lease;
use super::table::{Staged, Table, TableSnapshot};
use super::{Committed, OUTCOME_WAIT, Snapshot, Status, Store, Watching};
use crate::error::{CommitError, StoreError};
use crate::model::{Bookmark, ChangeSet, Entry, Filter, Key, Record, random_token};

/// How large the data file is, in bytes, above which commits are appended to a journal.
pub const DEFAULT_JOURNAL_ABOVE_BYTES: u64 = 1024 * 1024;
/// How many commits may wait for the writer; past that, callers wait for a place.
const QUEUE_COMMITS: usize = 1024;
/// How many commits may share one file operation.
const GROUP_MAX_COMMITS: usize = 1024;
/// How much such a group may hold, in bytes, before no further commit joins it. Its frame is put
/// together in memory.
const GROUP_MAX_BYTES: usize = 8 * 1024 * 1024;
/// How long the writer waits after a failure before it tries by itself whether the disk is back.
const RETRY_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// How often the writer looks whether its files are still there while nobody writes.
const LOOK_EVERY: Duration = Duration::from_secs(2);

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

/// How a [`FileStore`] works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// When commits are appended to a journal.
    pub journaling: Journaling,
    /// How much of the changes of late is kept for watchers, in bytes.
    pub watch_buffer_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Journaling::default().into()
    }
}

impl From<Journaling> for Settings {
    fn from(journaling: Journaling) -> Self {
        Self {
            journaling,
            watch_buffer_bytes: DEFAULT_WATCH_BUFFER_BYTES,
        }
    }
}

/// A [`Store`] on one `data.json`.
#[derive(Debug)]
pub struct FileStore {
    table: Arc<RwLock<Table>>,
    feed: Arc<Feed>,
    history: Arc<str>,
    writable: Arc<AtomicBool>,
    requests: mpsc::Sender<Request>,
    /// What the writer's end came to.
    writer_ended: Mutex<Option<oneshot::Receiver<Result<(), StoreError>>>>,
}

impl FileStore {
    /// Opens the `data.json` at `path` with its journal and keeps other processes out of both
    /// until [`close`](Store::close). A file that is not there is an empty store.
    ///
    /// # Errors
    /// [`OpenError`]; what holds the data is as it was.
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
        let history = random_token();
        let feed = Feed::new(
            Arc::clone(&history),
            table.revision(),
            settings.watch_buffer_bytes,
        );
        let feed = Arc::new(feed);
        let table = Arc::new(RwLock::new(table));
        let writable = Arc::new(AtomicBool::new(true));
        let (requests, received) = mpsc::channel(QUEUE_COMMITS);
        let (ended, writer_ended) = oneshot::channel();
        let writer = Writer {
            table: Arc::clone(&table),
            feed: Arc::clone(&feed),
            disk,
            writable: Arc::clone(&writable),
            will_try: false,
            requests: requests.downgrade(),
            runtime: Handle::current(),
        };
        thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || {
                if let Err(Err(error)) = ended.send(writer.run(received)) {
                    // Nobody waits for it: the store was not closed but dropped.
                    tracing::error!(%error, "the store could not be closed well");
                }
            })
            .map_err(failed("written without a thread, which"))?;
        Ok(Self {
            table,
            feed,
            history,
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
        Ok(Box::new(self.table.read().lend(&self.history)))
    }

    async fn hold(&self, entries: Vec<Entry>) -> Lease<Vec<Entry>> {
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
        since: Option<&Bookmark>,
    ) -> Result<Watching, StoreError> {
        Ok(self.feed.watch(filter, since))
    }

    async fn status(&self) -> Status {
        let table = self.table.read();
        Status {
            engine: "file",
            keys: table.count(),
            position: table.position(&self.history),
            writable: self.writable.load(Ordering::Acquire) && !self.requests.is_closed(),
        }
    }

    async fn close(&self) -> Result<(), StoreError> {
        // If it is closed already, there is nobody to tell and nothing to wait for.
        let _ = self.requests.send(Request::Close).await;
        let ended = self.writer_ended.lock().take();
        let closed = match ended {
            Some(ended) => ended.await.unwrap_or_else(|_| {
                let gone = io::Error::other("the writer ended badly");
                Err(StoreError::Unknown(gone))
            }),
            None => Ok(()),
        };
        self.feed.close();
        closed
    }
}

/// What the writer is asked to do.
#[derive(Debug)]
enum Request {
    Commit(Commit),
    /// A checkpoint was made in the background.
    FinishCheckpoint(checkpoint::Outcome),
    /// The disk has failed a while ago, and may be back.
    TryDisk,
    /// Somebody may have moved a file away.
    LookAfterFiles,
    Close,
}

/// The one thread that changes the table and the files. It waits for the disk itself: handing each
/// wait to another thread would cost a commit two more switches.
struct Writer {
    table: Arc<RwLock<Table>>,
    feed: Arc<Feed>,
    disk: Disk,
    writable: Arc<AtomicBool>,
    /// Whether it has asked itself to try the disk again.
    will_try: bool,
    /// To itself.
    requests: mpsc::WeakSender<Request>,
    runtime: Handle,
}

impl Writer {
    fn run(mut self, mut requests: mpsc::Receiver<Request>) -> Result<(), StoreError> {
        self.look_after_files_later();
        let mut group = Vec::new();
        while let Some(first) = requests.blocking_recv() {
            let mut group_bytes = 0;
            let mut next = Some(first);
            while let Some(request) = next {
                match request {
                    Request::Commit(commit) => {
                        if let Some(taken) = commit.take() {
                            group_bytes += taken.changes.bytes();
                            group.push(taken);
                        }
                    }
                    Request::FinishCheckpoint(outcome) => self.finish_checkpoint(outcome),
                    Request::TryDisk => self.try_disk(),
                    Request::LookAfterFiles => self.look_after_files(),
                    // What was sent before is still received; then there is nothing any more.
                    Request::Close => requests.close(),
                }
                let is_full = group.len() >= GROUP_MAX_COMMITS || group_bytes >= GROUP_MAX_BYTES;
                next = if is_full {
                    None
                } else {
                    requests.try_recv().ok()
                };
            }
            if !group.is_empty() {
                self.commit(mem::take(&mut group));
            }
        }
        let table = Arc::clone(&self.table);
        self.disk.close(|| snapshot(&table))
    }

    /// Decides a batch, makes it durable, applies it, answers it.
    fn commit(&mut self, commits: Vec<Taken>) {
        let (staged, decided) = self.decide(commits);
        if staged.is_empty() {
            // Nothing but checks, and of a state that is on disk.
            answer(decided);
            return;
        }
        match self.make_durable(&staged) {
            Ok(()) => {
                self.apply(staged);
                answer(decided);
                self.begin_checkpoint_if_due();
            }
            Err(error) => {
                if matches!(error, StoreError::Unknown(_)) {
                    let mut table = self.table.write();
                    table.skip_to(staged.revision());
                    self.feed.publish(Vec::new(), table.revision());
                }
                for (reply, _) in decided {
                    let _ = reply.send(Err(error.again().into()));
                }
            }
        }
    }

    /// Shows readers and watchers what is durable. Whoever sees the table at a revision can watch
    /// from there.
    fn apply(&self, staged: Staged) {
        let mut table = self.table.write();
        let events = table.apply(staged);
        self.feed.publish(events, table.revision());
    }

    /// Stages what can be committed. A commit that fails against the table alone is answered at
    /// once; whatever rests on others of the batch waits until these are durable, because nobody
    /// may be told of a state that can still go away.
    fn decide(&self, commits: Vec<Taken>) -> (Staged, Vec<(Reply, Outcome)>) {
        let table = self.table.read();
        let now = SystemTime::now().into();
        let mut staged = Staged::on(&table);
        let mut decided = Vec::with_capacity(commits.len());
        for Taken { changes, reply } in commits {
            let rests_on_batch = staged.touches(changes.as_slice());
            match staged.stage(&table, changes, now) {
                Err(error) if !rests_on_batch => {
                    let _ = reply.send(Err(error));
                }
                outcome => decided.push((reply, outcome)),
            }
        }
        (staged, decided)
    }

    fn make_durable(&mut self, staged: &Staged) -> Result<(), StoreError> {
        let written = self.disk.commit(|| snapshot(&self.table), staged);
        self.note_writable(written.as_ref().err());
        written
    }

    /// Finds out whether the disk takes writes again.
    fn try_disk(&mut self) {
        self.will_try = false;
        if !self.writable.load(Ordering::Acquire) {
            let nothing = Staged::on(&self.table.read());
            // The outcome is in `writable`.
            let _ = self.make_durable(&nothing);
        }
    }

    /// What was moved away while nobody wrote is not to be missed at the next start.
    fn look_after_files(&mut self) {
        let looked = self.disk.look_after(|| snapshot(&self.table));
        if let Err(error) = looked {
            // Whether it can write again, only writing tells.
            self.note_writable(Some(&error));
        }
        self.look_after_files_later();
    }

    fn look_after_files_later(&self) {
        self.send_later(async {
            tokio::time::sleep(LOOK_EVERY).await;
            Request::LookAfterFiles
        });
    }

    fn begin_checkpoint_if_due(&mut self) {
        let live_bytes = self.table.read().live_bytes();
        if self.disk.is_checkpoint_due(live_bytes)
            && let Some(outcome) = self.disk.begin_checkpoint(snapshot(&self.table))
        {
            self.send_later(async { Request::FinishCheckpoint(outcome.await) });
        }
    }

    fn finish_checkpoint(&mut self, outcome: checkpoint::Outcome) {
        let finished = self
            .disk
            .finish_checkpoint(outcome, || snapshot(&self.table));
        if let Err(error) = finished {
            tracing::warn!(%error, "the checkpoint could not be finished");
            self.note_writable(Some(&error));
        }
    }

    /// Notes whether the disk takes writes, and logs when that has changed. A commit's own failure
    /// is logged where it is answered.
    fn note_writable(&mut self, failure: Option<&StoreError>) {
        let before = self.writable.swap(failure.is_none(), Ordering::AcqRel);
        match failure {
            None if !before => tracing::info!("the data file can be written again"),
            Some(_) if before => tracing::warn!("the data file cannot be written; reads go on"),
            _ => {}
        }
        if failure.is_some() && !self.will_try {
            self.will_try = true;
            self.send_later(async {
                tokio::time::sleep(RETRY_AFTER_FAILURE).await;
                Request::TryDisk
            });
        }
    }

    /// Asks itself for what is to be done at a later time, unless the store is closed by then.
    fn send_later(&self, request: impl Future<Output = Request> + Send + 'static) {
        let requests = self.requests.clone();
        self.runtime.spawn(async move {
            let request = request.await;
            if let Some(requests) = requests.upgrade() {
                let _ = requests.send(request).await;
            }
        });
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
