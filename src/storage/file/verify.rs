//! Checking the files of a store that no process has open.

use std::path::Path;

use serde::Serialize;

use super::log::{self, Led};
use super::open::{self, OpenError};
use crate::atomic_file::{FolderSync, ReplacedFile};
use crate::model::{Revision, Timestamp};

/// What the files of a store hold. They are whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// How many entries the data file has.
    pub entries: usize,
    /// The revision of the data file.
    pub revision: Revision,
    /// The digits of its state.
    pub state: String,
    /// The log, if there is one.
    pub log: Option<VerifiedLog>,
}

/// What a log holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifiedLog {
    /// How many segments it has that count.
    pub segments: usize,
    /// How many files belong to another past.
    pub void_segments: usize,
    /// How many commits the segments have.
    pub commits: u64,
    /// How long they are, in bytes.
    pub bytes: u64,
    /// The oldest state that can be read.
    pub oldest_revision: Revision,
    /// The state to which it leads.
    pub newest_revision: Revision,
    /// When the newest commit was made.
    pub newest_at: Timestamp,
    /// How the data file and the log go together.
    pub leads_to_data: LeadsToData,
    /// How much of the last segment a power cut has torn, in bytes; the next start cuts it off.
    pub torn_bytes: u64,
}

/// How a data file and a log go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LeadsToData {
    /// The log ends with the state of the data file.
    Yes,
    /// The data file is a checkpoint, and the log has the commits since.
    BeyondIt,
    /// The log has later commits than the data file, which is everything: of a backup that was restored, or of a
    /// crash. They do not count.
    Past,
    /// The data file was edited: what was changed becomes a commit at the next start.
    Edited,
    /// The data file is of another past, or something was edited in it that was written before the log began: the
    /// history begins anew at the next start.
    No,
}

/// Reads and checks the data file at `path` and its log, and changes nothing.
///
/// # Errors
/// [`OpenError`] if another process has them open, or if something is damaged.
pub fn verify(path: &Path) -> Result<Verified, OpenError> {
    let failed = |action| {
        move |source| OpenError::Io {
            path: path.to_owned(),
            action,
            source,
        }
    };
    let file = ReplacedFile::new(path, FolderSync::IfPossible).map_err(failed("opened"))?;
    if !path.try_exists().map_err(failed("opened"))? {
        return Err(failed("opened")(std::io::ErrorKind::NotFound.into()));
    }
    let _lock = open::lock(&file)?;
    let (_, loaded) = open::load_data(&file)?;
    let mut table = loaded.table;
    let position = table.position();
    let mut scanned = log::read(&file).map_err(open::scan_failed)?;
    let mut commits = 0;
    for segment in &scanned.segments {
        commits += log::verify_states(segment).map_err(open::scan_failed)?;
    }
    let mut verified = Verified {
        entries: table.count(),
        revision: position.revision,
        state: position.state.to_string(),
        log: None,
    };
    let (Some(first), Some(end)) = (scanned.segments.first(), scanned.end()) else {
        return Ok(verified);
    };
    let mut log = VerifiedLog {
        segments: scanned.segments.len(),
        void_segments: scanned.void.len(),
        commits,
        bytes: scanned.segments.iter().map(|segment| segment.bytes()).sum(),
        oldest_revision: first.start.position.revision,
        newest_revision: end.revision,
        newest_at: scanned.newest_at(),
        leads_to_data: LeadsToData::BeyondIt,
        torn_bytes: scanned.torn_bytes,
    };
    if end == position {
        log.leads_to_data = LeadsToData::Yes;
    } else if loaded.journal.is_none() {
        let led = log::cut_to(&mut scanned, &mut table, true).map_err(open::scan_failed)?;
        log.leads_to_data = match led {
            Led::There => LeadsToData::Yes,
            Led::Past(_) => LeadsToData::Past,
            Led::Edited(_) => LeadsToData::Edited,
            Led::Elsewhere(_) => LeadsToData::No,
        };
    }
    verified.log = Some(log);
    Ok(verified)
}
