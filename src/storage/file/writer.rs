//! The one thread that changes the table and the files.

use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use parking_lot::RwLock;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::checkpoint;
use super::commit::{Commit, Outcome, Reply, Taken};
use super::disk::Disk;
use crate::storage::StoreError;
use crate::storage::feed::Feed;
use crate::storage::snapshot::TableSnapshot;
use crate::storage::staged::Staged;
use crate::storage::table::Table;

/// How many commits may share one file operation.
const GROUP_MAX_COMMITS: usize = 1024;
/// How much such a group may hold, in bytes, before no further commit joins it. Its frame is put
/// together in memory.
const GROUP_MAX_BYTES: usize = 8 * 1024 * 1024;
/// How long the writer waits after a failure before it tries by itself whether the disk is back.
const RETRY_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// How often the writer looks whether its files are still there while there are no writes.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What the writer is asked to do.
#[derive(Debug)]
pub enum Task {
    /// To commit.
    Commit(Commit),
    /// A checkpoint was made in the background.
    FinishCheckpoint(checkpoint::Outcome),
    /// The disk failed a while ago, and may be back.
    TryDisk,
    /// A file may have been moved away.
    LookAfterFiles,
    /// To end, once everything that was asked before is done.
    Close,
}

/// The one thread that changes the table and the files. It waits for the disk itself: handing each
/// wait to another thread would cost a commit two more switches.
pub struct Writer {
    table: Arc<RwLock<Table>>,
    feed: Arc<Feed>,
    disk: Disk,
    writable: Arc<AtomicBool>,
    /// Whether it has asked itself to try the disk again.
    will_try: bool,
    /// Sends requests to itself.
    tasks: mpsc::WeakSender<Task>,
    runtime: Handle,
}

impl Writer {
    /// A writer that is to be spawned within the runtime. `tasks` is for what it asks of itself.
    pub fn new(
        table: Arc<RwLock<Table>>,
        feed: Arc<Feed>,
        disk: Disk,
        writable: Arc<AtomicBool>,
        tasks: mpsc::WeakSender<Task>,
    ) -> Self {
        Self {
            table,
            feed,
            disk,
            writable,
            will_try: false,
            tasks,
            runtime: Handle::current(),
        }
    }

    /// Starts its thread, which ends with [`Task::Close`] or when all senders are gone.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn spawn(
        self,
        requests: mpsc::Receiver<Task>,
        ended: oneshot::Sender<Result<(), StoreError>>,
    ) -> io::Result<()> {
        let work = move || {
            if let Err(Err(error)) = ended.send(self.run(requests)) {
                // No caller gets this error: the store was not closed but dropped.
                tracing::error!(%error, "the store could not be closed cleanly");
            }
        };
        thread::Builder::new()
            .name("writer".to_owned())
            .spawn(work)
            .map(drop)
    }

    fn run(mut self, mut requests: mpsc::Receiver<Task>) -> Result<(), StoreError> {
        self.look_after_files_later();
        let mut group = Vec::new();
        while let Some(first) = requests.blocking_recv() {
            let mut group_bytes = 0;
            let mut next = Some(first);
            while let Some(request) = next {
                match request {
                    Task::Commit(commit) => {
                        if let Some(taken) = commit.take() {
                            group_bytes += taken.changes.bytes() + self.replaced_bytes(&taken);
                            group.push(taken);
                        }
                    }
                    Task::FinishCheckpoint(outcome) => self.finish_checkpoint(outcome),
                    Task::TryDisk => self.try_disk(),
                    Task::LookAfterFiles => self.look_after_files(),
                    // What was sent before is still received, and nothing after it.
                    Task::Close => requests.close(),
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

    /// How long what a commit replaces is, in bytes: its frame may have that, too.
    fn replaced_bytes(&self, taken: &Taken) -> usize {
        let table = self.table.read();
        let changes = taken.changes.as_slice().iter();
        let replaced = changes.filter_map(|change| table.get(&change.key));
        replaced.map(|record| record.text_bytes()).sum()
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
                    self.feed.publish(&[], table.position());
                }
                for (reply, _) in decided {
                    let _ = reply.send(Err(error.duplicate().into()));
                }
            }
        }
    }

    /// Shows readers and watchers what is durable. A reader that sees the table at a revision can watch from
    /// there.
    fn apply(&self, staged: Staged) {
        let mut table = self.table.write();
        let commits = staged.apply_to(&mut table);
        self.feed.publish(&commits, table.position());
    }

    /// Stages what can be committed. A commit that fails against the table alone is answered at
    /// once; one that depends on others of the batch waits until these are durable, because no answer
    /// may show a state that can still be lost.
    fn decide(&self, commits: Vec<Taken>) -> (Staged, Vec<(Reply, Outcome)>) {
        let table = self.table.read();
        let now = SystemTime::now().into();
        let mut staged = Staged::on(&table);
        let mut decided = Vec::with_capacity(commits.len());
        for Taken { changes, reply } in commits {
            let depends_on_batch = staged.touches(changes.as_slice());
            match staged.stage(&table, changes, now) {
                Err(error) if !depends_on_batch => {
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

    /// A file that was moved away must not be missing at the next start, even if nothing was written since.
    fn look_after_files(&mut self) {
        let looked = self.disk.look_after(|| snapshot(&self.table));
        if let Err(error) = looked {
            // Only a write shows whether it can write again.
            self.note_writable(Some(&error));
        }
        let oldest = self.disk.drop_old();
        self.table.write().requests_mut().forget_to(oldest);
        self.look_after_files_later();
    }

    fn look_after_files_later(&self) {
        self.send_later(async {
            tokio::time::sleep(LOOK_EVERY).await;
            Task::LookAfterFiles
        });
    }

    fn begin_checkpoint_if_due(&mut self) {
        let live_bytes = self.table.read().live_bytes();
        if self.disk.is_checkpoint_due(live_bytes)
            && let Some(outcome) = self.disk.begin_checkpoint(snapshot(&self.table))
        {
            self.send_later(async { Task::FinishCheckpoint(outcome.await) });
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
            Some(_) if before => {
                tracing::warn!("the data file cannot be written; reads still work");
            }
            _ => {}
        }
        if failure.is_some() && !self.will_try {
            self.will_try = true;
            self.send_later(async {
                tokio::time::sleep(RETRY_AFTER_FAILURE).await;
                Task::TryDisk
            });
        }
    }

    /// Asks itself for what is to be done at a later time, unless the store is closed by then.
    fn send_later(&self, request: impl Future<Output = Task> + Send + 'static) {
        let tasks = self.tasks.clone();
        self.runtime.spawn(async move {
            let request = request.await;
            if let Some(tasks) = tasks.upgrade() {
                let _ = tasks.send(request).await;
            }
        });
    }
}

fn snapshot(table: &RwLock<Table>) -> TableSnapshot {
    table.read().snapshot()
}

fn answer(decided: Vec<(Reply, Outcome)>) {
    for (reply, outcome) in decided {
        // A caller that went away does not need an answer.
        let _ = reply.send(outcome);
    }
}
