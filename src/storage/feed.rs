//! What is told to watchers: the changes of late, kept so that they can be resumed from, and handed
//! on to everybody who waits for them.
//!
//! A writer only adds to what is kept. A task of the feed's own finds out whom an event concerns, so
//! that a thousand watchers cost a writer no more than one, and gives it to them in rounds, between
//! which it rests: each one woken, and each byte that they write, takes processor time that the
//! writers need. What is kept is bounded, and whoever still has to see something that is kept no more
//! is cut off.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::Stream;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::{Changes, Start, Watching};
use crate::model::{Bookmark, Cursor, Event, Filter, Key, Revision};

/// How much of the changes of late is kept unless a flag says otherwise, in bytes.
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
        let missed: Arc<[_]> = concerning.cloned().collect();
        let queue = Arc::new(Queue(Mutex::new(Waiting {
            events: missed
                .first()
                .map(|_| Arc::clone(&missed))
                .into_iter()
                .collect(),
            next: 0,
            after,
            ended: watchers.closed,
            waker: None,
        })));
        watchers
            .group_or_new(&filter)
            .queues
            .push(Arc::clone(&queue));
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
        self.0.hand_on(&mut VecDeque::new());
        let mut watchers = self.0.watchers.lock();
        let forgotten = self.0.kept.lock().forgotten;
        for group in watchers.groups() {
            group.wake(forgotten, usize::MAX);
            group.queues.iter().for_each(|queue| queue.end());
        }
        watchers.closed = true;
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
    fn hand_on(&self, due: &mut VecDeque<Filter>) {
        // Held to the end: until then nobody may be told that all this is sorted.
        let mut watchers = self.watchers.lock();
        let (news, forgotten) = self.kept.lock().take_news();
        for event in &news {
            watchers.sort(event, forgotten, due);
        }
    }

    /// Gives those who are `due` what has been sorted for them, or a part of it: whoever is to get more
    /// stays due. Returns how long to rest after that.
    fn wake(&self, due: &mut VecDeque<Filter>) -> Duration {
        let mut watchers = self.watchers.lock();
        let forgotten = self.kept.lock().forgotten;
        let mut rest = Duration::ZERO;
        let mut left_bytes = ROUND_MAX_BYTES;
        while left_bytes > 0
            && let Some(filter) = due.pop_front()
        {
            let Some(group) = watchers.group(&filter) else {
                continue;
            };
            let bytes = group.wake(forgotten, left_bytes);
            left_bytes = left_bytes.saturating_sub(bytes);
            let count = u32::try_from(group.queues.len()).unwrap_or(u32::MAX);
            let kib = u32::try_from(bytes / 1024).unwrap_or(u32::MAX);
            rest = rest
                .saturating_add(REST_PER_WATCHER.saturating_mul(count))
                .saturating_add(REST_PER_KIB.saturating_mul(kib));
            if !group.sorted.is_empty() {
                due.push_back(filter);
            }
        }
        rest
    }
}

/// Hands on whatever is published, until the feed is gone.
async fn hand_on(shared: Weak<Shared>, mut news: watch::Receiver<Revision>) {
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
            shared.hand_on(&mut due);
        }
        let now = Instant::now();
        if now >= rested {
            rested = now + shared.wake(&mut due).min(REST_MAX);
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
    by_key: HashMap<Key, Group>,
    /// By length and text of the prefix: a key is looked up once for each length that is there.
    by_prefix: BTreeMap<usize, HashMap<String, Group>>,
    closed: bool,
}

impl Watchers {
    fn group_or_new(&mut self, filter: &Filter) -> &mut Group {
        match filter {
            Filter::Key(key) => self.by_key.entry(key.clone()).or_default(),
            Filter::Prefix(prefix) => {
                let of_length = self.by_prefix.entry(prefix.len()).or_default();
                of_length.entry(prefix.clone()).or_default()
            }
        }
    }

    fn group(&mut self, filter: &Filter) -> Option<&mut Group> {
        match filter {
            Filter::Key(key) => self.by_key.get_mut(key),
            Filter::Prefix(prefix) => self.by_prefix.get_mut(&prefix.len())?.get_mut(prefix),
        }
    }

