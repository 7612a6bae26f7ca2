//! From files to a table: locking, loading, replaying, cleaning up.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Seek as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use thiserror::Error;

use super::disk::Disk;
use super::format::{self, Loaded};
use super::identity::LogId;
use super::journal::{self, ReplayError, Replayed};
use super::load;
use super::lock::{Lock, LockError};
use super::log::{self, CommitLog, Edits, Led, ScanError, Scanned};
use super::policy::Policy;
use super::settings::{History, Settings};
use super::suitable::{self, open_regular};
use crate::atomic_file::{FolderSync, ReplacedFile};
use crate::storage::StoreError;
use crate::storage::requests::Requests;
use crate::storage::staged::Staged;
use crate::storage::table::Table;

/// The suffix of the data file's name for the file that keeps a second process out.
const LOCK_SUFFIX: &str = ".lock";
/// The same for the journal of an earlier version.
const JOURNAL_SUFFIX: &str = ".journal";

/// Why a `data.json` cannot be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// It is there, but it is not a `data.json` or a journal that this program can read. It is left
    /// unchanged.
    #[error("{} cannot be loaded: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its place.
        reason: String,
    },
    /// It is there, but the store could not keep what it acknowledges in it.
    #[error("{} cannot be used: {reason}", path.display())]
    Unsuitable {
        /// The file.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// A system call failed.
    #[error("{} cannot be {action}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried, as a participle.
        action: &'static str,
        /// The error of the system call.
        source: io::Error,
    },
}

/// What was found.
pub struct Opened {
    /// The files, ready for commits.
    pub disk: Disk,
    /// What they hold.
    pub table: Table,
}

/// Loads the data file at `path` and what the log has beyond it.
///
/// # Errors
/// [`OpenError`]; the data is unchanged.
pub fn open(path: &Path, settings: &Settings) -> Result<Opened, OpenError> {
    let file = ReplacedFile::new(path, FolderSync::Required).map_err(failed(path, "opened"))?;
    let journal_file = file.companion(JOURNAL_SUFFIX);
    check_suitable(&file, &journal_file)?;
    let lock = lock(&file)?;
    // First, because what reading it takes in memory is used again for the records.
    let mut scanned = log::read(&file).map_err(scan_failed)?;
    let (data_bytes, loaded) = load_data(&file)?;
    scanned.cut_torn_end().map_err(scan_failed)?;
    let (mut table, named) = (loaded.table, loaded.journal);
    let data_revision = table.revision();
    let journal = replay(&journal_file, &mut table, named.as_ref())
        .map_err(|error| mention_missing_data(error, &file))?;
    let is_named_log = |id: &LogId| {
        let mut segments = scanned.segments.iter();
        segments.any(|segment| segment.start.id == *id)
    };
    let mut journal_bytes = match &named {
        Some(id) if journal.is_none() && is_named_log(id) => {
            Some(log::replay(&scanned, &mut table).map_err(scan_failed)?)
        }
        Some(id) if journal.is_none() => {
            return Err(log_is_missing(&file, id, &table));
        }
        _ => None,
    };
    if !file.is_placed() && journal.is_none() {
        log::check_is_new(&scanned, file.path()).map_err(scan_failed)?;
        tracing::info!(
            data = %file.path().display(),
            "there is no data file yet; the first write creates it"
        );
    } else if journal_bytes.is_none() {
        log::check_not_needed(&scanned, &table).map_err(scan_failed)?;
    }
    let keeps_history = settings.history != History::Never;
    let edits = cut_to(&mut scanned, &mut table, keeps_history)?;
    let unfinished = log::unfinished(&file).map_err(failed(file.path(), "cleaned up after"))?;
    for leftover in [&file, &journal_file].into_iter().chain(&unfinished) {
        leftover
            .remove_leftovers()
            .map_err(failed(leftover.path(), "cleaned up after"))?;
    }
    let last_segment = scanned.segments.last().map(|last| last.path.clone());
    for file in [Some(&file), Some(&journal_file), last_segment.as_ref()] {
        let Some(file) = file else { continue };
        file.sync().map_err(failed(file.path(), "made durable"))?;
    }
    table.note_commit_at(scanned.newest_at());
    let mut requests = Requests::within(settings.idempotency_window);
    let last_request = scanned.requests.iter().map(|request| request.at).max();
    for request in scanned.requests.drain(..) {
        requests.note_done(request.by, &request.request, request.position, request.at);
    }
    *table.requests_mut() = requests;
    let policy = Policy::new(settings.journaling, data_bytes, table.live_bytes());
    let log = CommitLog::new(
        file.clone(),
        scanned,
        settings,
        table.position(),
        last_request,
    );
    let mut disk = Disk::new(file, log, lock, policy, data_revision);
    let failed_write = |error| failed(path, "written")(io::Error::other(error));
    if let Some(edits) = edits {
        commit_edits(&mut disk, &mut table, edits, &mut journal_bytes).map_err(failed_write)?;
    }
    if let Some(journal_bytes) = journal_bytes {
        disk.resume(journal_bytes, &table.snapshot())
            .map_err(failed_write)?;
    } else if let Some(journal) = journal {
        end_journal(&mut disk, &journal, named.as_ref(), &table).map_err(failed_write)?;
        journal_file
            .remove()
            .map_err(failed(journal_file.path(), "removed"))?;
    }
    table.requests_mut().forget_to(disk.drop_old());
    Ok(Opened { disk, table })
}

