//! The words of ifmatch as types: what a key, a value, a version, an entity tag is. Pure.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::io::Write as _;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Error as _, Serialize, Serializer};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use crate::json::{self, SyntaxError};

mod change_set;
mod event;
mod key;

pub use self::change_set::{ChangeSet, RepeatedKey};
pub use self::event::{Bookmark, BookmarkError, Cursor, Event, EventKind, Filter};
pub use self::key::{KEY_MAX_BYTES, Key, KeyError};

/// The largest value that is taken unless a flag says otherwise, in bytes of its JSON text.
pub const DEFAULT_MAX_VALUE_BYTES: usize = 1024 * 1024;
/// The most operations that a transaction may have.
pub const TRANSACTION_MAX_OPERATIONS: usize = 128;
/// The longest page of a list, in entries.
pub const LIST_MAX_LIMIT: usize = 10_000;
/// The last millisecond that RFC 3339 can write, 9999-12-31T23:59:59.999Z.
const LAST_TIMESTAMP_MILLIS: u64 = 253_402_300_799_999;

/// The millisecond of dates that are ahead of the clock on purpose.
const AHEAD_MILLISECOND: u64 = 999;

/// A JSON value as its compact text. It was parsed when it came in and is never parsed again.
#[derive(Debug, Clone)]
pub struct Value(Box<str>);

impl Value {
    /// Reads a value from JSON text (RFC 8259).
    ///
    /// # Errors
    /// As [`json::parse`].
    pub fn from_json(text: &[u8]) -> Result<Self, SyntaxError> {
        json::compact(text).map(Self::from_compact)
    }

    /// The value that a tree stands for.
    ///
    /// # Panics
    /// Never: writing JSON fails only for maps whose keys are not strings, and a tree has none.
    #[must_use]
    pub fn from_tree(tree: &serde_json::Value) -> Self {
        Self(
            serde_json::to_string(tree)
                .expect("the keys are strings")
                .into(),
        )
    }

    /// The value whose compact text this is, as [`json::compact`] and [`crate::patch::Patch::apply`] write it.
    #[must_use]
    pub(crate) fn from_compact(text: String) -> Self {
        Self(text.into())
    }

    /// The tree that the text stands for.
    ///
    /// # Panics
    /// Never: the text was made from a tree.
    #[must_use]
    pub fn to_tree(&self) -> serde_json::Value {
        json::parse(self.as_json().as_bytes()).expect("it was read before")
    }

    /// The compact JSON text.
    #[must_use]
    pub fn as_json(&self) -> &str {
        &self.0
    }
}

impl Serialize for Value {
    /// Not for answers and files, which copy the text: only so does `serde_json` keep every digit, and it reads
    /// the text once more for it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text: &RawValue = serde_json::from_str(&self.0).map_err(S::Error::custom)?;
        text.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        // Mostly it was written by us.
        if json::compact_value(&text).is_some_and(|compact| compact == text.get()) {
            return Ok(Self(text.into()));
        }
        Self::from_json(text.get().as_bytes())
            .map_err(|error| D::Error::custom(format_args!("not a JSON value: {}", error.reason)))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.as_json() == other.as_json()
    }
}

impl Eq for Value {}

/// The last version and the last revision that there can be: JSON readers that take numbers for doubles would
/// confuse those above (RFC 8259 §6). At a million commits a second they last for 285 years.
pub const LAST_NUMBER: u64 = (1 << 53) - 1;

/// How often a key was written since it was created: 1 at creation. For people.
pub type Version = u64;

/// The number of a commit in the store's history: +1 per commit, never reused.
pub type Revision = u64;

