//! The texts in the frames of a journal.

use std::io::{self, Write as _};

use serde::Deserialize;

use super::frame::{begin_frame, end_frame};
use crate::model::Revision;
use crate::storage::file::format::{
    EntryWriter, FORMAT, Members, StoredRecord, known_format, store_revision,
};
use crate::storage::file::identity::JournalId;
use crate::storage::staged::Staged;

/// The frame that a journal begins with, if it begins after this revision.
#[must_use]
pub fn first_frame(revision: Revision, id: &JournalId) -> Vec<u8> {
    let mut frame = begin_frame();
    let text = format!("{{\"format\":{FORMAT},\"revision\":{revision},\"id\":\"{id}\"}}");
    frame.extend_from_slice(text.as_bytes());
    end_frame(frame)
}

/// The frame of a group of commits.
///
/// # Errors
/// Never: writing to memory does not fail.
pub fn frame(staged: &Staged) -> io::Result<Vec<u8>> {
    let mut frame = begin_frame();
    let (after, revision) = (staged.after(), staged.revision());
    write!(
        frame,
        "{{\"after\":{after},\"revision\":{revision},\"changes\":{{"
    )?;
    let mut entry_writer = EntryWriter::default();
    let mut separator = &b""[..];
    for (key, record) in staged.changes() {
        frame.extend_from_slice(separator);
        entry_writer.write(&mut frame, key, record)?;
        separator = b",";
    }
    frame.extend_from_slice(b"}}");
    Ok(end_frame(frame))
}

/// The text of the first frame.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct First {
    #[serde(rename = "format", deserialize_with = "known_format")]
    _format: u64,
    #[serde(deserialize_with = "store_revision")]
    pub revision: Revision,
    #[serde(default)]
    pub id: Option<JournalId>,
}

/// The text of a further frame.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    #[serde(deserialize_with = "store_revision")]
    pub after: Revision,
    #[serde(deserialize_with = "store_revision")]
    pub revision: Revision,
    pub changes: Members<Option<StoredRecord>>,
}
