//! Being told of changes: as a stream, or by an answer that is held until there is something newer.

use std::pin::{Pin, pin};
use std::sync::Arc;

use futures_util::StreamExt as _;

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

    /// [`read`](Self::read), held as long as the reader has the entry already: until it changes, until
    /// `wait` is ready at the latest, and not while the service drains. `wait` is polled only if the answer
    /// is held.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn read_newer(
        &self,
        key: Key,
        conditions: &Preconditions,
        wait: impl Future<Output = ()>,
    ) -> Result<Reading<Entry, Entry>, Error> {
        let first = self.read(key.clone(), conditions).await?;
        if !matches!(first, Reading::NotModified(_)) || self.is_draining() {
            return Ok(first);
        }
        let mut end = pin!(wait);
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
    /// the reader has: until `wait` is ready at the latest, and not while the service drains. Then the
    /// reader's list still stands, whatever was committed elsewhere. `wait` is polled only if the answer is
    /// held.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub async fn list_newer(
        &self,
        range: &Range,
        conditions: &Preconditions,
        wait: impl Future<Output = ()>,
    ) -> Result<Reading<Box<dyn Snapshot>, Position>, Error> {
        let first = self.list(conditions).await?;
        let since = match &first {
            Reading::NotModified(position) => Some(Bookmark::from(position)),
            Reading::Found(_) => list_in(conditions),
        };
        let Some(since) = since.filter(|_| !self.is_draining()) else {
            return Ok(first);
        };
        let mut end = pin!(wait);
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
    async fn next(
        &self,
        changes: &mut dyn Changes,
        end: Pin<&mut impl Future<Output = ()>>,
    ) -> Option<Arc<Event>> {
        tokio::select! {
            biased;
            event = changes.next() => event,
            () = self.drained() => None,
            // The last: it is not polled if there is nothing to wait for.
            () = end => None,
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
