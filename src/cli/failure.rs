//! Why a command failed: the messages to its user, and the exit codes.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use super::cause::{CERTIFICATE, cause, untrusted};
use super::entry::Entry;
use super::interrupt::{Interrupt, SignalError};
use super::text::{get_command, printable};
use crate::access::Action;
use crate::atomic_file::ReplaceError;
use crate::model::Key;

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

/// The exit code after wrong usage, also that of the parser of the arguments.
const USAGE: u8 = 2;
/// The exit code if the key does not exist.
const NOT_FOUND: u8 = 3;
/// The exit code after a conflict.
const CONFLICT: u8 = 4;
/// The exit code if the service needs a token, or another one.
const NOT_ALLOWED: u8 = 5;

/// The service's own server errors, by status and code (`ErrorCode` in `openapi.yaml`).
const SERVER_ERRORS: [(u16, &str); 3] =
    [(500, "io"), (503, "unavailable"), (504, "outcome_unknown")];

/// The code of a request that is already at work.
const IN_PROGRESS: &str = "idempotency_in_progress";

/// What messages of the service say of a write that was not begun, the longest text first.
const NOTHING_DONE: [&str; 4] = [
    "; nothing was done, and nothing will be",
    ", and nothing was done",
    ", so nothing was done",
    "; nothing was done",
];

/// An error response.
#[derive(Debug)]
pub struct Refusal {
    /// Its status.
    pub status: u16,
    /// Whether it responds to a write.
    is_of_write: bool,
    /// Its body, if it is an error of the service.
    pub body: Option<ErrorBody>,
    /// Its body, unchanged.
    pub text: String,
    /// Its `Location` header.
    pub location: Option<String>,
    /// Its `Retry-After` header, if that is a number of seconds.
    pub retry_after: Option<Duration>,
    /// What the user can do about it.
    pub advice: Option<String>,
    /// The flags of the command, for another one that the message suggests.
    pub flags: String,
}

/// The body of an error.
#[derive(Debug, Deserialize)]
pub struct ErrorBody {
    error: String,
    message: String,
    /// In a 412, the current entry.
    #[serde(default)]
    pub current: Option<Entry>,
}

impl Refusal {
    /// The error response with this status, body and `Location` header.
    pub fn new(status: u16, text: String, location: Option<String>, is_of_write: bool) -> Self {
        let body: Option<ErrorBody> = serde_json::from_str(&text).ok();
        // Gateways send bodies of the same form with their own server errors.
        let is_ours = |body: &ErrorBody| {
            status < 500 || SERVER_ERRORS.contains(&(status, body.error.as_str()))
        };
        Self {
            status,
            is_of_write,
            body: body.filter(is_ours),
            text,
            location,
            retry_after: None,
            advice: None,
            flags: String::new(),
        }
    }

    /// Whether the service needs a token, or another one.
    pub fn is_not_allowed(&self) -> bool {
        self.has_error(401, "unauthorized") || self.has_error(403, "forbidden")
    }

    /// Whether the key does not exist.
    pub fn is_not_found(&self) -> bool {
        self.has_error(404, "not_found")
    }

    /// Whether a precondition did not hold.
    pub fn is_precondition_failed(&self) -> bool {
        self.status == 412 && self.body.is_some()
    }

    /// Whether a precondition did not hold, and the caller may not know the current entry.
    pub fn hides_current(&self) -> bool {
        // Null says that the key does not exist.
        let has_current = || {
            let body: Option<serde_json::Value> = serde_json::from_str(&self.text).ok();
            body.is_some_and(|body| body.get("current").is_some())
        };
        self.is_precondition_failed() && !has_current()
    }

    /// Whether the service requires a precondition.
    pub fn needs_precondition(&self) -> bool {
        self.status == 428 && self.body.is_some()
    }

    /// Whether it is a proxy's response to a write that the service may have received and applied.
    pub fn may_be_applied(&self) -> bool {
        self.is_of_write && self.body.is_none() && self.status >= 500
    }

    /// Whether repeating the write may help: a proxy did not get the service's answer, or the service did not learn
    /// in time whether the write was applied.
    pub fn is_lost_on_the_way(&self) -> bool {
        let is_gateways = self.may_be_applied() && matches!(self.status, 502..=504);
        is_gateways || self.has_error(504, "outcome_unknown")
    }

    /// Whether the service had no time for the request, and did nothing.
    pub fn is_busy(&self) -> bool {
        self.has_error(503, "unavailable")
    }

    /// Whether the service is at work on the same request.
    pub fn is_in_progress(&self) -> bool {
        self.has_error(409, IN_PROGRESS)
    }

    /// Whether the service refuses the request as it is, as it would have the first time.
    pub fn is_about_the_request(&self) -> bool {
        let depends_on_sender = self.is_not_allowed() || matches!(self.status, 422 | 429);
        self.body.is_some() && self.status < 500 && !depends_on_sender
    }

    fn has_error(&self, status: u16, error: &str) -> bool {
        let body = self.body.as_ref();
        self.status == status && body.is_some_and(|body| body.error == error)
    }

    /// Whether the write was refused because of somebody else's change.
    pub fn is_conflict(&self) -> bool {
        matches!(self.status, 409 | 412) && self.body.is_some() && !self.is_in_progress()
    }

    fn exit_code(&self) -> ExitCode {
        if self.is_not_found() {
            ExitCode::from(NOT_FOUND)
        } else if self.is_conflict() {
            ExitCode::from(CONFLICT)
        } else if self.is_not_allowed() {
            ExitCode::from(NOT_ALLOWED)
        } else {
            ExitCode::FAILURE
        }
    }

    /// What it says, in words for the user, and what to do.
    pub fn sentence(&self) -> String {
        match &self.advice {
            Some(advice) => format!("{}\n{advice}", self.reason()),
            None => self.reason(),
        }
    }

    fn reason(&self) -> String {
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
                None => format!(
                    "the response (status {status}) is not from ifmatch; check the URL in --server"
                ),
            };
        };
        match (self.status, current) {
            (412, Some(current)) => format!(
                "conflict: {} is current, etag {}; nothing was changed\nTo see the current value: {}",
                current.version_in_words(),
                current.etag,
                get_command(&self.flags, current.key.as_str())
            ),
            (412, None) if self.hides_current() => {
                format!("conflict: {message}; nothing was changed")
            }
            (412, None) => "conflict: the key does not exist; nothing was changed".to_owned(),
            // What follows the colon is for who writes HTTP.
            (401, _) if self.is_not_allowed() => {
                self.in_words(message.split(':').next().unwrap_or(message))
            }
            (428, _) => "nothing was changed, because this service requires the entry's tag: pass \
                         --if-match TAG with the tag that `ifmatch get KEY` shows"
                .to_owned(),
            (504, _) => "the request timed out while the write was being made durable; it may be applied, \
                         even after a read that does not show it: read the entry, and repeat the write with \
                         --if-match TAG"
                .to_owned(),
            _ => self.in_words(message),
        }
    }

    /// The message, but for a read without what it says of a write: a read does nothing in any case.
    fn in_words(&self, message: &str) -> String {
        if self.is_of_write {
            return message.to_owned();
        }
        NOTHING_DONE
            .iter()
            .fold(message.to_owned(), |text, part| text.replace(part, ""))
    }
}
