//! Every failing answer: error → status, code, JSON. The only file that chooses a failing status.

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::message;
use super::pieces::{BUILT_MAX_BYTES, LongText, text_bytes};
use super::reply::{self, NO_STORE};
use super::state::PATCH_TYPES;
use crate::json::SyntaxError;
use crate::model::{Entry, Key, KeyError};
use crate::patch::{ApplyError, PatchError};
use crate::service::{Error, FailedOperation, Service};
use crate::storage::StoreError;

/// How long a client that is told 503 should wait, in seconds.
const RETRY_AFTER_SECONDS: u64 = 1;
/// How much of a message is sent, in characters. It may quote what a client has sent, and that may be
/// the most of a body.
const MESSAGE_MAX_CHARS: usize = 2000;
/// RFC 5789 §3.1.
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// Why a request failed.
#[derive(Debug)]
pub enum ApiError {
    /// The request has no `Host`, several, or one that is not a host (RFC 9112 §3.2).
    InvalidHost,
    /// The body comes in a transfer coding that is not known.
    UnknownTransferCoding,
    /// The body is a part of something (RFC 9110 §14.5).
    PartialContent,
    /// The host is not one that the service answers for.
    Misdirected,
    /// A page of another site would write.
    CrossSite,
    /// No route has this path.
    NoSuchPath,
    /// The path has a route, but not for this method. The router adds `Allow`.
    MethodNotAllowed,
    /// The path is not percent-encoded UTF-8.
    InvalidKeyEncoding,
    /// The key is none.
    InvalidKey(KeyError),
    /// A query parameter is unknown, repeated or out of range.
    InvalidQuery(String),
    /// A precondition cannot be read.
    InvalidPrecondition {
        /// The header field.
        field: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The body is not JSON.
    InvalidJson(SyntaxError),
    /// The body did not come to its end.
    IncompleteBody,
    /// The body is longer than a value may be.
    ValueTooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The body is not said to be JSON.
    UnsupportedMediaType,
    /// The body is not said to be a patch document.
    UnsupportedPatchType,
    /// The body is JSON, but no patch document.
    InvalidPatch(PatchError),
    /// The body is an array that is not said to be a JSON Patch.
    UntypedPatch,
    /// The body is JSON, but no transaction.
    InvalidTransaction(String),
    /// The body is compressed.
    UnsupportedContentCoding,
    /// More connections than are served at once.
    TooManyConnections,
    /// The deadline of the request came before anything was done.
    TimedOut,
    /// The service said no.
    Service(Error),
    /// It said no with an answer that is sent piece by piece.
    Long(Box<Response>),
}

/// The cause of a 5xx, for the log; no client sees it.
#[derive(Debug, Clone)]
pub struct Cause(pub Arc<str>);

/// Why a request was refused, for the log; that is counted and not a failure.
#[derive(Debug, Clone, Copy)]
pub struct Refusal(pub &'static str);

#[derive(Serialize)]
struct ErrorBody {
    error: &'static str,
    message: String,
}

#[derive(Serialize)]
struct MismatchBody<'a> {
    #[serde(flatten)]
    error: ErrorBody,
    current: Option<&'a Entry>,
}

#[derive(Serialize)]
struct TransactionFailedBody {
    #[serde(flatten)]
    error: ErrorBody,
    failed: Vec<FailedBody>,
}

#[derive(Serialize)]
struct FailedBody {
    index: usize,
    key: Key,
    current: Option<Entry>,
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::Service(Error::Store(error))
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self::Service(error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (cause, refusal) = (self.cause(), self.refusal());
        let mut response = self.into_plain_response();
        if let Some(refusal) = refusal {
            response.extensions_mut().insert(refusal);
        }
        if let Some(cause) = cause {
            response.extensions_mut().insert(Cause(cause.into()));
        }
        response
    }
}

impl ApiError {
    fn into_plain_response(self) -> Response {
        use StatusCode as S;
        let message = self.message();
        match self {
            Self::InvalidHost | Self::UnknownTransferCoding | Self::PartialContent => {
                answer(S::BAD_REQUEST, "invalid_request", message)
            }
            Self::Misdirected => answer(S::MISDIRECTED_REQUEST, "misdirected", message),
            Self::CrossSite => answer(S::FORBIDDEN, "forbidden", message),
            Self::NoSuchPath | Self::Service(Error::NotFound) => {
                answer(S::NOT_FOUND, "not_found", message)
            }
            Self::MethodNotAllowed => answer(S::METHOD_NOT_ALLOWED, "method_not_allowed", message),
            Self::InvalidKeyEncoding | Self::InvalidKey(_) => {
                answer(S::BAD_REQUEST, "invalid_key", message)
            }
            Self::InvalidPatch(_) | Self::UntypedPatch => {
                answer(S::BAD_REQUEST, "invalid_patch", message)
            }
            Self::InvalidTransaction(_) => answer(S::BAD_REQUEST, "invalid_transaction", message),
            Self::InvalidQuery(_) => answer(S::BAD_REQUEST, "invalid_query", message),
            Self::InvalidPrecondition { .. } => {
                answer(S::BAD_REQUEST, "invalid_precondition", message)
            }
            Self::InvalidJson(_) | Self::IncompleteBody => {
                answer(S::BAD_REQUEST, "invalid_json", message)
            }
            Self::Service(Error::Patch(ApplyError::Conflict { .. })) => {
                answer(S::CONFLICT, "patch_conflict", message)
            }
            Self::ValueTooLarge { .. }
            | Self::Service(
                Error::ValueTooLarge { .. } | Error::Patch(ApplyError::TooLarge { .. }),
            ) => answer(S::PAYLOAD_TOO_LARGE, "value_too_large", message),
            Self::UnsupportedMediaType => {
                answer(S::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
            }
            Self::UnsupportedPatchType => {
                let mut response =
                    answer(S::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message);
                let types = HeaderValue::from_static(PATCH_TYPES);
                response.headers_mut().insert(ACCEPT_PATCH, types);
                response
            }
            Self::UnsupportedContentCoding => {
                let mut response =
                    answer(S::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message);
                let identity = HeaderValue::from_static("identity");
                response
                    .headers_mut()
                    .insert(header::ACCEPT_ENCODING, identity);
                response
            }
            Self::Service(Error::PreconditionFailed { current, .. }) => mismatch(message, current),
            Self::Service(Error::TransactionFailed(failed)) => transaction_failed(message, failed),
            Self::Service(Error::PreconditionRequired) => {
                answer(S::PRECONDITION_REQUIRED, "precondition_required", message)
            }
            Self::Service(Error::Patch(ApplyError::TooMuchWork)) => {
                answer(S::PAYLOAD_TOO_LARGE, "request_too_large", message)
            }
            Self::Service(Error::RepeatedKey(_)) => {
                answer(S::BAD_REQUEST, "invalid_transaction", message)
            }
            Self::Service(
                Error::Store(StoreError::NotApplied(_) | StoreError::Unknown(_))
                | Error::Patch(ApplyError::NotJson(_)),
            ) => answer(S::INTERNAL_SERVER_ERROR, "io", message),
            Self::Service(Error::Store(StoreError::OutcomeUnknown)) => {
                answer(S::GATEWAY_TIMEOUT, "outcome_unknown", message)
            }
            Self::Long(response) => *response,
            Self::TooManyConnections
            | Self::TimedOut
            | Self::Service(
                Error::Overloaded
                | Error::Patch(ApplyError::Stopped)
                | Error::Store(StoreError::Expired | StoreError::Closed | StoreError::Revoked),
            ) => {
                let mut response = answer(S::SERVICE_UNAVAILABLE, "unavailable", message);
                let seconds = HeaderValue::from(RETRY_AFTER_SECONDS);
                response.headers_mut().insert(header::RETRY_AFTER, seconds);
                response
            }
        }
    }

    /// A sentence for a person. Nothing of the inside of the process is in it.
    fn message(&self) -> String {
        match self {
            Self::InvalidHost => {
                "the request must have one Host field with a valid host (RFC 9112 §3.2)".to_owned()
            }
            Self::UnknownTransferCoding => {
                "a Transfer-Encoding other than chunked is not taken".to_owned()
            }
            Self::PartialContent => {
                "a body with a Content-Range is not taken, and nothing was written: send the whole \
                 value, or a patch with PATCH"
                    .to_owned()
            }
            Self::Misdirected => {
                "the service does not answer for the host in Host, and nothing was \
                 done; use localhost, or start the service with --allowed-host and that name"
                    .to_owned()
            }
            Self::CrossSite => {
                "a page of another site may not write here, and nothing was written; \
                 Origin must be that of the Host field, also behind a proxy"
                    .to_owned()
            }
            Self::NoSuchPath => "there is nothing at this path".to_owned(),
            Self::MethodNotAllowed => {
                "this path does not take this method; Allow names those that it takes".to_owned()
            }
            Self::InvalidKeyEncoding => {
                "the key in the path is not percent-encoded UTF-8 (RFC 3986 §2.1)".to_owned()
            }
            Self::InvalidKey(error) => error.to_string(),
            Self::InvalidQuery(reason) | Self::InvalidTransaction(reason) => reason.clone(),
            Self::InvalidPrecondition { field, reason } => {
                format!("{field} cannot be read: {reason}; send a tag as ETag showed it")
            }
            Self::InvalidJson(error) => format!("the body is not a JSON value: {error}"),
            Self::IncompleteBody => "the body broke off before its end".to_owned(),
            Self::ValueTooLarge { limit } => message::too_large(*limit),
            Self::UnsupportedPatchType => {
                format!("the Content-Type must be one of {PATCH_TYPES}")
            }
            Self::UntypedPatch => {
                "the body is an array, and nothing was patched: send a JSON Patch as \
                 application/json-patch+json, or an array that is to replace the value as \
                 application/merge-patch+json"
                    .to_owned()
            }
            Self::InvalidPatch(error) => format!("the body is not a patch document: {error}"),
            Self::UnsupportedMediaType => "the Content-Type must be application/json, or another \
                 application/…+json that is no patch; PATCH takes patches"
                .to_owned(),
            Self::UnsupportedContentCoding => {
                "a body with a Content-Encoding is not taken".to_owned()
            }
            Self::TooManyConnections => "too many connections; try again soon".to_owned(),
            Self::TimedOut => message::TOO_SLOW.to_owned(),
            Self::Service(error) => message::of_service(error),
            Self::Long(_) => String::new(),
        }
    }

    /// What is logged about a failure of ours, down to its root.
    fn cause(&self) -> Option<String> {
        match self {
            Self::Service(Error::Store(error)) if self.refusal().is_none() => {
                let mut cause = error.to_string();
                let mut source = error.source();
                while let Some(error) = source {
                    // Writing to a String does not fail.
                    let _ = write!(cause, ": {error}");
                    source = error.source();
                }
                Some(cause)
            }
            _ => None,
        }
    }

    /// Why a request was refused although nothing is wrong with it or with us.
    fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::TooManyConnections => Some(Refusal("more connections than are served at once")),
            Self::Service(Error::Overloaded) => Some(Refusal("too much under way")),
            Self::TimedOut
            | Self::Service(
                Error::Store(StoreError::Expired) | Error::Patch(ApplyError::Stopped),
            ) => Some(Refusal("longer than --request-timeout")),
            Self::Service(Error::Store(StoreError::Closed)) => Some(Refusal("shutting down")),
            _ => None,
        }
    }
}

