//! The JSON text of an answer that shows entries. A short one is built at once. Of a longer one, the values
//! from the first that no longer fits into [`BUILT_MAX_BYTES`] on are cut out of their records, piece by
//! piece, as the client takes them.
//!
//! What is around these values stays as text until the answer ends: keys, numbers, tags and names of up to
//! [`TRANSACTION_MAX_OPERATIONS`](crate::model::TRANSACTION_MAX_OPERATIONS) entries. With the longest keys
//! and names, all of them escaped and shown twice, as in a failed transaction, that is some 370 KiB. So a client that
//! does not read costs [`BUILT_MAX_BYTES`], these texts and one piece, and the records as long as the store
//! lets it have them.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use serde::Serialize;

use crate::model::{EntityTag, Entry};
use crate::service::Service;
use crate::storage::{Lease, StoreError};

/// The longest answer that is built at once, in bytes.
pub const BUILT_MAX_BYTES: usize = 16 * 1024;
/// How much of a longer one is put together before it is sent, in bytes.
pub const PIECE_BYTES: usize = 16 * 1024;
/// How many headers an answer that shows an entry has at the most, those of the server included.
const ENTRY_HEADERS: usize = 8;
/// How many bytes the JSON text of an entry has besides its key, its value and the name of its writer, at the
/// most.
const ENTRY_REST_BYTES: usize = 256;

/// About how long the JSON text of an entry is, in bytes; of a key and a name without escapes it is not longer.
pub fn text_bytes(entry: &Entry) -> usize {
    entry.key.as_str().len() + entry.record.text_bytes() + ENTRY_REST_BYTES
}

/// Appends the part of `segments`, one after the other, that begins at `from`, until `piece` has
/// `max_bytes`. Returns how much it was.
pub fn append_part(
    piece: &mut Vec<u8>,
    max_bytes: usize,
    segments: &[&[u8]],
    from: usize,
) -> usize {
    let before = piece.len();
    let mut skip = from;
    for segment in segments {
        let room = max_bytes.saturating_sub(piece.len());
        let rest = segment.get(skip..).unwrap_or_default();
        piece.extend_from_slice(&rest[..rest.len().min(room)]);
        skip = skip.saturating_sub(segment.len());
    }
    piece.len() - before
}

/// A JSON text, parts of which are the values of entries.
#[derive(Default)]
pub struct JsonText {
    /// Up to the first value that is cut out of its record.
    built: Vec<u8>,
    /// What follows.
    parts: Vec<Part>,
    /// The entries whose values are such parts.
    entries: Vec<Entry>,
    bytes: u64,
}

enum Part {
    Text(Vec<u8>),
    /// Of the entry with this index.
    Value(usize),
}

impl JsonText {
    /// Appends a text.
    pub fn push(&mut self, text: &[u8]) {
        self.write(|end| end.extend_from_slice(text));
    }

    fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if matches!(self.parts.last(), Some(Part::Value(_))) {
            self.parts.push(Part::Text(Vec::new()));
        }
        let text = match self.parts.last_mut() {
            Some(Part::Text(text)) => text,
            _ => &mut self.built,
        };
        let before = text.len();
        write(text);
        self.bytes += (text.len() - before) as u64;
    }

    /// Appends an entry as it is always shown.
    pub fn push_entry(&mut self, entry: &Entry, etag: &EntityTag) {
        let entry_bytes = text_bytes(entry);
        if self.entries.is_empty() && self.built.len() + entry_bytes <= BUILT_MAX_BYTES {
            self.built.reserve(entry_bytes);
            self.write(|text| entry.write_json(etag, text));
            return;
        }
        self.write(|text| entry.write_json_head(text));
        self.parts.push(Part::Value(self.entries.len()));
        self.bytes += entry.record.value.as_json().len() as u64;
        self.entries.push(entry.clone());
        self.write(|text| entry.write_json_tail(etag, text));
    }

    /// The same, or `null`.
    pub fn push_entry_or_null(&mut self, entry: Option<&Entry>) {
        match entry {
            Some(entry) => self.push_entry(entry, &entry.record.etag()),
            None => self.push(b"null"),
        }
    }

    /// 200 with this text; another status and further headers are the caller's.
    pub fn into_response(self, service: &Service) -> Response {
        let body = self.into_body(|entries| service.hold(entries));
        let mut response = Response::new(body);
        let mut headers = HeaderMap::with_capacity(ENTRY_HEADERS);
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        *response.headers_mut() = headers;
        response
    }

    /// The text as a body; `hold` keeps the entries that are cut out of their records.
    fn into_body(self, hold: impl FnOnce(Vec<Entry>) -> Lease<Vec<Entry>>) -> Body {
        if self.parts.is_empty() {
            return Body::from(self.built);
        }
        let built = [Part::Text(self.built)].into_iter();
        Body::new(Pieces {
            held: Some(hold(self.entries)),
            parts: built.chain(self.parts).collect(),
            part: 0,
            at: 0,
            left_bytes: self.bytes,
        })
    }
}

/// The JSON text of something small.
///
/// # Panics
/// Never: writing to memory does not fail.
pub fn json_of(shown: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(shown).expect("memory takes it")
}

/// The text as it is sent. It fails if the store wants the records back: then the client must see
/// that it has not got all.
struct Pieces {
    /// Until everything was taken from it.
    held: Option<Lease<Vec<Entry>>>,
    parts: Vec<Part>,
    /// Which part is next.
    part: usize,
    /// How much of it was taken.
    at: usize,
    left_bytes: u64,
}

