//! Applying a journal to the checkpoint after which it begins.

use std::fmt;
use std::io::{self, BufRead};

use thiserror::Error;

use super::text::{First, Group};
use crate::model::Revision;
use crate::storage::file::format::{Names, StoredRecord};
use crate::storage::file::frame::{is_torn, next_frame};
use crate::storage::file::identity::LogId;
use crate::storage::table::Table;

/// Why a journal cannot be replayed, and where.
#[derive(Debug, Error)]
#[error("{reason}, at byte {offset}")]
pub struct JournalError {
    reason: String,
    offset: u64,
}

/// Why replaying failed.
#[derive(Debug)]
pub enum ReplayError {
    /// The journal is damaged or belongs to another state.
    Journal(JournalError),
    /// It cannot be read.
    Io(io::Error),
}

/// The result of replaying.
#[derive(Debug, PartialEq, Eq)]
pub struct Replayed {
    /// How much of the journal is whole, in bytes.
    pub whole_bytes: u64,
    /// How much follows: a frame that was being written at a power cut, in bytes.
    pub torn_bytes: u64,
    /// The revision to which the journal leads.
    pub revision: Revision,
    /// The id that the data file has for it.
    pub id: Option<LogId>,
}

/// Applies to `table`, which a checkpoint was loaded into, the frames that are newer. `named` is the journal
/// that the checkpoint says has them. A journal that it does not name belongs to another data file if it has
/// newer frames; that of an older version has no name.
///
/// A frame that is not whole is taken for torn by a power cut, and so for never acknowledged, only
/// if that is what it looks like: no whole frame follows, and it ends too early or has a whole
/// sector of zeros. Everything else is damage.
///
/// # Errors
/// [`ReplayError`]; what was applied before is in the table.
pub fn replay(
    mut reader: impl BufRead,
    table: &mut Table,
    named: Option<&LogId>,
) -> Result<Replayed, ReplayError> {
    let mut offset = 0;
    let mut begun: Option<First> = None;
    let mut frame = Vec::new();
    loop {
        let damaged = |reason: &dyn fmt::Display| {
            let reason = reason.to_string();
            ReplayError::Journal(JournalError { reason, offset })
        };
        let Some(text) = next_frame(&mut reader, &mut frame).map_err(ReplayError::Io)? else {
            reader.read_to_end(&mut frame).map_err(ReplayError::Io)?;
            let Some(First { revision, id, .. }) = begun else {
                return Err(damaged(&"the first frame is not whole"));
            };
            if !frame.is_empty() && !is_torn(offset, &frame) {
                return Err(damaged(&"the frame is damaged"));
            }
            return Ok(Replayed {
                whole_bytes: offset,
                torn_bytes: frame.len() as u64,
                revision,
                id,
            });
        };
        match &mut begun {
            None => {
                begun = Some(read_first(text, table, named).map_err(|reason| damaged(&reason))?);
            }
            Some(first) => {
                let is_unnamed = named.is_none() && first.id.is_some();
                first.revision = apply_group(text, first.revision, table, is_unnamed)
                    .map_err(|reason| damaged(&reason))?;
            }
        }
        offset += frame.len() as u64;
    }
}

/// Returns the revision from which the journal leads on, and its id.
fn read_first(text: &[u8], table: &Table, named: Option<&LogId>) -> Result<First, String> {
    let first: First = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if let Some(named) = named
        && first.id.as_ref() != Some(named)
    {
        return Err(format!(
            "it is not the journal {named}, which data.json names; put that one back or restore \
             both files from one backup"
        ));
    }
    // One that is not named may have been made for a data file that was never written.
    let is_unnamed = named.is_none() && first.id.is_some();
    if first.revision > table.revision() && !is_unnamed {
        return Err(format!(
            "the journal leads on from revision {}, but the data file is of revision {}",
            first.revision,
            table.revision(),
        ));
    }
    Ok(first)
}

/// Returns the revision to which the frame leads.
fn apply_group(
    text: &[u8],
    before: Revision,
    table: &mut Table,
    is_unnamed: bool,
) -> Result<Revision, String> {
    let group: Group = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let (after, revision) = (group.after, group.revision);
    if after != before || revision <= after {
        return Err(format!(
            "the frame leads from revision {after} to {revision}, but the one before to {before}"
        ));
    }
    if revision <= table.revision() {
        // The data file has it already.
        return Ok(revision);
    }
    if is_unnamed {
        return Err(format!(
            "it belongs to another data.json: it has commits up to revision {revision} at least, \
             and the data file is of revision {} and names no journal; restore the data.json that \
             it belongs to, or move the journal away to start with the data file alone",
            table.revision(),
        ));
    }
    if after < table.revision() {
        return Err(format!(
            "the frame leads from revision {after} to {revision}, but the data file is of \
             revision {}",
            table.revision(),
        ));
    }
    let records = group
        .changes
        .0
        .iter()
        .filter_map(|(_, record)| record.as_ref());
    if let Some(foreign) = records
        .map(StoredRecord::revision)
        .find(|of| *of <= after || *of > revision)
    {
        return Err(format!(
            "the frame leads from revision {after} to {revision}, but has a record of {foreign}"
        ));
    }
    let mut names = Names::default();
    for (key, stored) in group.changes.0 {
        match stored {
            Some(stored) => {
                let record = stored.of(&key, &mut names);
                table.insert(key, record);
            }
            None => table.remove(&key),
        }
    }
    table.skip_to(revision);
    Ok(revision)
}
