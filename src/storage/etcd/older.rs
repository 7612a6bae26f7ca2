//! What was written to one key, as far back as etcd knows it: from version to version, the newest first.
//!
//! etcd tells what a key had at a revision, but not when something was deleted. So this ends where the key was created,
//! and what was before that is not known.

use std::sync::Arc;

use super::layout::number;
use super::query;
use super::requests::{ReadError, StoredPast};
use super::text::Marker;
use crate::model::{
    Entry, EventKind, HistoryPage, HistoryPoint, HistoryQuery, Key, PastEvent, Record, Revision,
};
use crate::storage::StoreError;

impl StoredPast {
    /// Adds to a page what happened to a key before what memory knows of it, which the page has already.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn add_older(
        &self,
        key: &Key,
        query: &HistoryQuery,
        page: &mut HistoryPage,
    ) -> Result<(), StoreError> {
        let size = |event: &PastEvent| key.as_str().len() + event.entry.record.text_bytes();
        let mut bytes: usize = page.events.iter().map(size).sum();
        // A commit changes a key once: what is before a point of this key is before its revision.
        let before = query.before.revision.saturating_sub(1);
        let mut at = page.oldest_revision.min(before);
        if at == 0 {
            return Ok(());
        }
        while at > 0 {
            let record = match self.record_at(key, at).await {
                Ok(record) => record,
                // Or it is no entry, because somebody else has written it.
                Err(ReadError::Compacted | ReadError::Store(StoreError::Unreadable(_))) => {
                    return Ok(());
                }
                Err(ReadError::Store(error)) => return Err(error),
            };
            page.oldest_revision = at;
            let Some(record) = record else {
                return Ok(());
            };
            if page.events.len() >= query.limit || bytes >= query.max_bytes {
                page.next = page.events.last().map(|event| event.point);
                return Ok(());
            }
            at = record.revision.saturating_sub(1);
            let event = self.written(key, record).await?;
            bytes += size(&event);
            page.events.push(event);
        }
        page.oldest_revision = 0;
        Ok(())
    }

    /// The event of a record that was written.
    async fn written(&self, key: &Key, record: Arc<Record>) -> Result<PastEvent, StoreError> {
        let marker = self.marker_of(record.revision).await?;
        Ok(PastEvent {
            point: HistoryPoint {
                revision: record.revision,
                changes: 0,
            },
            kind: EventKind::Put,
            at: marker
                .as_ref()
                .map_or(record.modified_at, |marker| marker.at),
            origin: marker.and_then(|marker| marker.origin),
            entry: Entry {
                key: key.clone(),
                record,
            },
        })
    }

    /// The marker that a commit has put, if it is one of ours and is not compacted.
    async fn marker_of(&self, revision: Revision) -> Result<Option<Marker>, StoreError> {
        let request = query::get_at(self.layout.marker(), revision);
        let response = match self.ask(request).await {
            Ok(response) => response,
            Err(error) => {
                return match ReadError::from(error) {
                    ReadError::Compacted => Ok(None),
                    ReadError::Store(error) => Err(error),
                };
            }
        };
        let stored = query::first(response);
        let stored = stored.filter(|stored| number(stored.mod_revision) == revision);
        Ok(stored.and_then(|stored| Marker::read(&stored.value).ok()))
    }
}
