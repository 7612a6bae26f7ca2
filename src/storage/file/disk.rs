//! The files: which one a commit goes to, and in what order each step becomes durable.
//!
//! | state | a commit | what a power cut leaves |
//! | --- | --- | --- |
//! | no journal | replaces `data.json` | `data.json`, before or after |
//! | none, but one is wanted | makes a journal without a commit, then a `data.json` that names it | as above; a journal that is not named is ignored |
//! | journal | appends a frame and syncs it | `data.json` and the frames that are newer |
//! | poisoned journal | replaces `data.json` by one that names no journal, then removes the journal | as above; frames that are not newer are ignored |
//!
//! So a `data.json` alone says whether it is everything.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::checkpoint::{Checkpointing, Outcome, Plan};
use super::identity::JournalId;
use super::lock::Lock;
use super::open_journal::OpenJournal;
use super::policy::Policy;
use super::{format, journal};
use crate::atomic_file::{PathState, ReplaceError, ReplacedFile, Written};
use crate::storage::StoreError;
use crate::storage::snapshot::TableSnapshot;
use crate::storage::staged::Staged;

/// The data file, its journal, and the lock that keeps others out of both.
pub struct Disk {
    file: ReplacedFile,
    journal_file: ReplacedFile,
    lock: Arc<Lock>,
    policy: Policy,
    journal: Journal,
    checkpointing: Option<Checkpointing>,
    /// Whether an unexpected data file was found and is still there.
    is_replaced: bool,
}

/// What commits are appended to.
enum Journal {
    None,
    Open(OpenJournal),
    /// Its content after the acknowledged frames is unknown, or the data file may not name it.
    Poisoned,
}

impl Disk {
    /// The files as they are, without a journal.
    pub fn new(file: ReplacedFile, journal_file: ReplacedFile, lock: Lock, policy: Policy) -> Self {
        Self {
            file,
            journal_file,
            lock: Arc::new(lock),
            policy,
            journal: Journal::None,
            checkpointing: None,
            is_replaced: false,
        }
    }

    /// Resumes a journal that the data file names, unless it is no longer wanted.
    ///
    /// # Errors
    /// If a system call fails; nothing was changed.
    pub fn resume(
        &mut self,
        written: Written,
        id: JournalId,
        table: &TableSnapshot,
    ) -> Result<(), StoreError> {
        if !self.policy.keeps_journal() {
            return self.take_up_journal(table);
        }
        self.journal = Journal::Open(OpenJournal::new(written, id));
        Ok(())
    }

    /// Ends a journal that was replayed into `table`.
    ///
    /// # Errors
    /// If a system call fails; nothing was changed.
    pub fn take_up_journal(&mut self, table: &TableSnapshot) -> Result<(), StoreError> {
        self.journal = Journal::Poisoned;
        self.rewrite(table, &nothing_on(table))
    }

