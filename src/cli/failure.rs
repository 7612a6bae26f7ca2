//! Why a command failed, in words for its user.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Deserialize;
use thiserror::Error;

use super::client::Entry;
use super::output::shown;
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
    /// The service refused.
    #[error("{}", .0.sentence())]
    Refused(Box<Refusal>),
    /// A file could not be read or written.
    #[error("{}: {error}", path.display())]
    File {
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
    #[error("{count} {} there already, with another value", if *count == 1 { "key is" } else { "keys are" })]
    There {
        /// How many.
        count: usize,
    },
    /// An import stopped in the middle.
    #[error("{}: {failure}\n{done} of {all} were written before; import it again to go on", shown(key.as_str()))]
    Broken {
        /// At which entry.
        key: Key,
        /// Why.
        failure: Box<Failure>,
        /// How many were written.
        done: u64,
        /// Of how many.
        all: u64,
    },
    /// An edit came to nothing; the text is kept.
    #[error("{failure}\nThe text is kept in {}{advice}", path.display())]
    Kept {
        /// Why.
        failure: Box<Failure>,
        /// Where.
        path: PathBuf,
        /// What to do with it; begins with a line break if it is there.
        advice: String,
    },
    /// Both sides of an edit changed the same, and nobody has chosen.
    #[error("what overlaps was not settled")]
    Unsettled,
}

impl Failure {
    /// What a request ended with that got no answer.
    pub fn unreachable(server: String, error: &reqwest::Error) -> Self {
        // The outermost says only what was asked for.
        let mut reason = error
            .source()
            .map_or_else(|| error.to_string(), ToString::to_string);
        let mut cause = error.source().and_then(Error::source);
        while let Some(error) = cause {
            reason = error.to_string();
            cause = error.source();
        }
        Self::Unreachable { server, reason }
    }

    /// A file that cannot be read or written.
    pub fn file(path: &Path, error: io::Error) -> Self {
        Self::File {
            path: path.to_owned(),
            error,
        }
    }

    /// What the process ends with.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Refused(refusal) => refusal.exit_code(),
            Self::There { .. } | Self::Unsettled => ExitCode::from(CONFLICT),
            Self::Kept { failure, .. } | Self::Broken { failure, .. } => failure.exit_code(),
            Self::Unreachable { .. } | Self::File { .. } | Self::Output(_) | Self::Input(_) => {
                ExitCode::FAILURE
            }
        }
    }
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

    /// Whether somebody else's change stands.
    pub fn is_conflict(&self) -> bool {
        matches!(self.status, 409 | 412)
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
            return format!(
                "the answer has status {} and is none of ifmatch",
                self.status
            );
        };
        match (self.status, current) {
            (412, Some(Entry { version, etag, .. })) => {
                format!("conflict: version {version} stands, etag {etag}")
            }
            (412, None) => "conflict: the key is not there".to_owned(),
            _ => message.clone(),
        }
    }
}
