//! Why a command failed: the messages to its user, and the exit codes.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use thiserror::Error;

use super::cause::{CERTIFICATE, cause, untrusted};
use super::interrupt::{Interrupt, SignalError};
use super::refusal::{CONFLICT, NOT_ALLOWED, Refusal};
use super::text::{get_command, printable};
use crate::access::Action;
use crate::atomic_file::ReplaceError;
use crate::model::Key;

/// The exit code after wrong usage, also that of the parser of the arguments.
const USAGE: u8 = 2;

/// Why a command failed.
#[derive(Debug, Error)]
pub enum Failure {
    /// The service cannot be reached, or its response is incomplete or not from ifmatch.
    #[error("{server}: {reason}")]
    Unreachable {
        /// The URL of the service.
        server: String,
        /// The innermost cause.
        reason: String,
    },
    /// The certificate of the service is not trusted.
    #[error("{server}: {reason}")]
    Untrusted {
        /// The URL of the service.
        server: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The port of the service speaks http in place of https, or the reverse.
    #[error("{}", speaks_other_scheme(server, other))]
    OtherScheme {
        /// The URL of the service.
        server: String,
        /// The same with the scheme that the port speaks.
        other: String,
    },
    /// The response to a write was lost, is incomplete, or is a proxy's.
    #[error(
        "{server}: {reason}\nIt is not known whether the write was applied: read the entry before you write \
         again"
    )]
    OutcomeUnknown {
        /// The URL of the service.
        server: String,
        /// The innermost cause.
        reason: String,
    },
    /// The write was applied, but the result could not be printed.
    #[error("{0}\nIt was written; only the output failed")]
    OutputAfterWrite(Box<Failure>),
    /// The service responded with an error.
    #[error("{}", .0.sentence())]
    Refused(Box<Refusal>),
    /// The key exists, and no flag says that the user has seen its value.
    #[error("{}", exists_unseen(key, refusal))]
    Unseen {
        /// The key.
        key: Key,
        /// The response.
        refusal: Box<Refusal>,
    },
    /// A signal ended the command.
    #[error("interrupted by {signal}")]
    Interrupted {
        /// Which one.
        signal: Interrupt,
    },
    /// A file could not be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file was replaced, but its folder could not be synced.
    #[error("{}: {error}\nThe file was replaced, but a power cut could undo that: run the command again", path.display())]
    NotDurable {
        /// Which one.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Standard output could not be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    /// The input cannot be used. The text says why.
    #[error("{0}")]
    Input(String),
    /// The command makes no sense for this service. The text says why.
    #[error("{0}")]
    Usage(String),
    /// The caller may not write a key, as the service says before the editor is opened.
    #[error(
        "you may not {action} the key {:?}, so the editor was not opened: ask for a token that may\n{advice}",
        printable(key.as_str())
    )]
    NotGranted {
        /// What is not granted.
        action: Action,
        /// The key.
        key: Key,
        /// What the user can do about it.
        advice: String,
    },
    /// Some keys of an import exist with another value.
    #[error("{}", already_exist(*count))]
    AlreadyExists {
        /// How many.
        count: usize,
    },
    /// Some entries changed while an import was replacing them.
    #[error("{}", changed(*count))]
    Changed {
        /// How many.
        count: usize,
    },
    /// An import stopped in the middle.
    #[error("{}", import_stopped(key.as_ref(), failure, *done, *all))]
    ImportStopped {
        /// The key that could not be written, if that was the reason.
        key: Option<Key>,
        /// Why.
        failure: Box<Failure>,
        /// The signal that came before the last responses.
        signal: Option<Interrupt>,
        /// How many entries were written.
        done: u64,
        /// How many entries the export has.
        all: u64,
    },
    /// A watch ended that knows where it was.
    #[error("{}", watch_ended(failure, last_id, *has_shown))]
    WatchEnded {
        /// Why.
        failure: Box<Failure>,
        /// The last event, or the one after which it began.
        last_id: String,
        /// Whether it has shown an event.
        has_shown: bool,
    },
    /// The service did not accept a token.
    #[error("{0}\nThe token was not stored")]
    NotSignedIn(Box<Failure>),
    /// An edit failed, and its text is kept in a file.
    #[error("{failure}\nThe text is kept in {}\nTo continue: {resume}", path.display())]
    TextKept {
        /// Why.
        failure: Box<Failure>,
        /// The file.
        path: PathBuf,
        /// The command that continues the edit.
        resume: String,
    },
    /// The user left the conflicts of an edit unresolved.
    #[error("conflicts left unresolved; nothing was written")]
    Unresolved,
}

