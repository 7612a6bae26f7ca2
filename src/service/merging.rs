//! Writes that are merged with what others have written since, and where that differs.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::admission::Admission;
use super::error::{Comparison, Current, Error, Unmerged, Unserved};
use super::operations::Operations;
use super::workers::Stop;
use crate::merge::{changed, merge_or_conflicts};
use crate::model::{
    Entry, EventKind, Filter, HISTORY_MAX_LIMIT, HistoryPoint, HistoryQuery, Key, Origin, Record,
    Value, Version,
};
use crate::precondition::Preconditions;
use crate::storage::{PastError, StoreError};

/// How far back a state is looked for.
#[derive(Clone, Copy)]
struct Reach {
    /// In events of its key.
    events: u64,
    /// In bytes of their values.
    bytes: usize,
    /// In pages of the history, which may be empty.
    pages: usize,
}

/// For a merge that was asked for.
const MERGE_REACH: Reach = Reach {
    events: 10_000,
    bytes: 64 * 1024 * 1024,
    pages: 200,
};
/// For what any stale write is told.
const CHANGED_REACH: Reach = Reach {
    events: 1000,
    bytes: 4 * 1024 * 1024,
    pages: 10,
};
/// How long the two values may be of which a stale write is told where they differ, in bytes.
const CHANGED_MAX_BYTES: usize = 1024 * 1024;
/// How long that may take.
const CHANGED_MAX_TIME: Duration = Duration::from_millis(200);
/// How much of the history is read at once, in bytes.
const PAGE_BYTES: usize = 256 * 1024;

/// A state of the past, with the admission of its bytes.
pub(super) struct Base(Arc<Record>, Admission);

/// What a merge gives.
pub(super) enum Merged {
    /// The current value: all that was to be written is in it.
    Current,
    /// Another value, with the admission of its bytes.
    Value(Value, Admission, Origin),
}

/// A job was told to stop.
struct Stopped;

