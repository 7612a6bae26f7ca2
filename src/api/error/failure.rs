//! The one table of failing answers: error → status, code, message, header, and what is logged. Nothing
//! of the inside of the process is in a message.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt::Write as _;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};

use super::kind::{ApiError, BodyError, Logged};
use crate::access::Unauthorized;
use crate::api::once::IDEMPOTENCY_REPLAYED;
use crate::api::state::PATCH_TYPES;
use crate::model::Revision;
use crate::patch::ApplyError;
use crate::precondition::Mismatch;
use crate::service::{Current, Error, FailedOperation, Unmerged, Unserved};
use crate::storage::StoreError;

/// How much of a message is sent, in characters. It may quote what a client has sent, and that may be
/// the most of a body.
const MESSAGE_MAX_CHARS: usize = 2000;
/// How long a client that is told 503 should wait, in seconds.
const RETRY_AFTER_SECONDS: u64 = 1;
/// How long a client should wait whose address has failed too often, in seconds.
const ATTEMPTS_RETRY_SECONDS: u64 = 30;
/// RFC 5789 §3.1.
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");
/// Why nothing came of a request whose time was over.
const TOO_SLOW: &str = "the request took too long; nothing was done, and nothing will be";
/// What to do when a proxy has made an entity tag weak (RFC 9110 §8.8.3.2, §13.1.1).
const WEAK_TAGS: &str = "If-Match does not accept weak tags (W/\"…\"), and a proxy that compresses answers makes \
                         the ETag field weak: send the etag that the entry shows in the body, \
                         or stop the proxy from compressing with Cache-Control: no-transform";

/// What a failing answer says.
pub struct Failure {
    pub status: StatusCode,
    /// The code, for programs.
    pub code: &'static str,
    /// A sentence for a person.
    pub message: Cow<'static, str>,
    pub header: Option<(HeaderName, HeaderValue)>,
    pub logged: Option<Logged>,
}

impl Failure {
    fn new(status: StatusCode, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            code,
            message: shortened(message.into()),
            header: None,
            logged: None,
        }
    }

    fn invalid(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    fn too_large(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, code, message)
    }

    fn unsupported(message: impl Into<Cow<'static, str>>) -> Self {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Self::new(status, "unsupported_media_type", message)
    }

    fn mismatch(message: impl Into<Cow<'static, str>>) -> Self {
        let status = StatusCode::PRECONDITION_FAILED;
        Self::new(status, "precondition_failed", message)
    }

    /// 410 for a request that was done. The header tells it from what was refused.
    fn answer_compacted(revision: Revision, oldest: Revision) -> Self {
        let message = format!(
            "this request was done already, by revision {revision}, and was not done again; what it wrote is no longer \
             kept (the oldest revision that is kept is {oldest}): do not repeat it, but read"
        );
        let answer = Self::new(StatusCode::GONE, "compacted", message);
        answer.with(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"))
    }

    /// 503: nothing was done, and it may work soon. It says nothing of the service's health, so `reason` is
    /// counted in the log and is no failure there.
    fn refused(message: &'static str, reason: &'static str) -> Self {
        let answer = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message);
        Self {
            logged: Some(Logged::Refused(reason)),
            ..answer.with(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS))
        }
    }

    /// 503 for a request past its deadline.
    fn too_slow() -> Self {
        Self::refused(TOO_SLOW, "longer than --request-timeout")
    }

    fn with(self, name: HeaderName, value: HeaderValue) -> Self {
        Self {
            header: Some((name, value)),
            ..self
        }
    }

    /// 500.
    fn failed(message: impl Into<Cow<'static, str>>, error: &dyn StdError) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "io", message).caused_by(error)
    }

    /// Its cause is logged, down to the root.
    fn caused_by(self, error: &dyn StdError) -> Self {
        let mut cause = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            // Writing to a String does not fail.
            let _ = write!(cause, ": {error}");
            source = error.source();
        }
        Self {
            logged: Some(Logged::Failed(cause.into())),
            ..self
        }
    }
}

