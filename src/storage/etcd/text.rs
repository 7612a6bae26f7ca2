//! The text of what is stored: entries, markers and requests. Pure.

use std::collections::HashSet;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::layout::{Layout, number};
use super::messages::KeyValue;
use crate::model::{
    Fingerprint, IdempotencyKey, Key, Name, Origin, Record, Request, Revision, Stamp, Timestamp,
    Value,
};

/// What is stored is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Damaged(pub String);

/// Reads entries. Each name is in memory once: a million entries have a few writers.
#[derive(Debug)]
pub struct Reader {
    layout: Layout,
    names: HashSet<Name>,
}

impl Reader {
    /// A reader of the keys of this layout.
    #[must_use]
    pub fn new(layout: Layout) -> Self {
        Self {
            layout,
            names: HashSet::new(),
        }
    }

    /// The layout.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The key of an entry, from the bytes of it that [`Layout::place`] gives.
    ///
    /// # Errors
    /// Why it is not a key.
    pub fn key(bytes: &[u8]) -> Result<Key, Damaged> {
        let text = std::str::from_utf8(bytes).map_err(|error| Damaged(error.to_string()))?;
        text.parse()
            .map_err(|error| Damaged(format!("it is no key: {error}")))
    }

    /// The record of a key.
    ///
    /// # Errors
    /// Why what is stored is not one.
    pub fn record(&mut self, key: &Key, stored: &KeyValue) -> Result<Record, Damaged> {
        let entry: StoredEntry = read(&stored.value)?;
        Ok(Record::new(
            key,
            entry.value,
            Stamp {
                version: number(stored.version),
                revision: number(stored.mod_revision),
                modified_at: entry.modified_at,
                modified_by: entry.modified_by.map(|name| self.shared(name)),
            },
        ))
    }

    fn shared(&mut self, name: Name) -> Name {
        if let Some(known) = self.names.get(&name) {
            return known.clone();
        }
        self.names.insert(name.clone());
        name
    }
}

#[derive(Deserialize)]
struct StoredEntry {
    modified_at: Timestamp,
    #[serde(default)]
    modified_by: Option<Name>,
    value: Value,
}

/// The text of an entry.
///
/// # Panics
/// Never: writing to memory does not fail.
#[must_use]
pub fn entry_text(value: &Value, modified_at: Timestamp, modified_by: Option<&Name>) -> Bytes {
    let mut text = format!("{{\"modified_at\":\"{modified_at}\"").into_bytes();
    if let Some(name) = modified_by {
        text.extend_from_slice(b",\"modified_by\":");
        serde_json::to_writer(&mut text, name).expect("writing to memory does not fail");
    }
    text.extend_from_slice(b",\"value\":");
    text.extend_from_slice(value.as_json().as_bytes());
    text.push(b'}');
    text.into()
}

/// Random digits of a commit, which no other has: those of the marker at a revision tell one past from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digits(u64);

impl Digits {
    /// From their bits.
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// From their text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let is_written_so = text.len() == 16 && text.bytes().all(is_digit);
        let bits = u64::from_str_radix(text, 16).ok();
        bits.filter(|_| is_written_so).map(Self)
    }
}

impl fmt::Display for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What is said of a commit besides its entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// Its digits.
    pub digits: Digits,
    /// When it was made.
    pub at: Timestamp,
    /// Who made it, unless the writer is anonymous.
    pub by: Option<Name>,
    /// The request that it was made for, if that is done once.
    pub request: Option<Request>,
    /// Where its values come from, if not from the request alone.
    pub origin: Option<Origin>,
}

#[derive(Serialize, Deserialize)]
struct StoredMarker {
    digits: String,
    at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reverted: Option<Revision>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    merged: Option<[Revision; 2]>,
}

