//! Successful answers: the headers and bodies that entries and lists are shown with.

use std::time::SystemTime;

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use crate::model::{EntityTag, Entry, Key, Position, Record, Revision};
use crate::service::{Reading, Transacted};

/// What must not be kept: errors, health, the outcome of a transaction.
pub const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// How many bytes the JSON text of an entry has besides its key and value, at the most.
const ENTRY_REST_BYTES: usize = 256;
/// How many headers an answer that shows an entry has at the most, those of the server included.
const ENTRY_HEADERS: usize = 8;
/// What a key's bytes are percent-encoded to in a URL: all but the unreserved (RFC 3986 §2.3),
/// and `/`, which separates segments in a key as in a path.
const ENCODED_IN_KEY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// 200 with the entry, or 304 with the same headers.
pub fn reading(reading: Reading<Entry, Entry>) -> Response {
    match reading {
        Reading::Found(entry) => shown(StatusCode::OK, &entry),
        Reading::NotModified(entry) => {
            let mut response = StatusCode::NOT_MODIFIED.into_response();
            let etag = entry.record.etag();
            add_entry_headers(response.headers_mut(), &entry.record, etag);
            response
        }
    }
}

/// 201 with `Location` if the entry is new, else 200.
pub fn written(entry: &Entry) -> Response {
    if entry.record.version > 1 {
        return shown(StatusCode::OK, entry);
    }
    let mut response = shown(StatusCode::CREATED, entry);
    let location = HeaderValue::try_from(path_of(&entry.key));
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// 200 with the entry that was patched or deleted.
pub fn entry(entry: &Entry) -> Response {
    shown(StatusCode::OK, entry)
}

/// 200 with what each operation came to.
pub fn transaction(transaction: &Transacted) -> Response {
    let body = TransactionBody {
        revision: transaction.revision,
        results: &transaction.results,
    };
    let no_store = [(header::CACHE_CONTROL, NO_STORE)];
    (no_store, Json(body)).into_response()
}

/// 304 for who has the list already.
pub fn list_not_modified(position: &Position) -> Response {
    let mut response = StatusCode::NOT_MODIFIED.into_response();
    add_validators(response.headers_mut(), EntityTag::of_list(position));
    response
}

/// The headers of every answer that shows one entry.
pub fn add_entry_headers(headers: &mut HeaderMap, record: &Record, etag: EntityTag) {
    add_validators(headers, etag);
    let modified_at = SystemTime::from(record.modified_at);
    // A date consists of letters, digits and punctuation, which are all allowed.
    if let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(modified_at)) {
        headers.insert(header::LAST_MODIFIED, date);
    }
}

#[derive(Serialize)]
struct TransactionBody<'a> {
    revision: Revision,
    results: &'a [Option<Entry>],
}

fn shown(status: StatusCode, entry: &Entry) -> Response {
    let (record, etag) = (&entry.record, entry.record.etag());
    let bytes = entry.key.as_str().len() + record.value.as_json().len() + ENTRY_REST_BYTES;
    let mut body = Vec::with_capacity(bytes);
    entry.write_json(&etag, &mut body);
    let mut headers = HeaderMap::with_capacity(ENTRY_HEADERS);
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, json);
    add_entry_headers(&mut headers, record, etag);
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// `ETag`, and that a stored copy must be revalidated before it is used.
pub fn add_validators(headers: &mut HeaderMap, etag: EntityTag) {
    // A tag consists of digits, hyphens and quotes, which are all allowed.
    if let Ok(etag) = HeaderValue::try_from(String::from(etag)) {
        headers.insert(header::ETAG, etag);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
}

/// `/kv/…` for a key, percent-encoded.
fn path_of(key: &Key) -> String {
    format!("/kv/{}", utf8_percent_encode(key.as_str(), ENCODED_IN_KEY))
}
