//! Being told of changes: as a stream, or by an answer that is held until there is something newer.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{Reading, Service};
use crate::error::{Error, StoreError};
use crate::model::{Bookmark, Entry, Event, Filter, Key, Position, Range};
use crate::precondition::{Preconditions, Tags};
use crate::storage::{Changes, Snapshot, Start, Watching};

impl Service {
    /// The changes that `filter` lets through, after `since` or from now on.
    ///
    /// # Errors
    /// [`Error::Store`]; so while the service drains.
    pub async fn watch(&self, filter: Filter, since: Option<&Bookmark>) -> Result<Watching, Error> {
        if self.is_draining() {
            return Err(StoreError::Closed.into());
        }
        Ok(self.store.watch(filter, since).await?)
    }

    /// [`read`](Self::read), held as long as the reader has the entry already: until it changes, for
    /// `wait` at the most, and not while the service drains.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn read_newer(
        &self,
        key: Key,
        conditions: &Preconditions,
        wait: Duration,
    ) -> Result<Reading<Entry, Entry>, Error> {
        if wait.is_zero() {
            return self.read(key, conditions).await;
        }
        let first = self.read(key.clone(), conditions).await?;
        if self.is_draining() || !matches!(first, Reading::NotModified(_)) {
            return Ok(first);
        }
        let mut end = pin!(sleep_until(Instant::now() + wait));
        let mut watching = self.watch(Filter::Key(key.clone()), None).await?;
        loop {
            let reading = self.read(key.clone(), conditions).await?;
            if !matches!(reading, Reading::NotModified(_))
                || self
                    .next(&mut *watching.changes, end.as_mut())
                    .await
                    .is_none()
            {
                return Ok(reading);
            }
        }
    }

    /// [`list`](Self::list), held as long as nothing in `range` has changed since the one list that
    /// the reader has: for `wait` at the most, and not while the service drains. Then the reader's
    /// list still stands, whatever was committed elsewhere.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub async fn list_newer(
        &self,
        range: &Range,
        conditions: &Preconditions,
        wait: Duration,
    ) -> Result<Reading<Box<dyn Snapshot>, Position>, Error> {
        let first = self.list(conditions).await?;
        let since = match &first {
            Reading::NotModified(position) => Some(Bookmark::from(position)),
            Reading::Found(_) => list_in(conditions),
        };
        let Some(since) = since.filter(|_| !wait.is_zero() && !self.is_draining()) else {
            return Ok(first);
        };
        let mut end = pin!(sleep_until(Instant::now() + wait));
        let filter = Filter::Prefix(range.prefix.clone());
        let mut watching = self.watch(filter, Some(&since)).await?;
        if watching.start == Start::Reset {
            return self.list(conditions).await;
        }
        let before = |key: &Key| {
            range
                .after
                .as_deref()
                .is_some_and(|after| key.as_str() <= after)
        };
        while let Some(event) = self.next(&mut *watching.changes, end.as_mut()).await {
            if !before(&event.entry.key) {
                return self.list(&Preconditions::default()).await;
            }
        }
        Ok(Reading::NotModified(Position {
            revision: since.cursor.revision(),
            history: since.history,
        }))
    }

    /// The next change, unless `end` comes first, or the end of the service or of the changes.
    async fn next(&self, changes: &mut dyn Changes, end: Pin<&mut Sleep>) -> Option<Arc<Event>> {
        tokio::select! {
            biased;
            event = changes.next() => event,
            () = end => None,
            () = self.drained() => None,
        }
    }
}

/// The list that a reader has, if its preconditions name one and nothing else.
fn list_in(conditions: &Preconditions) -> Option<Bookmark> {
    match conditions {
        Preconditions {
            if_match: None,
            if_none_match: Some(Tags::Listed(tags)),
            ..
        } => match &tags[..] {
            [tag] => tag.opaque.parse().ok(),
            _ => None,
        },
        _ => None,
    }
}
