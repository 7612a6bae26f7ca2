//! The files: which one a commit goes to, and in what order each step becomes durable.
//!
//! | state | a commit | what a power cut leaves |
//! | --- | --- | --- |
//! | no journal | replaces `data.json` | `data.json`, before or after |
//! | journal | appends a frame and syncs it | `data.json` and the frames that are newer |
//! | distrusted journal | replaces `data.json`, then removes the journal | as above; frames that are not newer count for nothing |

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::checkpoint::{Checkpoint, Checkpointing, Outcome, Plan};
use super::durable::{ReplaceError, ReplacedFile};
use super::lock::Lock;
use super::{Journaling, checkpoint, format, journal};
use crate::error::StoreError;
use crate::model::Revision;
use crate::storage::table::{Staged, Table, TableSnapshot};

/// How long a journal may become however small the data file is, in bytes.
const JOURNAL_MIN_BYTES: u64 = 64 * 1024;
/// The same in sizes from which on there is a journal. Small stores that are written often would
/// make checkpoints all the time; to replay so little takes no time.
const JOURNAL_MIN_THRESHOLDS: u64 = 8;

/// The data file, its journal, and the lock that keeps others out of both.
pub struct Disk {
    file: ReplacedFile,
    journal_file: ReplacedFile,
    lock: Arc<Lock>,
    journaling: Journaling,
    /// The size of the data file; 0 if there is none.
    checkpoint_bytes: u64,
    journal: Journal,
    checkpointing: Option<Checkpointing>,
    /// How long the journal must be for the next checkpoint.
    checkpoint_at_bytes: u64,
}

/// What commits are appended to.
enum Journal {
    None,
    Open(OpenJournal),
    /// An append failed. What the file holds after the frames that were acknowledged is not known.
    Distrusted,
}

struct OpenJournal {
    file: File,
    /// The length of what was acknowledged; a checkpoint that is under way reads it.
    bytes: Arc<AtomicU64>,
}

impl Disk {
    /// The files as they are, without a journal.
    pub fn new(
        file: ReplacedFile,
        journal_file: ReplacedFile,
        lock: Lock,
        journaling: Journaling,
        checkpoint_bytes: u64,
    ) -> Self {
        let mut disk = Self {
            file,
            journal_file,
            lock: Arc::new(lock),
            journaling,
            checkpoint_bytes,
            journal: Journal::None,
            checkpointing: None,
            checkpoint_at_bytes: 0,
        };
        disk.plan_checkpoint(0);
        disk
    }

    /// Goes on with a journal that was replayed into `table` and leads to `last`; ends it if it
    /// is no longer wanted, or if the data file has gone past it.
    ///
    /// # Errors
    /// What the system says; all is as it was.
    pub fn go_on_with(
        &mut self,
        journal: File,
        last: Revision,
        table: &Table,
    ) -> Result<(), StoreError> {
        let bytes = journal.metadata().map_err(StoreError::NotApplied)?.len();
        self.journal = Journal::Open(OpenJournal::new(journal, bytes));
        if last < table.revision() || !self.is_journal_wanted() {
            return self.rewrite(&table.snapshot(&Arc::default()), &Staged::on(table));
        }
        Ok(())
    }

    fn is_journal_wanted(&self) -> bool {
        match self.journaling {
            Journaling::Never => false,
            Journaling::Above { bytes } => self.checkpoint_bytes > bytes,
        }
    }

    fn plan_checkpoint(&mut self, journal_bytes: u64) {
        let small = match self.journaling {
            Journaling::Never => 0,
            Journaling::Above { bytes } => bytes.saturating_mul(JOURNAL_MIN_THRESHOLDS),
        };
        let grown = self.checkpoint_bytes.max(small).max(JOURNAL_MIN_BYTES);
        self.checkpoint_at_bytes = journal_bytes.saturating_add(grown);
    }

    /// Makes what is staged on a table durable. With nothing staged it finds out whether a commit
    /// could be made.
    ///
    /// # Errors
    /// [`StoreError`], which says whether the commit may be there after a restart.
    pub fn commit(
        &mut self,
        table: impl Fn() -> TableSnapshot,
        staged: &Staged,
    ) -> Result<(), StoreError> {
        self.lock.check().map_err(StoreError::NotApplied)?;
        let done = match &self.journal {
            Journal::Open(_) if staged.is_empty() => return Ok(()),
            Journal::Open(journal) => {
                let appended = journal.append(staged);
                if let Err(error) = &appended {
                    tracing::warn!(%error, "the journal is not trusted any more");
                    self.journal = Journal::Distrusted;
                }
                appended
            }
            Journal::None if self.is_journal_wanted() => self.begin_journal(staged),
            Journal::None | Journal::Distrusted => self.rewrite(&table(), staged),
        };
        if let Err(StoreError::Unknown(_)) = done {
            // Only a new data file is known to be newer than whatever was left behind.
            self.journal = Journal::Distrusted;
        }
        done
    }

