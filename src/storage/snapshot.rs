//! The records as they were at one moment. Making one takes constant time.

use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use imbl::OrdMap;
use itertools::{EitherOrBoth, Itertools as _};

use super::Snapshot;
use super::error::StoreError;
use super::lease::Lease;
use crate::model::{Entry, Key, Page, Position, Range, Record, Revision};

/// All records as they were at one moment.
#[derive(Debug, Clone)]
pub struct TableSnapshot {
    ordered: OrdMap<Key, Arc<Record>>,
    position: Position,
}

impl TableSnapshot {
    /// These records, which were the table at `position`.
    #[must_use]
    pub fn new(ordered: OrdMap<Key, Arc<Record>>, position: Position) -> Self {
        Self { ordered, position }
    }

    /// The newest commit that it has, and the state.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// The newest commit that it has.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.position.revision
    }

    /// Every entry ascending by key.
    pub fn entries(&self) -> impl Iterator<Item = (&Key, &Record)> {
        let entries = self.ordered.iter();
        entries.map(|(key, record)| (key, &**record))
    }

    /// Every entry ascending by key as it will be after `changes`, which are ascending too.
    pub fn with<'a>(
        &'a self,
        changes: impl Iterator<Item = (&'a Key, Option<&'a Arc<Record>>)>,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<Record>)> {
        self.ordered
            .iter()
            .merge_join_by(changes, |(stored, _), (changed, _)| stored.cmp(changed))
            .filter_map(|either| match either {
                EitherOrBoth::Left((key, record)) => Some((key, record)),
                EitherOrBoth::Right((key, record)) | EitherOrBoth::Both(_, (key, record)) => {
                    record.map(|record| (key, record))
                }
            })
    }
}

/// The same for a reader, until it is revoked.
#[derive(Debug)]
pub struct LentSnapshot {
    ordered: Lease<OrdMap<Key, Arc<Record>>>,
    position: Position,
}

impl LentSnapshot {
    /// These records, which were the table at `position`.
    #[must_use]
    pub fn new(ordered: Lease<OrdMap<Key, Arc<Record>>>, position: Position) -> Self {
        Self { ordered, position }
    }

    /// The entries of a range, without waiting for anything.
    ///
    /// # Errors
    /// [`StoreError::Revoked`] if the reader was too slow.
    pub fn page_now(&self, range: &Range) -> Result<Page, StoreError> {
        self.ordered.read(|ordered| page(ordered, range))
    }
}

#[async_trait]
impl Snapshot for LentSnapshot {
    fn position(&self) -> Position {
        self.position
    }

    async fn page(&self, range: &Range) -> Result<Page, StoreError> {
        self.page_now(range)
    }
}

fn page(ordered: &OrdMap<Key, Arc<Record>>, range: &Range) -> Page {
    let start = match range.after.as_deref() {
        Some(after) if after >= range.prefix.as_str() => Bound::Excluded(after),
        _ => Bound::Included(range.prefix.as_str()),
    };
    let mut stored = ordered
        .range::<_, str>((start, Bound::Unbounded))
        .take_while(|(key, _)| key.as_str().starts_with(&range.prefix));
    let entries = stored
        .by_ref()
        .take(range.limit.unwrap_or(usize::MAX))
        .map(|(key, record)| Entry {
            key: key.clone(),
            record: Arc::clone(record),
        })
        .collect();
    let more = stored.next().is_some();
    Page { entries, more }
}
