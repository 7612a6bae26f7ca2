//! The files: which ones a commit goes to, and in what order each step becomes durable.
//!
//! | state | a commit | what a power cut leaves |
//! | --- | --- | --- |
//! | no journal | appends a frame to the log and replaces `data.json` | `data.json`, before or after; a frame that is newer is void |
//! | none, but one is wanted | a segment that is a journal, then a `data.json` that names the log, and then as below | `data.json`, before |
//! | journal | appends a frame to the log and syncs it | `data.json` and the frames that are newer |
//! | poisoned journal | first ends it: a `data.json` that names no log, and a segment that is no journal; then as above | `data.json`, before with the log, or after |
//!
//! So a `data.json` alone says whether it is everything, and a log whose last segment is no journal has nothing that
//! only it has. Without a history a journal is logged, and what follows a request for as long as that is remembered.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::checkpoint::{Checkpointing, Outcome, Plan};
use super::format;
use super::identity::LogId;
use super::lines::Lines;
use super::lock::Lock;
use super::log::{Appended, CommitLog, Segments};
use super::policy::Policy;
use super::syncer::Syncer;
use crate::atomic_file::{PathState, ReplaceError, ReplacedFile};
use crate::model::{Revision, Timestamp};
use crate::storage::StoreError;
use crate::storage::snapshot::TableSnapshot;
use crate::storage::staged::Staged;

/// The data file, the log, and the lock that keeps others out of both.
pub struct Disk {
    file: ReplacedFile,
    lock: Arc<Lock>,
    policy: Policy,
    log: CommitLog,
    lines: Lines,
    syncer: Syncer,
    journal: Journal,
    /// How much of the log is newer than the data file, in bytes, while there is a journal. What commits replaced is
    /// not counted after the start: it would make checkpoints more frequent, and they do not need it.
    journal_bytes: u64,
    /// The revision of the data file, as far as it is known to be durable.
    data_revision: Revision,
    checkpointing: Option<Begun>,
    /// Whether an unexpected data file was found and is still there.
    is_replaced: bool,
}

/// Whether the data file needs the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Journal {
    None,
    Open,
    /// What follows the acknowledged frames is not known, or the data file may not name the log.
    Poisoned,
}

/// A checkpoint that is being made.
struct Begun {
    checkpointing: Checkpointing,
    revision: Revision,
    /// How much of the log was newer than the data file when it began.
    journal_bytes: u64,
}

impl Disk {
    /// The files as they are, with a data file of this revision that is everything.
    pub fn new(
        file: ReplacedFile,
        log: CommitLog,
        lock: Lock,
        policy: Policy,
        data_revision: Revision,
    ) -> Self {
        Self {
            file,
            lock: Arc::new(lock),
            policy,
            log,
            lines: Lines::default(),
            syncer: Syncer::default(),
            journal: Journal::None,
            journal_bytes: 0,
            data_revision,
            checkpointing: None,
            is_replaced: false,
        }
    }

    /// What the past is read from.
    pub fn segments(&self) -> &Arc<Segments> {
        self.log.segments()
    }

    /// The id of the log.
    pub fn log_id(&self) -> &LogId {
        self.log.id()
    }

    /// Resumes a journal that the data file names and that leads to `table`, unless it is no longer wanted. So much
    /// of it is newer than the data file.
    ///
    /// # Errors
    /// If a system call fails; nothing was changed.
    pub fn resume(&mut self, journal_bytes: u64, table: &TableSnapshot) -> Result<(), StoreError> {
        self.journal_bytes = journal_bytes;
        if self.policy.keeps_journal() && self.log.file().is_ok() {
            self.journal = Journal::Open;
            return Ok(());
        }
        self.take_up_journal(table)
    }

    /// Ends a journal that was applied to `table`.
    ///
    /// # Errors
    /// If a system call fails; nothing was changed.
    pub fn take_up_journal(&mut self, table: &TableSnapshot) -> Result<(), StoreError> {
        self.journal = Journal::Poisoned;
        self.end_journal(table)
    }

