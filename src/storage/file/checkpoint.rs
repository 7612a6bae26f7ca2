//! A checkpoint in the background: a snapshot of the table becomes the new `data.json`, while commits go to a
//! segment of the log that begins after it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

use super::format;
use super::identity::LogId;
use super::lock::Lock;
use crate::atomic_file::{ReplaceError, ReplacedFile};
use crate::storage::snapshot::TableSnapshot;

/// What a checkpoint is made of.
pub struct Plan {
    /// The data file.
    pub file: ReplacedFile,
    /// The lock on both.
    pub lock: Arc<Lock>,
    /// What becomes the data file.
    pub table: TableSnapshot,
    /// The id of the log, which has the commits since.
    pub id: LogId,
}

/// The result of making a checkpoint.
#[derive(Debug)]
pub struct Outcome {
    /// The size of the data file, in bytes, or why it is not in place.
    pub made: io::Result<u64>,
    cancelled: Arc<AtomicBool>,
}

impl Outcome {
    /// Whether it was cancelled, maybe after it was made: what the log has may have nothing to do with it.
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
    fn carry_out(&self, cancelled: &AtomicBool) -> io::Result<u64> {
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
        let installed = self.file.install(data);
        Ok(installed.map_err(ReplaceError::into_inner)?.bytes)
    }
}