    /// Makes the data file alone hold everything, because the store is about to be closed.
    ///
    /// # Errors
    /// [`StoreError`]; whatever was acknowledged is still in the data file and its journal.
    pub fn close(&mut self, table: impl Fn() -> TableSnapshot) -> Result<(), StoreError> {
        self.cancel_checkpoint();
        if let Journal::None = self.journal {
            return Ok(());
        }
        self.lock.check().map_err(StoreError::NotApplied)?;
        let table = table();
        self.rewrite(&table, &Staged::on_revision(table.revision()))
    }

    /// Replaces the data file; a journal then has nothing to add and goes. If the new file is in
    /// place but not known to be durable, the old state is written back.
    fn rewrite(&mut self, table: &TableSnapshot, staged: &Staged) -> Result<(), StoreError> {
        // It would put an older state in the place of this one.
        self.cancel_checkpoint();
        let write = |staged: &Staged| {
            let entries = table.with(staged);
            self.file
                .replace(|writer| format::encode(writer, staged.revision(), entries))
        };
        let written = match write(staged) {
            Ok(written) => written,
            Err(ReplaceError::Before(error)) => return Err(StoreError::NotApplied(error)),
            Err(ReplaceError::After(error)) => {
                return Err(match write(&Staged::on_revision(table.revision())) {
                    Ok(_) => StoreError::NotApplied(error),
                    Err(ReplaceError::Before(_) | ReplaceError::After(_)) => {
                        StoreError::Unknown(error)
                    }
                });
            }
        };
        self.checkpoint_bytes = written.bytes;
        if let Journal::None = self.journal {
            return Ok(());
        }
        self.journal = match self.journal_file.remove() {
            Ok(()) => Journal::None,
            Err(error) => {
                tracing::warn!(%error, "the journal cannot be removed");
                Journal::Distrusted
            }
        };
        Ok(())
    }

    /// Makes a journal that begins with what is staged.
    fn begin_journal(&mut self, staged: &Staged) -> Result<(), StoreError> {
        let begun = self.journal_file.replace(|writer| {
            writer.write_all(&journal::first_frame(staged.after()))?;
            if staged.is_empty() {
                return Ok(());
            }
            writer.write_all(&journal::frame(staged)?)
        });
        match begun {
            Ok(written) => {
                self.journal = Journal::Open(OpenJournal::new(written.file, written.bytes));
                self.plan_checkpoint(0);
                Ok(())
            }
            Err(ReplaceError::Before(error)) => Err(StoreError::NotApplied(error)),
            Err(ReplaceError::After(error)) => Err(match self.journal_file.remove() {
                Ok(()) => StoreError::NotApplied(error),
                Err(_) => StoreError::Unknown(error),
            }),
        }
    }

    /// Whether the journal has outgrown the data file.
    pub fn is_checkpoint_due(&self) -> bool {
        let Journal::Open(journal) = &self.journal else {
            return false;
        };
        self.checkpointing.is_none() && journal.bytes() >= self.checkpoint_at_bytes
    }

    /// Begins to write `table`, which holds all that the journal does, as the new data file. What
    /// this yields goes to [`finish_checkpoint`](Self::finish_checkpoint).
    pub fn begin_checkpoint(
        &mut self,
        table: TableSnapshot,
    ) -> Option<impl Future<Output = Outcome> + use<>> {
        let Journal::Open(journal) = &self.journal else {
            return None;
        };
        let from = journal.bytes();
        let begun = journal.file.try_clone().and_then(|journal_before| {
            Checkpointing::begin(Plan {
                file: self.file.clone(),
                journal_file: self.journal_file.clone(),
                lock: Arc::clone(&self.lock),
                table,
                journal: journal_before,
                from,
                durable: Arc::clone(&journal.bytes),
            })
        });
        match begun {
            Ok((checkpointing, outcome)) => {
                self.checkpointing = Some(checkpointing);
                Some(outcome)
            }
            Err(error) => {
                self.put_off_checkpoint(from, &error);
                None
            }
        }
    }

