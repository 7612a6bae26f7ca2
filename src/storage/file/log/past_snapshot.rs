//! All entries as they were at a revision. Those that were changed since are read when a page asks for them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;

use super::past::LogReader;
use crate::model::{Entry, Key, Page, Position, Range, Record};
use crate::storage::lease::entry_bytes;
use crate::storage::past::PastError;
use crate::storage::snapshot::LentSnapshot;
use crate::storage::{Lease, Snapshot, StoreError};

/// How many keys are looked at together.
const CHUNK_ENTRIES: usize = 256;
/// How much is read from the log for one page, in bytes, before it ends.
const PAGE_BYTES: u64 = 256 * 1024;

/// All entries as they were at a revision.
pub struct PastSnapshot {
    reader: LogReader,
    parts: Arc<Parts>,
}

/// What it is put together from. Both parts can be revoked.
struct Parts {
    current: LentSnapshot,
    /// What was deleted since, also if it is in `current` again.
    deleted: Lease<BTreeSet<Key>>,
    position: Position,
}

/// Some keys in their order, with their current records.
struct Chunk {
    keys: BTreeMap<Key, Option<Arc<Record>>>,
    /// The last of them, if there are more.
    last: Option<Key>,
}

impl PastSnapshot {
    /// The state at `position`, after which `deleted` was deleted.
    pub fn new(
        reader: LogReader,
        current: LentSnapshot,
        deleted: Lease<BTreeSet<Key>>,
        position: Position,
    ) -> Self {
        let parts = Arc::new(Parts {
            current,
            deleted,
            position,
        });
        Self { reader, parts }
    }
}

impl Parts {
    /// The entries of a range. It may wait for the disk.
    fn page(&self, reader: &LogReader, range: &Range) -> Result<Page, StoreError> {
        let limit = range.limit.unwrap_or(usize::MAX);
        let mut entries = Vec::new();
        let mut read_bytes = 0;
        let mut rest = range.clone();
        loop {
            let chunk = self.chunk(&rest)?;
            for (key, current) in chunk.keys {
                let Some(record) = self.as_it_was(reader, &key, current, &mut read_bytes)? else {
                    continue;
                };
                if entries.len() >= limit {
                    return Ok(Page {
                        entries,
                        more: true,
                    });
                }
                entries.push(Entry { key, record });
                // A full page ends when it is known whether there are more.
                if read_bytes >= PAGE_BYTES && entries.len() < limit {
                    return Ok(Page {
                        entries,
                        more: true,
                    });
                }
            }
            let Some(last) = chunk.last else {
                return Ok(Page {
                    entries,
                    more: false,
                });
            };
            rest.after = Some(last.as_str().to_owned());
        }
    }

    /// What a key was, if it was there. Adds what was read from the log.
    fn as_it_was(
        &self,
        reader: &LogReader,
        key: &Key,
        current: Option<Arc<Record>>,
        read_bytes: &mut u64,
    ) -> Result<Option<Arc<Record>>, StoreError> {
        let revision = self.position.revision;
        if let Some(current) = current.filter(|current| current.revision <= revision) {
            return Ok(Some(current));
        }
        let then = reader.record_at(key, revision);
        let then = then.map_err(|error| match error {
            PastError::Store(error) => error,
            // It was dropped while this was being read.
            PastError::Compacted { .. } | PastError::Future { .. } => StoreError::Revoked,
        })?;
        let bytes = then
            .as_ref()
            .map(|then| entry_bytes(key.as_str().len(), then));
        *read_bytes += bytes.unwrap_or(0);
        Ok(then)
    }

    /// The first keys of a range that may have been there.
    fn chunk(&self, range: &Range) -> Result<Chunk, StoreError> {
        let first = Range {
            limit: Some(CHUNK_ENTRIES),
            ..range.clone()
        };
        let current = self.current.page_now(&first)?;
        let last = current.entries.last().filter(|_| current.more);
        let mut last = last.map(|entry| entry.key.clone());
        // What was deleted is between the current entries; after the last of them is the rest.
        let deleted = self
            .deleted
            .read(|all| deleted(all, range, last.as_ref()))?;
        if deleted.len() >= CHUNK_ENTRIES {
            last = deleted.last().cloned();
        }
        let mut keys: BTreeMap<_, _> = deleted.into_iter().map(|key| (key, None)).collect();
        for Entry { key, record } in current.entries {
            if last.as_ref().is_none_or(|last| key <= *last) {
                keys.insert(key, Some(record));
            }
        }
        Ok(Chunk { keys, last })
    }

    /// The page, if all of it is current.
    fn current_page(&self, range: &Range) -> Result<Option<Page>, StoreError> {
        let limit = range.limit.unwrap_or(usize::MAX);
        let chunk = self.chunk(range)?;
        let revision = self.position.revision;
        let entries = chunk.keys.into_iter().map(|(key, record)| {
            let record = record.filter(|record| record.revision <= revision)?;
            Some(Entry { key, record })
        });
        let Some(mut entries) = entries.collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        let more = chunk.last.is_some() || entries.len() > limit;
        if chunk.last.is_some() && entries.len() == limit {
            // What comes next may not have been there.
            return Ok(None);
        }
        entries.truncate(limit);
        Ok(Some(Page { entries, more }))
    }
}

/// The first of the deleted keys in a range up to a key.
fn deleted(all: &BTreeSet<Key>, range: &Range, last: Option<&Key>) -> Vec<Key> {
    let start = match range.after.as_deref() {
        Some(after) if after >= range.prefix.as_str() => Bound::Excluded(after),
        _ => Bound::Included(range.prefix.as_str()),
    };
    let from = all.range::<str, _>((start, Bound::Unbounded));
    from.take_while(|key| key.as_str().starts_with(&range.prefix))
        .take_while(|key| last.is_none_or(|last| *key <= last))
        .take(CHUNK_ENTRIES)
        .cloned()
        .collect()
}

#[async_trait]
impl Snapshot for PastSnapshot {
    fn position(&self) -> Position {
        self.parts.position
    }

    async fn page(&self, range: &Range) -> Result<Page, StoreError> {
        if let Some(page) = self.parts.current_page(range)? {
            return Ok(page);
        }
        // Nothing that was read from the log is held while this waits for its turn.
        let (parts, range) = (Arc::clone(&self.parts), range.clone());
        self.reader
            .on_thread(move |reader| parts.page(reader, &range))
            .await
    }
}
