//! From files to a table: locking, loading, replaying, cleaning up.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Seek as _};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::Journaling;
use super::disk::Disk;
use super::durable::ReplacedFile;
use super::journal::{self, ReplayError};
use super::lock::{Lock, LockError};
use super::{format, load};
use crate::model::Revision;
use crate::storage::table::Table;

/// What is put behind the data file's name for the file that keeps a second process out.
const LOCK_SUFFIX: &str = ".lock";
/// The same for the journal.
const JOURNAL_SUFFIX: &str = ".journal";

/// Why a `data.json` cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// It is there, but it is not a `data.json` or a journal that this program can read. It is
    /// left as it is.
    #[error("{} cannot be loaded: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its place.
        reason: String,
    },
    /// The system says no.
    #[error("{} cannot be {action}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried, as a participle.
        action: &'static str,
        /// What the system says.
        source: io::Error,
    },
}

/// Loads the data file at `path` and replays its journal.
///
/// # Errors
/// [`OpenError`]; what holds the data is as it was.
pub fn open(path: &Path, journaling: Journaling) -> Result<(Disk, Table), OpenError> {
    let file = ReplacedFile::new(path).map_err(failed(path, "opened"))?;
    check_kind(file.path()).map_err(failed(path, "opened"))?;
    let lock = lock(&file)?;
    let data = open_for_writing(file.path());
    let data = data.map_err(failed(path, "opened for reading and writing"))?;
    let (mut table, checkpoint_bytes) = match data {
        Some(data) => load_table(data, path)?,
        None => (Table::default(), 0),
    };
    let journal_file = file.companion(JOURNAL_SUFFIX);
    let journal = replay(&journal_file, &mut table)?;
    for file in [&file, &journal_file] {
        file.remove_leftovers()
            .map_err(failed(file.path(), "cleaned up after"))?;
        file.sync().map_err(failed(file.path(), "made durable"))?;
    }
    let mut disk = Disk::new(file, journal_file, lock, journaling, checkpoint_bytes);
    if let Some((journal, last)) = journal {
        disk.go_on_with(journal, last, &table)
            .map_err(|error| failed(path, "written")(io::Error::other(error)))?;
    }
    Ok((disk, table))
}

fn failed<'a>(path: &'a Path, action: &'static str) -> impl FnOnce(io::Error) -> OpenError + 'a {
    move |source| OpenError::Io {
        path: path.to_owned(),
        action,
        source,
    }
}

fn lock(file: &ReplacedFile) -> Result<Lock, OpenError> {
    let path = file.beside(LOCK_SUFFIX);
    Lock::take(&path).map_err(|error| match error {
        LockError::InUse => OpenError::InUse(file.path().to_owned()),
        LockError::Io { action, source } => failed(&path, action)(source),
    })
}

/// What is there must be a regular file.
fn check_kind(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => Err(io::Error::other("it is not a regular file")),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The file, if there is one. This process must be allowed to write it: a rename would go past
/// the file's own permissions.
fn open_for_writing(path: &Path) -> io::Result<Option<File>> {
    match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The table in a data file, and the file's size in bytes.
fn load_table(mut data: File, path: &Path) -> Result<(Table, u64), OpenError> {
    let failed_read = |error| failed(path, "read")(error);
    let bytes = data.metadata().map_err(failed_read)?.len();
    if let Some(table) = load::load(&data, bytes).map_err(failed_read)? {
        return Ok((table, bytes));
    }
    // Somebody has edited it, or it is damaged: the strict reader knows which, and where.
    data.rewind().map_err(failed_read)?;
    let table = format::decode(BufReader::new(data)).map_err(|error| OpenError::Damaged {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    Ok((table, bytes))
}

/// Applies the journal, if there is one, and returns it cut to what is whole, with the revision
/// to which it leads.
fn replay(file: &ReplacedFile, table: &mut Table) -> Result<Option<(File, Revision)>, OpenError> {
    let path = file.path();
    check_kind(path).map_err(failed(path, "opened"))?;
    let journal = open_for_writing(path).map_err(failed(path, "opened for reading and writing"))?;
    let Some(journal) = journal else {
        return Ok(None);
    };
    let replayed =
        journal::replay(BufReader::new(&journal), table).map_err(|error| match error {
            ReplayError::Journal(error) => OpenError::Damaged {
                path: path.to_owned(),
                reason: error.to_string(),
            },
            ReplayError::Io(error) => failed(path, "read")(error),
        })?;
    if replayed.torn_bytes > 0 {
        tracing::warn!(
            file = %path.display(),
            at = replayed.whole_bytes,
            bytes = replayed.torn_bytes,
            "cutting off a commit that was being written when the power went"
        );
        journal
            .set_len(replayed.whole_bytes)
            .map_err(failed(path, "cut"))?;
    }
    Ok(Some((journal, replayed.revision)))
}
