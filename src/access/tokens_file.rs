//! The file of tokens on disk, which is read again when it changes.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use thiserror::Error;
use tokio::time::{MissedTickBehavior, interval};

use super::authority::Authority;
use super::tokens::{Tokens, TokensError};
use crate::changed_file::{CHECK_EVERY, ChangedFile};

/// The longest file, in bytes: room for some ten thousand tokens.
const FILE_MAX_BYTES: u64 = 4 * 1024 * 1024;

/// A file of tokens, and how it was when it was read last.
#[derive(Debug)]
pub struct WatchedTokens(ChangedFile);

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
        let file = ChangedFile::open(path.to_owned()).await;
        let file = file.map_err(|source| TokensFileError::Io {
            path: path.to_owned(),
            source,
        })?;
        let tokens = read(&file).await?;
        Ok((Self(file), tokens))
    }

    /// Gives `authority` the tokens of the file whenever it has changed, and ends who has expired. A file that
    /// cannot be read leaves it as it is.
    pub async fn keep_current(mut self, authority: Authority) {
        // How often it is looked at whose time is over, too.
        let mut ticks = interval(CHECK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            authority.revoke_expired(SystemTime::now().into());
            match self.0.has_changed().await {
                Ok(false) => continue,
                Ok(true) => {}
                Err(error) => {
                    self.complain(&error);
                    continue;
                }
            }
            match read(&self.0).await {
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
            tokens = %self.0.path().display(),
            %error,
            "nothing of the file of tokens is in effect; the tokens of before stay valid, also those that it removes"
        );
    }
}

async fn read(file: &ChangedFile) -> Result<Tokens, TokensFileError> {
    let path = || file.path().to_owned();
    let unreadable = |source| TokensFileError::Io {
        path: path(),
        source,
    };
    let bytes = file.read(FILE_MAX_BYTES).await.map_err(unreadable)?;
    let text = String::from_utf8(bytes)
        .map_err(|error| unreadable(io::Error::new(io::ErrorKind::InvalidData, error)))?;
    Tokens::parse(&text).map_err(|source| TokensFileError::Invalid {
        path: path(),
        source,
    })
}
