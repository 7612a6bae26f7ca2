//! The events of a watch, put together to commits. Pure.
//!
//! The marker is put last in every commit and events come in the order of the operations, so its event says that a
//! commit is whole, also when etcd delivers it in fragments. What somebody else has written below the root has no
//! marker; it is whole when the next revision comes or, as etcd never splits a revision but into fragments, when a
//! response ends that is no fragment.
//!
//! Some versions of etcd repeat events (fixed in 3.4.24 and 3.5.8) or deliver old ones (fixed in 3.4.38, 3.5.22 and
//! 3.6.2): those of revisions that are whole already are dropped.

use std::collections::HashSet;

use bytes::Bytes;
use thiserror::Error;

use super::layout::{Layout, Place, etcd_number, number};
use super::messages::{Event, EventType, KeyValue};
use crate::model::Revision;

/// Events that become commits.
#[derive(Debug)]
pub struct Gather {
    /// Everything up to this revision is whole.
    whole: Revision,
    open: Option<Group>,
    /// The keys of the entries in it.
    changed: HashSet<Bytes>,
    dropped: u64,
}

/// Everything that one revision changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Which.
    pub revision: Revision,
    /// The entries, in the order of the operations.
    pub changes: Vec<RawChange>,
    /// The marker.
    pub marker: RawMarker,
}

/// A change of an entry, as etcd tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawChange {
    /// What is stored now; nothing after a deletion but the key and the revision.
    pub stored: KeyValue,
    /// Whether it was deleted.
    pub is_deletion: bool,
    /// What was stored before, if the watch asks for that.
    pub before: Option<KeyValue>,
}

/// What became of the marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RawMarker {
    /// Nothing: the writer is not one of ours.
    Untouched,
    /// It was put.
    Put(KeyValue),
    /// Somebody deleted it.
    Deleted,
}

/// The events do not come in the order of the revisions.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("etcd delivered an event of revision {of} after one of revision {after}")]
pub struct OutOfOrder {
    of: Revision,
    after: Revision,
}

impl Gather {
    /// Gathers what comes after a revision.
    #[must_use]
    pub fn after(revision: Revision) -> Self {
        Self {
            whole: revision,
            open: None,
            changed: HashSet::new(),
            dropped: 0,
        }
    }

    /// How many events were dropped so far, because their revision was whole already.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Where a watch has to begin to go on from here.
    #[must_use]
    pub fn next(&self) -> i64 {
        etcd_number(self.whole + 1)
    }

    /// Adds the events of a response. Returns what is whole now.
    ///
    /// # Errors
    /// [`OutOfOrder`]: the watch cannot be relied on.
    pub fn add(
        &mut self,
        layout: &Layout,
        events: Vec<Event>,
        is_fragment: bool,
    ) -> Result<Vec<Group>, OutOfOrder> {
        let mut whole = Vec::new();
        for event in events {
            self.add_event(layout, event, &mut whole)?;
        }
        if !is_fragment {
            self.close(&mut whole);
        }
        Ok(whole)
    }

    fn add_event(
        &mut self,
        layout: &Layout,
        event: Event,
        whole: &mut Vec<Group>,
    ) -> Result<(), OutOfOrder> {
        let is_deletion = event.r#type == i32::from(EventType::Delete);
        let Some(stored) = event.kv else {
            return Ok(());
        };
        let revision = number(stored.mod_revision);
        if let Some(open) = &self.open {
            if revision < open.revision && revision > self.whole {
                return Err(OutOfOrder {
                    of: revision,
                    after: open.revision,
                });
            }
            if revision > open.revision {
                self.close(whole);
            }
        }
        if revision <= self.whole {
            self.dropped += 1;
            return Ok(());
        }
        match layout.place(&stored.key) {
            Place::Other => {}
            Place::Entry(_) => {
                let change = RawChange {
                    stored,
                    is_deletion,
                    before: event.prev_kv,
                };
                // There can be very many: somebody may delete everything at once.
                if self.changed.insert(change.stored.key.clone()) {
                    self.open(revision).changes.push(change);
                } else {
                    self.dropped += 1;
                }
            }
            Place::Marker => {
                self.open(revision).marker = if is_deletion {
                    RawMarker::Deleted
                } else {
                    RawMarker::Put(stored)
                };
                self.close(whole);
            }
        }
        Ok(())
    }

    fn open(&mut self, revision: Revision) -> &mut Group {
        self.open.get_or_insert_with(|| Group {
            revision,
            changes: Vec::new(),
            marker: RawMarker::Untouched,
        })
    }

