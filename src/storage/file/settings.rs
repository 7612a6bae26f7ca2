//! The settings of the engine.

use std::time::Duration;

use crate::storage::feed::DEFAULT_WATCH_BUFFER_BYTES;
use crate::storage::requests::DEFAULT_IDEMPOTENCY_WINDOW;

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

/// How long commits are kept for the history unless a flag says otherwise.
pub const DEFAULT_HISTORY: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How much of them is kept unless a flag says otherwise, in bytes.
pub const DEFAULT_HISTORY_MAX_BYTES: u64 = 256 * 1024 * 1024;

/// How much of the past is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    /// Nothing.
    Never,
    /// The states of this time, as far as they fit.
    For {
        /// How old a state may become.
        time: Duration,
        /// How much is kept, in bytes.
        max_bytes: u64,
    },
}

impl Default for History {
    fn default() -> Self {
        Self::For {
            time: DEFAULT_HISTORY,
            max_bytes: DEFAULT_HISTORY_MAX_BYTES,
        }
    }
}

/// The settings of a [`FileStore`](super::FileStore).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// When commits are appended to a journal.
    pub journaling: Journaling,
    /// How much of the past is kept.
    pub history: History,
    /// How long a request is remembered that was done, so that it is not done twice.
    pub idempotency_window: Duration,
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
            history: History::default(),
            idempotency_window: DEFAULT_IDEMPOTENCY_WINDOW,
            watch_buffer_bytes: DEFAULT_WATCH_BUFFER_BYTES,
        }
    }
}
