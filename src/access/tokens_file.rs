//! The file of tokens on disk, which is read again when it changes.

use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use thiserror::Error;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::authority::Authority;
use super::tokens::{Tokens, TokensError};
use crate::changed_file::{CHECK_EVERY, ChangedFile};

/// The longest file, in bytes: room for some ten thousand tokens.
const FILE_MAX_BYTES: u64 = 4 * 1024 * 1024;

/// How often the same error is logged.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10 * 60);

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
        let tokens = read(&file, |tokens| tokens).await?;
        Ok((Self(file), tokens))
    }

    /// Gives `authority` the tokens of the file whenever it has changed, and ends who has expired. A file that
    /// cannot be read leaves it as it is.
    pub async fn keep_current(mut self, authority: Authority) {
        // How often it is looked at whose time is over, too.
        let mut ticks = interval(CHECK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut complaint: Option<Complaint> = None;
        loop {
            ticks.tick().await;
            authority.revoke_expired(SystemTime::now().into());
            let error = match self.0.has_changed().await {
                Ok(false) => {
                    if let Some(complaint) = &mut complaint {
                        complaint.repeat(self.0.path());
                    }
                    continue;
                }
                Ok(true) => {
                    let authority = authority.clone();
                    let replaced = read(&self.0, move |tokens| {
                        let count = tokens.count();
                        authority.replace(tokens);
                        count
                    });
                    match replaced.await {
                        Ok(tokens) => {
                            complaint = None;
                            tracing::info!(tokens, "the file of tokens was read again");
                            continue;
                        }
                        Err(error) => error.to_string(),
                    }
                }
                Err(error) => error.to_string(),
            };
            match &mut complaint {
                Some(complaint) if complaint.error == error => complaint.repeat(self.0.path()),
                _ => complaint = Some(Complaint::log(error, self.0.path())),
            }
        }
    }
}

/// What is wrong with the file, as it was logged last.
struct Complaint {
    error: String,
    logged: Instant,
}

impl Complaint {
    fn log(error: String, path: &Path) -> Self {
        tracing::error!(
            tokens = %path.display(),
            %error,
            "nothing of the file of tokens is in effect; the tokens of before stay valid, also those that it removes"
        );
        Self {
            error,
            logged: Instant::now(),
        }
    }

    /// Logs it again, unless it was logged a short time ago.
    fn repeat(&mut self, path: &Path) {
        if self.logged.elapsed() >= COMPLAIN_EVERY {
            *self = Self::log(mem::take(&mut self.error), path);
        }
    }
}

/// What `take` makes of the tokens in the file. Ten thousand of them take long, so this is not done on a thread
/// that answers requests.
async fn read<T: Send + 'static>(
    file: &ChangedFile,
    take: impl FnOnce(Tokens) -> T + Send + 'static,
) -> Result<T, TokensFileError> {
    let path = || file.path().to_owned();
    let unreadable = |source| TokensFileError::Io {
        path: path(),
        source,
    };
    let bytes = file.read(FILE_MAX_BYTES).await.map_err(unreadable)?;
    let text = String::from_utf8(bytes)
        .map_err(|error| unreadable(io::Error::new(io::ErrorKind::InvalidData, error)))?;
    let parsed = spawn_blocking(move || Tokens::parse(&text).map(take)).await;
    let parsed = parsed.map_err(|ended| unreadable(io::Error::other(ended)))?;
    parsed.map_err(|source| TokensFileError::Invalid {
        path: path(),
        source,
    })
}
