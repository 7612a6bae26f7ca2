//! An entry, as a client reads it.

use serde::{Deserialize, Serialize};

use super::text::printable;
use crate::model::{Key, Value};

/// An entry, as the service sends it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    /// Its name.
    pub key: Key,
    /// Its value.
    pub value: Value,
    /// How often it was written, including its creation.
    pub version: u64,
    /// The revision of the commit that wrote it.
    pub revision: u64,
    /// Its entity tag, quotes included.
    pub etag: String,
    /// When it was written, in RFC 3339.
    pub modified_at: String,
    /// Who wrote it, unless the writer is anonymous.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified_by: Option<String>,
}

impl Entry {
    /// Its version, and who wrote it, in words: `version 3 by ann`.
    pub fn version_in_words(&self) -> String {
        format!("version {}{}", self.version, self.by_in_words())
    }

    /// ` by ann`, or nothing if the writer is anonymous.
    pub fn by_in_words(&self) -> String {
        let name = self.modified_by.as_deref().map(printable);
        name.map_or_else(String::new, |name| format!(" by {name}"))
    }
}