fn answer(status: StatusCode, error: &'static str, mut message: String) -> Response {
    if let Some((end, _)) = message.char_indices().nth(MESSAGE_MAX_CHARS) {
        message.truncate(end);
        message.push('…');
    }
    // A 404 may be cached unless it says otherwise, and would hide the entry that comes next.
    (
        status,
        [(header::CACHE_CONTROL, NO_STORE)],
        Json(ErrorBody { error, message }),
    )
        .into_response()
}

/// Why the service said no. Where the entries that this shows are long, they are sent piece by piece.
pub async fn refused(service: &Service, error: Error) -> ApiError {
    let error = ApiError::from(error);
    let message = error.message();
    let response = match error {
        ApiError::Service(Error::PreconditionFailed {
            current: Some(current),
            ..
        }) if text_bytes(&current) > BUILT_MAX_BYTES => {
            long_mismatch(service, message, current).await
        }
        ApiError::Service(Error::TransactionFailed(failed)) if are_long(&failed) => {
            long_transaction_failed(service, message, failed).await
        }
        error => return error,
    };
    ApiError::Long(Box::new(response))
}

fn are_long(failed: &[FailedOperation]) -> bool {
    let current = failed.iter().filter_map(|failed| failed.current.as_ref());
    current.map(text_bytes).sum::<usize>() > BUILT_MAX_BYTES
}

