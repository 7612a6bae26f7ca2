//! The changes after a point, for a watcher that was away for longer than the feed remembers: first from the
//! log, then from the feed.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::{Stream, StreamExt as _};

use super::past::LogReader;
use crate::model::{Commit, Filter, ResumeToken};
use crate::storage::feed::Feed;
use crate::storage::{ChangeStream, SharedEvent, Start, StoreError};

/// How much is read from the log at once, in bytes of values.
const BATCH_BYTES: usize = 64 * 1024;

/// A stream of changes that begins in the log.
pub struct Follower {
    reader: LogReader,
    feed: Arc<Feed>,
    filter: Filter,
    /// What was returned, or does not match.
    after: ResumeToken,
    /// What comes next.
    events: VecDeque<Arc<SharedEvent>>,
    /// The last one is kept until the next is asked for: it may be sent in pieces.
    last: Option<Arc<SharedEvent>>,
    source: Source,
}

/// Where the next events come from.
enum Source {
    /// The log: they are being read.
    Log(Reading),
    /// The feed.
    Feed(Box<dyn ChangeStream>),
    /// There are none.
    Ended,
}

/// Commits that are being read.
type Reading = Pin<Box<dyn Future<Output = Result<Vec<Commit>, StoreError>> + Send>>;

impl Follower {
    /// The changes that match `filter` after `since`, which is a point of this log.
    pub fn new(reader: LogReader, feed: Arc<Feed>, filter: Filter, since: ResumeToken) -> Self {
        let source = Source::Log(read_after(&reader, since));
        Self {
            reader,
            feed,
            filter,
            after: since,
            events: VecDeque::new(),
            last: None,
            source,
        }
    }

    /// Takes what was read. The feed goes on as soon as it remembers what follows.
    fn take(&mut self, read: Result<Vec<Commit>, StoreError>) -> Source {
        let commits = match read {
            Ok(commits) => commits,
            Err(error) => {
                tracing::error!(%error, "a watcher is disconnected, because the log cannot be read");
                return Source::Ended;
            }
        };
        let mut after = self.after;
        for event in commits.iter().flat_map(Commit::events) {
            if event.cursor > after {
                after = event.cursor;
                if self.filter.matches(&event.entry.key) {
                    self.events.push_back(Arc::new(event.into()));
                }
            }
        }
        if self.events.is_empty() {
            self.after = after;
        }
        let joined = self.feed.watch(self.filter.clone(), Some(after));
        match joined.start {
            Start::Reset if commits.is_empty() => Source::Ended,
            Start::Reset => Source::Log(read_after(&self.reader, after)),
            Start::Now | Start::Resumed => Source::Feed(joined.changes),
        }
    }
}

/// Reads the commits from `after` on, also that in which it is.
fn read_after(reader: &LogReader, after: ResumeToken) -> Reading {
    let reader = reader.clone();
    let in_commit = u64::from(!after.is_after_whole_commit());
    let revision = after.revision().saturating_sub(in_commit);
    Box::pin(async move {
        reader
            .on_thread(move |reader| reader.commits_after(revision, BATCH_BYTES))
            .await
    })
}

impl Stream for Follower {
    type Item = Arc<SharedEvent>;

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Arc<SharedEvent>>> {
        let follower = self.get_mut();
        loop {
            if let Some(event) = follower.events.pop_front() {
                follower.after = event.cursor;
                follower.last = Some(Arc::clone(&event));
                return Poll::Ready(Some(event));
            }
            match &mut follower.source {
                Source::Log(read) => {
                    let read = ready!(read.as_mut().poll(context));
                    follower.source = follower.take(read);
                }
                Source::Feed(changes) => {
                    follower.last = None;
                    return changes.poll_next_unpin(context);
                }
                Source::Ended => return Poll::Ready(None),
            }
        }
    }
}

impl ChangeStream for Follower {
    fn position(&self) -> ResumeToken {
        match &self.source {
            Source::Feed(changes) if self.events.is_empty() => changes.position(),
            _ => self.after,
        }
    }
}
