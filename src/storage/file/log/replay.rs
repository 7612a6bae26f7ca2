//! How a log that was found and the data file beside it go together.

use std::path::Path;

use super::edits::Edits;
use super::scan::{ScanError, Scanned, for_each_commit};
use crate::model::Revision;
use crate::storage::file::format::Names;
use crate::storage::table::Table;

/// Applies the commits that a data file does not have, whose content is in `table` and which needs the log. Returns
/// how long the part of the log is that the data file needs, in bytes.
///
/// # Errors
/// [`ScanError`].
pub fn replay(scanned: &Scanned, table: &mut Table) -> Result<u64, ScanError> {
    let revision = table.revision();
    let Some(first) = scanned.segments.first() else {
        return Ok(0);
    };
    let begins = first.start.position.revision;
    if begins > revision {
        return Err(ScanError::Damaged {
            path: first.path.path().to_owned(),
            reason: format!(
                "the log begins after revision {begins}, but the data file is of revision {revision} \
                 and needs what follows; put the older segments back, or restore all files from one \
                 backup"
            ),
        });
    }
    check_whole(scanned, revision)?;
    let mut bytes = 0;
    let mut names = Names::default();
    for segment in &scanned.segments {
        if segment.end().revision <= revision {
            continue;
        }
        bytes += segment.bytes();
        let applied = for_each_commit(segment, table.revision(), |commit| {
            for record in commit.records(&mut names) {
                match record? {
                    (key, Some(record)) => drop(table.insert(key.clone(), record)),
                    (key, None) => table.remove(key),
                }
            }
            table.skip_to(commit.revision);
            Ok(true)
        });
        applied.map_err(|error| ScanError::Damaged {
            path: segment.path.path().to_owned(),
            reason: error.to_string(),
        })?;
    }
    Ok(bytes)
}

/// Checks that no segment is missing that another one names, of those that have what comes after a revision.
fn check_whole(scanned: &Scanned, revision: Revision) -> Result<(), ScanError> {
    let segments = scanned.segments.iter();
    let before = segments.take_while(|segment| segment.start.position.revision <= revision);
    let first = before.count().saturating_sub(1);
    for (index, segment) in scanned.segments.iter().enumerate().skip(first) {
        let following = scanned.segments.get(index + 1);
        let next = segment.with(|content| content.next);
        if let Some(next) = next
            && following.is_none_or(|following| following.number != next)
        {
            return Err(ScanError::Damaged {
                path: segment.path.path().to_owned(),
                reason: format!(
                    "segment {next}, which goes on from its end, is missing; put it back, or restore \
                     all files from one backup"
                ),
            });
        }
    }
    Ok(())
}

/// Checks that a data file, whose content is in `table` and which does not need a log, does not miss commits that only
/// this one has: those of a journal that was not closed. When it is closed, a segment that is no journal begins.
///
/// # Errors
/// [`ScanError::Damaged`].
pub fn check_not_needed(scanned: &Scanned, table: &Table) -> Result<(), ScanError> {
    let revision = table.revision();
    let last = scanned.segments.last();
    let Some(last) = last.filter(|last| last.start.is_journal) else {
        return Ok(());
    };
    let end = last.end().revision;
    if end <= revision {
        return Ok(());
    }
    Err(ScanError::Damaged {
        path: last.path.path().to_owned(),
        reason: format!(
            "it belongs to another data.json: it has commits up to revision {end} that no data file has \
             had, and the data file is of revision {revision} and names no log; put the newer data.json \
             back, or move the log away to start with the data file alone, without these commits"
        ),
    })
}

/// Checks that a data file that is not there was never written: its first commit can have been in progress when
/// the process ended, but not more.
///
/// # Errors
/// [`ScanError::Damaged`].
pub fn check_is_new(scanned: &Scanned, data: &Path) -> Result<(), ScanError> {
    let Some(last) = scanned.segments.last() else {
        return Ok(());
    };
    let is_first_commit = last.start.position.revision == 0 && scanned.last_frames <= 1;
    let end = last.end().revision;
    if end == 0 || is_first_commit {
        return Ok(());
    }
    Err(ScanError::Damaged {
        path: data.to_owned(),
        reason: format!(
            "it is missing, but the log beside it has commits up to revision {end}; put it back, or \
             move {} and the segments before it away to start with an empty store",
            last.path.path().display()
        ),
    })
}

/// How a log goes together with a data file.
#[derive(Debug)]
pub enum Led {
    /// It leads to its content, or it is empty.
    There,
    /// It has later commits, up to this revision, which are void now: they were being written at a crash, or came
    /// after a backup that was put back.
    Past(Revision),
    /// The data file was edited.
    Edited(Edits),
    /// The data file is of another past, a part of the log is missing, or something was edited that was written before
    /// the log began.
    Elsewhere(Revision),
}

/// Makes void whatever of a log does not lead to the content of a data file, which is in `table`. If that was edited,
/// and the log is kept as a history, the table becomes what it was before.
///
/// # Errors
/// [`ScanError`].
pub fn cut_to(
    scanned: &mut Scanned,
    table: &mut Table,
    keeps_history: bool,
) -> Result<Led, ScanError> {
    let Some(found) = scanned.end() else {
        return Ok(Led::There);
    };
    let position = table.position();
    scanned.truncate(position.revision)?;
    if let Some(end) = scanned.end() {
        if end.state == position.state {
            let is_past = found.revision > position.revision;
            return Ok(if is_past {
                Led::Past(found.revision)
            } else {
                Led::There
            });
        }
        // Somebody who edits the file leaves its revision. If the log ends earlier, a part of it is missing.
        let is_whole = end.revision == position.revision;
        if keeps_history
            && is_whole
            && let Some(edits) = Edits::undo(scanned, end.state, table)?
        {
            return Ok(Led::Edited(edits));
        }
    }
    scanned.void.append(&mut scanned.segments);
    scanned.requests.clear();
    Ok(Led::Elsewhere(found.revision))
}