/// The text of [`mismatch`] piece by piece.
async fn long_mismatch(service: &Service, message: String, current: Entry) -> Response {
    let etag = current.record.etag();
    let record = Arc::clone(&current.record);
    let mut text = begin_long(message);
    text.push(b",\"current\":");
    text.push_entry(current, &etag);
    text.push(b"}");
    let mut response = text.into_response(service).await;
    *response.status_mut() = StatusCode::PRECONDITION_FAILED;
    reply::add_entry_headers(response.headers_mut(), &record, etag);
    response
}

/// The text of [`transaction_failed`] piece by piece.
async fn long_transaction_failed(
    service: &Service,
    message: String,
    failed: Vec<FailedOperation>,
) -> Response {
    let mut text = begin_long(message);
    text.push(b",\"failed\":[");
    for (place, operation) in failed.into_iter().enumerate() {
        let FailedOperation {
            index,
            key,
            current,
            ..
        } = operation;
        let separator = if place > 0 { "," } else { "" };
        text.push(format!("{separator}{{\"index\":{index},\"key\":").as_bytes());
        text.push(&json_of(&key));
        text.push(b",\"current\":");
        text.push_entry_or_null(current);
        text.push(b"}");
    }
    text.push(b"]}");
    let mut response = text.into_response(service).await;
    *response.status_mut() = StatusCode::PRECONDITION_FAILED;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    response
}

