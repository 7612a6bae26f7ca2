//! All entries as they were at a revision. Those that were changed since are read when a page asks for them.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;

use super::past::LogReader;
use crate::model::{Entry, Key, Page, Position, Range, Record};
use crate::storage::past::PastError;
use crate::storage::snapshot::LentSnapshot;
use crate::storage::{Snapshot, StoreError};

/// How many current entries are looked at together.
const CHUNK_ENTRIES: usize = 256;

/// All entries as they were at a revision.
pub struct PastSnapshot {
    reader: LogReader,
    current: LentSnapshot,
    /// What was deleted since, also if it is in `current` again.
    deleted: Arc<BTreeMap<Key, Arc<Record>>>,
    position: Position,
}

impl PastSnapshot {
    /// The state at `position`, of which `deleted` was deleted since.
    pub fn new(
        reader: LogReader,
        current: LentSnapshot,
        deleted: BTreeMap<Key, Arc<Record>>,
        position: Position,
    ) -> Self {
        Self {
            reader,
            current,
            deleted: Arc::new(deleted),
            position,
        }
    }

    /// Those of some current entries that were there then, as they were.
    async fn as_they_were(&self, current: Vec<Entry>) -> Result<Vec<Entry>, StoreError> {
        let revision = self.position.revision;
        if current
            .iter()
            .all(|entry| entry.record.revision <= revision)
        {
            return Ok(current);
        }
        let read = self.reader.on_thread(move |reader| {
            let mut then = Vec::with_capacity(current.len());
            for entry in current {
                let record = if entry.record.revision <= revision {
                    Some(entry.record)
                } else {
                    let then = reader.record_at(&entry.key, revision);
                    then.map_err(|error| match error {
                        PastError::Store(error) => error,
                        // It was dropped while this was being read.
                        PastError::Compacted { .. } | PastError::Future { .. } => {
                            StoreError::Revoked
                        }
                    })?
                };
                let key = entry.key;
                then.extend(record.map(|record| Entry { key, record }));
            }
            Ok(then)
        });
        read.await
    }

    /// The deleted entries of a range up to a key.
    fn deleted(&self, range: &Range, last: Option<&Key>) -> Vec<Entry> {
        let start = match range.after.as_deref() {
            Some(after) if after >= range.prefix.as_str() => Bound::Excluded(after),
            _ => Bound::Included(range.prefix.as_str()),
        };
        let end = last.map_or(Bound::Unbounded, |last| Bound::Included(last.as_str()));
        if let (Bound::Included(start) | Bound::Excluded(start), Bound::Included(end)) =
            (start, end)
            && start > end
        {
            return Vec::new();
        }
        self.deleted
            .range::<str, _>((start, end))
            .take_while(|(key, _)| key.as_str().starts_with(&range.prefix))
            .map(|(key, record)| Entry {
                key: key.clone(),
                record: Arc::clone(record),
            })
            .collect()
    }
}

#[async_trait]
impl Snapshot for PastSnapshot {
    fn position(&self) -> Position {
        self.position
    }

    async fn page(&self, range: &Range) -> Result<Page, StoreError> {
        let limit = range.limit.unwrap_or(usize::MAX);
        let mut entries = Vec::new();
        let mut rest = range.clone();
        loop {
            rest.limit = Some(CHUNK_ENTRIES);
            let chunk = self.current.page(&rest).await?;
            // What was deleted is between the current entries; after the last of them is the rest.
            let last = chunk.entries.last().filter(|_| chunk.more);
            let last = last.map(|entry| entry.key.clone());
            let mut found = self.deleted(&rest, last.as_ref());
            found.extend(self.as_they_were(chunk.entries).await?);
            found.sort_by(|one, other| one.key.cmp(&other.key));
            // What was deleted while this began is in both.
            found.dedup_by(|one, other| one.key == other.key);
            entries.extend(found);
            if entries.len() > limit {
                entries.truncate(limit);
                return Ok(Page {
                    entries,
                    more: true,
                });
            }
            let Some(last) = last else {
                return Ok(Page {
                    entries,
                    more: false,
                });
            };
            rest.after = Some(last.as_str().to_owned());
        }
    }
}