    /// Makes a commit of what was edited in a data file that is everything, with which `table` was edited, too.
    ///
    /// # Errors
    /// If a system call fails; the data file has what was edited.
    pub fn write_edits(
        &mut self,
        edited: &TableSnapshot,
        staged: &Staged,
    ) -> Result<(), StoreError> {
        // Should it have to be written back, that is what was edited, too.
        self.rewrite(edited, staged)
    }

    /// The same for a data file that needs the log. Returns how long the frame is.
    ///
    /// # Errors
    /// If a system call fails; the data file has what was edited.
    pub fn append_edits(&mut self, staged: &Staged) -> Result<u64, StoreError> {
        let before = self.journal_bytes;
        self.append(staged)?;
        Ok(self.journal_bytes - before)
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
        if self.journal == Journal::Poisoned {
            self.end_journal(&table()).map_err(not_applied)?;
            if staged.is_empty() {
                return Ok(());
            }
        }
        if self.journal == Journal::None && self.policy.begins_journal() && !staged.is_empty() {
            self.begin_journal(&table())?;
        }
        let done = if self.journal == Journal::None {
            self.rewrite(&table(), staged)
        } else if staged.is_empty() {
            return Ok(());
        } else {
            self.append(staged).inspect_err(|error| {
                tracing::warn!(%error, "the journal is no longer trusted");
                self.journal = Journal::Poisoned;
            })
        };
        if let Err(StoreError::Unknown(_)) = done {
            // Only a new data file is known to be newer than whatever was left behind.
            self.journal = Journal::Poisoned;
            self.log.distrust();
        }
        done
    }

    /// Appends a frame to the journal and makes it durable, or else cuts it off again.
    fn append(&mut self, staged: &Staged) -> Result<(), StoreError> {
        self.log.ensure_open(staged.after(), now(), true)?;
        let appended = self.log.append(staged).and_then(|appended| {
            self.log.file()?.sync_data()?;
            Ok(appended)
        });
        match appended {
            Ok(appended) => {
                self.journal_bytes += appended.journal_bytes();
                self.log.publish(appended, staged);
                Ok(())
            }
            Err(error) => Err(self.cut_off(error, true)),
        }
    }

    /// Undoes what was appended because of an error. After one of the log itself its segment is not trusted.
    fn cut_off(&mut self, error: io::Error, is_of_log: bool) -> StoreError {
        let cut_off = self.log.cut_off();
        if is_of_log {
            self.log.distrust();
        }
        match cut_off {
            Ok(()) => StoreError::NotApplied(error),
            Err(_) => StoreError::Unknown(error),
        }
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
        let had_journal = self.journal == Journal::Open;
        let state = self.notice_changes().map_err(StoreError::NotApplied)?;
        if self.journal == Journal::Open {
            let misses_any = self.log.misses_any_after(self.data_revision);
            if misses_any.map_err(StoreError::NotApplied)? {
                tracing::warn!(
                    "a segment of the log that the data file needs was moved away or changed; all is \
                     written anew"
                );
                self.journal = Journal::Poisoned;
            }
        }
        let is_missed = match self.journal {
            Journal::None => state == PathState::Missing,
            Journal::Open => false,
            // One that was not trusted before is tried again after a while.
            Journal::Poisoned => had_journal,
        };
        if !is_missed {
            return Ok(());
        }
        self.end_journal(&table())
    }

    /// Drops what is no longer kept of the past. Returns the revision of the oldest state that is still known.
    pub fn drop_old(&mut self) -> Revision {
        let now = now();
        if self.log.is_due(now) {
            self.log.distrust();
        }
        let needed_after = (self.journal != Journal::None).then_some(self.data_revision);
        self.log.drop_old(now, needed_after).revision
    }

    /// Makes the data file alone hold everything, because the store is about to be closed.
    ///
    /// # Errors
    /// [`StoreError`]; whatever was acknowledged is still in the data file and its journal.
    pub fn close(&mut self, table: impl Fn() -> TableSnapshot) -> Result<(), StoreError> {
        self.cancel_checkpoint();
        if self.journal == Journal::None {
            return match self.lock.check() {
                // The folder was moved away as a whole, and all is in it.
                Err(_) if self.file.is_in_its_folder() => Ok(()),
                _ => self.look_after(table),
            };
        }
        self.lock.check().map_err(StoreError::NotApplied)?;
        self.notice_changes().map_err(StoreError::NotApplied)?;
        self.end_journal(&table())
    }