/// [`ErrorBody`] without its end.
fn begin_long(message: String) -> LongText {
    let error = ErrorBody {
        error: "precondition_failed",
        message,
    };
    let mut text = LongText::default();
    let begun = json_of(&error);
    text.push(begun.strip_suffix(b"}").unwrap_or(&begun));
    text
}

fn json_of(shown: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(shown).expect("memory takes it")
}

/// 412 with every operation that does not hold.
fn transaction_failed(message: String, failed: Vec<FailedOperation>) -> Response {
    let error = ErrorBody {
        error: "precondition_failed",
        message,
    };
    let failed = failed.into_iter().map(|operation| FailedBody {
        index: operation.index,
        key: operation.key,
        current: operation.current,
    });
    let body = TransactionFailedBody {
        error,
        failed: failed.collect(),
    };
    let no_store = [(header::CACHE_CONTROL, NO_STORE)];
    (StatusCode::PRECONDITION_FAILED, no_store, Json(body)).into_response()
}

/// 412 with all that a merge needs.
fn mismatch(message: String, current: Option<Entry>) -> Response {
    let error = ErrorBody {
        error: "precondition_failed",
        message,
    };
    let mut response = Json(MismatchBody {
        error,
        current: current.as_ref(),
    })
    .into_response();
    *response.status_mut() = StatusCode::PRECONDITION_FAILED;
    match current {
        Some(entry) => {
            let etag = entry.record.etag();
            reply::add_entry_headers(response.headers_mut(), &entry.record, etag);
        }
        None => {
            response
                .headers_mut()
                .insert(header::CACHE_CONTROL, NO_STORE);
        }
    }
    response
}
