//! Replacing a file so that a power cut at any moment leaves the old content or the new one, never a part,
//! and never nothing.
//!
//! [`ReplacedFile`] is the only way in which the file engine and the command line do this: temporary file →
//! write → fsync → rename → fsync of the folder. `access` keeps the mode and the owner, `folder` is the open
//! folder, `expected_file` notices when another process has replaced the file.

mod access;
mod folder;
mod expected_file;
mod replaced;

pub use self::access::{Access, NEW_FILE_MODE};
pub use self::expected_file::PathState;
pub use self::folder::FolderSync;
pub use self::replaced::{ReplaceError, ReplacedFile};
