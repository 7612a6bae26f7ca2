//! Successful answers: the headers and bodies that entries and lists are shown with.

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum_extra::headers::{HeaderMapExt as _, LastModified};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use crate::model::{EntityTag, Entry, Key, Page, Revision};
use crate::service::Reading;

/// What a key's bytes are percent-encoded to in a URL: all but the unreserved (RFC 3986 §2.3),
/// and `/`, which separates segments in a key as in a path.
const ENCODED_IN_KEY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// 200 with the entry, or 304 with the same headers.
pub fn reading(reading: Reading<Entry>) -> Response {
    match reading {
        Reading::Found(entry) => shown(StatusCode::OK, &entry),
        Reading::NotModified(entry) => {
            (StatusCode::NOT_MODIFIED, entry_headers(&entry)).into_response()
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

/// 200 with the entry that was deleted.
pub fn deleted(entry: &Entry) -> Response {
    shown(StatusCode::OK, entry)
}

/// 200 with the list, or 304 with the same headers.
pub fn listing(reading: Reading<Page>) -> Response {
    match reading {
        Reading::Found(page) => {
            let headers = validators(&EntityTag::of_list(&page.position));
            let next = page.entries.last().filter(|_| page.more);
            let body = ListBody {
                next: next.map(|entry| &entry.key),
                revision: page.position.revision,
                items: &page.entries,
            };
            (headers, Json(body)).into_response()
        }
        Reading::NotModified(page) => {
            let headers = validators(&EntityTag::of_list(&page.position));
            (StatusCode::NOT_MODIFIED, headers).into_response()
        }
    }
}

/// The headers of every answer that shows one entry.
pub fn entry_headers(entry: &Entry) -> HeaderMap {
    let mut headers = validators(&entry.record.etag());
    let modified_at = std::time::SystemTime::from(entry.record.modified_at);
    headers.typed_insert(LastModified::from(modified_at));
    headers
}

#[derive(Serialize)]
struct ListBody<'a> {
    items: &'a [Entry],
    revision: Revision,
    next: Option<&'a Key>,
}

fn shown(status: StatusCode, entry: &Entry) -> Response {
    (status, entry_headers(entry), Json(entry)).into_response()
}

/// `ETag`, and that a stored copy must be revalidated before it is used.
fn validators(etag: &EntityTag) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(4);
    // A tag consists of digits, hyphens and quotes, which are all allowed.
    if let Ok(etag) = HeaderValue::from_str(etag.as_str()) {
        headers.insert(header::ETAG, etag);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers
}

/// `/kv/…` for a key, percent-encoded.
fn path_of(key: &Key) -> String {
    format!("/kv/{}", utf8_percent_encode(key.as_str(), ENCODED_IN_KEY))
}