impl Pieces {
    fn next_piece(&mut self) -> Result<Vec<u8>, StoreError> {
        let length = usize::try_from(self.left_bytes).unwrap_or(PIECE_BYTES);
        let mut piece = Vec::with_capacity(length.min(PIECE_BYTES));
        while piece.len() < PIECE_BYTES
            && let Some(part) = self.parts.get(self.part)
        {
            let held = self.held.as_ref().ok_or(StoreError::Revoked)?;
            let (at, length) = match part {
                Part::Text(text) => (
                    append_part(&mut piece, PIECE_BYTES, &[text], self.at),
                    text.len(),
                ),
                Part::Value(index) => held.read(|entries| {
                    let entry = entries.get(*index);
                    let value = entry.map_or("", |entry| entry.record.value.as_json());
                    let appended =
                        append_part(&mut piece, PIECE_BYTES, &[value.as_bytes()], self.at);
                    (appended, value.len())
                })?,
            };
            self.at += at;
            if self.at >= length {
                self.part += 1;
                self.at = 0;
            }
        }
        self.left_bytes = self.left_bytes.saturating_sub(piece.len() as u64);
        if self.left_bytes == 0 {
            self.held = None;
        }
        Ok(piece)
    }
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = StoreError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StoreError>>> {
        if self.left_bytes == 0 {
            return Poll::Ready(None);
        }
        let piece = self.next_piece();
        Poll::Ready(Some(piece.map(|piece| Frame::data(piece.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.left_bytes == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left_bytes)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::model::{Key, Record, Stamp, Timestamp, Value};
    use crate::storage::Leases;

    /// An entry whose value has so many bytes.
    fn entry(key: &str, value_bytes: usize) -> Entry {
        let key: Key = key.parse().unwrap();
        let value = format!("\"{}\"", "v".repeat(value_bytes - 2));
        let value = Value::from_json(value.as_bytes()).unwrap();
        let stamp = Stamp {
            version: 1,
            revision: 2,
            modified_at: Timestamp::from_millis(3),
            modified_by: None,
        };
        let record = Record::new(&key, value, stamp).into();
        Entry { key, record }
    }

    /// The array of these entries, each a key and the length of its value.
    fn array_of(shown: &[Option<(&str, usize)>]) -> JsonText {
        let mut text = JsonText::default();
        text.push(b"[");
        for (index, shown) in shown.iter().enumerate() {
            if index > 0 {
                text.push(b",");
            }
            let entry = shown.map(|(key, value_bytes)| entry(key, value_bytes));
            text.push_entry_or_null(entry.as_ref());
        }
        text.push(b"]");
        text
    }

    #[tokio::test]
    async fn entries_of_any_size_come_in_order_and_the_length_is_known_before() {
        const ESCAPED: &str = "a\"\\/\u{e9}\"";
        let small = Some(("small", 10));
        let escaped = Some((ESCAPED, 10));
        let fills_a_piece = Some(("piece", PIECE_BYTES));
        let large = Some((ESCAPED, 5 * PIECE_BYTES + 1));
        let longest_key = "\"".repeat(512);
        let many = Some((longest_key.as_str(), 1000));
        for (shown, is_built) in [
            (vec![], true),
            (vec![None], true),
            (vec![None, small, escaped, None], true),
            (vec![fills_a_piece], false),
            (vec![large], false),
            (vec![None, large, None], false),
            (
                vec![small, large, None, escaped, large, large, small],
                false,
            ),
            (vec![large, small, fills_a_piece, escaped, None], false),
            (vec![many; 128], false),
        ] {
            let text = array_of(&shown);
            assert_eq!(text.parts.is_empty(), is_built, "{shown:?}");
            let mut body =
                text.into_body(|entries| Leases::default().lend_entries(entries, |_| true));
            let length = body.size_hint().exact().unwrap();
            let mut collected = Vec::new();
            while let Some(frame) = body.frame().await {
                let piece = frame.unwrap().into_data().unwrap();
                assert!((1..=PIECE_BYTES).contains(&piece.len()), "{shown:?}");
                collected.extend_from_slice(&piece);
                let left = body.size_hint().exact().unwrap();
                assert_eq!(collected.len() as u64 + left, length, "{shown:?}");
            }
            assert_eq!(collected.len() as u64, length, "{shown:?}");
            let found: Vec<Option<serde_json::Value>> = serde_json::from_slice(&collected).unwrap();
            assert_eq!(found.len(), shown.len());
            for (found, shown) in found.iter().zip(shown) {
                let expected = shown.map(|(key, value_bytes)| {
                    let entry = entry(key, value_bytes);
                    let mut text = Vec::new();
                    entry.write_json(&entry.record.etag(), &mut text);
                    serde_json::from_slice(&text).unwrap()
                });
                assert_eq!(*found, expected);
            }
        }
    }

    #[test]
    fn parts_of_a_text_meet() {
        let value = "y".repeat(3 * PIECE_BYTES);
        let segments = [b"head".as_slice(), value.as_bytes(), b"", b"tail"];
        let mut whole = Vec::new();
        loop {
            let mut piece = b"zz".to_vec();
            let appended = append_part(&mut piece, PIECE_BYTES, &segments, whole.len());
            assert!(piece.len() <= PIECE_BYTES);
            assert_eq!(piece.len(), 2 + appended);
            if appended == 0 {
                break;
            }
            whole.extend_from_slice(&piece[2..]);
        }
        assert_eq!(whole, segments.concat());
    }
}
