//! The texts in the frames of a journal.

use serde::Deserialize;

use crate::model::Revision;
use crate::storage::file::format::{Members, StoredRecord, known_format, store_revision};
use crate::storage::file::identity::LogId;

/// The text of the first frame.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct First {
    #[serde(rename = "format", deserialize_with = "known_format")]
    _format: u64,
    #[serde(deserialize_with = "store_revision")]
    pub revision: Revision,
    #[serde(default)]
    pub id: Option<LogId>,
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
