//! The engine on one `data.json`: one writer task, group commit.
//!
//! Readers share the table behind a lock that nobody holds across an await. All commits go over a
//! bounded channel to one task, which takes every commit that is waiting, checks each one against
//! the table plus what the batch has changed so far, makes the batch durable with one file
//! operation, and only then applies it to the table and answers.

mod durable;
mod format;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};

use self::durable::{ReplaceError, ReplacedFile};
use super::table::{Staged, Table};
use super::{Committed, Status, Store};
use crate::error::{CommitError, StoreError};
use crate::model::{Change, Key, Page, Position, Range, Record, random_token};

/// How many commits may wait for the writer; past that, callers wait for a place.
const QUEUE_COMMITS: usize = 1024;
/// How many commits may share one file operation.
const BATCH_MAX_COMMITS: usize = 1024;
/// How long the writer waits after a failure before it tries by itself whether the disk is back.
const RETRY_AFTER_FAILURE: Duration = Duration::from_secs(1);
/// What is put behind the data file's name for the file that keeps a second process out.
const LOCK_SUFFIX: &str = ".lock";

/// Why a `data.json` cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// It is there, but it is not a `data.json` that this program can read. It is left as it is.
    #[error("{} cannot be loaded: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        reason: String,
    },
    /// The system says no.
    #[error("{} cannot be {action}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried, as a participle.
        action: &'static str,
        /// What the system says.
        source: io::Error,
    },
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
    /// Opens the `data.json` at `path` and keeps other processes out of it until
    /// [`close`](Store::close). A file that is not there is an empty store.
    ///
    /// # Errors
    /// [`OpenError`]; the file is as it was.
    pub async fn open(path: &Path) -> Result<Self, OpenError> {
        let loading = path.to_owned();
        let opened = spawn_blocking(move || Opened::at(&loading)).await;
        let Opened { file, table, lock } = opened.map_err(|ended| OpenError::Io {
            path: path.to_owned(),
            action: "opened",
            source: io::Error::other(ended),
        })??;
        let table = Arc::new(RwLock::new(table));
        let writable = Arc::new(AtomicBool::new(true));
        let (requests, received) = mpsc::channel(QUEUE_COMMITS);
        let writer = Writer {
            table: Arc::clone(&table),
            writable: Arc::clone(&writable),
            disk: Arc::new(Disk { file, lock }),
        };
        Ok(Self {
            table,
            history: random_token(),
            writable,
            requests,
            writer: Mutex::new(Some(tokio::spawn(writer.run(received)))),
        })
    }

    fn position(&self, table: &Table) -> Position {
        Position {
            revision: table.revision(),
            history: Arc::clone(&self.history),
        }
    }
}

#[async_trait]
impl Store for FileStore {
    async fn get(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        Ok(self.table.read().get(key).cloned())
    }

    async fn list(&self, range: &Range) -> Result<Page, StoreError> {
        let table = self.table.read();
        let (entries, more) = table.range(range);
        Ok(Page {
            entries,
            position: self.position(&table),
            more,
        })
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
            position: self.position(&table),
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

/// What opening yields.
struct Opened {
    file: ReplacedFile,
    table: Table,
    lock: File,
}

impl Opened {
    fn at(path: &Path) -> Result<Self, OpenError> {
        let failed = |action| {
            move |source| OpenError::Io {
                path: path.to_owned(),
                action,
                source,
            }
        };
        let file = ReplacedFile::new(path).map_err(failed("opened"))?;
        check_kind(&file).map_err(failed("opened"))?;
        let lock = lock(&file)?;
        let text = read_data(&file).map_err(failed("opened for reading and writing"))?;
        let table = match text {
            Some(text) => format::decode(&text).map_err(|error| OpenError::Damaged {
                path: path.to_owned(),
                reason: error.to_string(),
            })?,
            None => Table::default(),
        };
        file.remove_leftovers()
            .map_err(failed("cleaned up after"))?;
        file.sync().map_err(failed("made durable"))?;
        Ok(Self { file, table, lock })
    }
}

/// The lock is on a file of its own, because the data file is a new one after each commit.
fn lock(file: &ReplacedFile) -> Result<File, OpenError> {
    let path = file.beside(LOCK_SUFFIX);
    let failed = |action| {
        let path = path.clone();
        move |source| OpenError::Io {
            path,
            action,
            source,
        }
    };
    let create = OpenOptions::new().create(true).append(true).open(&path);
    drop(create.map_err(failed("created"))?);
    // Held for reading only, or its file system could not be remounted read-only.
    let lock = File::open(&path).map_err(failed("opened"))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(file.path().to_owned())),
        Err(TryLockError::Error(error)) => Err(failed("locked")(error)),
    }
}

