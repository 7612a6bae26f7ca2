//! What one revision changed, read from what etcd tells of it; and the commits of the recent past, from the newest
//! back. Pure.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::gather::{Group, RawChange, RawMarker};
use super::layout::{Place, number};
use super::messages::KeyValue;
use super::text::{Damaged, Digits, Marker, Reader};
use crate::model::{Commit, Done, Key, Position, Record, Revision, StateDigest, Timestamp};
use crate::storage::table::Table;

/// Everything that one revision changed.
#[derive(Debug)]
pub struct Decoded {
    /// Which.
    pub revision: Revision,
    /// The entries, in the order of the operations.
    pub changes: Vec<Change>,
    /// What is said of the commit, unless it was not one of ours.
    pub marker: Option<Marker>,
    /// What became of the mark.
    pub mark: MarkChange,
}

/// A change of an entry.
#[derive(Debug)]
pub struct Change {
    /// Where it is stored.
    pub place: Bytes,
    /// Its key, if it is one.
    pub key: Option<Key>,
    /// What it is now.
    pub after: After,
    /// What it was before, if that was asked for.
    pub before: Option<Arc<Record>>,
}

/// What an entry is after a change.
#[derive(Debug)]
pub enum After {
    /// This.
    Record(Arc<Record>),
    /// It was deleted.
    Deleted,
    /// Something that is no record.
    Damaged(String),
}

/// What became of the mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkChange {
    /// Nothing.
    Unchanged,
    /// This is the newest.
    Put(Mark),
    /// There is none any more.
    Deleted,
}

/// A marker at a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The commit that put it.
    pub revision: Revision,
    /// Its digits.
    pub digits: Digits,
}

impl Mark {
    /// The mark that is stored. Something that is no marker has digits too: those of a hash of it.
    #[must_use]
    pub fn of(stored: &KeyValue) -> Self {
        Self::with(stored, Marker::read(&stored.value).ok().as_ref())
    }

    /// The same, where the marker was read already.
    fn with(stored: &KeyValue, marker: Option<&Marker>) -> Self {
        Self {
            revision: number(stored.mod_revision),
            digits: marker.map_or_else(|| hashed(&stored.value), |marker| marker.digits),
        }
    }
}

fn hashed(text: &[u8]) -> Digits {
    let mut bits = [0; size_of::<u64>()];
    bits.copy_from_slice(&Sha256::digest(text)[..size_of::<u64>()]);
    Digits::from_bits(u64::from_be_bytes(bits))
}

impl Change {
    /// Whether it can follow after `before`: etcd counts the writes of each key, so an event that was lost shows.
    #[must_use]
    pub fn follows(&self, before: Option<&Record>) -> bool {
        let version = before.map_or(0, |record| record.version);
        match &self.after {
            After::Record(record) => record.version == version + 1,
            After::Deleted => version > 0,
            After::Damaged(_) => true,
        }
    }

    /// Its record, if it has one.
    #[must_use]
    pub fn record(&self) -> Option<&Arc<Record>> {
        match &self.after {
            After::Record(record) => Some(record),
            After::Deleted | After::Damaged(_) => None,
        }
    }

    /// The same with another record before, unless nothing came of it that has a key.
    #[must_use]
    pub fn done(self, before: Option<Arc<Record>>) -> Option<Done> {
        let after = match self.after {
            After::Record(record) => Some(record),
            After::Deleted | After::Damaged(_) => None,
        };
        let key = self.key?;
        (before.is_some() || after.is_some()).then_some(Done { key, before, after })
    }
}

impl Decoded {
    /// Reads what was gathered.
    #[must_use]
    pub fn read(group: &Group, reader: &mut Reader) -> Self {
        let (marker, mark) = match &group.marker {
            RawMarker::Untouched => (None, MarkChange::Unchanged),
            RawMarker::Deleted => (None, MarkChange::Deleted),
            RawMarker::Put(stored) => {
                let marker = Marker::read(&stored.value).ok();
                let mark = Mark::with(stored, marker.as_ref());
                (marker, MarkChange::Put(mark))
            }
        };
        let changes = group.changes.iter();
        Self {
            revision: group.revision,
            changes: changes.map(|change| read(change, reader)).collect(),
            marker,
            mark,
        }
    }

