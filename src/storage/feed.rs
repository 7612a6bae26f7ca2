//! What is told to watchers: the changes of late, kept so that they can be resumed from, and handed
//! on to everybody who waits for them.
//!
//! A writer only adds to what is kept. A task of the feed's own finds out whom an event concerns and
//! puts it into their queues, so that a thousand watchers cost a writer no more than one; it also
//! rests between two rounds of waking them, because each one woken takes processor time that the
//! writers need. What is kept is bounded, and whoever still has something in the queue that is kept
//! no more is cut off.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::Stream;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::{Changes, Start, Watching};
use crate::model::{Bookmark, Cursor, Event, Filter, Key, Revision};

/// How much of the changes of late is kept unless a flag says otherwise, in bytes.
pub const DEFAULT_WATCH_BUFFER_BYTES: usize = 32 * 1024 * 1024;
/// How long the feed rests for each watcher that it has woken. Waking one and writing to its
/// connection takes about a tenth of this.
const REST_PER_WATCHER: Duration = Duration::from_micros(100);

/// The changes of one store.
#[derive(Debug)]
pub struct Feed(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    history: Arc<str>,
    /// Taken before `kept` where both are.
    watchers: Mutex<Watchers>,
    kept: Mutex<Kept>,
    /// The newest commit, for the task that hands on.
    news: watch::Sender<Revision>,
}

impl Feed {
    /// A feed of a store that stands at `revision`. It keeps about `limit_bytes` of changes.
    #[must_use]
    pub fn new(history: Arc<str>, revision: Revision, limit_bytes: usize) -> Self {
        let now = Cursor::after(revision);
        Self(Arc::new(Shared {
            history,
            watchers: Mutex::default(),
            kept: Mutex::new(Kept {
                events: VecDeque::new(),
                bytes: 0,
                limit_bytes,
                forgotten: now,
                handed_on: None,
                published: now,
            }),
            news: watch::channel(revision).0,
        }))
    }

    /// Adds what the commits up to `revision` have done. To be called in their order, while nobody
    /// can see the table at that revision yet.
    pub fn publish(&self, events: Vec<Event>, revision: Revision) {
        self.0.kept.lock().add(events, Cursor::after(revision));
        self.0.news.send_replace(revision);
    }

