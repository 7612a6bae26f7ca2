//! The answer with a list: at once if it is short, else a stream that holds one part at a time, so that a
//! slow reader of everything does not block writers and costs a bounded amount of memory.

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;

use super::error::ApiError;
use super::json_text::{BUILT_MAX_BYTES, PIECE_BYTES, append_part, text_bytes};
use super::reply;
use crate::model::{EntityTag, Entry, Key, Position, Range};
use crate::service::Reading;
use crate::storage::{Snapshot, StoreError};

/// How many entries are taken from the store at once, at the most.
const PAGE_ENTRIES: usize = 256;

/// 200 with the entries of `range`, or 304 with the same headers.
///
/// # Errors
/// [`ApiError`] if the store fails.
pub async fn listing(
    reading: Reading<Box<dyn Snapshot>, Position>,
    range: Range,
) -> Result<Response, ApiError> {
    let snapshot = match reading {
        Reading::Found(snapshot) => snapshot,
        Reading::NotModified(position) => return Ok(reply::list_not_modified(position)),
    };
    let etag = EntityTag::of_list(snapshot.position());
    let mut text = ListText::of(snapshot, range);
    let first = text.next_piece(BUILT_MAX_BYTES).await?;
    let body = match text.progress {
        Progress::Ended => Body::from(first),
        Progress::Begun => Body::from_stream(stream::try_unfold(
            (Some(first), text),
            async |(first, mut text)| {
                let piece = match first {
                    Some(piece) => piece,
                    None => text.next_piece(PIECE_BYTES).await?,
                };
                Ok::<_, StoreError>((!piece.is_empty()).then_some((piece, (None, text))))
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

/// `{"items": […], "revision": n, "next": key-or-null}`, written piece by piece. Between two pieces it holds
/// nothing but the snapshot, which the store can revoke.
struct ListText {
    snapshot: Box<dyn Snapshot>,
    /// What is still to be taken from the snapshot.
    rest: Range,
    /// How much of the next entry's text was written.
    written: usize,
    /// How many entries are taken for the next piece: about as many as the last one had.
    page_entries: usize,
    last: Option<Key>,
    progress: Progress,
}

impl ListText {
    fn of(snapshot: Box<dyn Snapshot>, range: Range) -> Self {
        Self {
            snapshot,
            rest: range,
            written: 0,
            page_entries: PAGE_ENTRIES,
            last: None,
            progress: Progress::Begun,
        }
    }

    /// The next piece, of at most so many bytes and the end of the list; empty after the last.
    async fn next_piece(&mut self, max_bytes: usize) -> Result<Bytes, StoreError> {
        let mut piece = Vec::new();
        if self.progress == Progress::Ended {
            return Ok(piece.into());
        }
        if self.last.is_none() && self.written == 0 {
            piece.extend_from_slice(b"{\"items\":[");
        }
        let mut entries = 0;
        while piece.len() < max_bytes {
            let limit = self.rest.limit.unwrap_or(usize::MAX);
            let range = Range {
                limit: Some(limit.min(self.page_entries)),
                ..self.rest.clone()
            };
            let page = self.snapshot.page(&range).await?;
            let is_last = !page.more || limit <= page.entries.len();
            let written = self.write_entries(&page.entries, &mut piece, max_bytes);
            if is_last && written == page.entries.len() {
                self.write_end(page.more, &mut piece)?;
                break;
            }
            entries += written;
            self.page_entries = (entries + entries / 4 + 1).min(PAGE_ENTRIES);
        }
        Ok(piece.into())
    }

    /// Writes entries until the piece is full, the last one maybe in part. Returns how many were
    /// written to their end.
    fn write_entries(&mut self, entries: &[Entry], piece: &mut Vec<u8>, max_bytes: usize) -> usize {
        let mut written = 0;
        for entry in entries {
            let is_first = self.last.is_none() && written == 0;
            if piece.len() >= max_bytes {
                break;
            }
            if self.written > 0 || piece.len() + text_bytes(entry) > max_bytes {
                if !self.write_part(entry, is_first, piece, max_bytes) {
                    break;
                }
                self.written = 0;
            } else {
                if !is_first {
                    piece.push(b',');
                }
                entry.write_json(&entry.record.etag(), piece);
            }
            written += 1;
        }
        if let Some(left) = &mut self.rest.limit {
            *left -= written;
        }
        if let Some(last) = entries[..written].last() {
            self.rest.after = Some(last.key.to_string());
            self.last = Some(last.key.clone());
        }
        written
    }

    /// Whether the entry is written to its end.
    fn write_part(
        &mut self,
        entry: &Entry,
        is_first: bool,
        piece: &mut Vec<u8>,
        max_bytes: usize,
    ) -> bool {
        let separator = if is_first { &b""[..] } else { b"," };
        let (mut head, mut tail) = (separator.to_vec(), Vec::new());
        entry.write_json_head(&mut head);
        entry.write_json_tail(&entry.record.etag(), &mut tail);
        let value = entry.record.value.as_json().as_bytes();
        let segments = [&head[..], value, &tail];
        self.written += append_part(piece, max_bytes, &segments, self.written);
        self.written == segments.map(<[u8]>::len).iter().sum::<usize>()
    }

    /// `more`: whether the range goes on after the last entry.
    fn write_end(&mut self, more: bool, piece: &mut Vec<u8>) -> Result<(), StoreError> {
        self.progress = Progress::Ended;
        let next = self.last.as_ref().filter(|_| more);
        let next = serde_json::to_string(&next).map_err(cannot_write)?;
        let revision = self.snapshot.position().revision;
        piece.extend_from_slice(format!("],\"revision\":{revision},\"next\":{next}}}").as_bytes());
        Ok(())
    }
}

fn cannot_write(error: serde_json::Error) -> StoreError {
    StoreError::NotApplied(error.into())
}