    /// When the commit was made, as far as that is known; `before` is when the one before was.
    #[must_use]
    pub fn at(&self, before: Timestamp) -> Timestamp {
        let own = self.marker.as_ref().map(|marker| marker.at);
        let own = own.or_else(|| {
            let records = self.changes.iter().filter_map(Change::record);
            records.map(|record| record.modified_at).max()
        });
        own.map_or(before, |own| own.max(before))
    }
}

/// A commit, with what its marker says if it is one of ours.
#[must_use]
pub fn commit(
    marker: Option<Marker>,
    position: Position,
    at: Timestamp,
    changes: Vec<Done>,
) -> Commit {
    let (by, request, origin) = match marker {
        Some(marker) => (marker.by, marker.request, marker.origin),
        None => (None, None, None),
    };
    Commit {
        position,
        at,
        by,
        request,
        origin,
        changes,
    }
}

fn read(change: &RawChange, reader: &mut Reader) -> Change {
    let place = Bytes::copy_from_slice(&change.stored.key);
    let key = match reader.layout().place(&place) {
        Place::Entry(key) => Reader::key(key),
        Place::Marker | Place::Other => Err(Damaged("it is no entry".to_owned())),
    };
    let before = match (&key, &change.before) {
        (Ok(key), Some(before)) => reader.record(key, before).ok().map(Arc::new),
        _ => None,
    };
    let after = match &key {
        _ if change.is_deletion => After::Deleted,
        Err(damaged) => After::Damaged(damaged.0.clone()),
        Ok(key) => match reader.record(key, &change.stored) {
            Ok(record) => After::Record(Arc::new(record)),
            Err(damaged) => After::Damaged(damaged.0),
        },
    };
    Change {
        place,
        key: key.ok(),
        after,
        before,
    }
}

/// The commits that led to the content of `table`, and the state before them. `decoded` is everything that was changed
/// from the revision `from` on, the oldest first, with the records before. `begins` is the last commit before that, if
/// it is known; 0 if there was none.
#[must_use]
pub fn rewind(
    table: &Table,
    from: Revision,
    begins: Option<Revision>,
    decoded: Vec<Decoded>,
) -> (Position, Vec<Arc<Commit>>) {
    let newest = table.position();
    let before = from.saturating_sub(1).min(newest.revision);
    let mut oldest = Position {
        revision: begins.unwrap_or(before).min(before),
        state: newest.state,
    };
    let mut known = VecDeque::new();
    for decoded in decoded.into_iter().rev() {
        let follows = |change: &Change| change.follows(change.before.as_deref());
        if !decoded.changes.iter().all(follows) {
            // What was before is compacted, so the past begins after this.
            oldest.revision = decoded.revision;
            break;
        }
        let after = oldest.state;
        oldest.state = decoded.changes.iter().fold(after, |state, change| {
            let before = change.before.as_ref();
            let state = before.map_or(state, |before| state.with(before.state_hash()));
            let after = change.record();
            after.map_or(state, |after| state.without(after.state_hash()))
        });
        known.push_front((decoded, after));
    }
    // Without commits somebody else may have written something.
    if oldest.revision == 0 && oldest.state != StateDigest::default() {
        oldest.revision = before;
    }
    let mut at = Timestamp::default();
    let mut shared = Shared::default();
    let mut commits = Vec::with_capacity(known.len());
    for (decoded, state) in known {
        at = decoded.at(at);
        let position = Position {
            revision: decoded.revision,
            state,
        };
        let changes = decoded.changes.into_iter().filter_map(|mut change| {
            let before = change.before.take();
            let done = change.done(before)?;
            Some(shared.with(table, done))
        });
        let changes = changes.collect();
        commits.push(Arc::new(commit(decoded.marker, position, at, changes)));
    }
    (oldest, commits)
}

/// Records that several commits and the table have in common, so that each is in memory once.
#[derive(Default)]
struct Shared(HashMap<Key, Arc<Record>>);

