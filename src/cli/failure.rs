//! Why a command failed, in words for its user.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Deserialize;
use thiserror::Error;

use super::entry::Entry;
use super::interrupt::{Interrupt, SignalError};
use super::text::{quoted, shown};
use crate::atomic_file::ReplaceError;
use crate::model::Key;

/// Why a command failed.
#[derive(Debug, Error)]
pub enum Failure {
    /// The service gave no answer, or not a whole one.
    #[error("{server}: {reason}")]
    Unreachable {
        /// Where it should be.
        server: String,
        /// What went wrong, down to the cause.
        reason: String,
    },
    /// The answer to a write did not come, or not whole.
    #[error(
        "{server}: {reason}\nIt is not known whether the write was applied: read the entry before you write \
         again"
    )]
    Unknown {
        /// Where the service should be.
        server: String,
        /// What went wrong, down to the cause.
        reason: String,
    },
    /// It was written, but could not be told.
    #[error("{0}\nIt was written; only the output failed")]
    Written(Box<Failure>),
    /// The service refused.
    #[error("{}", .0.sentence())]
    Refused(Box<Refusal>),
    /// The key exists, and nothing says that its value was seen.
    #[error("{}", unseen(key, refusal))]
    Unseen {
        /// The key.
        key: Key,
        /// What the service said.
        refusal: Box<Refusal>,
    },
    /// A signal came before the end.
    #[error("interrupted by {signal}")]
    Interrupted {
        /// Which.
        signal: Interrupt,
    },
    /// A file could not be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file was replaced, but perhaps not for good.
    #[error("{}: {error}\nThe file was replaced, but a power failure could undo that: run the command again", path.display())]
    NotDurable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Standard output could not be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    /// What was given is not what is needed.
    #[error("{0}")]
    Input(String),
    /// Some of what was to be created is there with another value.
    #[error("{count} {} with another value and {} left unchanged: --replace replaces {}", if *count == 1 { "key exists" } else { "keys exist" }, if *count == 1 { "was" } else { "were" }, if *count == 1 { "it" } else { "them" })]
    There {
        /// How many.
        count: usize,
    },
    /// Some of what was to be replaced has changed while that was done.
    #[error("{count} {} changed during the import and {} left unchanged: run the import again to replace {}", if *count == 1 { "key was" } else { "keys were" }, if *count == 1 { "was" } else { "were" }, if *count == 1 { "it" } else { "them" })]
    Changed {
        /// How many.
        count: usize,
    },
    /// An import stopped in the middle.
    #[error("{}{failure}\n{done} of {all} entries were written{}", key.as_ref().map_or_else(String::new, |key| format!("{}: ", shown(key.as_str()))), if key.is_none() { "; run the import again for the rest" } else { "" })]
    Broken {
        /// At which entry, if it was because of one.
        key: Option<Key>,
        /// Why.
        failure: Box<Failure>,
        /// How many were written.
        done: u64,
        /// Of how many.
        all: u64,
    },
    /// An edit came to nothing; the text is kept.
    #[error("{failure}\nThe text is kept in {}\nTo continue: {resume}", path.display())]
    Kept {
        /// Why.
        failure: Box<Failure>,
        /// Where.
        path: PathBuf,
        /// The command that goes on with it.
        resume: String,
    },
    /// Both sides of an edit changed the same, and nobody has chosen.
    #[error("conflicts left unresolved; nothing was written")]
    Unsettled,
}

impl From<SignalError> for Failure {
    fn from(error: SignalError) -> Self {
        Self::Input(error.to_string())
    }
}

impl Failure {
    /// What a request ended with that got no answer.
    pub fn unreachable(server: String, error: &reqwest::Error) -> Self {
        let reason = cause(error);
        Self::Unreachable { server, reason }
    }

    /// What a write ended with that got no answer.
    pub fn unanswered(server: String, error: &reqwest::Error) -> Self {
        if error.is_connect() || error.is_builder() {
            return Self::unreachable(server, error);
        }
        let reason = cause(error);
        Self::Unknown { server, reason }
    }

    /// Whether nobody reads the output any more.
    pub fn is_of_a_closed_output(&self) -> bool {
        match self {
            Self::Output(error) => error.kind() == io::ErrorKind::BrokenPipe,
            Self::Written(failure) => failure.is_of_a_closed_output(),
            _ => false,
        }
    }

