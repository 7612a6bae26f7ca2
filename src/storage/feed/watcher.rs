//! The subscriber's side of the feed: a stream.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;

use super::dispatch::Shared;
use super::event_log::Found;
use super::queue::Queue;
use crate::model::{Filter, ResumeToken};
use crate::storage::ChangeStream;
use crate::storage::shared_event::SharedEvent;

/// A subscription as the stream that its holder polls.
pub struct Watcher {
    shared: Arc<Shared>,
    filter: Filter,
    queue: Arc<Queue>,
}

impl Watcher {
    /// The stream of what `queue` is given.
    pub fn new(shared: Arc<Shared>, filter: Filter, queue: Arc<Queue>) -> Self {
        Self {
            shared,
            filter,
            queue,
        }
    }
}

impl Stream for Watcher {
    type Item = Arc<SharedEvent>;

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Arc<SharedEvent>>> {
        let mut waiting = self.queue.lock();
        if !waiting.ranges.is_empty() {
            let log = self.shared.log.lock();
            match log.take_next(&mut waiting.ranges, &self.filter) {
                Found::Event(event) => {
                    waiting.after = event.cursor;
                    return Poll::Ready(Some(event));
                }
                Found::NotYet(passed) => {
                    waiting.after = passed;
                    // Others have their turn before the next part.
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Found::Forgotten => waiting.cut_off(),
                Found::Nothing => {}
            }
        }
        if waiting.ended {
            return Poll::Ready(None);
        }
        waiting.register_waker(context.waker());
        Poll::Pending
    }
}

impl ChangeStream for Watcher {
    fn position(&self) -> ResumeToken {
        let mut subscribers = self.shared.subscribers.lock();
        let has_pending = subscribers
            .group(&self.filter)
            .is_none_or(|group| group.has_pending());
        let mut waiting = self.queue.lock();
        let has_more = has_pending || waiting.ended || !waiting.ranges.is_empty();
        if let Some(dispatched) = self.shared.log.lock().dispatched()
            && !has_more
        {
            // Kept, because a position must never go back: an event may come next that is
            // routed by then, but not seen.
            waiting.after = waiting.after.max(dispatched.cursor);
        }
        waiting.after
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut subscribers = self.shared.subscribers.lock();
        subscribers.remove(&self.filter, &self.queue);
    }
}
