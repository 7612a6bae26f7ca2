//! How a store lies in etcd: the keys. Pure.
//!
//! | key | what is stored |
//! | --- | --- |
//! | `<root>/format` | the number of this layout |
//! | `<root>/secret` | the [secret](crate::storage::Past::secret) of the store |
//! | `<root>/k/<key>` | an entry: `{"modified_at":…,"modified_by":…,"value":…}` on one line |
//! | `<root>/m` | the marker: it is put last in every commit, and says what the entries do not |
//! | `<root>/i/<hash>` | a request that was done, with a lease: `{"fingerprint":…,"at":…,"changed":[…]}` |
//!
//! The version of an entry is the `version` that etcd counts for its key, and its revision is the `mod_revision`.

use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::model::{IdempotencyKey, Key, Name, Revision};

/// The number of the layout that is described above.
pub const FORMAT: u64 = 1;

/// The keys of a store.
#[derive(Debug, Clone)]
pub struct Layout {
    /// What all of them begin with.
    root: Arc<str>,
}

/// What is stored under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// The entry of this key, if it is one.
    Entry(&'a [u8]),
    /// The marker.
    Marker,
    /// Nothing that belongs to the content.
    Other,
}

impl Layout {
    /// The keys below `root`, which begins with a slash and does not end with one.
    #[must_use]
    pub fn new(root: &str) -> Self {
        Self { root: root.into() }
    }

    /// Where the number of the layout is.
    #[must_use]
    pub fn format(&self) -> Bytes {
        self.at("/format")
    }

    /// Where the secret is.
    #[must_use]
    pub fn secret(&self) -> Bytes {
        self.at("/secret")
    }

    /// Where the marker is.
    #[must_use]
    pub fn marker(&self) -> Bytes {
        self.at("/m")
    }

    /// Where the entry of a key is.
    #[must_use]
    pub fn entry(&self, key: &Key) -> Bytes {
        [&*self.root, "/k/", key.as_str()].concat().into()
    }

    /// Where a request is whose key this writer has chosen.
    #[must_use]
    pub fn request(&self, writer: Option<&Name>, key: &IdempotencyKey) -> Bytes {
        let mut hash = Sha256::new();
        // No name is empty.
        let writer = writer.map_or("", Name::as_str);
        // The length separates the name from what follows.
        hash.update((writer.len() as u64).to_le_bytes());
        hash.update(writer);
        hash.update(key.as_str());
        let digits = hex::encode(hash.finalize());
        [&*self.root, "/i/", &digits].concat().into()
    }

    /// The range of all entries and the marker: the first key, and that after the last.
    #[must_use]
    pub fn content(&self) -> (Bytes, Bytes) {
        (self.at("/k/"), self.at("/m\0"))
    }

    /// The range of all entries.
    #[must_use]
    pub fn entries(&self) -> (Bytes, Bytes) {
        (self.at("/k/"), self.at("/k0"))
    }

    /// What is stored under a key.
    #[must_use]
    pub fn place<'a>(&self, key: &'a [u8]) -> Place<'a> {
        match key.strip_prefix(self.root.as_bytes()) {
            Some(b"/m") => Place::Marker,
            Some(rest) => rest.strip_prefix(b"/k/").map_or(Place::Other, Place::Entry),
            None => Place::Other,
        }
    }

    fn at(&self, name: &str) -> Bytes {
        [&*self.root, name].concat().into()
    }
}

/// A number of etcd's, which is never below 0.
#[must_use]
pub fn number(of_etcd: i64) -> u64 {
    u64::try_from(of_etcd).unwrap_or_default()
}

/// A revision as etcd wants it.
#[must_use]
pub fn etcd_number(revision: Revision) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn layout() -> Layout {
        Layout::new("/ifmatch")
    }

    fn key(text: &str) -> Key {
        text.parse().unwrap()
    }

    #[test]
    fn every_key_has_its_place_and_comes_back() {
        let layout = layout();
        for text in ["a", "/", "m", "k/m", "ü \"", "..."] {
            let stored = layout.entry(&key(text));
            assert_eq!(layout.place(&stored), Place::Entry(text.as_bytes()));
            let (first, end) = layout.content();
            assert!(first <= stored && stored < end, "{text}");
            let (first, end) = layout.entries();
            assert!(first <= stored && stored < end, "{text}");
        }
        let (first, end) = layout.content();
        assert!(first < layout.marker() && layout.marker() < end);
        assert_eq!(layout.place(&layout.marker()), Place::Marker);
        let one = layout.request(None, &IdempotencyKey::new("a").unwrap());
        for other in [layout.format(), layout.secret(), one] {
            assert_eq!(layout.place(&other), Place::Other);
            assert!(other < first || other >= end, "it is not followed");
        }
        assert_eq!(layout.place(b"/ifmatch2/k/a"), Place::Other);
        assert_eq!(layout.place(b"/other/m"), Place::Other);
    }

    #[test]
    fn requests_of_different_writers_or_keys_have_different_places() {
        let layout = layout();
        let ann: Name = "ann".parse().unwrap();
        let at = |writer, key| layout.request(writer, &IdempotencyKey::new(key).unwrap());
        let places = [
            at(None, "a"),
            at(None, "anna"),
            at(Some(&ann), "a"),
            at(Some(&ann), "b"),
        ];
        assert_eq!(HashSet::from(places.clone()).len(), places.len());
        assert_eq!(at(Some(&ann), "a"), places[2]);
    }
}
