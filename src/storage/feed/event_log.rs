//! The recent changes: the one place that keeps events in memory. Subscribers hold numbers of events.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::ranges::{Number, Ranges};
use crate::model::{Event, Filter, ResumeToken, Revision, StateDigest};
use crate::storage::shared_event::SharedEvent;

/// How many events are looked at under one lock, so that the writer does not wait for the log for
/// more than some ten microseconds.
const SCAN_EVENTS: usize = 256;
/// How much more than its limit the log keeps, in bytes, of what was not dispatched yet, besides
/// the newest group of commits. It is enough for dispatching to be late by a few commits even if
/// the limit is too small for one of them.
const UNDISPATCHED_MAX_BYTES: usize = 8 * 1024 * 1024;

/// Recent changes, at most so many bytes of them.
#[derive(Debug)]
pub struct EventLog {
    /// Ascending.
    events: VecDeque<Arc<SharedEvent>>,
    /// The number of the oldest of them.
    first: Number,
    bytes: usize,
    limit_bytes: usize,
    /// Every event after it is kept.
    forgotten: ResumeToken,
    dispatched: Option<Dispatched>,
    /// The newest commit.
    published: ResumeToken,
}

/// How far events were dispatched to subscribers, if there has ever been one.
#[derive(Debug, Clone, Copy)]
pub struct Dispatched {
    /// The last commit.
    pub cursor: ResumeToken,
    /// The number of the next event.
    pub next: Number,
}

/// The result of looking for the next event.
#[derive(Debug)]
pub enum Found {
    /// This is it.
    Event(Arc<SharedEvent>),
    /// There is none.
    Nothing,
    /// None so far, up to this point; there is more to look at.
    NotYet(ResumeToken),
    /// It may be among those that were dropped.
    Forgotten,
}

impl EventLog {
    /// A log that begins at `now`.
    pub fn new(now: ResumeToken, limit_bytes: usize) -> Self {
        Self {
            events: VecDeque::new(),
            first: 0,
            bytes: 0,
            limit_bytes,
            forgotten: now,
            dispatched: None,
            published: now,
        }
    }

    /// The newest commit.
    pub fn published(&self) -> ResumeToken {
        self.published
    }

    /// How far events were dispatched.
    pub fn dispatched(&self) -> Option<Dispatched> {
        self.dispatched
    }

    /// From now on there are subscribers. Returns how far events were dispatched.
    pub fn begin_dispatching(&mut self) -> Dispatched {
        let now = self.now();
        *self.dispatched.get_or_insert(now)
    }

    /// Adds the events of a group of commits, and forgets the oldest if there are too many.
    pub fn add(&mut self, events: impl Iterator<Item = Event>, published: ResumeToken) {
        let mut added_bytes = 0;
        for event in events {
            let event = SharedEvent::from(event);
            added_bytes += event.memory_bytes();
            self.events.push_back(Arc::new(event));
        }
        self.bytes += added_bytes;
        self.published = published;
        let undispatched_limit = self
            .limit_bytes
            .saturating_add(UNDISPATCHED_MAX_BYTES)
            .saturating_add(added_bytes);
        while self.bytes > self.limit_bytes
            && (self.oldest_is_dispatched() || self.bytes > undispatched_limit)
            && let Some(oldest) = self.events.pop_front()
        {
            self.bytes -= oldest.memory_bytes();
            self.forgotten = oldest.cursor;
            self.first += 1;
        }
    }

    /// Whether the oldest event has been dispatched: until then it is not forgotten, even if it alone is
    /// more than the limit.
    fn oldest_is_dispatched(&self) -> bool {
        self.dispatched
            .is_none_or(|dispatched| self.first < dispatched.next)
    }

    /// Whether `cursor` is a point of this past, and every event after it is kept.
    pub fn has_all_after(&self, cursor: ResumeToken) -> bool {
        (self.forgotten..=self.published).contains(&cursor)
            && self.state_at(cursor.revision()) == Some(cursor.position().state)
    }

    /// The digest of the state at a revision, if it is known. One that was left out has the state before it.
    pub fn state_at(&self, revision: Revision) -> Option<StateDigest> {
        if revision > self.published.revision() {
            return None;
        }
        let next = self
            .events
            .partition_point(|event| event.cursor.revision() <= revision);
        let last = next.checked_sub(1).and_then(|index| self.events.get(index));
        let cursor = last.map_or(self.forgotten, |event| event.cursor);
        let position = cursor.position();
        (position.revision <= revision).then_some(position.state)
    }

    /// The number of the first event after `cursor`.
    pub fn next_after(&self, cursor: ResumeToken) -> Number {
        let index = self.events.partition_point(|event| event.cursor <= cursor);
        self.first + index as Number
    }

    /// The events that are to be dispatched, and the number of the first.
    pub fn take_undispatched(&mut self) -> (Number, Vec<Arc<SharedEvent>>) {
        let now = self.now();
        let Some(dispatched) = self.dispatched.replace(now) else {
            return (now.next, Vec::new());
        };
        let from = dispatched.next.max(self.first);
        let index = index_of(from - self.first);
        (from, self.events.range(index..).cloned().collect())
    }