    /// Puts the new journal in the place of the old.
    ///
    /// # Errors
    /// [`StoreError`] if commits cannot go on before the disk was tried again.
    pub fn finish_checkpoint(
        &mut self,
        outcome: Outcome,
        table: impl Fn() -> TableSnapshot,
    ) -> Result<(), StoreError> {
        if outcome.is_cancelled() {
            return Ok(());
        }
        self.checkpointing = None;
        let Journal::Open(journal) = &self.journal else {
            return Ok(());
        };
        let bytes = journal.bytes();
        let checkpoint = match outcome.made {
            Ok(checkpoint) => checkpoint,
            Err(error) => {
                self.put_off_checkpoint(bytes, &error);
                return Ok(());
            }
        };
        self.checkpoint_bytes = checkpoint.bytes;
        if !self.is_journal_wanted() {
            let table = table();
            return self.rewrite(&table, &Staged::on_revision(table.revision()));
        }
        match journal.succeed(checkpoint, &self.journal_file) {
            Ok(journal) => {
                self.plan_checkpoint(journal.bytes());
                self.journal = Journal::Open(journal);
                Ok(())
            }
            Err(ReplaceError::Before(error)) => {
                self.put_off_checkpoint(bytes, &error);
                Ok(())
            }
            Err(ReplaceError::After(error)) => {
                // A power cut may bring the old one back, without what would be appended here.
                self.journal = Journal::Distrusted;
                Err(StoreError::NotApplied(error))
            }
        }
    }

    fn put_off_checkpoint(&mut self, journal_bytes: u64, error: &io::Error) {
        tracing::warn!(%error, "no checkpoint could be made; the journal goes on");
        self.plan_checkpoint(journal_bytes);
    }

    fn cancel_checkpoint(&mut self) {
        if let Some(checkpointing) = self.checkpointing.take() {
            checkpointing.cancel();
        }
    }
}

impl OpenJournal {
    fn new(file: File, bytes: u64) -> Self {
        Self {
            file,
            bytes: Arc::new(AtomicU64::new(bytes)),
        }
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    /// Appends a frame and makes it durable, else cuts it off again.
    fn append(&self, staged: &Staged) -> Result<(), StoreError> {
        let bytes = self.bytes();
        let append = || {
            if self.file.metadata()?.nlink() == 0 {
                return Err(io::Error::other("the journal was removed"));
            }
            let frame = journal::frame(staged)?;
            self.file.write_all_at(&frame, bytes)?;
            self.file.sync_data()?;
            Ok(frame.len() as u64)
        };
        match append() {
            Ok(appended) => {
                self.bytes.store(bytes + appended, Ordering::Release);
                Ok(())
            }
            Err(error) => {
                let cut_off = self.file.set_len(bytes).and_then(|()| self.file.sync_all());
                Err(match cut_off {
                    Ok(()) => StoreError::NotApplied(error),
                    Err(_) => StoreError::Unknown(error),
                })
            }
        }
    }

    /// The journal that a checkpoint has begun, with what was appended meanwhile.
    fn succeed(
        &self,
        mut checkpoint: Checkpoint,
        journal_file: &ReplacedFile,
    ) -> Result<Self, ReplaceError> {
        let rest = checkpoint.copied_to..self.bytes();
        let temporary = &mut checkpoint.journal;
        checkpoint::copy(&self.file, rest, temporary.as_file_mut())
            .map_err(ReplaceError::Before)?;
        let written = journal_file.install(checkpoint.journal)?;
        Ok(Self::new(written.file, written.bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::model::{Change, Expected, Operation, Timestamp, Value};
    use crate::storage::file::open::open;

    const ALWAYS: Journaling = Journaling::Above { bytes: 0 };

    /// The files of a folder with the table that they hold.
    struct Store(Disk, Table);

    impl Store {
        fn open(folder: &Path) -> Self {
            let (disk, table) = open(&folder.join("data.json"), ALWAYS).unwrap();
            Self(disk, table)
        }

        fn snapshot(&self) -> TableSnapshot {
            self.1.snapshot(&Arc::default())
        }

        fn put(&mut self, key: &str) {
            let change = Change {
                key: key.parse().unwrap(),
                expected: Expected::Any,
                operation: Operation::Put(Value::from_json(b"1").unwrap()),
            };
            let mut staged = Staged::on(&self.1);
            let moment = Timestamp::from_millis(1);
            staged.stage(&self.1, change.into(), moment).unwrap();
            let table = self.snapshot();
            self.0.commit(|| table.clone(), &staged).unwrap();
            self.1.apply(staged);
        }
    }

    #[tokio::test]
    async fn what_a_cancelled_checkpoint_yields_does_not_count_for_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path());
        store.put("in the data file");
        store.put("in the journal");
        let cancelled = store.0.begin_checkpoint(store.snapshot()).unwrap().await;
        let table = store.snapshot();
        store.0.close(|| table.clone()).unwrap();

        store.put("in the next journal");
        let next = store.0.begin_checkpoint(store.snapshot()).unwrap();
        store
            .0
            .finish_checkpoint(cancelled, || table.clone())
            .unwrap();
        store.put("after that");
        let next = next.await;
        let table = store.snapshot();
        store.0.finish_checkpoint(next, || table.clone()).unwrap();
        store.put("at last");
        drop(store);
        assert_eq!(Store::open(folder.path()).1.count(), 5);
    }
}
