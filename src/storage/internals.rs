//! What the benchmarks measure besides the public interface.

pub use super::file::identity::JournalId;
pub use super::staged::Staged;
pub use super::table::Table;

/// `data.json`.
pub mod format {
    pub use crate::storage::file::format::{decode, decode_part, encode};
}

/// `data.json.journal`.
pub mod journal {
    pub use crate::storage::file::journal::{first_frame, frame, replay};
}
