//! Entries and lists.

use std::sync::Arc;

use super::error::{Current, Error};
use super::operations::Operations;
use super::scope::Scope;
use crate::access::Action;
use crate::model::{EntityTag, Entry, Key, Position, Range, Record};
use crate::precondition::{Decision, Mismatch, Preconditions, Purpose, Tags, decide};
use crate::storage::Snapshot;

/// The result of a conditional read.
#[derive(Debug)]
pub enum Reading<T, U> {
    /// The current state.
    Found(T),
    /// The reader's copy is current; this has its validators.
    NotModified(U),
}

impl Operations<'_> {
    /// The entry of a key, if the preconditions allow it.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::NotFound`], [`Error::PreconditionFailed`], [`Error::Unserved`].
    pub async fn read(
        &self,
        key: Key,
        conditions: &Preconditions,
    ) -> Result<Reading<Entry, Entry>, Error> {
        self.require(Action::Read, &key)?;
        let record = self.store().get(&key).await?;
        reading_of(key, record, conditions)
    }

    /// The current entries with the prefix of `range` that the caller may read, if the preconditions allow it. A
    /// list has an entity tag but no date, so dates are ignored (RFC 9110 §13.1.3, §13.1.4).
    ///
    /// # Errors
    /// [`Error::Forbidden`] if the caller may read no key with this prefix; [`Error::PreconditionFailed`],
    /// [`Error::Unserved`].
    pub async fn list(
        &self,
        range: &Range,
        conditions: &Preconditions,
    ) -> Result<Reading<Box<dyn Snapshot>, Position>, Error> {
        let scope = self.scope_of(&range.prefix)?;
        self.list_in(&scope, conditions).await
    }

    pub(super) async fn list_in(
        &self,
        scope: &Scope,
        conditions: &Preconditions,
    ) -> Result<Reading<Box<dyn Snapshot>, Position>, Error> {
        let points = self.points_of(scope);
        let snapshot = scope.part_of(self.store().snapshot().await?, &points);
        if is_unmodified(snapshot.position(), conditions)? {
            return Ok(Reading::NotModified(snapshot.position()));
        }
        Ok(Reading::Found(snapshot))
    }
}

/// What a conditional read of a key gets whose record is this one.
///
/// # Errors
/// [`Error::NotFound`], [`Error::PreconditionFailed`].
pub(super) fn reading_of(
    key: Key,
    record: Option<Arc<Record>>,
    conditions: &Preconditions,
) -> Result<Reading<Entry, Entry>, Error> {
    let decision = decide(conditions, Purpose::Read, record.as_deref());
    let entry = record.map(|record| Entry { key, record });
    match (decision, entry) {
        (Decision::Proceed(_), Some(entry)) => Ok(Reading::Found(entry)),
        (Decision::NotModified, Some(entry)) => Ok(Reading::NotModified(entry)),
        (Decision::Failed, entry) => Err(Error::mismatch(entry.into(), conditions)),
        (_, None) | (Decision::NotFound, _) => Err(Error::NotFound),
    }
}

/// Whether a reader already has the list at `position`.
///
/// # Errors
/// [`Error::PreconditionFailed`] if it wants another.
pub(super) fn is_unmodified(position: Position, conditions: &Preconditions) -> Result<bool, Error> {
    let etag = EntityTag::of_list(position);
    let wants_another = |tags: &Tags| !tags.match_strongly(&etag);
    if conditions.if_match.as_ref().is_some_and(wants_another) {
        return Err(Error::PreconditionFailed {
            current: Current::Absent,
            reason: Mismatch::of(conditions),
            comparison: Box::default(),
        });
    }
    let has_it = |tags: &Tags| tags.match_weakly(&etag);
    Ok(conditions.if_none_match.as_ref().is_some_and(has_it))
}