    /// Removes a journal that adds nothing to the data file.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn remove_journal(&mut self) -> io::Result<()> {
        self.journal_file.remove()
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
        self.notice_changes().map_err(StoreError::NotApplied)?;
        let done = match &self.journal {
            Journal::Open(_) if staged.is_empty() => return Ok(()),
            Journal::Open(journal) => {
                let appended = journal.append(staged);
                if let Err(error) = &appended {
                    tracing::warn!(%error, "the journal is no longer trusted");
                    self.journal = Journal::Poisoned;
                }
                appended
            }
            Journal::None if self.policy.begins_journal() => self.begin_journal(&table(), staged),
            Journal::None | Journal::Poisoned => self.rewrite(&table(), staged),
        };
        if let Err(StoreError::Unknown(_)) = done {
            // Only a new data file is known to be newer than whatever was left behind.
            self.journal = Journal::Poisoned;
        }
        done
    }

    /// Notices between two commits that a file was moved away or replaced, and writes what it held. A data
    /// file that was replaced beside no journal stays until the next commit: a user may have edited it for
    /// the next start.
    ///
    /// # Errors
    /// [`StoreError`]; whatever was acknowledged is where it was.
    pub fn look_after(&mut self, table: impl Fn() -> TableSnapshot) -> Result<(), StoreError> {
        if !self.file.is_placed() {
            return Ok(());
        }
        self.lock.check().map_err(StoreError::NotApplied)?;
        let had_journal = matches!(self.journal, Journal::Open(_));
        let state = self.notice_changes().map_err(StoreError::NotApplied)?;
        let is_missed = match &self.journal {
            Journal::None => state == PathState::Missing,
            Journal::Open(_) => false,
            // One that was not trusted before is tried again after a while.
            Journal::Poisoned => had_journal,
        };
        if !is_missed {
            return Ok(());
        }
        let table = table();
        self.rewrite(&table, &nothing_on(&table))
    }

    /// Makes the data file alone hold everything, because the store is about to be closed.
    ///
    /// # Errors
    /// [`StoreError`]; whatever was acknowledged is still in the data file and its journal.
    pub fn close(&mut self, table: impl Fn() -> TableSnapshot) -> Result<(), StoreError> {
        self.cancel_checkpoint();
        if let Journal::None = self.journal {
            return match self.lock.check() {
                // The folder was moved away as a whole, and all is in it.
                Err(_) if self.file.is_in_its_folder() => Ok(()),
                _ => self.look_after(table),
            };
        }
        self.lock.check().map_err(StoreError::NotApplied)?;
        self.notice_changes().map_err(StoreError::NotApplied)?;
        let table = table();
        self.rewrite(&table, &nothing_on(&table))
    }

    /// Checks whether the files are the expected ones, and logs if not. If the journal or its data file is
    /// not, nothing more is appended: the next start would miss it. Returns the state of the data file.
    fn notice_changes(&mut self) -> io::Result<PathState> {
        let data = self.file.state(None)?;
        if data != PathState::Unchanged && !self.is_replaced {
            warn_of(self.file.path(), data);
        }
        self.is_replaced = data == PathState::Replaced;
        if let Journal::Open(journal) = &self.journal {
            let state = journal.state(&self.journal_file)?;
            if state != PathState::Unchanged {
                warn_of(self.journal_file.path(), state);
            }
            if (data, state) != (PathState::Unchanged, PathState::Unchanged) {
                self.journal = Journal::Poisoned;
            }
        }
        Ok(data)
    }

    /// Replaces the data file by one that names no journal; a journal then has nothing to add and is removed.
    /// If the new file is in place but not known to be durable, the old state is written back.
    fn rewrite(&mut self, table: &TableSnapshot, staged: &Staged) -> Result<(), StoreError> {
        // It would replace this state by an older one.
        self.cancel_checkpoint();
        self.write_data(table, staged, None)?;
        if let Journal::None = self.journal {
            return Ok(());
        }
        self.journal = match self.journal_file.remove() {
            Ok(()) => Journal::None,
            Err(error) => {
                tracing::warn!(%error, "the journal cannot be removed");
                Journal::Poisoned
            }
        };
        Ok(())
    }

    fn write_data(
        &mut self,
        table: &TableSnapshot,
        staged: &Staged,
        names: Option<&JournalId>,
    ) -> Result<(), StoreError> {
        let write = |staged: &Staged, names| {
            let entries = table.with(staged.changes());
            self.file
                .replace(|writer| format::encode(writer, staged.revision(), names, entries))
        };
        match write(staged, names) {
            Ok(written) => {
                self.policy.note_checkpoint(written.bytes, 0);
                self.is_replaced = false;
                Ok(())
            }
            Err(ReplaceError::Before(error)) => Err(StoreError::NotApplied(error)),
            Err(ReplaceError::After(error)) => {
                if let Journal::Open(_) = self.journal {
                    // What is in place does not name it.
                    self.journal = Journal::Poisoned;
                }
                Err(match write(&nothing_on(table), None) {
                    Ok(_) => StoreError::NotApplied(error),
                    Err(ReplaceError::Before(_) | ReplaceError::After(_)) => {
                        StoreError::Unknown(error)
                    }
                })
            }
        }
    }

    /// Makes a journal that begins after what is staged, and then a data file that names it: the
    /// other way round a crash in between would leave one that misses its journal.
    fn begin_journal(&mut self, table: &TableSnapshot, staged: &Staged) -> Result<(), StoreError> {
        let id = JournalId::random();
        let first = journal::first_frame(staged.revision(), &id);
        let begun = self.journal_file.replace(|writer| writer.write_all(&first));
        let done = match begun {
            Ok(written) => {
                let named = self.write_data(table, staged, Some(&id));
                named.map(|()| self.journal = Journal::Open(OpenJournal::new(written, id)))
            }
            Err(ReplaceError::Before(error) | ReplaceError::After(error)) => {
                Err(StoreError::NotApplied(error))
            }
        };
        // The data file names none, so this one is ignored; but it is in the way.
        if let Err(StoreError::NotApplied(_)) = done
            && let Err(error) = self.journal_file.remove()
        {
            tracing::debug!(%error, "a journal that was not begun cannot be removed");
        }
        done
    }

    /// Whether a checkpoint is worth what it costs, now that so much is alive.
    pub fn is_checkpoint_due(&mut self, live_bytes: u64) -> bool {
        self.policy.set_live(live_bytes);
        let Journal::Open(journal) = &self.journal else {
            return false;
        };
        self.checkpointing.is_none() && self.policy.is_checkpoint_due(journal.bytes())
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
        let begun = journal.try_clone().and_then(|journal_before| {
            Checkpointing::begin(Plan {
                file: self.file.clone(),
                journal_file: self.journal_file.clone(),
                lock: Arc::clone(&self.lock),
                table,
                journal: journal_before,
                id: journal.id().clone(),
                from,
                durable: journal.bytes_as_they_grow(),
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
    /// [`StoreError`] if commits must wait until the disk has been tried again.
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
        let data_bytes = checkpoint.bytes;
        if !self.policy.keeps_journal() {
            let table = table();
            return self.rewrite(&table, &nothing_on(&table));
        }
        match journal.switch_to(checkpoint, &self.journal_file) {
            Ok(journal) => {
                self.policy.note_checkpoint(data_bytes, journal.bytes());
                self.journal = Journal::Open(journal);
                Ok(())
            }
            Err(ReplaceError::Before(error)) => {
                self.policy.note_checkpoint(data_bytes, bytes);
                self.put_off_checkpoint(bytes, &error);
                Ok(())
            }
            Err(ReplaceError::After(error)) => {
                // A power cut may bring the old one back, without what would be appended here.
                self.journal = Journal::Poisoned;
                Err(StoreError::NotApplied(error))
            }
        }
    }

    fn put_off_checkpoint(&mut self, journal_bytes: u64, error: &io::Error) {
        tracing::warn!(%error, "no checkpoint could be made; the journal is kept");
        self.policy.put_off(journal_bytes);
    }

    fn cancel_checkpoint(&mut self) {
        if let Some(checkpointing) = self.checkpointing.take() {
            checkpointing.cancel();
        }
    }
}

fn nothing_on(table: &TableSnapshot) -> Staged {
    Staged::on_revision(table.revision())
}

fn warn_of(path: &Path, state: PathState) {
    let file = path.display();
    match state {
        PathState::Unchanged => {}
        PathState::Missing => tracing::warn!(
            %file,
            "the file was moved away or removed while it was in use; the data file is rewritten \
             from memory, so nothing that was acknowledged is lost"
        ),
        PathState::Replaced => tracing::warn!(
            %file,
            "the file was replaced or edited while it was in use; it gives way to a data file that \
             is rewritten from memory, so nothing that was acknowledged is lost"
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::model::{Change, Expected, Operation, Timestamp, Value};
    use crate::storage::file::Journaling;
    use crate::storage::file::open::open;
    use crate::storage::table::Table;

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
            staged.apply_to(&mut self.1);
            self.0.is_checkpoint_due(self.1.live_bytes());
        }
    }

    #[tokio::test]
    async fn the_result_of_a_cancelled_checkpoint_is_ignored_for_the_next() {
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