/// The members `reverted` and `merged`. (With `arbitrary_precision`, numbers cannot be in a flattened struct.)
fn split(origin: Option<Origin>) -> (Option<Revision>, Option<[Revision; 2]>) {
    match origin {
        None => (None, None),
        Some(Origin::Revert { revision }) => (Some(revision), None),
        Some(Origin::Merge { base, theirs }) => (None, Some([base, theirs])),
    }
}

fn join(reverted: Option<Revision>, merged: Option<[Revision; 2]>) -> Option<Origin> {
    match (reverted, merged) {
        (Some(revision), _) => Some(Origin::Revert { revision }),
        (None, Some([base, theirs])) => Some(Origin::Merge { base, theirs }),
        (None, None) => None,
    }
}

impl Marker {
    /// Its text.
    ///
    /// # Panics
    /// Never: its parts can all be written.
    #[must_use]
    pub fn text(&self) -> Bytes {
        let request = self.request.as_ref();
        let (reverted, merged) = split(self.origin);
        let stored = StoredMarker {
            digits: self.digits.to_string(),
            at: self.at,
            by: self.by.clone(),
            request: request.map(|request| request.key.as_str().to_owned()),
            fingerprint: request.map(|request| request.fingerprint.to_string()),
            reverted,
            merged,
        };
        let text = serde_json::to_vec(&stored).expect("its parts can all be written");
        text.into()
    }

    /// From its text.
    ///
    /// # Errors
    /// Why it is not one.
    pub fn read(text: &[u8]) -> Result<Self, Damaged> {
        let stored: StoredMarker = read(text)?;
        let digits = Digits::parse(&stored.digits)
            .ok_or_else(|| Damaged(format!("{:?} are not its digits", stored.digits)))?;
        let request = match (stored.request, stored.fingerprint) {
            (Some(key), Some(fingerprint)) => Some(Request {
                key: IdempotencyKey::new(&key).map_err(|error| Damaged(error.to_string()))?,
                fingerprint: fingerprint_of(&fingerprint)?,
            }),
            _ => None,
        };
        Ok(Self {
            digits,
            at: stored.at,
            by: stored.by,
            request,
            origin: join(stored.reverted, stored.merged),
        })
    }
}

/// A request that was done, by the commit that put this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoneRequest {
    /// What stands for its content.
    pub fingerprint: Fingerprint,
    /// When it was done.
    pub at: Timestamp,
    /// Where the values come from, if not from the request alone.
    pub origin: Option<Origin>,
    /// The keys that the commit put or deleted, in its order.
    pub changed: Vec<Key>,
}

#[derive(Serialize, Deserialize)]
struct StoredRequest {
    fingerprint: String,
    at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reverted: Option<Revision>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    merged: Option<[Revision; 2]>,
    changed: Vec<Key>,
}

impl DoneRequest {
    /// Its text.
    ///
    /// # Panics
    /// Never: its parts can all be written.
    #[must_use]
    pub fn text(&self) -> Bytes {
        let (reverted, merged) = split(self.origin);
        let stored = StoredRequest {
            fingerprint: self.fingerprint.to_string(),
            at: self.at,
            reverted,
            merged,
            changed: self.changed.clone(),
        };
        let text = serde_json::to_vec(&stored).expect("its parts can all be written");
        text.into()
    }

    /// From its text.
    ///
    /// # Errors
    /// Why it is not one.
    pub fn read(text: &[u8]) -> Result<Self, Damaged> {
        let stored: StoredRequest = read(text)?;
        Ok(Self {
            fingerprint: fingerprint_of(&stored.fingerprint)?,
            at: stored.at,
            origin: join(stored.reverted, stored.merged),
            changed: stored.changed,
        })
    }
}

fn fingerprint_of(digits: &str) -> Result<Fingerprint, Damaged> {
    Fingerprint::parse(digits).ok_or_else(|| Damaged(format!("{digits:?} is no fingerprint")))
}

