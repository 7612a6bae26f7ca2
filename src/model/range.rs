//! Parts of the key space.

use super::entry::Entry;

/// The longest page of a list, in entries.
pub const LIST_MAX_LIMIT: usize = 10_000;

/// Which entries a list asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Range {
    /// Only keys with this prefix.
    pub prefix: String,
    /// Only keys that come after this one.
    pub after: Option<String>,
    /// At most so many entries.
    pub limit: Option<usize>,
}

/// The entries of a range, or the first of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Ascending by the bytes of the key.
    pub entries: Vec<Entry>,
    /// Whether the range has more entries after the last one.
    pub more: bool,
}
