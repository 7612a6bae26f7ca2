//! The folder of a file, held open: making a rename durable must not need a new descriptor, because
//! there may be none left just when the rename is done.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, statat};
use rustix::io::Errno;

/// What to do if a folder cannot be synced, because the file system cannot do that or the process may
/// not read the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FolderSync {
    /// Fail.
    Required,
    /// Do without: a power cut may undo the last rename.
    IfPossible,
}

/// An open folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// `None` if the process may not read it and need not sync it.
    file: Option<File>,
    sync: FolderSync,
}

impl Folder {
    /// The folder at `path`.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(path: &Path, sync: FolderSync) -> io::Result<Self> {
        let file = match File::open(path) {
            Err(error)
                if sync == FolderSync::IfPossible
                    && error.kind() == io::ErrorKind::PermissionDenied =>
            {
                None
            }
            file => Some(file?),
        };
        Ok(Self {
            path: path.to_owned(),
            file,
            sync,
        })
    }

    /// Where it was when it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it has a file of this name, wherever the folder has been moved.
    pub fn has(&self, name: &OsStr) -> bool {
        match &self.file {
            Some(folder) => statat(folder, name, AtFlags::empty()).is_ok(),
            None => self.path.join(name).exists(),
        }
    }

    /// Makes the names of its files durable. Returns whether that could be done, which is always so with
    /// [`FolderSync::Required`].
    ///
    /// # Errors
    /// If a system call fails.
    pub fn sync(&self) -> io::Result<bool> {
        let Some(folder) = &self.file else {
            return Ok(false);
        };
        match folder.sync_all() {
            Err(error) if self.sync == FolderSync::IfPossible && is_unsupported(&error) => {
                Ok(false)
            }
            synced => synced.map(|()| true),
        }
    }
}

/// Whether a file system cannot sync folders at all (fsync(2)). Any other error says that data may be lost.
fn is_unsupported(error: &io::Error) -> bool {
    // The last two are the same on Linux.
    let unsupported = [Errno::INVAL, Errno::NOTSUP, Errno::OPNOTSUPP];
    Errno::from_io_error(error).is_some_and(|errno| unsupported.contains(&errno))
}