impl From<&ApiError> for Failure {
    fn from(error: &ApiError) -> Self {
        use ApiError as E;
        match error {
            E::InvalidHost => {
                let message = "the request must have exactly one Host field with a valid host (RFC 9112 §3.2)";
                Self::invalid("invalid_request", message)
            }
            E::UnknownTransferCoding => {
                let message = "the only Transfer-Encoding that is accepted is chunked";
                Self::invalid("invalid_request", message)
            }
            E::PartialContent => {
                let message = "a body with Content-Range is not accepted, and nothing was written: send the \
                               whole value, or a patch with PATCH";
                Self::invalid("invalid_request", message)
            }
            E::Misdirected => {
                let message = "the service does not answer for the host in Host, and nothing was done: \
                               use localhost, or start the service with --allowed-host and that name";
                Self::new(StatusCode::MISDIRECTED_REQUEST, "misdirected", message)
            }
            E::CrossSite => {
                let message = "a page of another site may not write here, and nothing was written: Origin \
                               must be that of the Host field, also behind a proxy, or be allowed with --cors-origin";
                Self::new(StatusCode::FORBIDDEN, "forbidden", message)
            }
            E::Unauthorized(error) => error.into(),
            E::NoRandomness(reason) => {
                let message =
                    "the service cannot start a session: the system has no random numbers";
                Self {
                    logged: Some(Logged::Failed(reason.as_str().into())),
                    ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, "io", message)
                }
            }
            E::NoSuchPath => Self::not_found("there is nothing at this path"),
            E::MethodNotAllowed => {
                let message =
                    "this path does not support this method; Allow lists those that it does";
                Self::new(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "method_not_allowed",
                    message,
                )
            }
            E::InvalidKeyEncoding => {
                let message = "the key in the path is not percent-encoded UTF-8 (RFC 3986 §2.1)";
                Self::invalid("invalid_key", message)
            }
            E::InvalidKey(error) => Self::invalid("invalid_key", error.to_string()),
            E::InvalidQuery(reason) => Self::invalid("invalid_query", reason.clone()),
            E::InvalidPrecondition { field, reason } => {
                let message = format!(
                    "{field} cannot be read: {reason}; send the tag exactly as in the ETag header"
                );
                Self::invalid("invalid_precondition", message)
            }
            E::InvalidIdempotencyKey(reason) => {
                let message =
                    format!("Idempotency-Key cannot be read, and nothing was done: {reason}");
                Self::invalid("invalid_idempotency_key", message)
            }
            E::Body(error) => error.into(),
            E::TooManyConnections => Self::refused(
                "too many connections; nothing was done: try again soon",
                "more connections than are served at once",
            ),
            E::TimedOut => Self::too_slow(),
            E::Unserved(error) => error.into(),
        }
    }
}

impl From<&Unauthorized> for Failure {
    fn from(error: &Unauthorized) -> Self {
        let (message, challenge) = match error {
            Unauthorized::Missing => (
                "a token is needed, and nothing was done: send Authorization: Bearer with it, or sign in",
                "Bearer realm=\"ifmatch\"",
            ),
            Unauthorized::Unknown => (
                "the token is not valid, and nothing was done: send Authorization: Bearer with one that the \
                 service knows",
                "Bearer realm=\"ifmatch\", error=\"invalid_token\"",
            ),
            Unauthorized::Expired => (
                "the token has expired, and nothing was done: ask for a new one",
                "Bearer realm=\"ifmatch\", error=\"invalid_token\", error_description=\"expired\"",
            ),
            Unauthorized::UnknownIdentity => (
                "the service does not know you, and nothing was done: ask for an entry in its file of tokens, or \
                 send a token",
                "Bearer realm=\"ifmatch\"",
            ),
            Unauthorized::SessionEnded => (
                "the session has ended, and nothing was done: sign in again",
                "Bearer realm=\"ifmatch\"",
            ),
            Unauthorized::TooManyAttempts => {
                let message = "too many tokens from this address were not valid, and nothing was done: try again \
                               in half a minute";
                let answer = Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", message);
                let wait = HeaderValue::from(ATTEMPTS_RETRY_SECONDS);
                return Self {
                    logged: Some(Logged::Refused("too many wrong tokens from one address")),
                    ..answer.with(header::RETRY_AFTER, wait)
                };
            }
        };
        let answer = Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message).with(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static(challenge),
        );
        Self {
            // So that somebody who guesses is seen in the log.
            logged: (*error == Unauthorized::Unknown).then_some(Logged::Refused("a wrong token")),
            ..answer
        }
    }
}

