//! Who subscribes to which events.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;

use super::event_log::EventLog;
use super::queue::Queue;
use super::ranges::{Number, Ranges};
use crate::model::{Filter, Key};
use crate::storage::shared_event::SharedEvent;

/// All subscribers, to be found by the key of an event.
#[derive(Debug, Default)]
pub struct Subscribers {
    by_key: HashMap<Key, Group>,
    /// By length and text of the prefix: a key is looked up once for each length in use.
    by_prefix: BTreeMap<usize, HashMap<String, Group>>,
    /// Whether the feed has ended.
    pub closed: bool,
}

impl Subscribers {
    /// Adds a subscriber.
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

    /// The subscribers with this filter.
    pub fn group(&mut self, filter: &Filter) -> Option<&mut Group> {
        match filter {
            Filter::Key(key) => self.by_key.get_mut(key),
            Filter::Prefix(prefix) => self.by_prefix.get_mut(&prefix.len())?.get_mut(prefix),
        }
    }

    /// Removes a subscriber.
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

    /// Routes an event to its subscribers, and adds those who had nothing waiting to `due`.
    pub fn route(&mut self, number: Number, event: &SharedEvent, due: &mut VecDeque<Filter>) {
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

    /// Delivers everything that is pending, and ends all subscriptions after that.
    pub fn close(&mut self) {
        let of_prefixes = self.by_prefix.values_mut();
        let of_prefixes = of_prefixes.flat_map(HashMap::values_mut);
        for group in self.by_key.values_mut().chain(of_prefixes) {
            group.queue_pending(None);
            group.queues.iter().for_each(|queue| queue.end());
        }
        self.closed = true;
    }
}

/// Subscribers with the same filter: an event is routed once for all of them.
#[derive(Debug, Default)]
pub struct Group {
    queues: Vec<Arc<Queue>>,
    /// What is delivered to them next.
    pending: Ranges,
    /// How long the text of that is, in bytes.
    pending_bytes: usize,
}

impl Group {
    /// How many subscribers there are.
    pub fn count(&self) -> usize {
        self.queues.len()
    }

    /// Whether something is to be delivered to them.
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Adds an event. Returns whether nothing was pending before.
    fn add(&mut self, number: Number, event: &SharedEvent) -> bool {
        let had_nothing = self.pending.is_empty();
        self.pending.push(number..number + 1);
        self.pending_bytes = self.pending_bytes.saturating_add(event.rendering_bytes());
        had_nothing
    }

    /// Delivers at most `max_bytes` to all of them together, but at least one event. Returns how much it was.
    pub fn deliver(&mut self, filter: &Filter, log: &Mutex<EventLog>, max_bytes: usize) -> usize {
        let each = max_bytes / self.queues.len().max(1);
        if self.pending_bytes <= each {
            let bytes = self.pending_bytes;
            self.queue_pending(None);
            return bytes.saturating_mul(self.queues.len());
        }
        let (next, bytes) = log.lock().reach(&self.pending, filter, each);
        self.pending_bytes = self.pending_bytes.saturating_sub(bytes);
        self.queue_pending(Some(next));
        bytes.saturating_mul(self.queues.len())
    }

    /// Queues what is pending for each of them, up to a number if there is one.
    fn queue_pending(&mut self, before: Option<Number>) {
        let given = match before {
            Some(number) => self.pending.remove_before(number),
            None => std::mem::take(&mut self.pending),
        };
        if self.pending.is_empty() {
            self.pending_bytes = 0;
        }
        if !given.is_empty() {
            for queue in &self.queues {
                queue.push(&given);
            }
        }
    }
}
