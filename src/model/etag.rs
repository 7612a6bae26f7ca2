//! Entity tags.

use std::fmt;

use super::position::{Position, Version};

/// A strong entity tag (RFC 9110 §8.8.3) as the header shows it, quotes included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityTag(String);

impl EntityTag {
    /// The tag of one key's record.
    pub(super) fn of_record(version: Version, digest: u64) -> Self {
        // Without the formatter, because every answer that shows an entry has one.
        let mut digits = [0; 2 * size_of::<u64>()];
        hex::encode_to_slice(digest.to_be_bytes(), &mut digits).expect("two digits for a byte");
        let digits = str::from_utf8(&digits).expect("digits are ASCII");
        Self(["\"", &version.to_string(), "-", digits, "\""].concat())
    }

    /// The tag of a list at a revision.
    #[must_use]
    pub fn of_list(position: Position) -> Self {
        Self(format!("\"{position}\""))
    }

    /// As the `ETag` header shows it, quotes included.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is between the quotes.
    #[must_use]
    pub fn opaque(&self) -> &str {
        &self.0[1..self.0.len() - 1]
    }
}

impl From<EntityTag> for String {
    fn from(etag: EntityTag) -> Self {
        etag.0
    }
}

impl fmt::Display for EntityTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