impl From<&BodyError> for Failure {
    fn from(error: &BodyError) -> Self {
        use BodyError as E;
        match error {
            E::Incomplete => Self::invalid("invalid_json", "the body is incomplete"),
            E::TooLarge { limit } => too_large(*limit),
            E::InvalidJson(error) => {
                let message = format!("the body is not a JSON value: {error}");
                Self::invalid("invalid_json", message)
            }
            E::InvalidPatch(error) => {
                let message = format!("the body is not a patch document: {error}");
                Self::invalid("invalid_patch", message)
            }
            E::UntypedPatch => {
                let message = "the body is an array, and nothing was patched: send a JSON Patch as \
                               application/json-patch+json, or an array that is to replace the value \
                               as application/merge-patch+json";
                Self::invalid("invalid_patch", message)
            }
            E::InvalidTransaction(reason) => Self::invalid("invalid_transaction", reason.clone()),
            E::InvalidSignIn => {
                let message = "the body must be {\"token\": \"…\"}";
                Self::invalid("invalid_json", message)
            }
            E::InvalidRevert => {
                let message = "the body must be {\"revision\": n}, with the number of a revision";
                Self::invalid("invalid_json", message)
            }
            E::NotJsonType => Self::unsupported(
                "the Content-Type must be application/json, or another application/…+json; send \
                 patches with PATCH",
            ),
            E::NotPatchType => {
                let answer =
                    Self::unsupported(format!("the Content-Type must be one of {PATCH_TYPES}"));
                answer.with(ACCEPT_PATCH, HeaderValue::from_static(PATCH_TYPES))
            }
            E::Compressed => {
                let answer = Self::unsupported(
                    "a body with Content-Encoding is not accepted: send it as it is",
                );
                answer.with(
                    header::ACCEPT_ENCODING,
                    HeaderValue::from_static("identity"),
                )
            }
        }
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        match error {
            Error::NotFound => Self::not_found("key does not exist"),
            Error::AbsentThen { revision } => {
                Self::not_found(format!("the key did not exist at revision {revision}"))
            }
            Error::NothingToRevert { revision } => Self::not_found(format!(
                "the key did not exist at revision {revision}, and nothing was written: to go back to that, \
                 delete the key"
            )),
            Error::Compacted { oldest } => {
                let message = format!(
                    "that part of the history is no longer kept; the oldest revision that is kept is {oldest}"
                );
                Self::new(StatusCode::GONE, "compacted", message)
            }
            Error::AnswerCompacted { revision, oldest } => {
                Self::answer_compacted(*revision, *oldest)
            }
            Error::Future { newest } => {
                let message = format!("that revision is still to come; the newest is {newest}");
                Self::invalid("invalid_query", message)
            }
            Error::MomentToCome => Self::invalid("invalid_query", "at is still to come"),
            Error::Forbidden(error) => {
                let message = format!("{error}, and nothing was done: ask for a token that may");
                Self::new(StatusCode::FORBIDDEN, "forbidden", message)
            }
            Error::PreconditionFailed {
                current,
                reason,
                comparison,
            } => {
                if let (Some(unmerged), Current::Entry(_)) = (&comparison.unmerged, current) {
                    return unmerged.into();
                }
                Self::mismatch(match (reason, current) {
                    (Mismatch::WeakTags, _) => {
                        format!("the precondition does not hold: {WEAK_TAGS}").into()
                    }
                    (_, Current::Entry(_)) => Cow::from(
                        "the precondition does not hold: merge with current and send its etag in If-Match",
                    ),
                    (_, Current::Hidden) => {
                        "the precondition does not hold; you may not read the current entry".into()
                    }
                    (_, Current::Absent) => {
                        "the precondition does not hold: what it names does not exist".into()
                    }
                })
            }
            Error::TransactionFailed(failed) => {
                let message = "the preconditions of some operations do not hold, so nothing was done; \
                               failed lists these operations";
                let is_weak = |one: &FailedOperation| one.reason == Mismatch::WeakTags;
                if failed.iter().any(is_weak) {
                    return Self::mismatch(format!("{message}. {WEAK_TAGS}"));
                }
                Self::mismatch(message)
            }
            Error::PreconditionRequired => {
                let message = "nothing was written, because this write could replace a value that you have \
                               not seen: send If-Match with the etag that you have read, or \
                               If-None-Match: * to create";
                Self::new(
                    StatusCode::PRECONDITION_REQUIRED,
                    "precondition_required",
                    message,
                )
            }
            Error::ValueTooLarge { limit } => too_large(*limit),
            Error::MergedTooLarge { limit } => {
                let message = format!(
                    "what you and others have written is together larger than the limit of {limit} bytes, and \
                     nothing was written: read, and write less"
                );
                Self::too_large("value_too_large", message)
            }
            Error::RequestInProgress => {
                let message = "a request with this Idempotency-Key is in progress; this one has done nothing: send \
                               it again soon";
                Self::new(StatusCode::CONFLICT, "idempotency_in_progress", message)
                    .with(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS))
            }
            Error::RequestMismatch => {
                let message = "this Idempotency-Key was used for another request, and nothing was done: send each \
                               request with a key of its own, and repeat it unchanged";
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                Self::new(status, "idempotency_mismatch", message)
            }
            Error::RepeatedKey(_) => {
                let message = "a transaction may have only one operation for a key";
                Self::invalid("invalid_transaction", message)
            }
            Error::Patch(error) => error.into(),
            Error::Unserved(error) => error.into(),
        }
    }
}

