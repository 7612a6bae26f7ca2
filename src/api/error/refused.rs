//! What a handler answers when the service has refused: a 412 shows the current entries, which a merge needs.

use std::time::Duration;

use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::answer::ErrorBody;
use super::failure::Failure;
use super::kind::ApiError;
use crate::api::freshness::add_age;
use crate::api::json_text::{JsonText, json_of};
use crate::api::reply::{self, NO_STORE};
use crate::model::Revision;
use crate::service::{Comparison, Current, Error, FailedOperation, Service, Unmerged};

/// A failing answer that is ready.
pub struct Refused(Box<Response>);

impl Refused {
    /// The same, of a state that was known to be current so long ago.
    pub fn with_age(mut self, age: Option<Duration>) -> Self {
        add_age(&mut self.0, age);
        self
    }
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Self(Box::new(error.into_response()))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        *self.0
    }
}

/// The answer to what the service has refused.
pub fn refused(service: &Service, error: Error) -> Refused {
    let failure = Failure::from(&error);
    let response = match error {
        Error::PreconditionFailed {
            current,
            comparison,
            ..
        } => mismatch(service, &failure, &current, &comparison),
        Error::TransactionFailed(failed) => transaction_failed(service, &failure, &failed),
        Error::Compacted { oldest } | Error::AnswerCompacted { oldest, .. } => {
            compacted(service, &failure, oldest)
        }
        Error::NotFound
        | Error::AbsentThen { .. }
        | Error::NothingToRevert { .. }
        | Error::Future { .. }
        | Error::MomentToCome
        | Error::Forbidden(_)
        | Error::Patch(_)
        | Error::PreconditionRequired
        | Error::ValueTooLarge { .. }
        | Error::MergedTooLarge { .. }
        | Error::RequestInProgress
        | Error::RequestMismatch
        | Error::RepeatedKey(_)
        | Error::Unserved(_) => failure.into_response(),
    };
    Refused(Box::new(response))
}

/// 412 with all that a merge needs.
fn mismatch(
    service: &Service,
    failure: &Failure,
    current: &Current,
    comparison: &Comparison,
) -> Response {
    let mut text = begin(failure);
    push_current(&mut text, current);
    if let Some(changed) = &comparison.changed {
        text.push(b",\"changed\":");
        text.push(&json_of(changed));
    }
    match &comparison.unmerged {
        Some(Unmerged::Conflicts { base, pointers }) => {
            text.push(b",\"base\":");
            text.push_entry_or_null(Some(base));
            text.push(b",\"conflicts\":");
            text.push(&json_of(pointers));
        }
        Some(Unmerged::NoBase) => text.push(b",\"base\":null"),
        None => {}
    }
    text.push(b"}");
    let mut response = text.into_response(service);
    *response.status_mut() = failure.status;
    let headers = response.headers_mut();
    match current {
        Current::Entry(entry) => {
            reply::add_entry_headers(headers, &entry.record, entry.record.etag());
        }
        Current::Absent | Current::Hidden => {
            headers.insert(header::CACHE_CONTROL, NO_STORE);
        }
    }
    response
}

/// 412 with every operation whose preconditions do not hold.
fn transaction_failed(
    service: &Service,
    failure: &Failure,
    failed: &[FailedOperation],
) -> Response {
    let mut text = begin(failure);
    text.push(b",\"failed\":[");
    for (place, operation) in failed.iter().enumerate() {
        let separator = if place > 0 { "," } else { "" };
        text.push(format!("{separator}{{\"index\":{},\"key\":", operation.index).as_bytes());
        text.push(&json_of(&operation.key));
        push_current(&mut text, &operation.current);
        text.push(b"}");
    }
    text.push(b"]}");
    let mut response = text.into_response(service);
    *response.status_mut() = failure.status;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    response
}

/// 410 with how far back the history goes.
fn compacted(service: &Service, failure: &Failure, oldest: Revision) -> Response {
    let mut text = begin(failure);
    text.push(format!(",\"oldest_revision\":{oldest}}}").as_bytes());
    let mut response = text.into_response(service);
    *response.status_mut() = failure.status;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    headers.extend(failure.header.clone());
    response
}

/// The member `current`, unless the caller may not know it.
fn push_current(text: &mut JsonText, current: &Current) {
    let entry = match current {
        Current::Entry(entry) => Some(entry),
        Current::Absent => None,
        Current::Hidden => return,
    };
    text.push(b",\"current\":");
    text.push_entry_or_null(entry);
}

/// The members that every failing answer has, without the closing brace.
fn begin(failure: &Failure) -> JsonText {
    let body = json_of(&ErrorBody {
        error: failure.code,
        message: &failure.message,
    });
    let mut text = JsonText::default();
    text.push(body.strip_suffix(b"}").unwrap_or(&body));
    text
}
