//! A checkpoint in the background: a snapshot of the table becomes the new `data.json`, and a new journal
//! begins with the frames appended meanwhile, while commits still go to the old one.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use tempfile::NamedTempFile;
use tokio::sync::oneshot;

use super::identity::JournalId;
use super::lock::Lock;
use super::{format, journal};
use crate::atomic_file::{ReplaceError, ReplacedFile};
use crate::storage::snapshot::TableSnapshot;

/// How much of a journal is copied at a time, in bytes. What is shorter is left to the writer.
const COPY_BYTES: u64 = 64 * 1024;

/// What a checkpoint is made of.
pub struct Plan {
    /// The data file.
    pub file: ReplacedFile,
    /// Its journal.
    pub journal_file: ReplacedFile,
    /// The lock on both.
    pub lock: Arc<Lock>,
    /// What becomes the data file.
    pub table: TableSnapshot,
    /// The current journal.
    pub journal: File,
    /// Its id, which stays.
    pub id: JournalId,
    /// Where its frames are newer than `table`, in bytes from the start.
    pub from: u64,
    /// How far its frames are durable, in bytes from the start.
    pub durable: Arc<AtomicU64>,
}

/// A data file that is in place, and a journal that is not yet.
#[derive(Debug)]
pub struct Checkpoint {
    /// The size of the data file.
    pub bytes: u64,
    /// The journal that begins after it.
    pub journal: NamedTempFile,
    /// How far it has the frames of the old one, in bytes from the start of that.
    pub copied_to: u64,
}

/// The result of making a checkpoint.
#[derive(Debug)]
pub struct Outcome {
    /// The checkpoint, or why there is none.
    pub made: io::Result<Checkpoint>,
    cancelled: Arc<AtomicBool>,
}

impl Outcome {
    /// Whether it was cancelled, maybe after it was made: its journal may have nothing to do with the current
    /// one.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }
}

/// A checkpoint that is being made.
pub struct Checkpointing {
    cancelled: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Checkpointing {
    /// Begins in a thread of its own.
    ///
    /// # Errors
    /// If there can be no such thread.
    pub fn begin(plan: Plan) -> io::Result<(Self, impl Future<Output = Outcome> + use<>)> {
        let cancelled = Arc::new(AtomicBool::new(false));
        let (made, received) = oneshot::channel();
        let is_cancelled = Arc::clone(&cancelled);
        let thread = thread::Builder::new()
            .name("checkpoint".to_owned())
            .spawn(move || {
                // When the store is closed, the receiver is gone.
                let _ = made.send(plan.carry_out(&is_cancelled));
            })?;
        let checkpointing = Self {
            cancelled: Arc::clone(&cancelled),
            thread,
        };
        let outcome = async move {
            let panicked = |_| Err(io::Error::other("the thread panicked"));
            let made = received.await.unwrap_or_else(panicked);
            Outcome { made, cancelled }
        };
        Ok((checkpointing, outcome))
    }

    /// Returns once it has stopped writing. The data file may be in place or not.
    pub fn cancel(self) {
        self.cancelled.store(true, Ordering::Release);
        if self.thread.join().is_err() {
            tracing::error!("the checkpoint thread panicked");
        }
    }
}

impl Plan {
    fn carry_out(&self, cancelled: &AtomicBool) -> io::Result<Checkpoint> {
        let revision = self.table.revision();
        // A text that ends early because of this is thrown away below.
        let checked = self.table.entries().map_while(|entry| {
            let go_on = !cancelled.load(Ordering::Relaxed);
            go_on.then_some(entry)
        });
        let data = self
            .file
            .prepare(|writer| format::encode(writer, revision, Some(&self.id), checked))?;
        if cancelled.load(Ordering::Acquire) {
            return Err(io::Error::other("the checkpoint was cancelled"));
        }
        self.lock.check()?;
        let bytes = self
            .file
            .install(data)
            .map_err(ReplaceError::into_inner)?
            .bytes;
        let mut journal = self
            .journal_file
            .prepare(|writer| writer.write_all(&journal::first_frame(revision, &self.id)))?;
        let mut copied_to = self.from;
        loop {
            let durable = self.durable.load(Ordering::Acquire);
            copy(&self.journal, copied_to..durable, journal.as_file_mut())?;
            // What is left to the writer is little, and so is what its fsync has to write.
            journal.as_file().sync_data()?;
            let copied = durable - copied_to;
            copied_to = durable;
            if copied <= COPY_BYTES || cancelled.load(Ordering::Acquire) {
                return Ok(Checkpoint {
                    bytes,
                    journal,
                    copied_to,
                });
            }
        }
    }
}

/// Appends a part of one file to another.
///
/// # Errors
/// Those of reading and writing.
pub fn copy(from: &File, part: Range<u64>, to: &mut File) -> io::Result<()> {
    let mut buffer = Vec::new();
    let mut at = part.start;
    while at < part.end {
        let length = (part.end - at).min(COPY_BYTES);
        buffer.resize(usize::try_from(length).map_err(io::Error::other)?, 0);
        from.read_exact_at(&mut buffer, at)?;
        to.write_all(&buffer)?;
        at += length;
    }
    Ok(())
}