impl From<&Unmerged> for Failure {
    fn from(unmerged: &Unmerged) -> Self {
        Self::mismatch(match unmerged {
            Unmerged::NoBase => {
                "the state that If-Match names is no longer kept, so nothing was merged or written: merge with \
                 current and send its etag in If-Match"
            }
            Unmerged::Conflicts { .. } => {
                "others have changed the same places, which conflicts lists, and nothing was written: merge with \
                 current and send its etag in If-Match"
            }
        })
    }
}

impl From<&Unserved> for Failure {
    fn from(error: &Unserved) -> Self {
        match error {
            Unserved::Overloaded => Self::refused(
                "too many requests are in progress; nothing was done: try again soon",
                "too many bytes of requests in progress",
            ),
            Unserved::Store(error) => error.into(),
        }
    }
}

impl From<&ApplyError> for Failure {
    fn from(error: &ApplyError) -> Self {
        let message = error.to_string();
        match error {
            ApplyError::Conflict { .. } => {
                Self::new(StatusCode::CONFLICT, "patch_conflict", message)
            }
            ApplyError::TooLarge { .. } => Self::too_large("value_too_large", message),
            ApplyError::TooMuchWork => Self::too_large("request_too_large", message),
            ApplyError::Stopped => Self::too_slow(),
            ApplyError::NotJson(_) => Self::failed(message, error),
        }
    }
}

impl From<&StoreError> for Failure {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::NotApplied(_) => Self::failed(
                "the write could not be made durable and was not applied",
                error,
            ),
            StoreError::Unknown(_) => Self::failed(
                "it is not known whether the write was applied; read before you repeat it",
                error,
            ),
            StoreError::OutcomeUnknown => {
                let message = "the request timed out while the write was being made durable; it may be applied, \
                               even after a read that does not show it: repeat it with the same \
                               Idempotency-Key; if it has none, read, and repeat it with the etag in If-Match";
                let status = StatusCode::GATEWAY_TIMEOUT;
                Self::new(status, "outcome_unknown", message).caused_by(error)
            }
            StoreError::Unreadable(_) => Self::failed("what was written cannot be read", error),
            StoreError::Expired => Self::too_slow(),
            StoreError::Closed => Self::refused(
                "the service is shutting down; nothing was done: try again soon",
                "shutting down",
            ),
            StoreError::Revoked => Self::refused(
                "the data changed while it was being read too slowly: read it again",
                "a reader that was too slow",
            ),
            // Why is for the log of the engine, which says it once and not for each request.
            StoreError::Unavailable(_) => Self::refused(
                "the store cannot do this at the moment; nothing was done: try again soon",
                "the store cannot do this at the moment",
            ),
            StoreError::TooLarge(limit) => {
                let message = format!(
                    "the store cannot commit that much at once, and nothing was done: {limit}"
                );
                Self::too_large("request_too_large", message)
            }
        }
    }
}

fn shortened(message: Cow<'static, str>) -> Cow<'static, str> {
    match message.char_indices().nth(MESSAGE_MAX_CHARS) {
        Some((end, _)) => format!("{}…", &message[..end]).into(),
        None => message,
    }
}

fn too_large(limit: usize) -> Failure {
    let message = format!("the body is larger than the limit of {limit} bytes");
    Failure::too_large("value_too_large", message)
}