    /// Checks whether the files are the expected ones, and logs if not. If the log or its data file is not, nothing
    /// more is appended: the next start would miss it. Returns the state of the data file.
    fn notice_changes(&mut self) -> io::Result<PathState> {
        let data = self.file.state(None)?;
        if data != PathState::Unchanged && !self.is_replaced {
            warn_of(self.file.path(), data);
        }
        self.is_replaced = data == PathState::Replaced;
        let log = self.log.state()?;
        if log != PathState::Unchanged {
            if let Some(path) = self.log.active_path() {
                warn_of(path.path(), log);
            }
            self.log.abandon();
            if self.journal == Journal::None {
                self.log.remove_lost();
            }
        }
        let is_as_expected = (data, log) == (PathState::Unchanged, PathState::Unchanged);
        if self.journal == Journal::Open && !is_as_expected {
            self.journal = Journal::Poisoned;
        }
        Ok(data)
    }

    /// Makes the data file alone hold everything. The log then goes on in a segment that is no journal: an older data
    /// file may be put beside it. What could not be cut off at its end is void by that.
    fn end_journal(&mut self, table: &TableSnapshot) -> Result<(), StoreError> {
        let had_journal = self.journal != Journal::None;
        self.rewrite(table, &nothing_on(table))?;
        let now = now();
        if had_journal
            && !self.log.is_only_journal(now)
            && let Err(error) = self.log.begin(table.position(), now, false)
        {
            tracing::warn!(%error, "the log cannot be gone on with yet; the data file has everything");
        }
        Ok(())
    }

    /// Replaces the data file by one that names no log, and logs what is staged. If the new file is in place but not
    /// known to be durable, the old state is written back.
    fn rewrite(&mut self, table: &TableSnapshot, staged: &Staged) -> Result<(), StoreError> {
        // It would replace this state by an older one.
        self.cancel_checkpoint();
        let logged = self.log_beside(staged)?;
        self.write_data(table, staged, None, logged)?;
        if let Some(appended) = logged {
            self.log.publish(appended, staged);
        }
        self.journal = Journal::None;
        self.journal_bytes = 0;
        self.log.remove_lost();
        let now = now();
        if self.log.is_only_journal(now) {
            self.log.drop_old(now, None);
        }
        Ok(())
    }

    /// Writes a frame of the history, which is to be synced before the data file is renamed.
    fn log_beside(&mut self, staged: &Staged) -> Result<Option<Appended>, StoreError> {
        if !self.log.must_have(staged) {
            return Ok(None);
        }
        self.log.ensure_open(staged.after(), now(), false)?;
        match self.log.append(staged) {
            Ok(appended) => Ok(Some(appended)),
            Err(error) => Err(self.cut_off(error, true)),
        }
    }

    fn write_data(
        &mut self,
        table: &TableSnapshot,
        staged: &Staged,
        names: Option<&LogId>,
        logged: Option<Appended>,
    ) -> Result<(), StoreError> {
        if logged.is_some() {
            self.syncer
                .begin(self.log.file().map_err(StoreError::NotApplied)?);
        }
        let mut is_of_log = false;
        let (lines, syncer) = (&mut self.lines, &mut self.syncer);
        let written = self.file.replace_when(
            |writer| lines.encode(writer, table, staged, names),
            || syncer.wait().inspect_err(|_| is_of_log = true),
        );
        // If the file could not be written, nobody has waited for the log yet.
        is_of_log |= self.syncer.wait().is_err();
        match written {
            Ok(written) => {
                self.lines.note_size(written.bytes);
                self.policy.note_checkpoint(written.bytes, 0);
                self.is_replaced = false;
                self.data_revision = staged.revision();
                Ok(())
            }
            Err(ReplaceError::Before(error)) => match logged {
                Some(_) => Err(self.cut_off(error, is_of_log)),
                None => Err(StoreError::NotApplied(error)),
            },
            Err(ReplaceError::After(error)) => {
                if self.journal == Journal::Open {
                    // What is in place does not name it.
                    self.journal = Journal::Poisoned;
                }
                let cut_off = match logged {
                    Some(_) => self.log.cut_off(),
                    None => Ok(()),
                };
                let nothing = nothing_on(table);
                let restored = self.file.replace(|writer| {
                    format::encode(writer, nothing.revision(), None, table.entries())
                });
                Err(match (cut_off, restored) {
                    (Ok(()), Ok(_)) => StoreError::NotApplied(error),
                    _ => StoreError::Unknown(error),
                })
            }
        }
    }