    /// A file that cannot be read or written.
    pub fn file(path: &Path, error: io::Error) -> Self {
        Self::File {
            path: path.to_owned(),
            error,
        }
    }

    /// A file that cannot be replaced.
    pub fn replace(path: &Path, error: ReplaceError) -> Self {
        match error {
            ReplaceError::Before(error) => Self::file(path, error),
            ReplaceError::After(error) => Self::NotDurable {
                path: path.to_owned(),
                error,
            },
        }
    }

    /// What the process ends with.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Refused(refusal) => refusal.exit_code(),
            Self::Unseen { .. } | Self::There { .. } | Self::Changed { .. } | Self::Unsettled => {
                ExitCode::from(CONFLICT)
            }
            Self::Interrupted { signal } => signal.exit_code(),
            Self::Kept { failure, .. } | Self::Broken { failure, .. } => failure.exit_code(),
            Self::Written(_)
            | Self::Unknown { .. }
            | Self::Unreachable { .. }
            | Self::File { .. }
            | Self::NotDurable { .. }
            | Self::Output(_)
            | Self::Input(_) => ExitCode::FAILURE,
        }
    }
}

fn unseen(key: &Key, refusal: &Refusal) -> String {
    let key = shown(key.as_str());
    let current = refusal.body.as_ref().and_then(|body| body.current.as_ref());
    let version = current.map_or_else(String::new, |entry| format!(" (version {})", entry.version));
    format!(
        "{key} already exists{version}; nothing was written\nTo replace it, pass the tag that `ifmatch get \
         {}` shows: --if-match TAG. To replace it whatever its value is: --force",
        quoted(&key)
    )
}

/// The innermost reason: the outermost says only what was asked for.
fn cause(error: &reqwest::Error) -> String {
    let mut innermost: &dyn Error = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}

/// The exit code if the key is not there.
const NOT_THERE: u8 = 3;
/// The exit code if somebody else's change stands.
const CONFLICT: u8 = 4;

/// An answer that is an error.
#[derive(Debug)]
pub struct Refusal {
    /// Its status.
    pub status: u16,
    /// Its body, if that is one of the service's.
    pub body: Option<ErrorBody>,
    /// Its body as it is.
    pub text: String,
    /// Where it says that one should go.
    pub location: Option<String>,
}

/// The body of an error.
#[derive(Debug, Deserialize)]
pub struct ErrorBody {
    error: String,
    message: String,
    /// Of a 412, the entry as it stands.
    #[serde(default)]
    pub current: Option<Entry>,
}

impl Refusal {
    /// Whether the key is not there.
    pub fn is_not_found(&self) -> bool {
        self.status == 404
            && self
                .body
                .as_ref()
                .is_some_and(|body| body.error == "not_found")
    }

    /// Whether a precondition did not hold.
    pub fn is_stale(&self) -> bool {
        self.status == 412 && self.body.is_some()
    }

    /// Whether the service takes no write that names no tag.
    pub fn needs_precondition(&self) -> bool {
        self.status == 428 && self.body.is_some()
    }

    /// Whether somebody else's change stands.
    pub fn is_conflict(&self) -> bool {
        matches!(self.status, 409 | 412) && self.body.is_some()
    }

    fn exit_code(&self) -> ExitCode {
        if self.is_not_found() {
            ExitCode::from(NOT_THERE)
        } else if self.is_conflict() {
            ExitCode::from(CONFLICT)
        } else {
            ExitCode::FAILURE
        }
    }

    fn sentence(&self) -> String {
        let Some(ErrorBody {
            message, current, ..
        }) = &self.body
        else {
            let status = self.status;
            return match &self.location {
                Some(location) => format!(
                    "the server redirects ({status}) to {location}; if that is the service, give its URL in \
                     --server"
                ),
                None => format!("the response (status {status}) is not from ifmatch"),
            };
        };
        match (self.status, current) {
            (412, Some(Entry { version, etag, .. })) => {
                format!("conflict: version {version} is current, etag {etag}; nothing was changed")
            }
            (412, None) => "conflict: the key does not exist; nothing was changed".to_owned(),
            (428, _) => "nothing was changed, because this service requires the entry's tag: pass \
                         --if-match TAG with the tag that `ifmatch get KEY` shows"
                .to_owned(),
            (504, _) => "the request timed out while the write was being made durable; it may be applied, \
                         even after a read that does not show it: read the entry, and repeat the write with \
                         --if-match TAG"
                .to_owned(),
            _ => message.clone(),
        }
    }
}