/// What is there must be a regular file.
fn check_kind(file: &ReplacedFile) -> io::Result<()> {
    match fs::metadata(file.path()) {
        Ok(metadata) if !metadata.is_file() => Err(io::Error::other("it is not a regular file")),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The content, if there is a file. This process must be allowed to write it: a rename would go
/// past the file's own permissions.
fn read_data(file: &ReplacedFile) -> io::Result<Option<Vec<u8>>> {
    let open = OpenOptions::new().read(true).write(true).open(file.path());
    match open {
        Ok(mut open) => {
            let mut text = Vec::new();
            open.read_to_end(&mut text)?;
            Ok(Some(text))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
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

/// The one task that changes the table and the file.
struct Writer {
    table: Arc<RwLock<Table>>,
    writable: Arc<AtomicBool>,
    disk: Arc<Disk>,
}

impl Writer {
    async fn run(self, mut requests: mpsc::Receiver<Request>) {
        let mut batch = Vec::new();
        loop {
            let retry = async {
                if self.writable.load(Ordering::Acquire) {
                    std::future::pending::<()>().await;
                } else {
                    tokio::time::sleep(RETRY_AFTER_FAILURE).await;
                }
            };
            tokio::select! {
                biased;
                received = requests.recv_many(&mut batch, BATCH_MAX_COMMITS) => {
                    if received == 0 {
                        return;
                    }
                }
                () = retry => {
                    self.try_disk().await;
                    continue;
                }
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
    }

    /// Decides a batch, makes it durable, applies it, answers it.
    async fn commit(&self, commits: Vec<Commit>) {
        let (staged, decided) = self.decide(commits);
        if staged.is_empty() {
            // Nothing but checks, and of a state that is on disk.
            answer(decided);
            return;
        }
        let revision = staged.revision();
        match self.make_durable(staged).await {
            Ok(staged) => {
                self.table.write().apply(staged);
                answer(decided);
            }
            Err(error) => {
                if matches!(error, StoreError::Unknown(_)) {
                    self.table.write().skip_to(revision);
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
        let table = self.table.read();
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
        let table = Arc::clone(&self.table);
        let disk = Arc::clone(&self.disk);
        let written = spawn_blocking(move || {
            let table = table.read();
            disk.write(&table, &staged).map(|()| staged)
        })
        .await
        .unwrap_or_else(|ended| Err(StoreError::Unknown(io::Error::other(ended))));
        self.note_writable(written.as_ref().err());
        written
    }

    /// Writes the state as it is, to learn whether the disk takes it again.
    async fn try_disk(&self) {
        let nothing = Staged::on(&self.table.read());
        // The outcome is in `writable`.
        let _ = self.make_durable(nothing).await;
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

fn answer(decided: Vec<(Reply, Outcome)>) {
    for (reply, outcome) in decided {
        // A caller that went away does not need an answer.
        let _ = reply.send(outcome);
    }
}

/// The data file and the lock that keeps others out of it.
struct Disk {
    file: ReplacedFile,
    lock: File,
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A child process that is just being started has a copy of the descriptor, and with it
        // the lock. If it cannot be released here, it is with the last copy.
        let _ = self.lock.unlock();
    }
}

impl Disk {
    /// Writes the table with what is staged. If the new file is in place but not known to be
    /// durable, the old state is written back.
    fn write(&self, table: &Table, staged: &Staged) -> Result<(), StoreError> {
        self.check_lock().map_err(StoreError::NotApplied)?;
        let write = |staged: &Staged| {
            self.file
                .replace(|writer| format::encode(writer, staged.revision(), table.with(staged)))
        };
        match write(staged) {
            Ok(()) => Ok(()),
            Err(ReplaceError::Before(error)) => Err(StoreError::NotApplied(error)),
            Err(ReplaceError::After(error)) => match write(&Staged::on(table)) {
                Ok(()) => Err(StoreError::NotApplied(error)),
                Err(ReplaceError::Before(_) | ReplaceError::After(_)) => {
                    Err(StoreError::Unknown(error))
                }
            },
        }
    }

    /// A lock on a file that was removed, or whose folder was, keeps nobody out any more.
    fn check_lock(&self) -> io::Result<()> {
        let held = self.lock.metadata()?;
        let found = fs::metadata(self.file.beside(LOCK_SUFFIX))?;
        if (held.dev(), held.ino()) == (found.dev(), found.ino()) {
            return Ok(());
        }
        Err(io::Error::other(
            "the lock file is another than at the start",
        ))
    }
}
