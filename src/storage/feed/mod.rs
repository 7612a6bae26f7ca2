//! What is told to watchers: recent changes, kept so that they can be resumed from, and dispatched
//! to everybody who waits for them.
//!
//! A writer only adds to the log of events. A task of the feed's own finds out whom an event
//! concerns, so that a thousand watchers cost a writer no more than one, and tells them in rounds,
//! between which it rests: each one woken, and each byte that they write, takes processor time that
//! the writers need.
//!
//! The log alone keeps events, and it is bounded. A watcher has a cursor and a few ranges of numbers
//! of events, and reads from the log what it has still to see; one whose next event was dropped from
//! the log is cut off.

mod event_log;
mod subscribers;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use self::event_log::{EventLog, Found, Ranges};
use self::subscribers::{Queue, Subscribers};
use super::shared_event::SharedEvent;
use super::{Changes, Start, Watching};
use crate::model::{Bookmark, Cursor, Event, Filter, Revision};

/// How much of the recent changes is kept unless a flag says otherwise, in bytes.
pub const DEFAULT_WATCH_BUFFER_BYTES: usize = 32 * 1024 * 1024;
/// How long the feed rests for each watcher that it has woken. Waking one and writing to its
/// connection takes about a tenth of this.
const REST_PER_WATCHER: Duration = Duration::from_micros(100);
/// How long it rests for each KiB that it has given them to write: 100 MB a second for all of them
/// together leave the writers most of a processor.
const REST_PER_KIB: Duration = Duration::from_micros(10);
/// How much one round gives to all watchers together, in bytes; what is left is for the next. It is
/// so much that its rest is shorter than [`REST_MAX`].
const ROUND_MAX_BYTES: usize = 32 * 1024 * 1024;
/// How long it rests at the most, lest a burst leave those who come after it without news.
const REST_MAX: Duration = Duration::from_millis(500);

/// The changes of one store.
#[derive(Debug)]
pub struct Feed(Arc<Shared>);

/// The locks are taken in this order where several are: subscribers, a queue, the log.
#[derive(Debug)]
struct Shared {
    history: Arc<str>,
    subscribers: Mutex<Subscribers>,
    log: Mutex<EventLog>,
    /// The newest commit, for the task that dispatches.
    news: watch::Sender<Revision>,
}

impl Feed {
    /// A feed of a store that stands at `revision`. It keeps about `limit_bytes` of changes.
    #[must_use]
    pub fn new(history: Arc<str>, revision: Revision, limit_bytes: usize) -> Self {
        Self(Arc::new(Shared {
            history,
            subscribers: Mutex::default(),
            log: Mutex::new(EventLog::new(Cursor::after(revision), limit_bytes)),
            news: watch::channel(revision).0,
        }))
    }

    /// Adds what the commits up to `revision` have done. To be called in their order, while nobody
    /// can see the table at that revision yet.
    pub fn publish(&self, events: Vec<Event>, revision: Revision) {
        self.0.log.lock().add(events, Cursor::after(revision));
        self.0.news.send_replace(revision);
    }

    /// Tells of what `filter` lets through, after `since`, or from now on. To be called within the
    /// runtime.
    #[must_use]
    pub fn watch(&self, filter: Filter, since: Option<&Bookmark>) -> Watching {
        let mut subscribers = self.0.subscribers.lock();
        let mut log = self.0.log.lock();
        let (start, after) = match since {
            None => (Start::Now, log.published()),
            Some(since) if since.history == self.0.history && log.has_all_after(since.cursor) => {
                (Start::Resumed, since.cursor)
            }
            Some(_) => (Start::Reset, log.published()),
        };
        if log.dispatched().is_none() {
            tokio::spawn(dispatch(Arc::downgrade(&self.0), self.0.news.subscribe()));
        }
        let dispatched = log.begin_dispatching();
        let first = log.next_after(after);
        drop(log);
        // What comes after that is still to be dispatched.
        let mut missed = Ranges::default();
        missed.push(first..dispatched.next);
        let next = first.max(dispatched.next);
        let queue = Arc::new(Queue::new(after, missed, next, subscribers.closed));
        subscribers.add(&filter, Arc::clone(&queue));
        let watcher = Watcher {
            shared: Arc::clone(&self.0),
            filter,
            queue,
        };
        Watching {
            start,
            position: self.0.bookmark(after),
            changes: Box::new(watcher),
        }
    }

