//! The task that routes events to their subscribers and delivers them in rounds.

use std::collections::VecDeque;
use std::sync::Weak;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::event_log::EventLog;
use super::subscribers::Subscribers;
use crate::model::{Event, Filter, Position, ResumeToken};

/// How long the feed rests for each watcher that it has woken. Waking one and writing to its
/// connection takes about a tenth of this.
const REST_PER_WATCHER: Duration = Duration::from_micros(100);
/// How long it rests for each KiB that it has given them to write: 100 MB a second for all of them
/// together leave the writers most of a processor.
const REST_PER_KIB: Duration = Duration::from_micros(10);
/// How much one round delivers to all watchers together, in bytes; what remains is for the next round. It is
/// so small that the rest after it is shorter than [`REST_MAX`].
const ROUND_MAX_BYTES: usize = 32 * 1024 * 1024;
/// The longest rest, so that a burst does not delay later events for too long.
pub const REST_MAX: Duration = Duration::from_millis(500);

/// What the feed, its task and its watchers share. The locks are taken in this order where several
/// are: subscribers, a queue, the log.
#[derive(Debug)]
pub struct Shared {
    pub subscribers: Mutex<Subscribers>,
    pub log: Mutex<EventLog>,
    /// The newest commit, for the task that dispatches.
    pub newest: watch::Sender<Position>,
}

impl Shared {
    /// What is shared by a feed of a store at `position`.
    pub fn new(position: Position, limit_bytes: usize) -> Self {
        Self {
            subscribers: Mutex::default(),
            log: Mutex::new(EventLog::new(ResumeToken::after(position), limit_bytes)),
            newest: watch::channel(position).0,
        }
    }

    /// Adds the events of the commits up to `position`.
    pub fn publish(&self, events: impl Iterator<Item = Event>, position: Position) {
        self.log.lock().add(events, ResumeToken::after(position));
        self.newest.send_replace(position);
    }

    /// Routes the new events to their subscribers, and adds those who had nothing waiting to `due`.
    pub fn route_new(&self, due: &mut VecDeque<Filter>) {
        // Held to the end: until then no position may claim that all this is routed.
        let mut subscribers = self.subscribers.lock();
        let (first, events) = self.log.lock().take_undispatched();
        for (number, event) in (first..).zip(&events) {
            subscribers.route(number, event, due);
        }
    }

    /// Delivers what is pending for filters that are `due`, or a part of it: a filter for which more is
    /// pending stays due. Returns how long to rest after that.
    fn deliver(&self, due: &mut VecDeque<Filter>) -> Duration {
        let mut subscribers = self.subscribers.lock();
        let mut rest = Duration::ZERO;
        let mut left_bytes = ROUND_MAX_BYTES;
        while left_bytes > 0
            && let Some(filter) = due.pop_front()
        {
            let Some(group) = subscribers.group(&filter) else {
                continue;
            };
            let bytes = group.deliver(&filter, &self.log, left_bytes);
            left_bytes = left_bytes.saturating_sub(bytes);
            let count = u32::try_from(group.count()).unwrap_or(u32::MAX);
            let kib = u32::try_from(bytes / 1024).unwrap_or(u32::MAX);
            rest = rest
                .saturating_add(REST_PER_WATCHER.saturating_mul(count))
                .saturating_add(REST_PER_KIB.saturating_mul(kib));
            if group.has_pending() {
                due.push_back(filter);
            }
        }
        rest
    }
}

/// Dispatches whatever is published, until the feed is gone.
pub async fn dispatch(shared: Weak<Shared>, mut newest: watch::Receiver<Position>) {
    let mut due = VecDeque::new();
    let mut rested = Instant::now();
    loop {
        let published = tokio::select! {
            changed = newest.changed() => match changed {
                Ok(()) => true,
                Err(_) => return,
            },
            () = sleep_until(rested), if !due.is_empty() => false,
        };
        let Some(shared) = shared.upgrade() else {
            return;
        };
        if published {
            shared.route_new(&mut due);
        }
        let now = Instant::now();
        if now >= rested {
            rested = now + shared.deliver(&mut due).min(REST_MAX);
        }
    }
}
