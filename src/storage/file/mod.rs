//! The engine on one `data.json`: one writer thread, group commit, and a log of the commits, which is the
//! journal where the file is large.
//!
//! Readers share the table behind a lock that nobody holds across an await. All commits go over a
//! bounded channel to one thread, which takes every commit that is waiting, checks each one against
//! the table plus what the batch has changed so far, makes the batch durable with one file
//! operation, and only then applies it to the table, publishes it to watchers and answers.

mod checkpoint;
mod commit;
mod disk;
pub(super) mod format;
pub(super) mod frame;
mod identity;
mod journal;
mod load;
mod lines;
mod lock;
pub(super) mod log;
mod open;
mod policy;
mod settings;
mod store;
mod suitable;
mod syncer;
mod verify;
mod writer;

pub use self::open::OpenError;
pub use self::settings::{
    DEFAULT_HISTORY, DEFAULT_HISTORY_MAX_BYTES, DEFAULT_JOURNAL_ABOVE_BYTES, History, Journaling,
    Settings,
};
pub use self::store::FileStore;
pub use self::verify::{LeadsToData, Verified, VerifiedLog, verify};
