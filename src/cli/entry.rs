//! An entry, as a client reads it.

use serde::{Deserialize, Serialize};

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
}