    fn close(&mut self, whole: &mut Vec<Group>) {
        if let Some(group) = self.open.take() {
            self.changed.clear();
            self.whole = group.revision;
            whole.push(group);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        Layout::new("/r")
    }

    fn event(revision: i64, key: &str, r#type: EventType) -> Event {
        let kv = KeyValue {
            key: key.to_owned().into(),
            mod_revision: revision,
            ..KeyValue::default()
        };
        Event {
            r#type: r#type.into(),
            kv: Some(kv),
            prev_kv: None,
        }
    }

    fn put(revision: i64, key: &str) -> Event {
        event(revision, key, EventType::Put)
    }

    /// Revisions, keys, and whether there is a marker.
    fn described(groups: &[Group]) -> Vec<(Revision, Vec<String>, bool)> {
        let keys = |group: &Group| {
            let keys = group.changes.iter().map(|change| &change.stored.key);
            keys.map(|key| String::from_utf8(key.to_vec()).unwrap())
                .collect()
        };
        let groups = groups.iter();
        groups
            .map(|group| {
                let is_ours = matches!(group.marker, RawMarker::Put(_));
                (group.revision, keys(group), is_ours)
            })
            .collect()
    }

    fn keys(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| format!("/r/k/{name}")).collect()
    }

    #[test]
    fn a_commit_is_whole_with_its_marker_however_it_is_cut() {
        let events = [
            put(5, "/r/k/a"),
            event(5, "/r/k/b", EventType::Delete),
            put(5, "/r/m"),
            put(7, "/r/k/a"),
            put(7, "/r/m"),
        ];
        for cut in 0..=events.len() {
            let mut gather = Gather::after(4);
            let (first, rest) = events.split_at(cut);
            let mut groups = gather.add(&layout(), first.to_vec(), true).unwrap();
            groups.extend(gather.add(&layout(), rest.to_vec(), false).unwrap());
            assert_eq!(
                described(&groups),
                [(5, keys(&["a", "b"]), true), (7, keys(&["a"]), true)],
                "{cut}"
            );
            assert!(groups[0].changes[1].is_deletion && !groups[0].changes[0].is_deletion);
            assert_eq!((gather.next(), gather.dropped()), (8, 0));
        }
    }

    #[test]
    fn a_commit_without_a_marker_is_whole_at_the_next_revision_or_the_end_of_a_response() {
        let mut gather = Gather::after(0);
        let events = vec![put(3, "/r/k/a"), put(4, "/r/k/b")];
        let groups = gather.add(&layout(), events, true).unwrap();
        assert_eq!(described(&groups), [(3, keys(&["a"]), false)]);
        let groups = gather
            .add(&layout(), vec![put(4, "/r/k/c")], false)
            .unwrap();
        assert_eq!(described(&groups), [(4, keys(&["b", "c"]), false)]);
        assert_eq!(gather.add(&layout(), Vec::new(), false), Ok(Vec::new()));
        let deleted = vec![
            event(6, "/r/k/a", EventType::Delete),
            event(6, "/r/m", EventType::Delete),
        ];
        let groups = gather.add(&layout(), deleted, false).unwrap();
        assert_eq!(groups[0].marker, RawMarker::Deleted);
    }

    #[test]
    fn repeated_and_old_events_are_dropped() {
        let mut gather = Gather::after(4);
        let commit = vec![put(5, "/r/k/a"), put(5, "/r/k/a"), put(5, "/r/m")];
        let mut events = vec![put(3, "/r/k/x"), put(4, "/r/m")];
        events.extend(commit.clone());
        events.extend(commit);
        let groups = gather.add(&layout(), events, false).unwrap();
        assert_eq!(described(&groups), [(5, keys(&["a"]), true)]);
        assert_eq!(gather.dropped(), 6);
        assert_eq!(gather.next(), 6);
        // Old ones in the middle of a commit too.
        let events = vec![put(9, "/r/k/a"), put(5, "/r/k/b"), put(9, "/r/m")];
        let groups = gather.add(&layout(), events, false).unwrap();
        assert_eq!(described(&groups), [(9, keys(&["a"]), true)]);
    }

    #[test]
    fn what_goes_back_behind_an_unfinished_commit_is_an_error() {
        let mut gather = Gather::after(4);
        let events = vec![put(9, "/r/k/a"), put(7, "/r/k/b")];
        let refused = gather.add(&layout(), events, true);
        assert_eq!(refused, Err(OutOfOrder { of: 7, after: 9 }));
    }

    #[test]
    fn other_keys_are_no_commit() {
        let mut gather = Gather::after(4);
        let events = vec![put(5, "/r/i/x"), put(6, "/r/l"), put(7, "/other/k/a")];
        assert_eq!(gather.add(&layout(), events, false), Ok(Vec::new()));
        assert_eq!(gather.next(), 5);
    }
}