    /// Ends every watcher, now and from now on. They are still given all there is.
    pub fn close(&self) {
        self.0.dispatch(&mut VecDeque::new());
        self.0.subscribers.lock().close();
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn bookmark(&self, cursor: Cursor) -> Bookmark {
        let history = Arc::clone(&self.history);
        Bookmark { cursor, history }
    }

    /// Sorts what is new by whom it concerns, and adds those who had nothing waiting to `due`.
    fn dispatch(&self, due: &mut VecDeque<Filter>) {
        // Held to the end: until then nobody may be told that all this is sorted.
        let mut subscribers = self.subscribers.lock();
        let (first, news) = self.log.lock().take_news();
        for (number, event) in (first..).zip(&news) {
            subscribers.sort(number, event, due);
        }
    }

    /// Gives those who are `due` what has been sorted for them, or a part of it: whoever is to get more
    /// stays due. Returns how long to rest after that.
    fn wake(&self, due: &mut VecDeque<Filter>) -> Duration {
        let mut subscribers = self.subscribers.lock();
        let mut rest = Duration::ZERO;
        let mut left_bytes = ROUND_MAX_BYTES;
        while left_bytes > 0
            && let Some(filter) = due.pop_front()
        {
            let Some(group) = subscribers.group(&filter) else {
                continue;
            };
            let bytes = group.wake(&filter, &self.log, left_bytes);
            left_bytes = left_bytes.saturating_sub(bytes);
            let count = u32::try_from(group.count()).unwrap_or(u32::MAX);
            let kib = u32::try_from(bytes / 1024).unwrap_or(u32::MAX);
            rest = rest
                .saturating_add(REST_PER_WATCHER.saturating_mul(count))
                .saturating_add(REST_PER_KIB.saturating_mul(kib));
            if group.has_news() {
                due.push_back(filter);
            }
        }
        rest
    }
}

/// Dispatches whatever is published, until the feed is gone.
async fn dispatch(shared: Weak<Shared>, mut news: watch::Receiver<Revision>) {
    let mut due = VecDeque::new();
    let mut rested = Instant::now();
    loop {
        let published = tokio::select! {
            changed = news.changed() => match changed {
                Ok(()) => true,
                Err(_) => return,
            },
            () = sleep_until(rested), if !due.is_empty() => false,
        };
        let Some(shared) = shared.upgrade() else {
            return;
        };
        if published {
            shared.dispatch(&mut due);
        }
        let now = Instant::now();
        if now >= rested {
            rested = now + shared.wake(&mut due).min(REST_MAX);
        }
    }
}

/// One who waits.
struct Watcher {
    shared: Arc<Shared>,
    filter: Filter,
    queue: Arc<Queue>,
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
        waiting.wake_by(context.waker());
        Poll::Pending
    }
}

