//! An entry as a client knows it.

use serde::{Deserialize, Serialize};

use crate::model::{Key, Value};

/// An entry as the service shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    /// Its name.
    pub key: Key,
    /// Its value.
    pub value: Value,
    /// How often it was written since its creation.
    pub version: u64,
    /// The commit that wrote it.
    pub revision: u64,
    /// Its entity tag, quotes included.
    pub etag: String,
    /// When it was written, as RFC 3339 writes it.
    pub modified_at: String,
}