/// The files must be the store's alone, or not exist.
fn check_suitable(file: &ReplacedFile, journal_file: &ReplacedFile) -> Result<(), OpenError> {
    let lock = file.beside(LOCK_SUFFIX);
    let segment = log::last_segment(file).map_err(failed(file.path(), "opened"))?;
    let paths = [file.path(), journal_file.path(), &lock];
    for path in paths
        .into_iter()
        .chain(segment.as_ref().map(ReplacedFile::path))
    {
        let objection = suitable::objection_to(path).map_err(failed(path, "opened"))?;
        if let Some(reason) = objection {
            let path = path.to_owned();
            return Err(OpenError::Unsuitable { path, reason });
        }
    }
    Ok(())
}

/// Makes void what is in the log and does not lead to the content of the data file, which is in `table`. Returns what
/// was edited, if the log knows what there was before: the table has that then.
fn cut_to(
    scanned: &mut Scanned,
    table: &mut Table,
    keeps_history: bool,
) -> Result<Option<Edits>, OpenError> {
    let data = table.revision();
    match log::cut_to(scanned, table, keeps_history).map_err(scan_failed)? {
        Led::There => {}
        Led::Past(log) => tracing::warn!(
            log,
            data,
            "the log has later commits than the data file; they are no longer part of the history"
        ),
        Led::Edited(edits) => return Ok(Some(edits)),
        Led::Elsewhere(log) => tracing::warn!(
            log,
            data,
            "the log does not lead to the content of the data file, which is of another past, or of which \
             something was edited that was written before the log began; the history begins anew, and the \
             one before this is no longer readable"
        ),
    }
    Ok(None)
}

/// Makes a commit of what was edited, on what was before.
///
/// # Errors
/// If a system call fails; what was edited is still in the data file.
fn commit_edits(
    disk: &mut Disk,
    table: &mut Table,
    edits: Edits,
    journal_bytes: &mut Option<u64>,
) -> Result<(), StoreError> {
    let entries = edits.count();
    let changes = edits
        .into_changes()
        .map_err(|error| StoreError::NotApplied(io::Error::other(error)))?;
    let mut staged = Staged::on(table);
    let staging = staged.stage(table, changes, SystemTime::now().into());
    staging.map_err(|error| StoreError::NotApplied(io::Error::other(error)))?;
    staged.clone().apply_to(table);
    match journal_bytes {
        Some(bytes) => *bytes += disk.append_edits(&staged)?,
        None => disk.write_edits(&table.snapshot(), &staged)?,
    }
    tracing::warn!(
        entries,
        revision = table.revision(),
        "the data file was edited since it was written; what was changed is a commit of its own now"
    );
    Ok(())
}

/// Ends a journal of an earlier version that was replayed.
fn end_journal(
    disk: &mut Disk,
    replayed: &Replayed,
    named: Option<&LogId>,
    table: &Table,
) -> Result<(), StoreError> {
    let (last, revision) = (replayed.revision, table.revision());
    if named.is_none() && replayed.id.is_some() {
        tracing::warn!(
            journal = last,
            data = revision,
            "the data file names no journal, and the one beside it has no later commit; it \
             is not needed and is removed"
        );
        return Ok(());
    }
    if last < revision {
        tracing::warn!(
            journal = last,
            data = revision,
            "the data file is of a later revision than its journal leads to; the journal \
             is not needed and is removed"
        );
    }
    disk.take_up_journal(&table.snapshot())
}

