//! Records and entries: a value with what the store knows of it.

use std::io::Write as _;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::etag::EntityTag;
use super::key::Key;
use super::name::Name;
use super::position::{Revision, Version};
use super::timestamp::Timestamp;
use super::value::Value;

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
    /// Who wrote it, unless the writer is anonymous.
    pub modified_by: Option<Name>,
    digest: u64,
}

/// What a store notes of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// How often the key was written since its creation.
    pub version: Version,
    /// The commit.
    pub revision: Revision,
    /// When that was.
    pub modified_at: Timestamp,
    /// Who wrote it, unless the writer is anonymous.
    pub modified_by: Option<Name>,
}

impl Record {
    /// The record of `key`, its tag computed once, here: the first 64 bits of a SHA-256 over key, revision
    /// and value, so that a tag is never reused for another state. A revision has one writer, so the tag
    /// needs no name.
    #[must_use]
    pub fn new(key: &Key, value: Value, stamp: Stamp) -> Self {
        let Stamp {
            version,
            revision,
            modified_at,
            modified_by,
        } = stamp;
        let mut hash = Sha256::new();
        // The length separates the key from what follows.
        hash.update((key.as_str().len() as u64).to_le_bytes());
        hash.update(key.as_str());
        hash.update(revision.to_le_bytes());
        hash.update(value.as_json());
        Self {
            value,
            version,
            revision,
            modified_at,
            modified_by,
            digest: first_bits(hash),
        }
    }

    /// The entity tag of this state of the key.
    #[must_use]
    pub fn etag(&self) -> EntityTag {
        EntityTag::of_record(self.version, self.digest)
    }

    /// The part that it has in the digest of a whole state, unlike that of any other record.
    #[must_use]
    pub fn state_hash(&self) -> u64 {
        let mut hash = Sha256::new();
        // The digest covers key, revision and value.
        hash.update(self.digest.to_le_bytes());
        hash.update(self.version.to_le_bytes());
        hash.update(self.modified_at.millis().to_le_bytes());
        if let Some(name) = &self.modified_by {
            hash.update(name.as_str());
        }
        first_bits(hash)
    }

    /// The same state as in the event of its deletion: with the deleting revision and who deleted it.
    #[must_use]
    pub fn deleted_at(&self, revision: Revision, by: Option<Name>) -> Self {
        Self {
            revision,
            modified_by: by,
            ..self.clone()
        }
    }

    /// How long its value and the name of its writer are, in bytes.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        let name = self.modified_by.as_ref().map_or("", Name::as_str);
        self.value.as_json().len() + name.len()
    }

    /// Appends `,"version":…,"revision":…`. Every answer, and every entry on disk, has them and the time: the
    /// formatter would take 1,000 more instructions for the three.
    pub fn write_numbers(&self, text: &mut Vec<u8>) {
        let mut digits = itoa::Buffer::new();
        text.extend_from_slice(br#","version":"#);
        text.extend_from_slice(digits.format(self.version).as_bytes());
        text.extend_from_slice(br#","revision":"#);
        text.extend_from_slice(digits.format(self.revision).as_bytes());
    }

    /// Appends `,"modified_at":"…"}` or, if the writer has a name, `,"modified_at":"…","modified_by":"…"}`;
    /// `write` appends the moment, of which a file has the text already.
    ///
    /// # Panics
    /// Never: writing to memory does not fail.
    pub fn write_end(&self, text: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>, Timestamp)) {
        text.extend_from_slice(br#","modified_at":""#);
        write(text, self.modified_at);
        if let Some(name) = &self.modified_by {
            text.extend_from_slice(br#"","modified_by":"#);
            serde_json::to_writer(&mut *text, name).expect("writing to memory does not fail");
            text.push(b'}');
        } else {
            text.extend_from_slice(br#""}"#);
        }
    }
}

fn first_bits(hash: Sha256) -> u64 {
    let mut bits = [0; size_of::<u64>()];
    bits.copy_from_slice(&hash.finalize()[..size_of::<u64>()]);
    u64::from_be_bytes(bits)
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
    /// Appends the JSON text that it is shown as, with the record's tag, which the caller already has.
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
        serde_json::to_writer(&mut *text, &self.key).expect("writing to memory does not fail");
        text.extend_from_slice(br#","value":"#);
    }

    /// Appends what comes after the value in that text.
    ///
    /// # Panics
    /// Never: writing to memory does not fail.
    #[inline]
    pub fn write_json_tail(&self, etag: &EntityTag, text: &mut Vec<u8>) {
        let record = &*self.record;
        record.write_numbers(text);
        text.extend_from_slice(br#","etag":"\""#);
        text.extend_from_slice(etag.opaque().as_bytes());
        text.extend_from_slice(br#"\"""#);
        record.write_end(text, |text, moment| {
            write!(text, "{moment}").expect("memory takes it");
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, revision: Revision, value: &str) -> Record {
        let key = key.parse().unwrap();
        let value = Value::from_json(value.as_bytes()).unwrap();
        let stamp = Stamp {
            version: 3,
            revision,
            modified_at: Timestamp::from_millis(0),
            modified_by: None,
        };
        Record::new(&key, value, stamp)
    }

    fn json(entry: &Entry) -> String {
        let mut text = Vec::new();
        entry.write_json(&entry.record.etag(), &mut text);
        String::from_utf8(text).unwrap()
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
            let [key, etag] = [key, etag.as_str()].map(|text| serde_json::to_string(text).unwrap());
            let expected = format!(
                r#"{{"key":{key},"value":{value},"version":3,"revision":18446744073709551615,"etag":{etag},"modified_at":"1970-01-01T00:00:00.000Z"}}"#
            );
            assert_eq!(json(&entry), expected);
        }
    }

    #[test]
    fn an_entry_says_last_who_wrote_it_and_its_tag_does_not() {
        let anonymous = record("a", 1, "1");
        for name in ["ann", r#"ü "\" <b>"#, &"\"".repeat(128)] {
            let named = Record {
                modified_by: Some(name.parse().unwrap()),
                ..anonymous.clone()
            };
            assert_eq!(named.etag(), anonymous.etag());
            let entry = |record: &Record| Entry {
                key: "a".parse().unwrap(),
                record: record.clone().into(),
            };
            let without = json(&entry(&anonymous));
            let name = serde_json::to_string(name).unwrap();
            let expected = without.replace("Z\"}", &format!("Z\",\"modified_by\":{name}}}"));
            assert_eq!(json(&entry(&named)), expected);
            assert_eq!(named.deleted_at(1, None), anonymous);
        }
    }
}