impl From<SignalError> for Failure {
    fn from(error: SignalError) -> Self {
        Self::Input(error.to_string())
    }
}

impl Failure {
    /// A request that got no response, although the authorities in the file `ca` are trusted.
    pub fn unreachable(server: String, error: &reqwest::Error, ca: Option<&Path>) -> Self {
        let mut reason = cause(error);
        if !error.is_connect() {
            return Self::Unreachable { server, reason };
        }
        if reason.contains(CERTIFICATE) {
            let advice = untrusted(&reason, ca);
            reason.push_str(&advice);
            return Self::Untrusted { server, reason };
        }
        reason.push_str("\nCheck that the service is running, and the URL in --server");
        Self::Unreachable { server, reason }
    }

    /// A write that got no response.
    pub fn unanswered(server: String, error: &reqwest::Error, ca: Option<&Path>) -> Self {
        if error.is_connect() || error.is_builder() {
            return Self::unreachable(server, error, ca);
        }
        let reason = cause(error);
        Self::OutcomeUnknown { server, reason }
    }

    /// Whether the reader of standard output has closed it.
    pub fn is_broken_pipe(&self) -> bool {
        match self {
            Self::Output(error) => error.kind() == io::ErrorKind::BrokenPipe,
            Self::OutputAfterWrite(failure) => failure.is_broken_pipe(),
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

    /// The exit code of the process.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Refused(refusal) => refusal.exit_code(),
            Self::Usage(_) => ExitCode::from(USAGE),
            Self::NotGranted { .. } => ExitCode::from(NOT_ALLOWED),
            Self::Unseen { .. }
            | Self::AlreadyExists { .. }
            | Self::Changed { .. }
            | Self::Unresolved => ExitCode::from(CONFLICT),
            Self::Interrupted { signal }
            | Self::ImportStopped {
                signal: Some(signal),
                ..
            } => signal.exit_code(),
            Self::TextKept { failure, .. }
            | Self::ImportStopped { failure, .. }
            | Self::NotSignedIn(failure)
            | Self::WatchEnded { failure, .. } => failure.exit_code(),
            Self::OutputAfterWrite(_)
            | Self::OutcomeUnknown { .. }
            | Self::Unreachable { .. }
            | Self::Untrusted { .. }
            | Self::OtherScheme { .. }
            | Self::File { .. }
            | Self::NotDurable { .. }
            | Self::Output(_)
            | Self::Input(_) => ExitCode::FAILURE,
        }
    }
}

fn speaks_other_scheme(server: &str, other: &str) -> String {
    let (scheme, _) = other.split_once(':').unwrap_or_default();
    format!("{server}: this port speaks {scheme}; try {other}")
}

fn watch_ended(failure: &Failure, last_id: &str, has_shown: bool) -> String {
    if has_shown {
        format!(
            "{failure}\nThe watch has ended. To continue it after the last event that it showed: --since {last_id}"
        )
    } else {
        format!(
            "{failure}\nThe watch has ended, and has shown no event. To miss none: --since {last_id}"
        )
    }
}

fn exists_unseen(key: &Key, refusal: &Refusal) -> String {
    let get = get_command(&refusal.flags, key.as_str());
    let key = printable(key.as_str());
    let current = refusal.body.as_ref().and_then(|body| body.current.as_ref());
    let version = current.map_or_else(String::new, |entry| {
        format!(" ({})", entry.version_in_words())
    });
    format!(
        "{key} already exists{version}; nothing was written\nTo replace it, pass the tag that `{get}` shows: \
         --if-match TAG. To replace it whatever its value is: --force"
    )
}

fn already_exist(count: usize) -> String {
    match count {
        1 => "1 key exists with another value and was left unchanged: --replace replaces it"
            .to_owned(),
        _ => format!(
            "{count} keys exist with another value and were left unchanged: --replace replaces them"
        ),
    }
}

fn changed(count: usize) -> String {
    match count {
        1 => "1 key was changed during the import and was left unchanged: run the import again to \
              replace it"
            .to_owned(),
        _ => format!(
            "{count} keys were changed during the import and were left unchanged: run the import again \
             to replace them"
        ),
    }
}

fn import_stopped(key: Option<&Key>, failure: &Failure, done: u64, all: u64) -> String {
    let written = format!("{done} of {all} entries were written");
    match key {
        Some(key) => format!(
            "{}: {failure}\n{written}; correct this, and run the import again for the rest",
            printable(key.as_str())
        ),
        None => format!("{failure}\n{written}; run the import again for the rest"),
    }
}