    /// Tells of what `filter` lets through, after `since`, or from now on. To be called within the
    /// runtime.
    #[must_use]
    pub fn watch(&self, filter: Filter, since: Option<&Bookmark>) -> Watching {
        let mut watchers = self.0.watchers.lock();
        let mut kept = self.0.kept.lock();
        let (start, after) = match since {
            None => (Start::Now, kept.published),
            Some(since) if since.history == self.0.history && kept.has_all_after(since.cursor) => {
                (Start::Resumed, since.cursor)
            }
            Some(_) => (Start::Reset, kept.published),
        };
        if kept.handed_on.is_none() {
            tokio::spawn(hand_on(Arc::downgrade(&self.0), self.0.news.subscribe()));
        }
        let published = kept.published;
        let handed_on = *kept.handed_on.get_or_insert(published);
        // What comes after that is still to be handed on.
        let missed = kept
            .after(after)
            .take_while(|event| event.cursor <= handed_on);
        let concerning = missed.filter(|event| filter.matches(&event.entry.key));
        let queue = Arc::new(Queue(Mutex::new(Waiting {
            events: concerning.cloned().collect(),
            after,
            ended: watchers.closed,
            waker: None,
        })));
        watchers.add(&filter, Arc::clone(&queue));
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

    /// Ends every watcher, now and from now on.
    pub fn close(&self) {
        let mut watchers = self.0.watchers.lock();
        watchers.closed = true;
        watchers.all().for_each(|queue| queue.end());
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

    /// Puts what is new into the queues of those whom it concerns, and adds these to `due`.
    fn hand_on(&self, due: &mut Vec<Arc<Queue>>) {
        // Held to the end: until then nobody may be told that all this is in the queues.
        let watchers = self.watchers.lock();
        let (news, forgotten) = self.kept.lock().take_news();
        for event in &news {
            for queue in watchers.concerned_with(&event.entry.key) {
                if queue.push(event, forgotten) == Pushed::ToBeWoken {
                    due.push(Arc::clone(queue));
                }
            }
        }
    }
}

/// Hands on whatever is published, until the feed is gone.
async fn hand_on(shared: Weak<Shared>, mut news: watch::Receiver<Revision>) {
    let mut due = Vec::new();
    let mut rested = Instant::now();
    loop {
        tokio::select! {
            changed = news.changed() => match (changed, shared.upgrade()) {
                (Ok(()), Some(shared)) => shared.hand_on(&mut due),
                _ => return,
            },
            () = sleep_until(rested), if !due.is_empty() => {}
        }
        let now = Instant::now();
        if now >= rested {
            let woken = u32::try_from(due.len()).unwrap_or(u32::MAX);
            due.drain(..).for_each(|queue: Arc<Queue>| queue.wake());
            rested = now + REST_PER_WATCHER.saturating_mul(woken);
        }
    }
}

/// The changes of late.
#[derive(Debug)]
struct Kept {
    /// Ascending.
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    limit_bytes: usize,
    /// Every event after it is kept.
    forgotten: Cursor,
    /// What was handed on to the watchers, if there has ever been one.
    handed_on: Option<Cursor>,
    /// The newest commit.
    published: Cursor,
}

impl Kept {
    fn add(&mut self, events: Vec<Event>, published: Cursor) {
        for event in events {
            self.bytes += event.bytes();
            self.events.push_back(Arc::new(event));
        }
        self.published = published;
        while self.bytes > self.limit_bytes
            && let Some(oldest) = self.events.front()
            // What nobody could be told of yet is not forgotten, however large it is.
            && self.handed_on.is_none_or(|handed_on| oldest.cursor <= handed_on)
        {
            self.bytes -= oldest.bytes();
            self.forgotten = oldest.cursor;
            self.events.pop_front();
        }
    }

    fn has_all_after(&self, cursor: Cursor) -> bool {
        (self.forgotten..=self.published).contains(&cursor)
    }

    fn after(&self, cursor: Cursor) -> impl Iterator<Item = &Arc<Event>> {
        let first = self.events.partition_point(|event| event.cursor <= cursor);
        self.events.range(first..)
    }

    /// What is to be handed on, and what is forgotten already.
    fn take_news(&mut self) -> (Vec<Arc<Event>>, Cursor) {
        let handed_on = self.handed_on.replace(self.published);
        let news = handed_on.map(|handed_on| self.after(handed_on).cloned().collect());
        (news.unwrap_or_default(), self.forgotten)
    }
}

/// Who waits, to be found by the key of an event.
#[derive(Debug, Default)]
struct Watchers {
    by_key: HashMap<Key, Vec<Arc<Queue>>>,
    /// By length and text of the prefix: a key is looked up once for each length that is there.
    by_prefix: BTreeMap<usize, HashMap<String, Vec<Arc<Queue>>>>,
    closed: bool,
}

impl Watchers {
    fn add(&mut self, filter: &Filter, queue: Arc<Queue>) {
        match filter {
            Filter::Key(key) => self.by_key.entry(key.clone()).or_default().push(queue),
            Filter::Prefix(prefix) => {
                let of_length = self.by_prefix.entry(prefix.len()).or_default();
                of_length.entry(prefix.clone()).or_default().push(queue);
            }
        }
    }

    fn remove(&mut self, filter: &Filter, queue: &Arc<Queue>) {
        let without = |queues: &mut Vec<Arc<Queue>>| {
            if let Some(place) = queues.iter().position(|one| Arc::ptr_eq(one, queue)) {
                queues.swap_remove(place);
            }
            queues.is_empty()
        };
        match filter {
            Filter::Key(key) => {
                if self.by_key.get_mut(key).is_some_and(without) {
                    self.by_key.remove(key);
                }
            }
            Filter::Prefix(prefix) => {
                if let Some(of_length) = self.by_prefix.get_mut(&prefix.len())
                    && of_length.get_mut(prefix).is_some_and(without)
                {
                    of_length.remove(prefix);
                    if of_length.is_empty() {
                        self.by_prefix.remove(&prefix.len());
                    }
                }
            }
        }
    }

    fn concerned_with(&self, key: &Key) -> impl Iterator<Item = &Arc<Queue>> {
        let lengths = self.by_prefix.iter();
        let of_prefixes = lengths.filter_map(|(length, of_length)| {
            let prefix = key.as_str().get(..*length)?;
            of_length.get(prefix)
        });
        self.by_key
            .get(key)
            .into_iter()
            .chain(of_prefixes)
            .flatten()
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Queue>> {
        let of_prefixes = self.by_prefix.values().flat_map(HashMap::values);
        self.by_key.values().chain(of_prefixes).flatten()
    }
}

/// What one watcher has still to see.
#[derive(Debug)]
struct Queue(Mutex<Waiting>);

#[derive(Debug)]
struct Waiting {
    events: VecDeque<Arc<Event>>,
    /// What the watcher has seen, or is not told of.
    after: Cursor,
    ended: bool,
    waker: Option<Waker>,
}

#[derive(Debug, PartialEq, Eq)]
enum Pushed {
    ToBeWoken,
    /// The watcher is awake, or is not told of this.
    ToBeLeft,
}

impl Queue {
    fn push(&self, event: &Arc<Event>, forgotten: Cursor) -> Pushed {
        let mut waiting = self.0.lock();
        if waiting.ended || event.cursor <= waiting.after {
            return Pushed::ToBeLeft;
        }
        match waiting.events.front() {
            None => {
                waiting.events.push_back(Arc::clone(event));
                return Pushed::ToBeWoken;
            }
            Some(oldest) if oldest.cursor <= forgotten => {
                waiting.ended = true;
                waiting.events = VecDeque::new();
            }
            Some(_) => waiting.events.push_back(Arc::clone(event)),
        }
        Pushed::ToBeLeft
    }

    fn wake(&self) {
        let waker = self.0.lock().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn end(&self) {
        self.0.lock().ended = true;
        self.wake();
    }
}

/// One who waits.
struct Watcher {
    shared: Arc<Shared>,
    filter: Filter,
    queue: Arc<Queue>,
}

impl Stream for Watcher {
    type Item = Arc<Event>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Arc<Event>>> {
        let mut waiting = self.queue.0.lock();
        if let Some(event) = waiting.events.pop_front() {
            waiting.after = event.cursor;
            return Poll::Ready(Some(event));
        }
        if waiting.ended {
            return Poll::Ready(None);
        }
        waiting.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Changes for Watcher {
    fn position(&self) -> Bookmark {
        let watchers = self.shared.watchers.lock();
        let handed_on = self.shared.kept.lock().handed_on;
        let waiting = self.queue.0.lock();
        let seen = match handed_on {
            Some(handed_on) if waiting.events.is_empty() && !waiting.ended => {
                waiting.after.max(handed_on)
            }
            _ => waiting.after,
        };
        drop(watchers);
        self.shared.bookmark(seen)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut watchers = self.shared.watchers.lock();
        watchers.remove(&self.filter, &self.queue);
    }
}
