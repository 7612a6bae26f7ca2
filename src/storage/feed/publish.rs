//! The engine's side of the feed: publishing, subscribing, closing.

use std::collections::VecDeque;
use std::sync::Arc;

use super::dispatch::{Shared, dispatch};
use super::queue::Queue;
use super::ranges::Ranges;
use super::watcher::Watcher;
use crate::model::{Commit, Filter, Position, ResumeToken, Revision, StateDigest};
use crate::storage::{Start, Subscription};

/// How much of the recent changes is kept unless a flag says otherwise, in bytes.
pub const DEFAULT_WATCH_BUFFER_BYTES: usize = 32 * 1024 * 1024;

/// The changes of one store.
#[derive(Debug)]
pub struct Feed(Arc<Shared>);

impl Feed {
    /// A feed of a store at `position`. It keeps about `limit_bytes` of changes.
    #[must_use]
    pub fn new(position: Position, limit_bytes: usize) -> Self {
        Self(Arc::new(Shared::new(position, limit_bytes)))
    }

    /// Adds the events of the commits up to `position`. Call it in their order, before the table is visible
    /// there.
    pub fn publish(&self, commits: &[Arc<Commit>], position: Position) {
        let events = commits.iter().flat_map(|commit| commit.events());
        self.0.publish(events, position);
    }

    /// The digest of the state at a revision, as far back as it is known here.
    #[must_use]
    pub fn state_at(&self, revision: Revision) -> Option<StateDigest> {
        self.0.log.lock().state_at(revision)
    }

    /// Subscribes to the events that match `filter`, after `since` or from now on. To be called within the
    /// runtime.
    #[must_use]
    pub fn watch(&self, filter: Filter, since: Option<ResumeToken>) -> Subscription {
        let mut subscribers = self.0.subscribers.lock();
        let mut log = self.0.log.lock();
        let (start, after) = match since {
            None => (Start::Now, log.published()),
            Some(since) if log.has_all_after(since) => (Start::Resumed, since),
            Some(_) => (Start::Reset, log.published()),
        };
        if log.dispatched().is_none() {
            tokio::spawn(dispatch(Arc::downgrade(&self.0), self.0.newest.subscribe()));
        }
        let dispatched = log.begin_dispatching();
        let first = log.next_after(after);
        drop(log);
        // Later events are still to be dispatched.
        let mut missed = Ranges::default();
        missed.push(first..dispatched.next);
        let next = first.max(dispatched.next);
        let queue = Arc::new(Queue::new(after, missed, next, subscribers.closed));
        subscribers.add(&filter, Arc::clone(&queue));
        let watcher = Watcher::new(Arc::clone(&self.0), filter, queue);
        Subscription {
            start,
            position: after,
            changes: Box::new(watcher),
        }
    }

    /// Ends all current and future watchers, each after the events that it has not seen yet.
    pub fn close(&self) {
        self.0.route_new(&mut VecDeque::new());
        self.0.subscribers.lock().close();
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use futures_util::{FutureExt as _, StreamExt as _};

    use super::*;
    use crate::model::{Done, Key, Record, Stamp, Timestamp, Value};
    use crate::storage::feed::dispatch::REST_MAX;

    const LARGE_BYTES: usize = 64 * 1024;

    fn at(revision: Revision) -> Position {
        Position {
            revision,
            state: StateDigest::from_bits(revision),
        }
    }

    fn feed(limit_bytes: usize) -> Feed {
        Feed::new(Position::default(), limit_bytes)
    }

    /// Publishes a commit, and returns its record without keeping it.
    fn publish(feed: &Feed, revision: Revision, key: &str, bytes: usize) -> Weak<Record> {
        let key: Key = key.parse().unwrap();
        let value = Value::from_json(format!("\"{}\"", "x".repeat(bytes)).as_bytes()).unwrap();
        let now = Timestamp::from_millis(0);
        let stamp = Stamp {
            version: 1,
            revision,
            modified_at: now,
            modified_by: None,
        };
        let record = Arc::new(Record::new(&key, value, stamp));
        let kept = Arc::downgrade(&record);
        let commit = Commit {
            position: at(revision),
            at: now,
            by: None,
            request: None,
            origin: None,
            changes: vec![Done {
                key,
                before: None,
                after: Some(record),
            }],
        };
        feed.publish(&[Arc::new(commit)], at(revision));
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
    async fn watchers_that_do_not_read_keep_no_events_alive() {
        const WATCHERS: u64 = 100;
        const KEPT: u64 = 4;
        let feed = feed(usize::try_from(KEPT).unwrap() * 2 * (LARGE_BYTES + 1024));
        let mut watchers = Vec::new();
        let mut records = Vec::new();
        for number in 0..WATCHERS {
            watchers.push(feed.watch(prefix(&format!("{number}/")), None));
        }
        // Some are delivered in rounds of their own, and one watcher resumes from the beginning.
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
                watchers.push(feed.watch(prefix(""), Some(watchers[0].position)));
            }
        }
        settle().await;
        let kept = records.iter().filter(|record| record.strong_count() > 0);
        assert!(kept.count() as u64 <= 2 * KEPT);
        // Each stream ends, unless nothing was missed.
        for (number, subscription) in watchers.iter_mut().enumerate() {
            let delivered = subscription.changes.next().await.is_some();
            let kept = records.get(number);
            assert_eq!(
                delivered,
                kept.is_some_and(|record| record.strong_count() > 0),
                "{number}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_watcher_of_a_few_keys_among_many_gets_each_event_once() {
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
        // One more watcher resumes in the middle of what is being dispatched.
        let since = ResumeToken::after(at(ROUNDS / 2));
        let mut resumed = feed.watch(Filter::Key("1".parse().unwrap()), Some(since));
        for (subscription, expected) in [
            (&mut all, (1..=ROUNDS).collect::<Vec<_>>()),
            (&mut stalled, expected.clone()),
            (
                &mut resumed,
                expected.into_iter().filter(|at| *at > ROUNDS / 2).collect(),
            ),
        ] {
            let mut seen = Vec::new();
            for _ in 0..expected.len() {
                let event = subscription.changes.next().await.unwrap();
                seen.push(event.cursor.revision());
            }
            assert_eq!(seen, expected);
            settle().await;
            assert!(subscription.changes.next().now_or_never().is_none());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_point_to_resume_from_never_goes_back() {
        let feed = feed(usize::MAX);
        let mut subscription = feed.watch(prefix("a"), None);
        let mut last = subscription.changes.position();
        let mut revision = 0;
        let mut published = |key: &str| {
            revision += 1;
            publish(&feed, revision, key, 1);
        };
        for round in 0..200 {
            published(["b", "b", "a", "c"][round % 4]);
            // Routed, but not delivered before the rest is over.
            for _ in 0..=round % 5 {
                tokio::task::yield_now().await;
                let position = subscription.changes.position();
                assert!(position >= last, "{position:?} after {last:?}");
                last = position;
            }
            if round % 3 == 0 {
                let event = subscription.changes.next().now_or_never().flatten();
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
