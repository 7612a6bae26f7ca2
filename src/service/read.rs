//! Entries and lists.

use super::Service;
use super::error::Error;
use crate::model::{EntityTag, Entry, Key, Position};
use crate::precondition::{Decision, Mismatch, Preconditions, Purpose, Tags, decide};
use crate::storage::{Lease, Snapshot};

/// The result of a conditional read.
#[derive(Debug)]
pub enum Reading<T, U> {
    /// The current state.
    Found(T),
    /// The reader's copy is current; this has its validators.
    NotModified(U),
}

impl Service {
    /// The entry of a key, if the preconditions allow it.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PreconditionFailed`], [`Error::Unserved`].
    pub async fn read(
        &self,
        key: Key,
        conditions: &Preconditions,
    ) -> Result<Reading<Entry, Entry>, Error> {
        let current = self.store.get(&key).await?;
        let decision = decide(conditions, Purpose::Read, current.as_deref());
        match (decision, current) {
            (Decision::Proceed(_), Some(record)) => Ok(Reading::Found(Entry { key, record })),
            (Decision::NotModified, Some(record)) => {
                Ok(Reading::NotModified(Entry { key, record }))
            }
            (Decision::Failed, current) => Err(Error::mismatch(key, current, conditions)),
            (_, None) | (Decision::NotFound, _) => Err(Error::NotFound),
        }
    }

    /// The current entries, if the preconditions allow it. A list has an entity tag but no date, so dates are
    /// ignored (RFC 9110 §13.1.3, §13.1.4).
    ///
    /// # Errors
    /// [`Error::PreconditionFailed`], [`Error::Unserved`].
    pub async fn list(
        &self,
        conditions: &Preconditions,
    ) -> Result<Reading<Box<dyn Snapshot>, Position>, Error> {
        let snapshot = self.store.snapshot().await?;
        if is_unmodified(snapshot.position(), conditions)? {
            return Ok(Reading::NotModified(snapshot.position().clone()));
        }
        Ok(Reading::Found(snapshot))
    }

    /// Keeps the entries of an answer that is sent piece by piece, until the store revokes them.
    pub fn hold(&self, entries: Vec<Entry>) -> Lease<Vec<Entry>> {
        self.store.hold(entries)
    }
}

/// Whether a reader already has the list at `position`.
///
/// # Errors
/// [`Error::PreconditionFailed`] if it wants another.
fn is_unmodified(position: &Position, conditions: &Preconditions) -> Result<bool, Error> {
    let etag = EntityTag::of_list(position);
    let wants_another = |tags: &Tags| !tags.match_strongly(&etag);
    if conditions.if_match.as_ref().is_some_and(wants_another) {
        return Err(Error::PreconditionFailed {
            current: None,
            reason: Mismatch::of(conditions),
        });
    }
    let has_it = |tags: &Tags| tags.match_weakly(&etag);
    Ok(conditions.if_none_match.as_ref().is_some_and(has_it))
}