fn read<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, Damaged> {
    serde_json::from_slice(text).map_err(|error| Damaged(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        Layout::new("/ifmatch")
    }

    fn key(text: &str) -> Key {
        text.parse().unwrap()
    }

    #[test]
    fn an_entry_is_read_as_it_is_written() {
        let deep = format!("{}1{}", "[".repeat(128), "]".repeat(128));
        let texts = [r#"{"b":1.0,"a":12345678901234567890.10}"#, "null", &deep];
        let mut reader = Reader::new(layout());
        for (text, name) in texts.into_iter().zip([None, Some("Ann \"ü\""), Some("b")]) {
            let value = Value::from_json(text.as_bytes()).unwrap();
            let at = Timestamp::from_millis(1_763_805_600_120);
            let name: Option<Name> = name.map(|name| name.parse().unwrap());
            let stored = KeyValue {
                value: entry_text(&value, at, name.as_ref()),
                version: 3,
                mod_revision: 42,
                ..KeyValue::default()
            };
            let record = reader.record(&key("a"), &stored).unwrap();
            assert_eq!(record.value.as_json(), text);
            assert_eq!((record.version, record.revision), (3, 42));
            assert_eq!((record.modified_at, record.modified_by), (at, name));
        }
    }

    #[test]
    fn what_is_no_entry_is_refused_with_a_reason() {
        let mut reader = Reader::new(layout());
        let at = "1970-01-01T00:00:00.000Z";
        for text in [
            "",
            "1",
            "{\"value\":1}",
            &format!("{{\"modified_at\":\"{at}\"}}"),
            &format!("{{\"modified_at\":\"{at}\",\"value\":}}"),
            "{\"modified_at\":\"yesterday\",\"value\":1}",
            &format!("{{\"modified_at\":\"{at}\",\"modified_by\":\"\",\"value\":1}}"),
        ] {
            let stored = KeyValue {
                value: text.to_owned().into(),
                ..KeyValue::default()
            };
            let damaged = reader.record(&key("a"), &stored).unwrap_err();
            assert!(!damaged.0.is_empty(), "{text}");
        }
        for bytes in [&b""[..], b"\xff", b"a/../b", b"a\n"] {
            assert!(Reader::key(bytes).is_err(), "{bytes:?}");
        }
        assert_eq!(Reader::key("ü".as_bytes()), Ok(key("ü")));
    }

    #[test]
    fn a_marker_is_read_as_it_is_written() {
        let request = Request {
            key: IdempotencyKey::new("a \"b\"").unwrap(),
            fingerprint: Fingerprint::from_bytes([0x1f; Fingerprint::BYTES]),
        };
        let origins = [
            None,
            Some(Origin::Revert { revision: 7 }),
            Some(Origin::Merge { base: 1, theirs: 2 }),
        ];
        for (origin, request) in origins.into_iter().zip([None, Some(request), None]) {
            let marker = Marker {
                digits: Digits::from_bits(0xaf),
                at: Timestamp::from_millis(5),
                by: request.as_ref().map(|_| "ann".parse().unwrap()),
                request,
                origin,
            };
            assert_eq!(Marker::read(&marker.text()), Ok(marker));
        }
        let text = r#"{"digits":"00000000000000af","at":"1970-01-01T00:00:00.005Z"}"#;
        assert_eq!(
            Marker::read(text.as_bytes()).unwrap().text(),
            text.as_bytes()
        );
        for text in [
            "",
            "{}",
            r#"{"digits":"AF","at":"1970-01-01T00:00:00.005Z"}"#,
        ] {
            assert!(Marker::read(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_done_request_is_read_as_it_is_written() {
        let done = DoneRequest {
            fingerprint: Fingerprint::from_bytes([7; Fingerprint::BYTES]),
            at: Timestamp::from_millis(5),
            origin: Some(Origin::Revert { revision: 7 }),
            changed: vec![key("a"), key("ü \"")],
        };
        assert_eq!(DoneRequest::read(&done.text()), Ok(done));
        assert!(DoneRequest::read(b"{\"fingerprint\":\"x\",\"changed\":[]}").is_err());
    }
}
