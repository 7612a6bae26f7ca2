//! A thread that syncs the log while the writer writes the data file: both wait for the same disk.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// Syncs one file at a time on a thread of its own, which starts with the first.
#[derive(Debug, Default)]
pub struct Syncer {
    thread: Option<Thread>,
    syncing: Syncing,
}

/// The thread: the files that it is to sync, and the results.
#[derive(Debug)]
struct Thread {
    files: SyncSender<Arc<File>>,
    results: Receiver<io::Result<()>>,
}

#[derive(Debug, Default)]
enum Syncing {
    #[default]
    Nothing,
    /// The thread has a file.
    OnThread,
    /// There is no thread, so this is the result already.
    Done(io::Result<()>),
}

impl Syncer {
    /// Begins to sync the data of a file. The result must be [awaited](Self::wait).
    pub fn begin(&mut self, file: Arc<File>) {
        if self.thread.is_none() {
            self.thread = Thread::start().ok();
        }
        self.syncing = match &self.thread {
            Some(thread) => match thread.files.send(file) {
                Ok(()) => Syncing::OnThread,
                Err(unsent) => Syncing::Done(unsent.0.sync_data()),
            },
            None => Syncing::Done(file.sync_data()),
        };
    }

    /// Waits until the file that was begun is synced; returns at once if none was, or if it was awaited before.
    ///
    /// # Errors
    /// That of syncing.
    pub fn wait(&mut self) -> io::Result<()> {
        match std::mem::take(&mut self.syncing) {
            Syncing::Nothing => Ok(()),
            Syncing::Done(result) => result,
            Syncing::OnThread => {
                let thread = self.thread.as_ref();
                let result = thread.and_then(|thread| thread.results.recv().ok());
                result.unwrap_or_else(|| Err(io::Error::other("the thread of the log ended")))
            }
        }
    }
}

impl Thread {
    fn start() -> io::Result<Self> {
        let (files, received) = sync_channel::<Arc<File>>(1);
        let (synced, results) = sync_channel(1);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || {
                for file in received {
                    if synced.send(file.sync_data()).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self { files, results })
    }
}
