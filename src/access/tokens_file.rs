//! The file of tokens on disk, which is read again when it changes.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use thiserror::Error;
use tokio::fs;
use tokio::time::{MissedTickBehavior, interval};

use super::authority::Authority;
use super::tokens::{Tokens, TokensError};

/// How often it is looked at whether the file has changed, and whose time is over.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// The longest file, in bytes: room for some ten thousand tokens.
const FILE_MAX_BYTES: u64 = 4 * 1024 * 1024;

/// A file of tokens, and how it was when it was read last.
#[derive(Debug)]
pub struct WatchedTokens {
    path: PathBuf,
    seen: Seen,
}

/// By what a changed file is known, also one that another name or symbolic link has taken the place of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Why there are no tokens.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TokensFileError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not a file of tokens.
    #[error("{} is not a valid file of tokens: {source}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Why.
        source: TokensError,
    },
}

impl WatchedTokens {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`TokensFileError`].
    pub async fn open(path: &Path) -> Result<(Self, Tokens), TokensFileError> {
        let path = path.to_owned();
        let unreadable = |source| TokensFileError::Io {
            path: path.clone(),
            source,
        };
        let seen = look(&path).await.map_err(unreadable)?;
        let tokens = read(&path).await?;
        Ok((Self { path, seen }, tokens))
    }

    /// Gives `authority` the tokens of the file whenever it has changed, and ends who has expired. A file that
    /// cannot be read leaves it as it is.
    pub async fn keep_current(mut self, authority: Authority) {
        let mut ticks = interval(CHECK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_missing = false;
        let mut changed = None;
        loop {
            ticks.tick().await;
            authority.revoke_expired(SystemTime::now().into());
            let seen = match look(&self.path).await {
                Ok(seen) => seen,
                Err(error) => {
                    if !is_missing {
                        self.complain(&error);
                    }
                    is_missing = true;
                    continue;
                }
            };
            if seen == self.seen && !is_missing {
                continue;
            }
            // Who writes it in place has emptied it before, and a part of it may be valid by itself: it is only read
            // when it has been the same for two looks.
            if changed.replace(seen) != Some(seen) {
                continue;
            }
            is_missing = false;
            // Before it is read: a change that comes while it is read is seen at the next look.
            self.seen = seen;
            match read(&self.path).await {
                Ok(tokens) => {
                    let count = tokens.principals().count();
                    authority.replace(tokens);
                    tracing::info!(tokens = count, "the file of tokens was read again");
                }
                Err(error) => self.complain(&error),
            }
        }
    }

    fn complain(&self, error: &dyn std::error::Error) {
        tracing::error!(
            tokens = %self.path.display(),
            %error,
            "the file of tokens cannot be read; the tokens of before stay valid"
        );
    }
}

async fn look(path: &Path) -> io::Result<Seen> {
    let of = fs::metadata(path).await?;
    Ok(Seen {
        device: of.dev(),
        inode: of.ino(),
        bytes: of.len(),
        modified: (of.mtime(), of.mtime_nsec()),
        changed: (of.ctime(), of.ctime_nsec()),
    })
}

async fn read(path: &Path) -> Result<Tokens, TokensFileError> {
    let unreadable = |source| TokensFileError::Io {
        path: path.to_owned(),
        source,
    };
    let bytes = fs::metadata(path).await.map_err(unreadable)?.len();
    if bytes > FILE_MAX_BYTES {
        let reason = format!("it is larger than {FILE_MAX_BYTES} bytes");
        return Err(unreadable(io::Error::other(reason)));
    }
    let text = fs::read_to_string(path).await.map_err(unreadable)?;
    Tokens::parse(&text).map_err(|source| TokensFileError::Invalid {
        path: path.to_owned(),
        source,
    })
}
