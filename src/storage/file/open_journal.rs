//! A journal that is appended to.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::checkpoint::Checkpoint;
use super::identity::JournalId;
use super::{checkpoint, journal};
use crate::atomic_file::{PathState, ReplaceError, ReplacedFile, Written};
use crate::storage::StoreError;
use crate::storage::staged::Staged;

/// A journal whose every frame is durable.
pub struct OpenJournal {
    file: File,
    id: JournalId,
    /// The length of what was acknowledged; a checkpoint in progress reads it.
    bytes: Arc<AtomicU64>,
}

impl OpenJournal {
    /// The journal in this file.
    pub fn new(written: Written, id: JournalId) -> Self {
        Self {
            file: written.file,
            id,
            bytes: Arc::new(AtomicU64::new(written.bytes)),
        }
    }

    /// The id that the data file has for it.
    pub fn id(&self) -> &JournalId {
        &self.id
    }

    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    /// The same, for a checkpoint to see it grow.
    pub fn bytes_as_they_grow(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.bytes)
    }

    /// A handle to read from, even if the file is renamed or removed.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn try_clone(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Whether the name still leads to it.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn state(&self, journal_file: &ReplacedFile) -> io::Result<PathState> {
        journal_file.state(Some(self.bytes()))
    }

    /// Appends a frame and makes it durable, else cuts it off again.
    ///
    /// # Errors
    /// [`StoreError`]; the journal must not be appended to again.
    pub fn append(&self, staged: &Staged) -> Result<(), StoreError> {
        let bytes = self.bytes();
        let append = || {
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
    ///
    /// # Errors
    /// [`ReplaceError`], which says whether this one is still in place.
    pub fn switch_to(
        &self,
        mut checkpoint: Checkpoint,
        journal_file: &ReplacedFile,
    ) -> Result<Self, ReplaceError> {
        let rest = checkpoint.copied_to..self.bytes();
        let temporary = &mut checkpoint.journal;
        checkpoint::copy(&self.file, rest, temporary.as_file_mut())
            .map_err(ReplaceError::Before)?;
        let written = journal_file.install(checkpoint.journal)?;
        Ok(Self::new(written, self.id.clone()))
    }
}