    /// Begins a segment that is a journal, and then writes a data file that names the log: the other way round a
    /// crash in between would leave one that misses its journal.
    fn begin_journal(&mut self, table: &TableSnapshot) -> Result<(), StoreError> {
        self.log.begin(table.position(), now(), true)?;
        let id = self.log.id().clone();
        let named = self.write_data(table, &nothing_on(table), Some(&id), None);
        if let Err(StoreError::Unknown(_)) = named {
            self.journal = Journal::Poisoned;
        }
        named?;
        // The next data file is written beside the commits.
        self.lines = Lines::default();
        self.journal = Journal::Open;
        self.journal_bytes = 0;
        Ok(())
    }

    /// Whether a checkpoint is worth what it costs, now that so much is alive.
    pub fn is_checkpoint_due(&mut self, live_bytes: u64) -> bool {
        self.policy.set_live(live_bytes);
        self.journal == Journal::Open
            && self.checkpointing.is_none()
            && self.policy.is_checkpoint_due(self.journal_bytes)
    }

    /// Begins to write `table`, which holds all that the log does, as the new data file. What this yields goes to
    /// [`finish_checkpoint`](Self::finish_checkpoint).
    pub fn begin_checkpoint(
        &mut self,
        table: TableSnapshot,
    ) -> Option<impl Future<Output = Outcome> + use<>> {
        if self.journal != Journal::Open {
            return None;
        }
        let revision = table.revision();
        let begun = match self.log.begin(table.position(), now(), true) {
            Ok(()) => Checkpointing::begin(Plan {
                file: self.file.clone(),
                lock: Arc::clone(&self.lock),
                table,
                id: self.log.id().clone(),
            }),
            Err(error) => Err(io::Error::other(error)),
        };
        if self.log.file().is_err() {
            // The new segment may be there after a power cut, without what would be appended to the old one.
            self.journal = Journal::Poisoned;
        }
        match begun {
            Ok((checkpointing, outcome)) => {
                self.checkpointing = Some(Begun {
                    checkpointing,
                    revision,
                    journal_bytes: self.journal_bytes,
                });
                Some(outcome)
            }
            Err(error) => {
                self.put_off_checkpoint(&error);
                None
            }
        }
    }

    /// Notes that the data file is new, and drops what is no longer needed.
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
        let begun = self.checkpointing.take();
        let Some(begun) = begun.filter(|_| self.journal == Journal::Open) else {
            return Ok(());
        };
        let data_bytes = match outcome.made {
            Ok(bytes) => bytes,
            Err(error) => {
                self.put_off_checkpoint(&error);
                return Ok(());
            }
        };
        if !self.policy.keeps_journal() {
            return self.end_journal(&table());
        }
        self.data_revision = begun.revision;
        self.journal_bytes = self.journal_bytes.saturating_sub(begun.journal_bytes);
        self.policy.note_checkpoint(data_bytes, self.journal_bytes);
        let now = now();
        if self.log.is_only_journal(now) {
            self.log.drop_old(now, Some(self.data_revision));
        }
        Ok(())
    }

    fn put_off_checkpoint(&mut self, error: &io::Error) {
        tracing::warn!(%error, "no checkpoint could be made; the journal is kept");
        self.policy.put_off(self.journal_bytes);
    }

    fn cancel_checkpoint(&mut self) {
        if let Some(begun) = self.checkpointing.take() {
            begun.checkpointing.cancel();
        }
    }
}

fn now() -> Timestamp {
    SystemTime::now().into()
}

/// The error of something before a commit that was not begun then.
fn not_applied(error: StoreError) -> StoreError {
    match error {
        StoreError::Unknown(error) => StoreError::NotApplied(error),
        other => other,
    }
}

fn nothing_on(table: &TableSnapshot) -> Staged {
    Staged::on_position(table.position(), Timestamp::default())
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
mod tests;
