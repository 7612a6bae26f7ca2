//! What the benchmarks measure besides the public interface.

pub use super::staged::Staged;
pub use super::table::Table;

/// `data.json`.
pub mod format {
    pub use crate::storage::file::format::{decode, decode_part, encode};
}

/// The commit log.
pub mod log {
    pub use crate::storage::file::frame::text_of_frame;
    pub use crate::storage::file::log::{Group, group_frame};
}

/// The client of etcd.
#[cfg(feature = "etcd")]
pub mod etcd {
    pub use crate::storage::etcd::client::{Client, WatchStream};
    pub use crate::storage::etcd::error::ClientError;

    /// What it sends and receives.
    pub mod messages {
        pub use crate::storage::etcd::messages::*;
    }
}
