//! What one subscriber still has to see.

use std::task::Waker;

use parking_lot::{Mutex, MutexGuard};

use super::ranges::{Number, Ranges};
use crate::model::ResumeToken;

/// What one subscriber still has to see. It holds no event: a subscriber that does not read costs the same
/// whatever its events are.
#[derive(Debug)]
pub struct Queue(Mutex<Waiting>);

/// What a [`Queue`] is made of.
#[derive(Debug)]
pub struct Waiting {
    /// What is still to be seen.
    pub ranges: Ranges,
    /// Numbers before this one are in `ranges`, or no longer needed.
    next: Number,
    /// What the subscriber has seen, or does not subscribe to.
    pub after: ResumeToken,
    /// Whether nothing more is added.
    pub ended: bool,
    waker: Option<Waker>,
}

impl Waiting {
    /// Registers the waker for the next event.
    pub fn register_waker(&mut self, waker: &Waker) {
        self.waker = Some(waker.clone());
    }

    /// Ends the subscription, because events that it has not seen were dropped.
    pub fn cut_off(&mut self) {
        self.ranges.clear();
        self.ended = true;
    }
}

impl Queue {
    /// The queue of a subscriber that has seen everything up to `after`, and is to see `ranges`. Deliveries
    /// before the number `next` are ignored, because it has seen them.
    pub fn new(after: ResumeToken, ranges: Ranges, next: Number, ended: bool) -> Self {
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

    /// Adds what was delivered, and wakes the subscriber.
    pub fn push(&self, ranges: &Ranges) {
        let mut waiting = self.0.lock();
        if waiting.ended {
            return;
        }
        for range in ranges.iter() {
            // A subscriber that joined its group later has seen some of what the group is given.
            let start = range.start.max(waiting.next);
            waiting.ranges.push(start..range.end);
            waiting.next = waiting.next.max(range.end);
        }
        if !waiting.ranges.is_empty() {
            wake(waiting);
        }
    }

    /// Ends the subscription after what is waiting.
    pub fn end(&self) {
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
