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
use crate::storage::{ChangeStream, Lease, SharedEvent, Start, StoreError};

/// How much is read from the log at once, in bytes of values.
const BATCH_BYTES: usize = 64 * 1024;

/// A stream of changes that begins in the log.
pub struct Follower {
    reader: LogReader,
    feed: Arc<Feed>,
    filter: Filter,
    /// What was returned, or does not match.
    after: ResumeToken,
    /// What comes next. If it is revoked, it is read again.
    batch: Option<Lease<Batch>>,
    source: Source,
}

/// Events that were read from the log.
struct Batch {
    events: VecDeque<Arc<SharedEvent>>,
    /// The last one is kept until the next is asked for: it may be sent in pieces.
    last: Option<Arc<SharedEvent>>,
}

impl Batch {
    fn next(&mut self) -> Option<Arc<SharedEvent>> {
        self.last = self.events.pop_front();
        self.last.clone()
    }
}

/// Where the events after those of the batch come from.
enum Source {
    /// The log: they are being read.
    Log(Reading),
    /// The feed.
    Feed(Box<dyn ChangeStream>),
    /// There are none.
    Ended,
}

/// What was read of the log.
struct Read {
    /// It counts from the moment on at which it was read: a watcher may never come for it.
    batch: Lease<Batch>,
    /// The end of what was read.
    end: ResumeToken,
    /// Whether there was no commit.
    is_nothing: bool,
}

/// Commits that are being read.
type Reading = Pin<Box<dyn Future<Output = Result<Read, StoreError>> + Send>>;

impl Follower {
    /// The changes that match `filter` after `since`, which is a point of this log.
    pub fn new(reader: LogReader, feed: Arc<Feed>, filter: Filter, since: ResumeToken) -> Self {
        let source = Source::Log(read_after(&reader, &filter, since));
        Self {
            reader,
            feed,
            filter,
            after: since,
            batch: None,
            source,
        }
    }

    /// Takes what was read. The feed goes on as soon as it remembers what follows.
    fn take(&mut self, read: Result<Read, StoreError>) -> Source {
        let read = match read {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(%error, "a watcher is disconnected, because the log cannot be read");
                return Source::Ended;
            }
        };
        if let Ok(true) = read.batch.read(|batch| batch.events.is_empty()) {
            self.after = read.end;
        }
        self.batch = Some(read.batch);
        let joined = self.feed.watch(self.filter.clone(), Some(read.end));
        match joined.start {
            Start::Reset if read.is_nothing => Source::Ended,
            Start::Reset => Source::Log(read_after(&self.reader, &self.filter, read.end)),
            Start::Now | Start::Resumed => Source::Feed(joined.changes),
        }
    }

    /// Whether everything that was read was returned.
    fn has_returned_all(&self) -> bool {
        let left = |batch: &Lease<Batch>| batch.read(|batch| batch.events.is_empty());
        self.batch
            .as_ref()
            .is_none_or(|batch| left(batch).unwrap_or(false))
    }
}

/// Reads the commits from `after` on, also that in which it is.
fn read_after(reader: &LogReader, filter: &Filter, after: ResumeToken) -> Reading {
    let (reader, filter) = (reader.clone(), filter.clone());
    let in_commit = u64::from(!after.is_after_whole_commit());
    let revision = after.revision().saturating_sub(in_commit);
    let read = move |reader: &LogReader| {
        let commits = reader.commits_after(revision, BATCH_BYTES)?;
        let (mut end, mut events, mut bytes) = (after, VecDeque::new(), 0);
        for event in commits.iter().flat_map(Commit::events) {
            if event.cursor > after {
                end = event.cursor;
                if filter.matches(&event.entry.key) {
                    let event = SharedEvent::from(event);
                    bytes += event.memory_bytes() as u64;
                    events.push_back(Arc::new(event));
                }
            }
        }
        let batch = Batch { events, last: None };
        Ok(Read {
            batch: reader.leases().hold_owned(batch, bytes),
            end,
            is_nothing: commits.is_empty(),
        })
    };
    Box::pin(async move { reader.on_thread(read).await })
}

impl Stream for Follower {
    type Item = Arc<SharedEvent>;

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Arc<SharedEvent>>> {
        let follower = self.get_mut();
        loop {
            if let Some(batch) = follower.batch.take() {
                match batch.change(Batch::next) {
                    Ok(Some(event)) => {
                        follower.after = event.cursor;
                        follower.batch = Some(batch);
                        return Poll::Ready(Some(event));
                    }
                    Ok(None) => {}
                    // It was held for too long.
                    Err(_) => {
                        let again = read_after(&follower.reader, &follower.filter, follower.after);
                        follower.source = Source::Log(again);
                    }
                }
            }
            match &mut follower.source {
                Source::Log(read) => {
                    let read = ready!(read.as_mut().poll(context));
                    follower.source = follower.take(read);
                }
                Source::Feed(changes) => return changes.poll_next_unpin(context),
                Source::Ended => return Poll::Ready(None),
            }
        }
    }
}

impl ChangeStream for Follower {
    fn position(&self) -> ResumeToken {
        match &self.source {
            Source::Feed(changes) if self.has_returned_all() => changes.position(),
            _ => self.after,
        }
    }
}