impl Changes for Watcher {
    fn position(&self) -> Bookmark {
        let mut subscribers = self.shared.subscribers.lock();
        let has_news = subscribers
            .group(&self.filter)
            .is_none_or(|group| group.has_news());
        let mut waiting = self.queue.lock();
        let has_more = has_news || waiting.ended || !waiting.ranges.is_empty();
        if let Some(dispatched) = self.shared.log.lock().dispatched()
            && !has_more
        {
            // Kept, because nobody goes back behind what was said: an event may come next that is
            // sorted by then, but not seen.
            waiting.after = waiting.after.max(dispatched.cursor);
        }
        self.shared.bookmark(waiting.after)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut subscribers = self.shared.subscribers.lock();
        subscribers.remove(&self.filter, &self.queue);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use futures_util::{FutureExt as _, StreamExt as _};

    use super::*;
    use crate::model::{Entry, EventKind, Key, Record, Timestamp, Value};

    const LARGE_BYTES: usize = 64 * 1024;

    fn feed(limit_bytes: usize) -> Feed {
        Feed::new("history".into(), 0, limit_bytes)
    }

    /// Publishes a commit, and returns its record without keeping it.
    fn publish(feed: &Feed, revision: Revision, key: &str, bytes: usize) -> Weak<Record> {
        let key: Key = key.parse().unwrap();
        let value = Value::from_json(format!("\"{}\"", "x".repeat(bytes)).as_bytes()).unwrap();
        let now = Timestamp::from_millis(0);
        let record = Arc::new(Record::new(&key, value, 1, revision, now));
        let kept = Arc::downgrade(&record);
        let event = Event {
            cursor: Cursor::after(revision),
            kind: EventKind::Put,
            entry: Entry { key, record },
        };
        feed.publish(vec![event], revision);
        kept
    }

    fn prefix(text: &str) -> Filter {
        Filter::Prefix(text.to_owned())
    }

    /// Lets the feed's task dispatch what is published, and rest.
    async fn settle() {
        tokio::time::sleep(2 * REST_MAX).await;
    }

    #[tokio::test(start_paused = true)]
    async fn watchers_that_do_not_come_for_their_events_keep_none_alive() {
        const WATCHERS: u64 = 100;
        const KEPT: u64 = 4;
        let feed = feed(usize::try_from(KEPT).unwrap() * 2 * (LARGE_BYTES + 1024));
        let mut watchers = Vec::new();
        let mut records = Vec::new();
        for number in 0..WATCHERS {
            watchers.push(feed.watch(prefix(&format!("{number}/")), None));
        }
        // A part of them is in rounds of its own, and one is asked to go on from the beginning.
        for number in 0..WATCHERS {
            records.push(publish(
                &feed,
                number + 1,
                &format!("{number}/a"),
                LARGE_BYTES,
            ));
            if number % 3 == 0 {
                settle().await;
            }
            if number == 0 {
                watchers.push(feed.watch(prefix(""), Some(&watchers[0].position.clone())));
            }
        }
        settle().await;
        let kept = records.iter().filter(|record| record.strong_count() > 0);
        assert!(kept.count() as u64 <= 2 * KEPT);
        // Each is told that it missed something, unless it has not.
        for (number, watching) in watchers.iter_mut().enumerate() {
            let told = watching.changes.next().await.is_some();
            let kept = records.get(number);
            assert_eq!(
                told,
                kept.is_some_and(|record| record.strong_count() > 0),
                "{number}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_watcher_of_a_few_keys_among_many_is_told_of_each_once() {
        const ROUNDS: u64 = 1000;
        let feed = feed(usize::MAX);
        let mut all = feed.watch(prefix(""), None);
        let mut stalled = feed.watch(Filter::Key("1".parse().unwrap()), None);
        let mut expected = Vec::new();
        for revision in 1..=ROUNDS {
            let key = (revision % 3).to_string();
            publish(&feed, revision, &key, 1);
            if key == "1" {
                expected.push(revision);
            }
            if revision % 7 == 0 {
                settle().await;
            }
        }
        // In the middle of what is being dispatched comes one more.
        let since = Bookmark {
            cursor: Cursor::after(ROUNDS / 2),
            history: "history".into(),
        };
        let mut resumed = feed.watch(Filter::Key("1".parse().unwrap()), Some(&since));
        for (watching, expected) in [
            (&mut all, (1..=ROUNDS).collect::<Vec<_>>()),
            (&mut stalled, expected.clone()),
            (
                &mut resumed,
                expected.into_iter().filter(|at| *at > ROUNDS / 2).collect(),
            ),
        ] {
            let mut told = Vec::new();
            for _ in 0..expected.len() {
                let event = watching.changes.next().await.unwrap();
                told.push(event.cursor.revision());
            }
            assert_eq!(told, expected);
            settle().await;
            assert!(watching.changes.next().now_or_never().is_none());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_point_to_resume_from_never_goes_back() {
        let feed = feed(usize::MAX);
        let mut watching = feed.watch(prefix("a"), None);
        let mut last = watching.changes.position().cursor;
        let mut revision = 0;
        let mut published = |key: &str| {
            revision += 1;
            publish(&feed, revision, key, 1);
        };
        for round in 0..200 {
            published(["b", "b", "a", "c"][round % 4]);
            // Sorted, but given to nobody before the rest is over.
            for _ in 0..=round % 5 {
                tokio::task::yield_now().await;
                let position = watching.changes.position().cursor;
                assert!(position >= last, "{position:?} after {last:?}");
                last = position;
            }
            if round % 3 == 0 {
                let event = watching.changes.next().now_or_never().flatten();
                if let Some(event) = event {
                    assert!(event.cursor > last, "{:?} after {last:?}", event.cursor);
                    last = event.cursor;
                }
            }
            if round % 10 == 0 {
                settle().await;
            }
        }
    }
}
