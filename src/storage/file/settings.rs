//! The settings of the engine.

use crate::storage::feed::DEFAULT_WATCH_BUFFER_BYTES;

/// How large the data file is, in bytes, above which commits are appended to a journal.
pub const DEFAULT_JOURNAL_ABOVE_BYTES: u64 = 1024 * 1024;
/// When commits are appended to a journal. Otherwise each group of them rewrites the data file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Journaling {
    /// Commits always replace the data file.
    Never,
    /// While the data file is larger than this.
    Above {
        /// The size of the data file.
        bytes: u64,
    },
}

impl Default for Journaling {
    fn default() -> Self {
        Self::Above {
            bytes: DEFAULT_JOURNAL_ABOVE_BYTES,
        }
    }
}

/// The settings of a [`FileStore`](super::FileStore).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// When commits are appended to a journal.
    pub journaling: Journaling,
    /// How much of the recent changes is kept for watchers, in bytes.
    pub watch_buffer_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Journaling::default().into()
    }
}

impl From<Journaling> for Settings {
    fn from(journaling: Journaling) -> Self {
        Self {
            journaling,
            watch_buffer_bytes: DEFAULT_WATCH_BUFFER_BYTES,
        }
    }
}
