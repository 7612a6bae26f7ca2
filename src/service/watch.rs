//! Changes: as a stream, or as an answer that waits until there is something newer.

use std::pin::{Pin, pin};
use std::sync::Arc;

use futures_util::StreamExt as _;

use super::error::Error;
use super::operations::Operations;
use super::read::Reading;
use super::scope::{ChangesPart, Points, Scope};
use crate::access::Action;
use crate::model::{Entry, Filter, Key, Position, Range, ResumeToken};
use crate::precondition::{Preconditions, Tags};
use crate::storage::{ChangeStream, SharedEvent, Snapshot, Start, StoreError, Subscription};

/// A stream of changes as one caller may see it.
#[derive(Debug)]
pub struct Watching {
    /// The changes, and where they begin. They end when the rights of the caller do.
    pub subscription: Subscription,
    /// How the points of the stream are shown.
    pub points: Points,
}

impl Operations<'_> {
    /// Subscribes to events that match `filter` and that the caller may read, after `since` or from now on. A
    /// `since` of a caller who could read something else is not known.
    ///
    /// # Errors
    /// [`Error::Forbidden`] if the caller may read no such key; [`Error::Unserved`], also while the service
    /// drains.
    pub async fn watch(
        &self,
        filter: Filter,
        since: Option<ResumeToken>,
    ) -> Result<Watching, Error> {
        let scope = match &filter {
            Filter::Key(key) => {
                self.require(Action::Read, key)?;
                Scope::Everything
            }
            Filter::Prefix(prefix) => self.scope_of(prefix)?,
        };
        if self.service.is_draining() {
            return Err(StoreError::Closed.into());
        }
        let points = self.points_of(&scope);
        let since = match since {
            Some(since) if !points.are_of_store() => {
                let state = self.store().past().state_at(since.revision()).await?;
                let own = since.in_state(state.unwrap_or_default());
                // A point of another part is not one of this.
                let is_shown_so = points.shown(own) == since;
                Some(own)
                    .filter(|_| is_shown_so)
                    .or(Some(ResumeToken::unknown()))
            }
            since => since,
        };
        let filter = scope.filter_of_store(filter);
        let mut subscription = self.store().watch(filter, since).await?;
        subscription.position = points.shown(subscription.position);
        let revoked = self.principal.revoked();
        if revoked.is_some() || !points.are_of_store() {
            subscription.changes = Box::new(ChangesPart {
                changes: subscription.changes,
                scope,
                points: points.clone(),
                revoked: revoked.map(Box::pin),
            });
        }
        Ok(Watching {
            subscription,
            points,
        })
    }

    /// [`read`](Self::read), delayed while the reader's copy is current: until `wait` is ready at the latest,
    /// and not while the service drains. `wait` is polled only if the answer is held.
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
        if !matches!(first, Reading::NotModified(_)) || self.service.is_draining() {
            return Ok(first);
        }
        let mut end = pin!(wait);
        let mut subscription = self
            .watch(Filter::Key(key.clone()), None)
            .await?
            .subscription;
        loop {
            let reading = self.read(key.clone(), conditions).await?;
            if !matches!(reading, Reading::NotModified(_))
                || self
                    .next(&mut *subscription.changes, end.as_mut())
                    .await
                    .is_none()
            {
                return Ok(reading);
            }
        }
    }

    /// [`list`](Self::list), held while nothing in `range` has changed since the reader's list: until `wait`
    /// is ready at the latest, and not while the service drains. Then the reader's list is still current,
    /// whatever was committed elsewhere. `wait` is polled only if the answer is held.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub async fn list_newer(
        &self,
        range: &Range,
        conditions: &Preconditions,
        wait: impl Future<Output = ()>,
    ) -> Result<Reading<Box<dyn Snapshot>, Position>, Error> {
        let scope = self.scope_of(&range.prefix)?;
        let first = self.list_in(&scope, conditions).await?;
        let since = match &first {
            Reading::NotModified(position) => Some(ResumeToken::after(*position)),
            Reading::Found(_) => listed_in(conditions),
        };
        let Some(since) = since.filter(|_| !self.service.is_draining()) else {
            return Ok(first);
        };
        let mut end = pin!(wait);
        let filter = Filter::Prefix(range.prefix.clone());
        let mut subscription = self.watch(filter, Some(since)).await?.subscription;
        if subscription.start == Start::Reset {
            return self.list_in(&scope, conditions).await;
        }
        let before = |key: &Key| {
            range
                .after
                .as_deref()
                .is_some_and(|after| key.as_str() <= after)
        };
        while let Some(event) = self.next(&mut *subscription.changes, end.as_mut()).await {
            if !before(&event.entry.key) {
                return self.list_in(&scope, &Preconditions::default()).await;
            }
        }
        Ok(Reading::NotModified(since.position()))
    }

    /// The next change, unless `end` comes first, or the end of the service or of the changes.
    async fn next(
        &self,
        changes: &mut dyn ChangeStream,
        end: Pin<&mut impl Future<Output = ()>>,
    ) -> Option<Arc<SharedEvent>> {
        tokio::select! {
            biased;
            event = changes.next() => event,
            () = self.service.drained() => None,
            // The last: it is not polled if there is nothing to wait for.
            () = end => None,
        }
    }
}

/// The list that a reader has, if its preconditions name one and nothing else.
fn listed_in(conditions: &Preconditions) -> Option<ResumeToken> {
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
