//! The lock that keeps a second process out. It is on a file of its own, because the data file is a
//! new one after each rewrite.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::suitable;
use crate::atomic_file::{Access, NEW_FILE_MODE};

/// A lock that is held as long as this exists.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

/// Why the lock is not held.
#[derive(Debug)]
pub enum LockError {
    /// Another process holds it.
    InUse,
    /// A system call failed.
    Io {
        /// What was tried, as a participle.
        action: &'static str,
        /// The error of the system call.
        source: io::Error,
    },
}

impl Lock {
    /// Takes the lock on the file at `path`, which is created for those who have `access` if it is
    /// not there.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn take(path: &Path, access: Option<Access>) -> Result<Self, LockError> {
        let failed = |action| move |source| LockError::Io { action, source };
        create(path, access).map_err(failed("created"))?;
        // Held for reading only, or its file system could not be remounted read-only.
        let file = suitable::open_regular(path, OpenOptions::new().read(true))
            .and_then(|file| file.ok_or_else(|| io::ErrorKind::NotFound.into()))
            .map_err(failed("opened"))?;
        match file.try_lock() {
            Ok(()) => Ok(Self {
                file,
                path: path.to_owned(),
            }),
            Err(TryLockError::WouldBlock) => Err(LockError::InUse),
            Err(TryLockError::Error(error)) => Err(failed("locked")(error)),
        }
    }

    /// A lock on a file that was removed, or whose folder was, no longer keeps other processes out.
    ///
    /// # Errors
    /// If a system call fails, or it is another file.
    pub fn check(&self) -> io::Result<()> {
        let held = self.file.metadata()?;
        let found = fs::metadata(&self.path)?;
        if (held.dev(), held.ino()) == (found.dev(), found.ino()) {
            return Ok(());
        }
        Err(io::Error::other(
            "the lock file is another than at the start",
        ))
    }
}

/// Creates the file if there is none.
fn create(path: &Path, access: Option<Access>) -> io::Result<()> {
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(NEW_FILE_MODE)
        .open(path);
    match (created, access) {
        (Ok(file), Some(access)) => access.give_to(&file),
        (Err(error), _) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A child process that is just being started has a copy of the descriptor, and with it
        // the lock. If it cannot be released here, it is with the last copy.
        let _ = self.file.unlock();
    }
}