impl Operations<'_> {
    /// What a write that began from the state with this tag gives on the current record. `base` has that state
    /// once it was found.
    ///
    /// # Errors
    /// [`Error::PreconditionFailed`] if it cannot be merged; [`Error::MergedTooLarge`], [`Error::Unserved`].
    pub(super) async fn merged(
        &self,
        key: &Key,
        mine: &Value,
        current: &Arc<Record>,
        base: &mut Option<Base>,
        conditions: &Preconditions,
        deadline: Instant,
    ) -> Result<Merged, Error> {
        let entry = |record: &Arc<Record>| Entry {
            key: key.clone(),
            record: Arc::clone(record),
        };
        let refused = |comparison: Comparison| {
            let current = self.current(key, Some(entry(current)));
            Error::mismatch(current, conditions).compared(comparison)
        };
        if base.is_none() {
            let tag = conditions.named_state().unwrap_or_default();
            *base = self
                .state_before(key, current, tag, MERGE_REACH, deadline)
                .await?;
        }
        let Some(Base(base, _)) = base else {
            return Err(refused(Comparison {
                changed: None,
                unmerged: Some(Unmerged::NoBase),
            }));
        };
        let origin = Origin::Merge {
            base: base.revision,
            theirs: current.revision,
        };
        match self.merge_values(base, mine, current, deadline).await? {
            Ok(None) => Ok(Merged::Current),
            Ok(Some(value)) => {
                let limit = self.service.max_value_bytes();
                if value.as_json().len() > limit {
                    return Err(Error::MergedTooLarge { limit });
                }
                let mut admission = self.service.in_flight().admission();
                admission.grow(value.as_json().len())?;
                Ok(Merged::Value(value, admission, origin))
            }
            Err(Conflicts { pointers, changed }) => Err(refused(Comparison {
                changed: Some(changed),
                unmerged: Some(Unmerged::Conflicts {
                    base: entry(base),
                    pointers,
                }),
            })),
        }
    }

    /// The merged value, or nothing if it is the current one.
    ///
    /// # Errors
    /// [`Unserved`] outside; where both changed the same places inside.
    async fn merge_values(
        &self,
        base: &Arc<Record>,
        mine: &Value,
        current: &Arc<Record>,
        deadline: Instant,
    ) -> Result<Result<Option<Value>, Conflicts>, Unserved> {
        let (base, mine, current) = (Arc::clone(base), mine.clone(), Arc::clone(current));
        let bytes = [&base.value, &mine, &current.value].map(|value| value.as_json().len());
        let work = move |stop: &Stop| {
            let base = tree(&base.value, stop)?;
            let mine = tree(&mine, stop)?;
            let theirs = tree(&current.value, stop)?;
            Ok(
                match merge_or_conflicts(Some(&base), Some(&mine), Some(&theirs)) {
                    Ok(merged) => {
                        let merged = merged.filter(|merged| *merged != theirs);
                        Ok(merged.map(|merged| Value::from_compact(merged.to_string())))
                    }
                    Err(pointers) => Err(Conflicts {
                        pointers,
                        changed: changed(&base, &theirs),
                    }),
                },
            )
        };
        let merging = self.service.workers.run(bytes.iter().sum(), deadline, work);
        let merged = merging.await?;
        merged.map_err(|Stopped| StoreError::Expired.into())
    }

    /// The refusal of a stale write, which says where the current entry differs from the state that it names, if
    /// that can be found soon.
    pub(super) async fn stale(
        &self,
        key: &Key,
        current: Option<Arc<Record>>,
        conditions: &Preconditions,
        deadline: Instant,
    ) -> Error {
        let entry = current.map(|record| Entry {
            key: key.clone(),
            record,
        });
        let current = self.current(key, entry);
        let changed = match (&current, conditions.named_state()) {
            (Current::Entry(entry), Some(tag)) => {
                let deadline = deadline.min(Instant::now() + CHANGED_MAX_TIME);
                let changed = self.changed_since(entry, tag, deadline).await;
                // It is not what was asked for.
                changed.unwrap_or_default()
            }
            _ => None,
        };
        Error::mismatch(current, conditions).compared(Comparison {
            changed,
            unmerged: None,
        })
    }

    /// Where an entry differs from its state with this tag; `None` if that is not known, or too much.
    async fn changed_since(
        &self,
        entry: &Entry,
        tag: &str,
        deadline: Instant,
    ) -> Result<Option<Vec<String>>, Unserved> {
        let Entry { key, record } = entry;
        let base = self.state_before(key, record, tag, CHANGED_REACH, deadline);
        let Some(Base(base, _admission)) = base.await? else {
            return Ok(None);
        };
        let bytes = base.value.as_json().len() + record.value.as_json().len();
        if bytes > CHANGED_MAX_BYTES {
            return Ok(None);
        }
        let record = Arc::clone(record);
        let work = move |stop: &Stop| {
            let base = tree(&base.value, stop)?;
            let current = tree(&record.value, stop)?;
            Ok::<_, Stopped>(changed(&base, &current))
        };
        Ok(self.service.workers.run(bytes, deadline, work).await?.ok())
    }

    /// The state of a key with this tag, if it is kept, before `current`, and the key was not deleted since.
    async fn state_before(
        &self,
        key: &Key,
        current: &Record,
        tag: &str,
        reach: Reach,
        deadline: Instant,
    ) -> Result<Option<Base>, Unserved> {
        let found = self.find_state_before(key, current, tag, reach);
        let Ok(found) = timeout_at(deadline, found).await else {
            return Err(StoreError::Expired.into());
        };
        let Some(record) = found? else {
            return Ok(None);
        };
        let mut admission = self.service.in_flight().admission();
        admission.grow(record.value.as_json().len())?;
        Ok(Some(Base(record, admission)))
    }

    async fn find_state_before(
        &self,
        key: &Key,
        current: &Record,
        tag: &str,
        reach: Reach,
    ) -> Result<Option<Arc<Record>>, Unserved> {
        let past = self.store().past();
        let has_tag = |record: &Record| record.etag().opaque() == tag;
        // Each event before has the version before, back to the creation.
        let Some(version) = version_of(tag) else {
            return Ok(None);
        };
        let distance = current.version.saturating_sub(version);
        if distance == 0 || distance > reach.events {
            return Ok(None);
        }
        // No more of the past than leads there: most stale writes are one or two versions behind.
        let limit = usize::try_from(distance)
            .map_or(HISTORY_MAX_LIMIT, |events| events.min(HISTORY_MAX_LIMIT));
        let mut before = HistoryPoint {
            revision: current.revision,
            changes: 0,
        };
        let mut bytes = 0;
        for _ in 0..reach.pages {
            let query = HistoryQuery {
                filters: vec![Filter::Key(key.clone())],
                before,
                limit,
                max_bytes: PAGE_BYTES,
            };
            let page = past.history(query).await?;
            let page_bytes: usize = page
                .events
                .iter()
                .map(|event| event.entry.record.text_bytes())
                .sum();
            let mut admission = self.service.in_flight().admission();
            admission.grow(page_bytes)?;
            bytes += page_bytes;
            for event in page.events {
                let record = event.entry.record;
                if event.kind == EventKind::Delete || record.version < version {
                    return Ok(None);
                }
                if record.version == version {
                    return Ok(has_tag(&record).then_some(record));
                }
            }
            match page.next {
                Some(next) if bytes <= reach.bytes => before = next,
                Some(_) => return Ok(None),
                // The oldest state has no event of its own.
                None => {
                    return match past.record_at(key, page.oldest_revision).await {
                        Ok(record) => Ok(record.filter(|record| has_tag(record))),
                        Err(PastError::Store(error)) => Err(error.into()),
                        Err(PastError::Compacted { .. } | PastError::Future { .. }) => Ok(None),
                    };
                }
            }
        }
        Ok(None)
    }
}

/// Where both changed the same, and where the current value differs from the base.
struct Conflicts {
    pointers: Vec<String>,
    changed: Vec<String>,
}

/// A value as a tree, unless the job is to stop.
fn tree(value: &Value, stop: &Stop) -> Result<serde_json::Value, Stopped> {
    if stop.is_due() {
        return Err(Stopped);
    }
    Ok(value.to_tree())
}

/// The version in the tag of an entry.
fn version_of(tag: &str) -> Option<Version> {
    let (version, _) = tag.split_once('-')?;
    version.parse().ok()
}
