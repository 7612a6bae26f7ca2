//! Who waits for events, and which events each of them has still to see.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;

use parking_lot::{Mutex, MutexGuard};

use super::event_log::{EventLog, Number, Ranges};
use crate::model::{Cursor, Filter, Key};
use crate::storage::shared_event::SharedEvent;

/// Who waits, to be found by the key of an event.
#[derive(Debug, Default)]
pub struct Subscribers {
    by_key: HashMap<Key, Group>,
    /// By length and text of the prefix: a key is looked up once for each length that is there.
    by_prefix: BTreeMap<usize, HashMap<String, Group>>,
    /// Whether the feed has ended.
    pub closed: bool,
}

impl Subscribers {
    /// Adds one who waits.
    pub fn add(&mut self, filter: &Filter, queue: Arc<Queue>) {
        let group = match filter {
            Filter::Key(key) => self.by_key.entry(key.clone()).or_default(),
            Filter::Prefix(prefix) => {
                let of_length = self.by_prefix.entry(prefix.len()).or_default();
                of_length.entry(prefix.clone()).or_default()
            }
        };
        group.queues.push(queue);
    }

    /// Those with the same filter.
    pub fn group(&mut self, filter: &Filter) -> Option<&mut Group> {
        match filter {
            Filter::Key(key) => self.by_key.get_mut(key),
            Filter::Prefix(prefix) => self.by_prefix.get_mut(&prefix.len())?.get_mut(prefix),
        }
    }

    /// Removes one who waits no more.
    pub fn remove(&mut self, filter: &Filter, queue: &Arc<Queue>) {
        let Some(group) = self.group(filter) else {
            return;
        };
        group.queues.retain(|one| !Arc::ptr_eq(one, queue));
        if !group.queues.is_empty() {
            return;
        }
        match filter {
            Filter::Key(key) => drop(self.by_key.remove(key)),
            Filter::Prefix(prefix) => {
                if let Some(of_length) = self.by_prefix.get_mut(&prefix.len()) {
                    of_length.remove(prefix);
                    if of_length.is_empty() {
                        self.by_prefix.remove(&prefix.len());
                    }
                }
            }
        }
    }

    /// Sorts an event by whom it concerns, and adds those who had nothing waiting to `due`.
    pub fn sort(&mut self, number: Number, event: &SharedEvent, due: &mut VecDeque<Filter>) {
        let key = &event.entry.key;
        if let Some(group) = self.by_key.get_mut(key)
            && group.add(number, event)
        {
            due.push_back(Filter::Key(key.clone()));
        }
        for (length, of_length) in &mut self.by_prefix {
            if let Some(prefix) = key.as_str().get(..*length)
                && let Some(group) = of_length.get_mut(prefix)
                && group.add(number, event)
            {
                due.push_back(Filter::Prefix(prefix.to_owned()));
            }
        }
    }

    /// Gives everybody everything that was sorted, and ends them after that.
    pub fn close(&mut self) {
        let of_prefixes = self.by_prefix.values_mut();
        let of_prefixes = of_prefixes.flat_map(HashMap::values_mut);
        for group in self.by_key.values_mut().chain(of_prefixes) {
            group.give(None);
            group.queues.iter().for_each(|queue| queue.end());
        }
        self.closed = true;
    }
}

/// Those who are told of the same: what is new is sorted once for all of them.
#[derive(Debug, Default)]
pub struct Group {
    queues: Vec<Arc<Queue>>,
    /// What they are given when they are woken.
    sorted: Ranges,
    /// How long the text of that is, in bytes.
    sorted_bytes: usize,
}

impl Group {
    /// How many they are.
    pub fn count(&self) -> usize {
        self.queues.len()
    }

    /// Whether they are to be given something.
    pub fn has_news(&self) -> bool {
        !self.sorted.is_empty()
    }

    /// Whether it had nothing before.
    fn add(&mut self, number: Number, event: &SharedEvent) -> bool {
        let had_nothing = self.sorted.is_empty();
        self.sorted.push(number..number + 1);
        self.sorted_bytes = self.sorted_bytes.saturating_add(event.rendering_bytes());
        had_nothing
    }

    /// Gives them what comes to `max_bytes` for all of them together at the most, but at least one
    /// event. Returns how much it was.
    pub fn wake(&mut self, filter: &Filter, log: &Mutex<EventLog>, max_bytes: usize) -> usize {
        let each = max_bytes / self.queues.len().max(1);
        if self.sorted_bytes <= each {
            let bytes = self.sorted_bytes;
            self.give(None);
            return bytes.saturating_mul(self.queues.len());
        }
        let (next, bytes) = log.lock().reach(&self.sorted, filter, each);
        self.sorted_bytes = self.sorted_bytes.saturating_sub(bytes);
        self.give(Some(next));
        bytes.saturating_mul(self.queues.len())
    }

    /// Gives them what was sorted, up to a number if there is one.
    fn give(&mut self, before: Option<Number>) {
        let given = match before {
            Some(number) => self.sorted.remove_before(number),
            None => std::mem::take(&mut self.sorted),
        };
        if self.sorted.is_empty() {
            self.sorted_bytes = 0;
        }
        if !given.is_empty() {
            for queue in &self.queues {
                queue.push(&given);
            }
        }
    }
}

/// What one subscriber has still to see. It holds no event: a subscriber that does not come for its
/// events costs the same whatever they are.
#[derive(Debug)]
pub struct Queue(Mutex<Waiting>);

/// What a [`Queue`] is made of.
#[derive(Debug)]
pub struct Waiting {
    /// What is still to be seen.
    pub ranges: Ranges,
    /// Numbers before this one are in `ranges`, or of no concern any more.
    next: Number,
    /// What the subscriber has seen, or is not told of.
    pub after: Cursor,
    /// Whether nothing is added any more.
    pub ended: bool,
    waker: Option<Waker>,
}

impl Waiting {
    /// Wakes the subscriber by this when there is something new.
    pub fn wake_by(&mut self, waker: &Waker) {
        self.waker = Some(waker.clone());
    }

    /// What has not been seen has been dropped, so there is nothing to go on with.
    pub fn cut_off(&mut self) {
        self.ranges.clear();
        self.ended = true;
    }
}

impl Queue {
    /// Of one who has seen everything up to `after`, and is to see `ranges`. Whatever it is given
    /// before the number `next` it has seen.
    pub fn new(after: Cursor, ranges: Ranges, next: Number, ended: bool) -> Self {
        Self(Mutex::new(Waiting {
            ranges,
            next,
            after,
            ended,
            waker: None,
        }))
    }

    /// What is waiting.
    pub fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock()
    }

    fn push(&self, ranges: &Ranges) {
        let mut waiting = self.0.lock();
        if waiting.ended {
            return;
        }
        for range in ranges.iter() {
            // Who came later than the others of the group has seen some of what they are given.
            let start = range.start.max(waiting.next);
            waiting.ranges.push(start..range.end);
            waiting.next = waiting.next.max(range.end);
        }
        if !waiting.ranges.is_empty() {
            wake(waiting);
        }
    }

    fn end(&self) {
        let mut waiting = self.0.lock();
        waiting.ended = true;
        wake(waiting);
    }
}

fn wake(mut waiting: MutexGuard<'_, Waiting>) {
    let waker = waiting.waker.take();
    drop(waiting);
    if let Some(waker) = waker {
        waker.wake();
    }
}