/// A moment in UTC, in whole milliseconds since 1970, shown as RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Milliseconds since 1970-01-01T00:00:00Z; what RFC 3339 cannot write becomes the last
    /// moment that it can.
    #[must_use]
    pub fn from_millis(millis: u64) -> Self {
        Self(millis.min(LAST_TIMESTAMP_MILLIS))
    }

    /// When a state is written at `now` whose key's last state was written at `before`, if it had one.
    ///
    /// A client that has the date of a state must not take the next one for the same. After the clock was
    /// set back that would come about as soon as it is the same time again, so the next state is dated a
    /// second after the one before. Dates show whole seconds, and none that is still to come: while the
    /// clock is behind, no client sees that date, so the states that follow keep it. They are known by
    /// their millisecond, which no other date has.
    #[must_use]
    pub fn of_write(now: Self, before: Option<Self>) -> Self {
        match before {
            Some(before) if now < before && before.is_ahead() => before,
            Some(before) if now < before => {
                Self::from_millis((before.seconds() + 1) * 1000 + AHEAD_MILLISECOND)
            }
            _ if now.is_ahead() => Self(now.0 - 1),
            _ => now,
        }
    }

    fn is_ahead(self) -> bool {
        self.0 % 1000 == AHEAD_MILLISECOND
    }

    /// Whole seconds since 1970, which is what an HTTP date can say (RFC 9110 §5.6.7).
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.0 / 1000
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::from_millis(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(timestamp: Timestamp) -> Self {
        UNIX_EPOCH + Duration::from_millis(timestamp.0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_millis((*self).into()).fmt(f)
    }
}

impl FromStr for Timestamp {
    type Err = humantime::TimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        humantime::parse_rfc3339(text).map(Self::from)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

/// A strong entity tag (RFC 9110 §8.8.3) as the header shows it, quotes included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityTag(String);

impl EntityTag {
    /// The tag of one key's record.
    fn of_record(version: Version, digest: u64) -> Self {
        // Without the formatter, because every answer that shows an entry has one.
        let mut digits = [0; 2 * size_of::<u64>()];
        hex::encode_to_slice(digest.to_be_bytes(), &mut digits).expect("two digits for a byte");
        let digits = str::from_utf8(&digits).expect("digits are ASCII");
        Self(["\"", &version.to_string(), "-", digits, "\""].concat())
    }

    /// The tag of a list at a revision, in one engine's run of revisions.
    #[must_use]
    pub fn of_list(position: &Position) -> Self {
        Self(format!("\"{}-{}\"", position.revision, position.history))
    }

    /// As the `ETag` header shows it, quotes included.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands between the quotes.
    #[must_use]
    pub fn opaque(&self) -> &str {
        &self.0[1..self.0.len() - 1]
    }
}

impl From<EntityTag> for String {
    fn from(etag: EntityTag) -> Self {
        etag.0
    }
}

impl fmt::Display for EntityTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a store holds for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The JSON value.
    pub value: Value,
    /// How often the key was written since its creation.
    pub version: Version,
    /// The commit that wrote it.
    pub revision: Revision,
    /// When that was.
    pub modified_at: Timestamp,
    digest: u64,
}

impl Record {
    /// The record of `key`, its tag computed once, here: the first 64 bits of a SHA-256 over key,
    /// revision and value, so that a tag never comes back for another state.
    #[must_use]
    pub fn new(
        key: &Key,
        value: Value,
        version: Version,
        revision: Revision,
        modified_at: Timestamp,
    ) -> Self {
        let mut hash = Sha256::new();
        // The length keeps apart what would otherwise run into one another.
        hash.update((key.as_str().len() as u64).to_le_bytes());
        hash.update(key.as_str());
        hash.update(revision.to_le_bytes());
        hash.update(value.as_json());
        let mut digest = [0; size_of::<u64>()];
        digest.copy_from_slice(&hash.finalize()[..size_of::<u64>()]);
        Self {
            value,
            version,
            revision,
            modified_at,
            digest: u64::from_be_bytes(digest),
        }
    }

    /// The entity tag of this state of the key.
    #[must_use]
    pub fn etag(&self) -> EntityTag {
        EntityTag::of_record(self.version, self.digest)
    }

    /// The same state as watchers are told of its end.
    #[must_use]
    pub fn deleted_at(&self, revision: Revision) -> Self {
        Self {
            revision,
            ..self.clone()
        }
    }

    /// Appends `,"version":…,"revision":…`. Every answer, and every entry on disk, has them and the
    /// moment: with the formatter the three take 1,000 instructions more each time.
    pub fn write_numbers(&self, text: &mut Vec<u8>) {
        let mut digits = itoa::Buffer::new();
        text.extend_from_slice(br#","version":"#);
        text.extend_from_slice(digits.format(self.version).as_bytes());
        text.extend_from_slice(br#","revision":"#);
        text.extend_from_slice(digits.format(self.revision).as_bytes());
    }

    /// Appends `,"modified_at":"…"}`.
    ///
    /// # Panics
    /// Never: writing to memory does not fail.
    pub fn write_moment(&self, text: &mut Vec<u8>) {
        text.extend_from_slice(br#","modified_at":""#);
        write!(text, "{}", self.modified_at).expect("memory takes it");
        text.extend_from_slice(br#""}"#);
    }
}

/// A key with its record: the one shape in which an entry is ever shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub key: Key,
    /// Its state.
    pub record: Arc<Record>,
}

impl Entry {
    /// Appends the JSON text that it is shown as, with the record's tag, which the caller has made already.
    ///
    /// # Panics
    /// Never: writing to memory does not fail.
    pub fn write_json(&self, etag: &EntityTag, text: &mut Vec<u8>) {
        self.write_json_head(text);
        text.extend_from_slice(self.record.value.as_json().as_bytes());
        self.write_json_tail(etag, text);
    }

    /// Appends what comes before the value in that text.
    ///
    /// # Panics
    /// Never: writing to memory does not fail.
    #[inline]
    pub fn write_json_head(&self, text: &mut Vec<u8>) {
        text.extend_from_slice(br#"{"key":"#);
        serde_json::to_writer(&mut *text, &self.key).expect("memory takes it");
        text.extend_from_slice(br#","value":"#);
    }

    /// Appends what comes after the value in that text.
    #[inline]
    pub fn write_json_tail(&self, etag: &EntityTag, text: &mut Vec<u8>) {
        let record = &*self.record;
        record.write_numbers(text);
        text.extend_from_slice(br#","etag":"\""#);
        text.extend_from_slice(etag.opaque().as_bytes());
        text.extend_from_slice(br#"\"""#);
        record.write_moment(text);
    }
}

/// What a commit requires of a key before it may change it. Any engine can compare each of these
/// in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Whatever is there, also nothing.
    Any,
    /// Some record.
    Present,
    /// No record.
    Absent,
    /// The record that this commit wrote.
    At(Revision),
}

impl Expected {
    /// Whether `current` is as required.
    #[must_use]
    pub fn is_met_by(self, current: Option<&Record>) -> bool {
        match self {
            Self::Any => true,
            Self::Present => current.is_some(),
            Self::Absent => current.is_none(),
            Self::At(revision) => current.is_some_and(|record| record.revision == revision),
        }
    }
}

/// What a change does to its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Creates or replaces the record.
    Put(Value),
    /// Removes the record. There must be one.
    Delete,
    /// Leaves it as it is.
    Check,
}

/// One key's part of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which key.
    pub key: Key,
    /// What must hold of it at the moment of the commit.
    pub expected: Expected,
    /// What is done to it.
    pub operation: Operation,
}

/// A point in a store's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The newest commit.
    pub revision: Revision,
    /// A token of the engine's own for this run of revisions, so that the same number of another
    /// run is not mistaken for it: 16 hexadecimal digits.
    pub history: Arc<str>,
}

/// A token that no other run of this program has: 64 random bits in hex.
#[must_use]
pub fn random_token() -> Arc<str> {
    // The keys of `RandomState` come from the system's random source, once per process.
    let bits = RandomState::new().hash_one(std::process::id());
    hex::encode(bits.to_be_bytes()).into()
}

/// Which entries a list asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Range {
    /// Only keys that begin so.
    pub prefix: String,
    /// Only keys that come after this one.
    pub after: Option<String>,
    /// At most so many entries.
    pub limit: Option<usize>,
}

/// The entries of a range, or the first of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Ascending by the bytes of the key.
    pub entries: Vec<Entry>,
    /// Whether the range goes on after the last entry.
    pub more: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, revision: Revision, value: &str) -> Record {
        let key = key.parse().unwrap();
        let value = Value::from_json(value.as_bytes()).unwrap();
        Record::new(&key, value, 3, revision, Timestamp::from_millis(0))
    }

    #[test]
    fn a_tag_is_the_version_and_sixteen_hex_digits() {
        let tag = record("a", 1, "1").etag();
        let (version, digest) = tag.opaque().split_once('-').unwrap();
        assert_eq!(version, "3");
        assert_eq!(digest.len(), 16);
        assert!(
            digest
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        );
        assert_eq!(tag.as_str(), format!("\"{}\"", tag.opaque()));
    }

    #[test]
    fn another_key_revision_or_value_has_another_tag() {
        let tag = record("a", 1, "1").etag();
        assert_eq!(record("a", 1, " 1 ").etag(), tag);
        for other in [
            record("b", 1, "1"),
            record("a", 2, "1"),
            record("a", 1, "2"),
        ] {
            assert_ne!(other.etag(), tag);
        }
    }

    #[test]
    fn an_entry_is_one_json_object_whatever_its_key_and_value() {
        for (key, value) in [
            ("a/b", r#"{"a":[1.0,"x"]}"#),
            (r#"ü "\"#, r#""\u0000""#),
            (&"\"".repeat(512), "null"),
        ] {
            let entry = Entry {
                key: key.parse().unwrap(),
                record: record(key, u64::MAX, value).into(),
            };
            let etag = entry.record.etag();
            let mut text = Vec::new();
            entry.write_json(&etag, &mut text);
            let [key, etag] = [key, etag.as_str()].map(|text| serde_json::to_string(text).unwrap());
            let expected = format!(
                r#"{{"key":{key},"value":{value},"version":3,"revision":18446744073709551615,"etag":{etag},"modified_at":"1970-01-01T00:00:00.000Z"}}"#
            );
            assert_eq!(String::from_utf8(text).unwrap(), expected);
        }
    }

    #[test]
    fn a_timestamp_is_rfc_3339_with_milliseconds_and_comes_back() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_763_805_600_120, "2025-11-22T10:00:00.120Z"),
            (u64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            let timestamp = Timestamp::from_millis(millis);
            assert_eq!(timestamp.to_string(), text);
            assert_eq!(text.parse::<Timestamp>().unwrap(), timestamp);
        }
    }

    #[test]
    fn an_expectation_is_met_or_not() {
        let current = record("a", 7, "1");
        for (expected, met_by_current, met_by_none) in [
            (Expected::Any, true, true),
            (Expected::Present, true, false),
            (Expected::Absent, false, true),
            (Expected::At(7), true, false),
            (Expected::At(6), false, false),
        ] {
            assert_eq!(
                expected.is_met_by(Some(&current)),
                met_by_current,
                "{expected:?}"
            );
            assert_eq!(expected.is_met_by(None), met_by_none, "{expected:?}");
        }
    }
}