impl Shared {
    fn with(&mut self, table: &Table, done: Done) -> Done {
        let Done { key, before, after } = done;
        let known = self.0.remove(&key);
        let before = before.map(|before| either(known, before));
        let after = after.map(|after| either(table.get(&key).cloned(), after));
        if let Some(after) = &after {
            self.0.insert(key.clone(), Arc::clone(after));
        }
        Done { key, before, after }
    }
}

/// What is known already, if it is the same.
fn either(known: Option<Arc<Record>>, record: Arc<Record>) -> Arc<Record> {
    known.filter(|known| **known == *record).unwrap_or(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Value;
    use crate::storage::etcd::layout::Layout;
    use crate::storage::etcd::text::entry_text;

    const ROOT: &str = "/r";

    fn stored(key: &str, version: i64, revision: i64) -> KeyValue {
        let value = Value::from_json(format!("[{version},{revision}]").as_bytes()).unwrap();
        KeyValue {
            key: format!("{ROOT}/k/{key}").into(),
            version,
            mod_revision: revision,
            value: entry_text(&value, Timestamp::from_millis(1), None),
            ..KeyValue::default()
        }
    }

    fn put(stored: KeyValue, before: Option<KeyValue>) -> RawChange {
        RawChange {
            stored,
            is_deletion: false,
            before,
        }
    }

    fn delete(before: KeyValue) -> RawChange {
        RawChange {
            stored: KeyValue {
                key: before.key.clone(),
                ..KeyValue::default()
            },
            is_deletion: true,
            before: Some(before),
        }
    }

    fn group(revision: Revision, changes: Vec<RawChange>) -> Group {
        let marker = Marker {
            digits: Digits::from_bits(revision),
            at: Timestamp::from_millis(revision),
            by: None,
            request: None,
            origin: None,
        };
        Group {
            revision,
            changes,
            marker: RawMarker::Put(KeyValue {
                mod_revision: i64::try_from(revision).unwrap(),
                value: marker.text(),
                ..KeyValue::default()
            }),
        }
    }

    /// Four commits, of which the first was at 3.
    fn groups() -> Vec<Group> {
        let (a1, a2) = (stored("a", 1, 3), stored("a", 2, 5));
        let b1 = stored("b", 1, 5);
        vec![
            group(3, vec![put(a1.clone(), None)]),
            group(5, vec![put(a2.clone(), Some(a1)), put(b1.clone(), None)]),
            group(8, vec![delete(a2)]),
            group(9, vec![put(stored("b", 2, 9), Some(b1))]),
        ]
    }

    fn decoded(groups: Vec<Group>) -> Vec<Decoded> {
        let mut reader = Reader::new(Layout::new(ROOT));
        let groups = groups.into_iter();
        groups
            .map(|group| Decoded::read(&group, &mut reader))
            .collect()
    }

    /// What the commits make of an empty table, and the digests on the way.
    fn replayed() -> (Table, Vec<StateDigest>) {
        let mut table = Table::default();
        let mut states = vec![table.position().state];
        for decoded in decoded(groups()) {
            for change in decoded.changes {
                let key = change.key.clone().unwrap();
                match change.record() {
                    Some(record) => drop(table.insert(key, Arc::clone(record))),
                    None => table.remove(&key),
                }
            }
            table.skip_to(decoded.revision);
            states.push(table.position().state);
        }
        (table, states)
    }

    #[test]
    fn the_past_is_found_from_the_newest_state_back() {
        let (table, states) = replayed();
        let (oldest, commits) = rewind(&table, 1, Some(0), decoded(groups()));
        assert_eq!(oldest, Position::default());
        let found: Vec<_> = commits.iter().map(|commit| commit.position).collect();
        let positions = [3, 5, 8, 9].into_iter().zip(&states[1..]);
        let expected: Vec<_> = positions
            .map(|(revision, state)| Position {
                revision,
                state: *state,
            })
            .collect();
        assert_eq!(found, expected);
        assert_eq!(commits[2].at, Timestamp::from_millis(8));
        // Each record is in memory once.
        let a2 = commits[1].changes[0].after.as_ref().unwrap();
        assert!(Arc::ptr_eq(
            a2,
            commits[2].changes[0].before.as_ref().unwrap()
        ));
        let b2 = commits[3].changes[0].after.as_ref().unwrap();
        assert!(Arc::ptr_eq(b2, table.get(&"b".parse().unwrap()).unwrap()));
    }

    #[test]
    fn the_past_begins_with_the_last_commit_before_the_watch() {
        let (table, states) = replayed();
        let later = || decoded(groups().split_off(2));
        let (oldest, commits) = rewind(&table, 7, Some(5), later());
        assert_eq!((oldest.revision, oldest.state), (5, states[2]));
        assert_eq!(commits.len(), 2);
        // That is not known.
        let (oldest, _) = rewind(&table, 7, None, later());
        assert_eq!((oldest.revision, oldest.state), (6, states[2]));
        // Nobody has committed, and yet something was there.
        let (oldest, _) = rewind(&table, 7, Some(0), later());
        assert_eq!((oldest.revision, oldest.state), (6, states[2]));
        // There was nothing.
        let (oldest, commits) = rewind(&table, 3, Some(0), decoded(groups()));
        assert_eq!((oldest, commits.len()), (Position::default(), 4));
        let (oldest, commits) = rewind(&table, 12, Some(9), Vec::new());
        assert_eq!((oldest, commits.len()), (table.position(), 0));
    }

    #[test]
    fn the_past_begins_after_what_is_compacted() {
        let (table, states) = replayed();
        for lost in [0, 1] {
            let mut groups = groups();
            for change in &mut groups[lost * 2].changes {
                change.before = None;
            }
            groups[1].changes[0].before = None;
            let begins = if lost == 0 { 1 } else { 2 };
            let (oldest, commits) = rewind(&table, 3, Some(0), decoded(groups));
            assert_eq!(oldest.state, states[begins + 1]);
            assert_eq!(oldest.revision, [5, 8][lost]);
            assert_eq!(commits.len(), 3 - begins);
        }
    }

    #[test]
    fn a_record_that_cannot_be_read_is_damaged_and_the_others_are_not() {
        let mut broken = stored("a", 1, 3);
        broken.value = "{}".into();
        let mut unnamed = stored("b", 1, 3);
        unnamed.key = b"/r/k/\xff"[..].into();
        let changes = vec![
            put(broken, None),
            put(unnamed, None),
            put(stored("c", 1, 3), None),
        ];
        let decoded = decoded(vec![group(3, changes)]).remove(0);
        let is_damaged = |change: &Change| matches!(change.after, After::Damaged(_));
        let damaged: Vec<_> = decoded.changes.iter().map(is_damaged).collect();
        assert_eq!(damaged, [true, true, false]);
        assert!(decoded.changes[0].key.is_some() && decoded.changes[1].key.is_none());
    }

    #[test]
    fn a_version_that_is_skipped_shows_that_an_event_was_lost() {
        let follows = |change: RawChange, before: Option<KeyValue>| {
            let mut reader = Reader::new(Layout::new(ROOT));
            let mut raw = change;
            raw.before = before;
            let change = read(&raw, &mut reader);
            change.follows(change.before.as_deref())
        };
        let a = |version| stored("a", version, 9);
        assert!(follows(put(a(1), None), None));
        assert!(follows(put(a(3), None), Some(a(2))));
        assert!(follows(delete(a(1)), Some(a(1))));
        assert!(!follows(put(a(3), None), Some(a(1))));
        assert!(!follows(put(a(1), None), Some(a(1))));
        assert!(!follows(put(a(2), None), None));
        assert!(!follows(delete(a(1)), None));
    }

    #[test]
    fn a_mark_has_the_digits_of_the_marker_or_of_what_is_there() {
        let mark = |text: &str| {
            Mark::of(&KeyValue {
                mod_revision: 7,
                value: text.to_owned().into(),
                ..KeyValue::default()
            })
        };
        let text = r#"{"digits":"00000000000000af","at":"1970-01-01T00:00:00.000Z"}"#;
        assert_eq!(mark(text).digits, Digits::from_bits(0xaf));
        assert_eq!(mark(text).revision, 7);
        assert_ne!(mark("x"), mark("y"));
        assert_eq!(mark("x"), mark("x"));
    }
}
