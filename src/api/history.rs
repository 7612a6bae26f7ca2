//! The answer with what happened: written piece by piece as its reader takes it, from one page of the store
//! after the other.

use axum::body::{Body, Bytes};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use tokio::task::yield_now;

use super::error::ApiError;
use super::extract::{key_in, query};
use super::json_text::{BUILT_MAX_BYTES, PIECE_BYTES, append_part};
use super::reply::NO_STORE;
use crate::model::{EventKind, HISTORY_MAX_LIMIT, HistoryPoint, Key, Origin, PastEvent, Revision};
use crate::service::{HeldEvent, History};
use crate::storage::StoreError;

/// How many events there are without `limit`.
const DEFAULT_LIMIT: usize = 100;
/// How many events are taken from the store at once, at the most.
const PAGE_EVENTS: usize = 256;
/// How many bytes of values are taken at once if they are not shown.
const UNSHOWN_MAX_BYTES: usize = 256 * 1024;

/// What of a history is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    limit: usize,
    before: HistoryPoint,
    with_values: bool,
}

/// What the query of the history of a key asks for.
pub struct KeyHistory(pub Key, pub Asked);

/// What the query of the history of a prefix asks for.
pub struct HistoryInQuery {
    pub prefix: String,
    pub asked: Asked,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyQuery {
    limit: Option<usize>,
    before: Option<String>,
    values: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PrefixQuery {
    #[serde(default)]
    prefix: String,
    limit: Option<usize>,
    before: Option<String>,
    values: Option<bool>,
}

impl KeyQuery {
    /// # Errors
    /// [`ApiError::InvalidQuery`].
    fn read(self) -> Result<Asked, ApiError> {
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=HISTORY_MAX_LIMIT).contains(&limit) {
            let reason = format!("limit must be from 1 to {HISTORY_MAX_LIMIT}");
            return Err(ApiError::InvalidQuery(reason));
        }
        let before = match self.before {
            None => HistoryPoint::END,
            Some(text) => text.parse().map_err(|error| {
                ApiError::InvalidQuery(format!("before cannot be read: {error}"))
            })?,
        };
        Ok(Asked {
            limit,
            before,
            with_values: self.values.unwrap_or(true),
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for KeyHistory {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let key = key_in(&parts.uri)?;
        let query: KeyQuery = query(parts, state).await?;
        Ok(Self(key, query.read()?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for HistoryInQuery {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let PrefixQuery {
            prefix,
            limit,
            before,
            values,
        } = query(parts, state).await?;
        let query = KeyQuery {
            limit,
            before,
            values,
        };
        let asked = query.read()?;
        Ok(Self { prefix, asked })
    }
}

/// 200 with the events, the newest first.
///
/// # Errors
/// [`ApiError`] if the store fails.
pub async fn answer(history: History, asked: Asked) -> Result<Response, ApiError> {
    let mut text = HistoryText::new(history, asked);
    let first = text.next_piece(BUILT_MAX_BYTES).await?;
    let body = if text.progress == Progress::Ended {
        Body::from(first)
    } else {
        let rest = stream::try_unfold(text, async |mut text| {
            let piece = text.next_piece(PIECE_BYTES).await?;
            Ok::<_, StoreError>((!piece.is_empty()).then_some((piece, text)))
        });
        Body::from_stream(stream::once(async { Ok(first) }).chain(rest))
    };
    let json = HeaderValue::from_static("application/json");
    let headers = [
        (header::CONTENT_TYPE, json),
        (header::CACHE_CONTROL, NO_STORE),
    ];
    Ok((headers, body).into_response())
}

/// `{"items": […], "next": point-or-null, "oldest_revision": n}`, written piece by piece. Between two pieces it
/// holds at most one event, and that within a limit for all readers.
struct HistoryText {
    history: History,
    with_values: bool,
    /// Everything from here on was written.
    before: HistoryPoint,
    /// How many more events may be written.
    left: usize,
    progress: Progress,
    /// The next event, if it was written in part.
    cut: Option<CutEvent>,
}

/// How far a text has been written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    New,
    WithoutItems,
    WithItems,
    Ended,
}

/// An event of which a part was written.
struct CutEvent {
    point: HistoryPoint,
    /// How much of its text that was.
    written: usize,
    /// Without it, the event is read again.
    held: Option<HeldEvent>,
}

impl HistoryText {
    fn new(history: History, asked: Asked) -> Self {
        Self {
            history,
            with_values: asked.with_values,
            before: asked.before,
            left: asked.limit,
            progress: Progress::New,
            cut: None,
        }
    }

    /// The next piece, of at most so many bytes and the end of the text; empty after the last.
    ///
    /// # Errors
    /// [`StoreError::Revoked`] if an event that was written in part is no longer kept.
    async fn next_piece(&mut self, max_bytes: usize) -> Result<Bytes, StoreError> {
        let mut piece = Vec::new();
        match self.progress {
            Progress::Ended => return Ok(piece.into()),
            Progress::New => {
                self.progress = Progress::WithoutItems;
                piece.extend_from_slice(b"{\"items\":[");
            }
            Progress::WithoutItems | Progress::WithItems => {}
        }
        if let Some(cut) = self.cut.take() {
            self.write_rest(cut, &mut piece, max_bytes).await?;
        }
        while piece.len() < max_bytes && self.cut.is_none() {
            let limit = self.left.clamp(1, PAGE_EVENTS);
            let page = self.history.page(self.before, limit, self.page_bytes());
            let page = page.await?;
            if self.left == 0 {
                // It is known now whether there is more.
                let next = match page.events.first() {
                    Some(_) => Some(self.before),
                    None => page.next,
                };
                self.write_end(next, page.oldest_revision, &mut piece);
                break;
            }
            let is_empty = page.events.is_empty();
            if !self.write_events(page.events, &mut piece, max_bytes) {
                break;
            }
            match page.next {
                Some(next) if self.left > 0 => self.before = next,
                next => {
                    self.write_end(next, page.oldest_revision, &mut piece);
                    break;
                }
            }
            if is_empty {
                if !piece.is_empty() {
                    break;
                }
                // Others have their turn before the next part of a long search.
                yield_now().await;
            }
        }
        Ok(piece.into())
    }

    fn page_bytes(&self) -> usize {
        if self.with_values {
            PIECE_BYTES
        } else {
            UNSHOWN_MAX_BYTES
        }
    }

    /// Writes events until the piece is full. Returns whether all were written to their end.
    fn write_events(
        &mut self,
        events: Vec<PastEvent>,
        piece: &mut Vec<u8>,
        max_bytes: usize,
    ) -> bool {
        for event in events {
            if piece.len() >= max_bytes {
                return false;
            }
            if let Some(written) = self.write_part(&event, 0, piece, max_bytes) {
                self.cut = Some(CutEvent {
                    point: event.point,
                    written,
                    held: self.history.hold(event),
                });
                return false;
            }
        }
        true
    }

    /// Goes on with an event that was written in part.
    async fn write_rest(
        &mut self,
        cut: CutEvent,
        piece: &mut Vec<u8>,
        max_bytes: usize,
    ) -> Result<(), StoreError> {
        let CutEvent {
            point,
            written,
            held,
        } = cut;
        let written = match &held {
            Some(held) => self.write_part(held.event(), written, piece, max_bytes),
            None => {
                let page = self.history.page(self.before, 1, 1).await?;
                let event = page.events.first().filter(|event| event.point == point);
                let event = event.ok_or(StoreError::Revoked)?;
                self.write_part(event, written, piece, max_bytes)
            }
        };
        self.cut = written.map(|written| CutEvent {
            point,
            written,
            held,
        });
        Ok(())
    }

    /// Writes an event from `written` on. Returns how much of it is written now, if that is not all.
    fn write_part(
        &mut self,
        event: &PastEvent,
        written: usize,
        piece: &mut Vec<u8>,
        max_bytes: usize,
    ) -> Option<usize> {
        let follows_another = self.progress == Progress::WithItems;
        let head = head_of(event, follows_another, self.with_values);
        let tail = tail_of(event);
        let value = if self.with_values {
            event.entry.record.value.as_json()
        } else {
            ""
        };
        let segments = [&head[..], value.as_bytes(), &tail];
        let written = written + append_part(piece, max_bytes, &segments, written);
        if written < segments.map(<[u8]>::len).iter().sum() {
            return Some(written);
        }
        self.before = event.point;
        self.left -= 1;
        self.progress = Progress::WithItems;
        None
    }

    fn write_end(
        &mut self,
        next: Option<HistoryPoint>,
        oldest_revision: Revision,
        piece: &mut Vec<u8>,
    ) {
        self.progress = Progress::Ended;
        let next = next.map_or("null".to_owned(), |next| format!("\"{next}\""));
        let end = format!("],\"next\":{next},\"oldest_revision\":{oldest_revision}}}");
        piece.extend_from_slice(end.as_bytes());
    }
}

/// What comes before the value.
fn head_of(event: &PastEvent, follows_another: bool, with_value: bool) -> Vec<u8> {
    let kind = match event.kind {
        EventKind::Put => "put",
        EventKind::Delete => "delete",
    };
    let separator = if follows_another { "," } else { "" };
    let mut entry = Vec::new();
    event.entry.write_json_head(&mut entry);
    let members = entry.strip_prefix(b"{").unwrap_or(&entry);
    let members = if with_value {
        members
    } else {
        members.strip_suffix(b",\"value\":").unwrap_or(members)
    };
    let mut head = format!("{separator}{{\"event\":\"{kind}\",").into_bytes();
    head.extend_from_slice(members);
    head
}

/// What comes after the value.
fn tail_of(event: &PastEvent) -> Vec<u8> {
    let mut tail = Vec::new();
    let etag = event.entry.record.etag();
    event.entry.write_json_tail(&etag, &mut tail);
    let more = match event.origin {
        None => return tail,
        Some(Origin::Revert { revision }) => format!(",\"reverted_from\":{revision}}}"),
        Some(Origin::Merge { base, theirs }) => {
            format!(",\"merged\":{{\"base\":{base},\"theirs\":{theirs}}}}}")
        }
    };
    tail.pop();
    tail.extend_from_slice(more.as_bytes());
    tail
}