/// The error of a scan as one of opening.
pub fn scan_failed(error: ScanError) -> OpenError {
    match error {
        ScanError::Damaged { path, reason } => OpenError::Damaged { path, reason },
        ScanError::Io { path, source } => OpenError::Io {
            path,
            action: "read",
            source,
        },
    }
}

fn log_is_missing(file: &ReplacedFile, id: &LogId, table: &Table) -> OpenError {
    let name = file.path().file_name().unwrap_or_default();
    let (data, revision) = (name.to_string_lossy(), table.revision());
    OpenError::Damaged {
        path: file.path().to_owned(),
        reason: format!(
            "the commits after revision {revision} are in {data}.commits.* (in {data}.journal if an \
             earlier version wrote them), which are missing; put them back, or restore all files from \
             one backup; to go on with {data} alone, without these commits, remove \
             \"journal\":\"{id}\", from its first line"
        ),
    }
}

/// If the data file is missing, that explains the error of a journal better.
fn mention_missing_data(error: OpenError, file: &ReplacedFile) -> OpenError {
    match error {
        OpenError::Damaged { path, reason } if !file.is_placed() => OpenError::Damaged {
            path,
            reason: format!("{reason}; {} is missing", file.path().display()),
        },
        other => other,
    }
}

fn failed<'a>(path: &'a Path, action: &'static str) -> impl FnOnce(io::Error) -> OpenError + 'a {
    move |source| OpenError::Io {
        path: path.to_owned(),
        action,
        source,
    }
}

/// Keeps other processes out.
///
/// # Errors
/// [`OpenError`].
pub fn lock(file: &ReplacedFile) -> Result<Lock, OpenError> {
    let path = file.beside(LOCK_SUFFIX);
    let access = file.access().map_err(failed(file.path(), "opened"))?;
    Lock::take(&path, access).map_err(|error| match error {
        LockError::InUse => OpenError::InUse(file.path().to_owned()),
        LockError::Io { action, source } => failed(&path, action)(source),
    })
}

/// The file, if there is one. This process must be allowed to write it: a rename would go past
/// the file's own permissions.
fn open_for_writing(file: &ReplacedFile) -> Result<Option<File>, OpenError> {
    let opened = open_regular(file.path(), OpenOptions::new().read(true).write(true));
    opened.map_err(failed(file.path(), "opened for reading and writing"))
}

/// The size of the data file and what is in it.
///
/// # Errors
/// [`OpenError`].
pub fn load_data(file: &ReplacedFile) -> Result<(u64, Loaded), OpenError> {
    let path = file.path();
    let failed_read = |error| failed(path, "read")(error);
    let Some(mut data) = open_for_writing(file)? else {
        let (table, journal) = Default::default();
        return Ok((0, Loaded { table, journal }));
    };
    let metadata = data.metadata().map_err(failed_read)?;
    file.note(&metadata);
    let bytes = metadata.len();
    if let Some(loaded) = load::load(&data, bytes).map_err(failed_read)? {
        return Ok((bytes, loaded));
    }
    // It was edited, or it is damaged: the strict reader knows which, and where.
    data.rewind().map_err(failed_read)?;
    let loaded = format::decode(BufReader::new(data)).map_err(|error| OpenError::Damaged {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    Ok((bytes, loaded))
}

/// Applies the journal, if there is one, and returns it cut to what is whole.
fn replay(
    file: &ReplacedFile,
    table: &mut Table,
    named: Option<&LogId>,
) -> Result<Option<Replayed>, OpenError> {
    let path = file.path();
    let Some(journal) = open_for_writing(file)? else {
        return Ok(None);
    };
    let replayed =
        journal::replay(BufReader::new(&journal), table, named).map_err(|error| match error {
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
            "cutting off a commit that was being written at a power cut"
        );
        journal
            .set_len(replayed.whole_bytes)
            .map_err(failed(path, "cut"))?;
    }
    file.note(&journal.metadata().map_err(failed(path, "read"))?);
    Ok(Some(replayed))
}