    fn now(&self) -> Dispatched {
        Dispatched {
            cursor: self.published,
            next: self.first + self.events.len() as Number,
        }
    }

    fn get(&self, number: Number) -> Option<&Arc<SharedEvent>> {
        let index = number.checked_sub(self.first)?;
        self.events.get(index_of(index))
    }

    /// Takes the first event that `filter` matches out of `ranges`, with all before it.
    pub fn take_next(&self, ranges: &mut Ranges, filter: &Filter) -> Found {
        let mut passed = None;
        for _ in 0..SCAN_EVENTS {
            let Some(number) = ranges.first() else {
                return Found::Nothing;
            };
            let Some(event) = self.get(number) else {
                return Found::Forgotten;
            };
            ranges.remove_first();
            if filter.matches(&event.entry.key) {
                return Found::Event(Arc::clone(event));
            }
            passed = Some(event.cursor);
        }
        passed.map_or(Found::Nothing, Found::NotYet)
    }

    /// How far `max_bytes` of the events that `filter` matches reach in `ranges`, with at least one event:
    /// the number after them, and their size in bytes.
    pub fn reach(&self, ranges: &Ranges, filter: &Filter, max_bytes: usize) -> (Number, usize) {
        let mut bytes = 0;
        let mut next = self.first;
        let kept = |range: &Range<Number>| range.start.max(self.first)..range.end;
        for number in ranges.iter().flat_map(kept).take(SCAN_EVENTS) {
            next = number + 1;
            let event = self.get(number);
            if let Some(event) = event.filter(|event| filter.matches(&event.entry.key)) {
                bytes += event.rendering_bytes();
                if bytes >= max_bytes {
                    break;
                }
            }
        }
        (next, bytes)
    }
}

/// A log holds fewer events than there are addresses.
fn index_of(offset: Number) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Entry, EventKind, Key, Position, Record, Stamp, Timestamp, Value};

    fn after(revision: Revision) -> ResumeToken {
        ResumeToken::after(Position {
            revision,
            state: StateDigest::from_bits(revision),
        })
    }

    fn event(revision: u64, key: &str, bytes: usize) -> Event {
        let key: Key = key.parse().unwrap();
        let text = format!("\"{}\"", "x".repeat(bytes));
        let value = Value::from_json(text.as_bytes()).unwrap();
        let stamp = Stamp {
            version: 1,
            revision,
            modified_at: Timestamp::from_millis(0),
            modified_by: None,
        };
        let record = Record::new(&key, value, stamp).into();
        let cursor = after(revision);
        Event {
            cursor,
            kind: EventKind::Put,
            entry: Entry { key, record },
        }
    }

    fn add(log: &mut EventLog, revision: u64, key: &str, bytes: usize) {
        log.add([event(revision, key, bytes)].into_iter(), after(revision));
    }

    #[test]
    fn a_scan_skips_what_does_not_match_in_bounded_time() {
        let mut log = EventLog::new(after(0), usize::MAX);
        let others = 2 * SCAN_EVENTS as u64;
        for revision in 1..=others {
            add(&mut log, revision, "other", 0);
        }
        add(&mut log, others + 1, "this", 0);
        let filter = Filter::Key("this".parse().unwrap());
        let mut ranges = Ranges::default();
        ranges.push(0..others + 1);
        let mut scans = 0;
        let found = loop {
            match log.take_next(&mut ranges, &filter) {
                Found::NotYet(_) => scans += 1,
                Found::Event(event) => break event,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!((found.cursor, scans), (after(others + 1), 2));
        assert!(matches!(
            log.take_next(&mut ranges, &filter),
            Found::Nothing
        ));
    }

    #[test]
    fn undispatched_events_are_kept_up_to_a_limit_of_their_own() {
        const MIB: usize = 1024 * 1024;
        let mut log = EventLog::new(after(0), 1);
        // Without subscribers.
        add(&mut log, 1, "a", MIB);
        assert_eq!((log.bytes, log.first), (0, 1));
        log.begin_dispatching();
        add(&mut log, 2, "a", MIB);
        add(&mut log, 3, "a", MIB);
        assert_eq!(log.first, 1);
        for revision in 4..100 {
            add(&mut log, revision, "a", MIB);
            assert!(log.bytes <= UNDISPATCHED_MAX_BYTES + 2 * MIB);
        }
        let (from, events) = log.take_undispatched();
        assert_eq!((from, events.len()), (log.first, log.events.len()));
        assert_eq!(log.take_undispatched().1.len(), 0);
        // The newest group is kept however large it is, so subscribers do not miss it.
        let large = (100..120).map(|revision| event(revision, "a", MIB));
        log.add(large, after(119));
        assert_eq!(log.events.len(), 20);
    }
}
