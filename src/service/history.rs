//! The past: entries and lists as of then, and what happened to keys.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use super::admission::{Admission, InFlight};
use super::error::Error;
use super::operations::Operations;
use super::read::{Reading, is_unmodified, reading_of};
use super::scope::Scope;
use crate::access::Action;
use crate::model::{
    Entry, Filter, HistoryPage, HistoryPoint, HistoryQuery, Key, PastEvent, Position, Range,
    Revision, Timestamp,
};
use crate::precondition::Preconditions;
use crate::storage::{Snapshot, Store, StoreError};

/// Which state of the past is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    /// That after this commit.
    Revision(Revision),
    /// The newest that there was at this moment.
    Time(Timestamp),
}

impl Operations<'_> {
    /// The entry of a key as of then, if the preconditions hold for that.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::AbsentThen`], [`Error::Compacted`], [`Error::Future`], [`Error::MomentToCome`],
    /// [`Error::PreconditionFailed`], [`Error::Unserved`].
    pub async fn read_as_of(
        &self,
        key: Key,
        as_of: AsOf,
        conditions: &Preconditions,
    ) -> Result<Reading<Entry, Entry>, Error> {
        self.require(Action::Read, &key)?;
        let revision = self.revision_of(as_of).await?;
        let record = self.store().past().record_at(&key, revision).await?;
        match reading_of(key, record, conditions) {
            Err(Error::NotFound) => Err(Error::AbsentThen { revision }),
            reading => reading,
        }
    }

    /// The entries with the prefix of `range` as of then, as far as the caller may read them now, if the
    /// preconditions hold for that list.
    ///
    /// # Errors
    /// [`Error::Forbidden`] if the caller may read no key with this prefix; [`Error::Compacted`],
    /// [`Error::Future`], [`Error::MomentToCome`], [`Error::PreconditionFailed`], [`Error::Unserved`].
    pub async fn list_as_of(
        &self,
        range: &Range,
        as_of: AsOf,
        conditions: &Preconditions,
    ) -> Result<Reading<Box<dyn Snapshot>, Position>, Error> {
        let scope = self.scope_of(&range.prefix)?;
        let revision = self.revision_of(as_of).await?;
        let snapshot = self.store().past().snapshot_at(revision).await?;
        let snapshot = scope.part_of(snapshot, &self.points_of(&scope));
        if is_unmodified(snapshot.position(), conditions)? {
            return Ok(Reading::NotModified(snapshot.position()));
        }
        Ok(Reading::Found(snapshot))
    }

    async fn revision_of(&self, as_of: AsOf) -> Result<Revision, Error> {
        match as_of {
            AsOf::Revision(revision) => Ok(revision),
            AsOf::Time(moment) => {
                let past = self.store().past();
                // The clock may have been set back since a commit.
                let is_to_come = || moment > past.newest_at().max(SystemTime::now().into());
                if is_to_come() {
                    // That of another process may be ahead, and what it has committed not be known yet.
                    self.store().get_many(&[]).await?;
                    if is_to_come() {
                        return Err(Error::MomentToCome);
                    }
                }
                Ok(past.revision_at(moment).await?)
            }
        }
    }

    /// What happened to the keys that `filter` matches and that the caller may read.
    ///
    /// # Errors
    /// [`Error::Forbidden`] if the caller may read no such key.
    pub fn history(&self, filter: Filter) -> Result<History, Error> {
        let filters = match &filter {
            Filter::Key(key) => {
                self.require(Action::Read, key)?;
                vec![filter]
            }
            Filter::Prefix(prefix) => match self.scope_of(prefix)? {
                Scope::Everything => vec![filter],
                Scope::Prefixes(prefixes) => prefixes.iter().cloned().map(Filter::Prefix).collect(),
            },
        };
        Ok(History {
            store: Arc::clone(&self.service.store),
            filters,
            held: self.service.held_events.clone(),
        })
    }
}

/// What happened to some keys.
pub struct History {
    store: Arc<dyn Store>,
    filters: Vec<Filter>,
    held: InFlight,
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History")
            .field("filters", &self.filters)
            .finish_non_exhaustive()
    }
}

/// An event that is kept while it is sent.
#[derive(Debug)]
pub struct HeldEvent {
    event: PastEvent,
    _admission: Admission,
}

impl HeldEvent {
    /// The event.
    #[must_use]
    pub fn event(&self) -> &PastEvent {
        &self.event
    }
}

impl History {
    /// What happened before a point, the newest first: at most `limit` events, and about so many bytes of them.
    /// A page can be empty although there is a next one.
    ///
    /// # Errors
    /// [`StoreError`] if the engine fails.
    pub async fn page(
        &self,
        before: HistoryPoint,
        limit: usize,
        max_bytes: usize,
    ) -> Result<HistoryPage, StoreError> {
        let query = HistoryQuery {
            filters: self.filters.clone(),
            before,
            limit,
            max_bytes,
        };
        self.store.past().history(query).await
    }

    /// Keeps an event that is sent piece by piece. `None` if all readers already keep too much: then each
    /// piece needs the event read again.
    #[must_use]
    pub fn hold(&self, event: PastEvent) -> Option<HeldEvent> {
        let mut admission = self.held.admission();
        let bytes = event.entry.key.as_str().len() + event.entry.record.text_bytes();
        admission.grow(bytes).ok()?;
        Some(HeldEvent {
            event,
            _admission: admission,
        })
    }
}
