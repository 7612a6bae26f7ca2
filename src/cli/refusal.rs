//! An error response: what it says to the user, and the exit codes.

use std::process::ExitCode;
use std::time::Duration;

use serde::Deserialize;

use super::entry::Entry;
use super::text::get_command;

/// The exit code if the key does not exist.
const NOT_FOUND: u8 = 3;
/// The exit code after a conflict.
pub const CONFLICT: u8 = 4;
/// The exit code if the service needs a token, or another one.
pub const NOT_ALLOWED: u8 = 5;

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

    /// The exit code of a process that ends with it.
    pub fn exit_code(&self) -> ExitCode {
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
