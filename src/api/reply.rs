//! Successful answers: the headers and bodies that entries and lists are shown with.

use std::time::SystemTime;

use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use super::json_text::JsonText;
use super::once::IDEMPOTENCY_REPLAYED;
use super::prefer::{self, ReturnPreference};
use super::state::{KEY_PATH, REVERT_PATH};
use crate::model::{EntityTag, Entry, Key, Position, Record};
use crate::service::{Reading, Service, Transacted, Written};
use crate::url::encoded;

/// For what must not be cached: errors, health, the outcome of a transaction.
pub const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// 200 with the entry, or 304 with the same headers.
pub fn reading(service: &Service, reading: Reading<Entry, Entry>) -> Response {
    match reading {
        Reading::Found(entry) => answer(
            service,
            StatusCode::OK,
            &entry,
            ReturnPreference::Representation,
        ),
        Reading::NotModified(entry) => {
            let mut response = StatusCode::NOT_MODIFIED.into_response();
            let etag = entry.record.etag();
            add_entry_headers(response.headers_mut(), &entry.record, etag);
            response
        }
    }
}

/// 201 with `Location` if the entry is new, else 200. `uri` is what was asked for.
pub fn put(
    service: &Service,
    uri: &Uri,
    written: &Written,
    preference: ReturnPreference,
) -> Response {
    let entry = &written.entry;
    let is_new = entry.record.version == 1;
    let status = if is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let mut response = answer(service, status, entry, preference);
    let headers = response.headers_mut();
    if is_new && let Ok(location) = HeaderValue::try_from(location_of(&entry.key, uri)) {
        headers.insert(header::LOCATION, location);
    }
    add_how(headers, written);
    response
}

/// 200 with the entry that was patched or deleted; 204 for a caller who may not read it.
pub fn written(
    service: &Service,
    written: &Written<Option<Entry>>,
    preference: ReturnPreference,
) -> Response {
    let mut response = match &written.entry {
        Some(entry) => answer(service, StatusCode::OK, entry, preference),
        None => (StatusCode::NO_CONTENT, [(header::CACHE_CONTROL, NO_STORE)]).into_response(),
    };
    add_how(response.headers_mut(), written);
    response
}

/// How a write came about, if not from the request alone.
fn add_how<E>(headers: &mut HeaderMap, written: &Written<E>) {
    if written.is_merged {
        prefer::add_merge_applied(headers);
    }
    if written.is_replay {
        headers.insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
}

/// 200 with the result of each operation.
pub fn transaction(
    service: &Service,
    transaction: &Transacted,
    preference: ReturnPreference,
) -> Response {
    let mut response = match preference {
        ReturnPreference::Minimal => prefer::minimal(),
        ReturnPreference::Representation => results(service, transaction),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    if transaction.is_replay {
        headers.insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

fn results(service: &Service, transaction: &Transacted) -> Response {
    let mut text = JsonText::default();
    text.push(format!("{{\"revision\":{},\"results\":[", transaction.revision).as_bytes());
    for (index, result) in transaction.results.iter().enumerate() {
        if index > 0 {
            text.push(b",");
        }
        text.push_entry_or_null(result.as_ref());
    }
    text.push(b"]}");
    text.into_response(service)
}

/// 304 for a reader whose list is current.
pub fn list_not_modified(position: Position) -> Response {
    let mut response = StatusCode::NOT_MODIFIED.into_response();
    add_validators(response.headers_mut(), EntityTag::of_list(position));
    response
}

/// The headers of every answer that shows one entry.
pub fn add_entry_headers(headers: &mut HeaderMap, record: &Record, etag: EntityTag) {
    add_validators(headers, etag);
    // A date in the future means that the clock was set back (RFC 9110 §8.8.2.1).
    let modified_at = SystemTime::from(record.modified_at).min(SystemTime::now());
    // A date consists of letters, digits and punctuation, which are all allowed.
    if let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(modified_at)) {
        headers.insert(header::LAST_MODIFIED, date);
    }
}

/// With the entry if `preference` asks for it, and with its headers in any case.
fn answer(
    service: &Service,
    status: StatusCode,
    entry: &Entry,
    preference: ReturnPreference,
) -> Response {
    let etag = entry.record.etag();
    let mut response = match preference {
        ReturnPreference::Minimal => prefer::minimal(),
        ReturnPreference::Representation => {
            let mut text = JsonText::default();
            text.push_entry(entry, &etag);
            let mut response = text.into_response(service);
            *response.status_mut() = status;
            response
        }
    };
    add_entry_headers(response.headers_mut(), &entry.record, etag);
    response
}

/// `ETag`, and `Cache-Control` so that a cached copy is revalidated before use.
pub fn add_validators(headers: &mut HeaderMap, etag: EntityTag) {
    // A tag consists of digits, hyphens and quotes, which are all allowed.
    if let Ok(etag) = HeaderValue::try_from(String::from(etag)) {
        headers.insert(header::ETAG, etag);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
}

/// The URL of a key, relative to that of the request (RFC 9110 §10.2.2): only a proxy knows below which path
/// the client sees the service.
fn location_of(key: &Key, uri: &Uri) -> String {
    let path = uri.path();
    if let Some(asked) = path.strip_prefix(REVERT_PATH) {
        let up = "../".repeat(asked.matches('/').count() + 1);
        let entries = KEY_PATH.trim_start_matches('/');
        return format!("{up}{entries}{}", encoded(key.as_str()));
    }
    let asked = path.strip_prefix(KEY_PATH).unwrap_or_default();
    let up = match asked.matches('/').count() {
        // A key that begins with a slash must not be taken for a path.
        0 => "./".to_owned(),
        levels => "../".repeat(levels),
    };
    format!("{up}{}", encoded(key.as_str()))
}
