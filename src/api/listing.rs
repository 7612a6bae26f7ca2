//! The answer that shows a list: whole where it is short, else a stream that holds a part of it at
//! a time, so that a slow reader of everything costs no memory and holds nobody up.

use std::vec;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;

use super::error::ApiError;
use super::reply;
use crate::error::StoreError;
use crate::model::{EntityTag, Entry, Key, Position, Range};
use crate::service::Reading;
use crate::storage::Snapshot;

/// How much of a list is put together before it is sent, in bytes.
const CHUNK_BYTES: usize = 64 * 1024;
/// How many entries are taken from the store at once.
const PAGE_ENTRIES: usize = 256;

/// 200 with the entries of `range`, or 304 with the same headers.
///
/// # Errors
/// [`ApiError`] if the store cannot say.
pub async fn listing(
    reading: Reading<Box<dyn Snapshot>, Position>,
    range: Range,
) -> Result<Response, ApiError> {
    let snapshot = match reading {
        Reading::Found(snapshot) => snapshot,
        Reading::NotModified(position) => return Ok(reply::list_not_modified(&position)),
    };
    let etag = EntityTag::of_list(snapshot.position());
    let mut text = ListText::of(snapshot, range);
    let first = text.next_chunk().await?;
    let body = match text.progress {
        Progress::Ended => Body::from(first),
        Progress::Begun => Body::from_stream(stream::try_unfold(
            (Some(first), text),
            async |(first, mut text)| {
                let chunk = match first {
                    Some(chunk) => chunk,
                    None => text.next_chunk().await?,
                };
                Ok::<_, StoreError>((!chunk.is_empty()).then_some((chunk, (None, text))))
            },
        )),
    };
    let json = HeaderValue::from_static("application/json");
    let mut response = ([(header::CONTENT_TYPE, json)], body).into_response();
    reply::add_validators(response.headers_mut(), etag);
    Ok(response)
}

/// How far a text has been written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Begun,
    Ended,
}

/// `{"items": […], "revision": n, "next": key-or-null}`, written piece by piece.
struct ListText {
    snapshot: Box<dyn Snapshot>,
    /// What is still to be taken from the snapshot.
    rest: Range,
    page: vec::IntoIter<Entry>,
    /// Whether the snapshot has more after `page`.
    more: bool,
    last: Option<Key>,
    progress: Progress,
}

impl ListText {
    fn of(snapshot: Box<dyn Snapshot>, range: Range) -> Self {
        Self {
            snapshot,
            rest: range,
            page: Vec::new().into_iter(),
            more: true,
            last: None,
            progress: Progress::Begun,
        }
    }

    /// The next piece; nothing after the last.
    async fn next_chunk(&mut self) -> Result<Bytes, StoreError> {
        let mut chunk = Vec::new();
        if self.progress == Progress::Ended {
            return Ok(chunk.into());
        }
        if self.last.is_none() {
            chunk.extend_from_slice(b"{\"items\":[");
        }
        while chunk.len() < CHUNK_BYTES {
            let Some(entry) = self.next_entry().await? else {
                self.write_end(&mut chunk)?;
                break;
            };
            if self.last.is_some() {
                chunk.push(b',');
            }
            entry.write_json(&entry.record.etag(), &mut chunk);
            self.last = Some(entry.key);
        }
        Ok(chunk.into())
    }

    async fn next_entry(&mut self) -> Result<Option<Entry>, StoreError> {
        if self.page.as_slice().is_empty() && self.more && self.rest.limit != Some(0) {
            if let Some(last) = &self.last {
                self.rest.after = Some(last.to_string());
            }
            let limit = self.rest.limit.unwrap_or(PAGE_ENTRIES).min(PAGE_ENTRIES);
            let range = Range {
                limit: Some(limit),
                ..self.rest.clone()
            };
            let page = self.snapshot.page(&range).await?;
            if let Some(left) = &mut self.rest.limit {
                *left -= page.entries.len();
            }
            self.more = page.more;
            self.page = page.entries.into_iter();
        }
        Ok(self.page.next())
    }

    fn write_end(&mut self, chunk: &mut Vec<u8>) -> Result<(), StoreError> {
        self.progress = Progress::Ended;
        let next = self.last.as_ref().filter(|_| self.more);
        let next = serde_json::to_string(&next).map_err(cannot_write)?;
        let revision = self.snapshot.position().revision;
        chunk.extend_from_slice(format!("],\"revision\":{revision},\"next\":{next}}}").as_bytes());
        Ok(())
    }
}

fn cannot_write(error: serde_json::Error) -> StoreError {
    StoreError::NotApplied(error.into())
}
