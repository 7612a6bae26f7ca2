//! The folder of a file, held open: making a rename durable must not need a new descriptor, because
//! there may be none left just when the rename is done.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, statat};

/// An open folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    file: File,
}

impl Folder {
    /// The folder at `path`.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: File::open(path)?,
        })
    }

    /// Where it was when it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it has a file of this name, wherever it is by now.
    pub fn has(&self, name: &OsStr) -> bool {
        statat(&self.file, name, AtFlags::empty()).is_ok()
    }

    /// Makes durable which files have which names in it.
    ///
    /// # Errors
    /// What the system says.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}