    fn remove(&mut self, filter: &Filter, queue: &Arc<Queue>) {
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

    fn sort(&mut self, event: &Arc<Event>, forgotten: Cursor, due: &mut VecDeque<Filter>) {
        let key = &event.entry.key;
        if let Some(group) = self.by_key.get_mut(key)
            && group.add(event, forgotten)
        {
            due.push_back(Filter::Key(key.clone()));
        }
        for (length, of_length) in &mut self.by_prefix {
            if let Some(prefix) = key.as_str().get(..*length)
                && let Some(group) = of_length.get_mut(prefix)
                && group.add(event, forgotten)
            {
                due.push_back(Filter::Prefix(prefix.to_owned()));
            }
        }
    }

    fn groups(&mut self) -> impl Iterator<Item = &mut Group> {
        let of_prefixes = self.by_prefix.values_mut();
        let of_prefixes = of_prefixes.flat_map(HashMap::values_mut);
        self.by_key.values_mut().chain(of_prefixes)
    }
}

/// Those who are told of the same: what is new is sorted once for all of them.
#[derive(Debug, Default)]
struct Group {
    queues: Vec<Arc<Queue>>,
    /// What they are given when they are woken.
    sorted: VecDeque<Arc<Event>>,
}

impl Group {
    /// Whether it had nothing before.
    fn add(&mut self, event: &Arc<Event>, forgotten: Cursor) -> bool {
        let had_nothing = self.sorted.is_empty();
        if self
            .sorted
            .front()
            .is_some_and(|oldest| oldest.cursor <= forgotten)
        {
            // So much has come while the feed rested that the first of it is kept no more.
            self.queues.iter().for_each(|queue| queue.cut_off());
            self.sorted.clear();
        }
        self.sorted.push_back(Arc::clone(event));
        had_nothing
    }

    /// Gives them what comes to `max_bytes` for all of them together, but at least one event. Returns
    /// how much it was.
    fn wake(&mut self, forgotten: Cursor, max_bytes: usize) -> usize {
        let watchers = self.queues.len();
        let mut bytes = 0;
        let mut count = 0;
        while bytes < max_bytes
            && let Some(event) = self.sorted.get(count)
        {
            bytes = event
                .text_bytes()
                .saturating_mul(watchers)
                .saturating_add(bytes);
            count += 1;
        }
        let events: Arc<[_]> = self.sorted.drain(..count).collect();
        for queue in &self.queues {
            queue.push(&events, forgotten);
        }
        bytes
    }
}

/// What one watcher has still to see.
#[derive(Debug)]
struct Queue(Mutex<Waiting>);

#[derive(Debug)]
struct Waiting {
    /// None of them is empty.
    events: VecDeque<Arc<[Arc<Event>]>>,
    /// Which of the first of them is next.
    next: usize,
    /// What the watcher has seen, or is not told of.
    after: Cursor,
    ended: bool,
    waker: Option<Waker>,
}

impl Waiting {
    fn oldest(&self) -> Option<&Arc<Event>> {
        self.events.front()?.get(self.next)
    }

    fn take_oldest(&mut self) -> Option<Arc<Event>> {
        let oldest = self.oldest().cloned()?;
        self.next += 1;
        if self.oldest().is_none() {
            self.events.pop_front();
            self.next = 0;
        }
        Some(oldest)
    }
}

impl Queue {
    fn push(&self, events: &Arc<[Arc<Event>]>, forgotten: Cursor) {
        let mut waiting = self.0.lock();
        if waiting.ended || events.is_empty() {
            return;
        }
        if waiting
            .oldest()
            .is_some_and(|oldest| oldest.cursor <= forgotten)
        {
            drop(waiting);
            self.cut_off();
            return;
        }
        waiting.events.push_back(Arc::clone(events));
        wake(waiting);
    }

    fn cut_off(&self) {
        let mut waiting = self.0.lock();
        waiting.events.clear();
        waiting.ended = true;
        wake(waiting);
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
        while let Some(event) = waiting.take_oldest() {
            // Who came later than the others of the group has seen some of what they are given.
            if event.cursor > waiting.after {
                waiting.after = event.cursor;
                return Poll::Ready(Some(event));
            }
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
        let mut watchers = self.shared.watchers.lock();
        let sorted = watchers
            .group(&self.filter)
            .is_none_or(|group| !group.sorted.is_empty());
        let handed_on = self.shared.kept.lock().handed_on;
        let waiting = self.queue.0.lock();
        let has_more = sorted || waiting.ended || waiting.oldest().is_some();
        let seen = match handed_on {
            Some(handed_on) if !has_more => waiting.after.max(handed_on),
            _ => waiting.after,
        };
        self.shared.bookmark(seen)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut watchers = self.shared.watchers.lock();
        watchers.remove(&self.filter, &self.queue);
    }
}
