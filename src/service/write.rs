//! Writes of one key.

use std::sync::Arc;

use tokio::time::Instant;

use super::admission::Admission;
use super::commit::{Outcome, no_records};
use super::error::{Comparison, Error, Unmerged};
use super::merging::{Base, Merged};
use super::once::Attempt;
use super::operations::Operations;
use super::permission::PutRights;
use super::workers::Stop;
use crate::access::Action;
use crate::model::{
    Change, ChangeSet, Commit, Entry, Expected, Key, Operation, Origin, Record, Value,
};
use crate::patch::{ApplyError, Patch};
use crate::precondition::{Decision, Preconditions, Purpose, decide};
use crate::storage::StoreError;

/// A write that was done.
#[derive(Debug)]
pub struct Written<E = Entry> {
    /// The entry as it was written, or deleted.
    pub entry: E,
    /// Whether what was sent was merged with what others had written.
    pub is_merged: bool,
    /// Whether it was done before, for the same request.
    pub is_replay: bool,
}

impl<E> Written<E> {
    fn map<F>(self, map: impl FnOnce(E) -> F) -> Written<F> {
        Written {
            entry: map(self.entry),
            is_merged: self.is_merged,
            is_replay: self.is_replay,
        }
    }
}

impl Operations<'_> {
    /// Creates or replaces a key's value. The entry's version is 1 if this created it.
    ///
    /// What has not been begun by `deadline` is not done at all; that holds for each write.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::ValueTooLarge`], [`Error::PreconditionFailed`],
    /// [`Error::PreconditionRequired`], [`Error::RequestInProgress`], [`Error::RequestMismatch`],
    /// [`Error::Unserved`].
    pub async fn put(
        &self,
        key: Key,
        value: Value,
        conditions: &Preconditions,
        deadline: Instant,
    ) -> Result<Written, Error> {
        let rights = self.checked_put(&key, &value, conditions)?;
        self.write(key, &Write::Put(value, rights), conditions, deadline)
            .await
    }

    /// The same; but if `If-Match` names one state, alone, and others have replaced it, the value is merged with what
    /// they wrote, until `deadline`. Since that is then shown, it needs the right to read as well. A merge that gives
    /// the current value is not committed.
    ///
    /// # Errors
    /// As [`put`](Self::put), of which [`Error::PreconditionFailed`] says why it cannot be merged;
    /// [`Error::MergedTooLarge`].
    pub async fn put_or_merge(
        &self,
        key: Key,
        value: Value,
        conditions: &Preconditions,
        deadline: Instant,
    ) -> Result<Written, Error> {
        let names_base = conditions.named_state().is_some() && conditions.if_none_match.is_none();
        if !names_base {
            return self.put(key, value, conditions, deadline).await;
        }
        let rights = self.checked_put(&key, &value, conditions)?;
        self.require_to_read_too(&key)?;
        self.write(key, &Write::Merge(value, rights), conditions, deadline)
            .await
    }

    /// Deletes a key, and returns its last entry if the caller may read it.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::NotFound`], [`Error::PreconditionFailed`],
    /// [`Error::PreconditionRequired`], [`Error::RequestInProgress`], [`Error::RequestMismatch`],
    /// [`Error::Unserved`].
    pub async fn delete(
        &self,
        key: Key,
        conditions: &Preconditions,
        deadline: Instant,
    ) -> Result<Written<Option<Entry>>, Error> {
        self.require(Action::Delete, &key)?;
        let written = self
            .write(key, &Write::Delete, conditions, deadline)
            .await?;
        Ok(written.map(|entry| self.readable(entry)))
    }

    /// Changes a part of a key's value, and returns the new entry if the caller may read it. A JSON Patch can
    /// ask what the value is, so it needs the right to read it. Without a precondition it applies to the current
    /// value, and again, until `deadline`, if that was replaced meanwhile.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::NotFound`], [`Error::Patch`], [`Error::PreconditionFailed`],
    /// [`Error::PreconditionRequired`], [`Error::RequestInProgress`], [`Error::RequestMismatch`],
    /// [`Error::Unserved`].
    pub async fn patch(
        &self,
        key: Key,
        patch: Patch,
        conditions: &Preconditions,
        deadline: Instant,
    ) -> Result<Written<Option<Entry>>, Error> {
        self.require(Action::Update, &key)?;
        if patch.reads_value() {
            self.require_to_read_too(&key)?;
        }
        let write = Write::Patch(patch.into());
        let written = self.write(key, &write, conditions, deadline).await?;
        Ok(written.map(|entry| self.readable(entry)))
    }

    /// The caller's rights to put a value that is not too large.
    fn checked_put(
        &self,
        key: &Key,
        value: &Value,
        conditions: &Preconditions,
    ) -> Result<PutRights, Error> {
        let rights = self.put_rights(key, conditions)?;
        let limit = self.service.max_value_bytes();
        if value.as_json().len() > limit {
            return Err(Error::ValueTooLarge { limit });
        }
        Ok(rights)
    }

    /// # Errors
    /// [`Error::Forbidden`] if the caller may update a key, but not read it.
    fn require_to_read_too(&self, key: &Key) -> Result<(), Error> {
        if !self.may(Action::Read, key) {
            self.audit_refused(&[Action::Update], key);
        }
        self.require(Action::Read, key)
    }

    fn readable(&self, entry: Entry) -> Option<Entry> {
        self.may(Action::Read, &entry.key).then_some(entry)
    }

    /// Writes once if the request is one that is done once.
    pub(super) async fn write(
        &self,
        key: Key,
        write: &Write,
        conditions: &Preconditions,
        deadline: Instant,
    ) -> Result<Written, Error> {
        let writing = self.write_now(&key, write, conditions, deadline);
        let attempt = if self.request.is_some() {
            // Boxed, so that the futures of other writes need no room for it.
            Box::pin(self.once(writing)).await?
        } else {
            writing.await?
        };
        match attempt {
            Attempt::Now(written) => Ok(written),
            Attempt::Before(commit) => self.written_before(&commit, &key),
        }
    }

    /// What was written for the same request.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::Unserved`].
    pub(super) fn written_before(&self, commit: &Commit, key: &Key) -> Result<Written, Error> {
        let entry = self.entry_of(commit, key)?.ok_or_else(no_records)?;
        Ok(Written {
            entry,
            is_merged: is_merge(commit.origin),
            is_replay: true,
        })
    }

    /// Decides on the current record and commits only if that is still current; otherwise decides again on
    /// the new one.
    async fn write_now(
        &self,
        key: &Key,
        write: &Write,
        conditions: &Preconditions,
        deadline: Instant,
    ) -> Result<Attempt<Written>, Error> {
        self.service.check_policy(conditions)?;
        let mut current = self.store().get(key).await?;
        let mut base = None;
        loop {
            let record = current.as_ref();
            let decided = self.decide(key, write, record, &mut base, conditions, deadline);
            let (change, origin, admission) = match decided.await? {
                Decided::Change {
                    expected,
                    operation,
                    origin,
                    admission,
                } => {
                    let key = key.clone();
                    let change = Change {
                        key,
                        expected,
                        operation,
                    };
                    (change, origin, admission)
                }
                Decided::Nothing => {
                    let record = current.ok_or_else(no_records)?;
                    return Ok(Attempt::Now(written(key, record, true)));
                }
            };
            let changes = ChangeSet::from(change).from_origin(origin);
            let outcome = self.commit(changes, deadline).await?;
            drop(admission);
            match outcome {
                Outcome::Committed(committed) => {
                    let record = committed.records.into_iter().next().flatten();
                    let record = record.ok_or_else(no_records)?;
                    return Ok(Attempt::Now(written(key, record, is_merge(origin))));
                }
                Outcome::Repeated(commit) => return Ok(Attempt::Before(commit)),
                Outcome::Lost(lost) => {
                    current = lost.into_iter().next().and_then(|lost| lost.current);
                }
            }
        }
    }

    /// What a write does to the current record.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::NotFound`], [`Error::Patch`], [`Error::PreconditionFailed`],
    /// [`Error::MergedTooLarge`], [`Error::Unserved`].
    async fn decide(
        &self,
        key: &Key,
        write: &Write,
        current: Option<&Arc<Record>>,
        base: &mut Option<Base>,
        conditions: &Preconditions,
        deadline: Instant,
    ) -> Result<Decided, Error> {
        if let Write::Put(_, rights) | Write::Revert(_, rights) | Write::Merge(_, rights) = write {
            self.require_for(*rights, key, conditions, current.map(Arc::as_ref))?;
        }
        let expected = match decide(conditions, write.purpose(), current.map(Arc::as_ref)) {
            Decision::Proceed(expected) => expected,
            Decision::NotFound => return Err(Error::NotFound),
            Decision::Failed | Decision::NotModified => {
                let stale = self.merge_or_refuse(key, write, current, base, conditions, deadline);
                // Boxed, as patches are below.
                return Box::pin(stale).await;
            }
        };
        match (write, current) {
            (Write::Put(value, rights) | Write::Merge(value, rights), current) => Ok(Decided::to(
                rights.narrow(expected, current.map(Arc::as_ref)),
                Operation::Put(value.clone()),
            )),
            (Write::Revert(then, rights), current) => Ok(Decided::Change {
                expected: rights.narrow(expected, current.map(Arc::as_ref)),
                operation: Operation::Put(then.value.clone()),
                origin: Some(Origin::Revert {
                    revision: then.revision,
                }),
                admission: None,
            }),
            (Write::Delete, _) => Ok(Decided::to(expected, Operation::Delete)),
            (Write::Patch(_), None) => Err(Error::NotFound),
            (Write::Patch(patch), Some(record)) => {
                // Boxed, so that the futures of other writes need no room for it.
                let patched = Box::pin(self.patched(patch, record, deadline));
                let (value, admission) = patched.await?;
                // A result of patching this value fits no other.
                let expected = Expected::At(record.revision);
                Ok(Decided::Change {
                    expected,
                    operation: Operation::Put(value),
                    origin: None,
                    admission: Some(admission),
                })
            }
        }
    }

    /// What becomes of a write whose precondition does not hold.
    async fn merge_or_refuse(
        &self,
        key: &Key,
        write: &Write,
        current: Option<&Arc<Record>>,
        base: &mut Option<Base>,
        conditions: &Preconditions,
        deadline: Instant,
    ) -> Result<Decided, Error> {
        let mine = match write {
            Write::Merge(value, _) => value,
            Write::Put(..) | Write::Revert(..) | Write::Patch(_) | Write::Delete => {
                let current = current.cloned();
                return Err(self.stale(key, current, conditions, deadline).await);
            }
        };
        let Some(record) = current else {
            let unmerged = Comparison {
                changed: None,
                unmerged: Some(Unmerged::NoBase),
            };
            let absent = self.current(key, None);
            return Err(Error::mismatch(absent, conditions).compared(unmerged));
        };
        let merged = self.merged(key, mine, record, base, conditions, deadline);
        Ok(match merged.await? {
            Merged::Current => Decided::Nothing,
            Merged::Value(value, admission, origin) => Decided::Change {
                expected: Expected::At(record.revision),
                operation: Operation::Put(value),
                origin: Some(origin),
                admission: Some(admission),
            },
        })
    }

    /// The value that a patch makes of a record, with the admission of its bytes.
    async fn patched(
        &self,
        patch: &Arc<Patch>,
        record: &Arc<Record>,
        deadline: Instant,
    ) -> Result<(Value, Admission), Error> {
        let limit = self.service.max_value_bytes();
        let bytes = record.value.as_json().len() + patch.text_bytes();
        let (patch, before) = (Arc::clone(patch), Arc::clone(record));
        let work = move |stop: &Stop| {
            let patched = patch.apply(before.value.as_json(), limit, || stop.is_due());
            patched.map(Value::from_compact)
        };
        let value = match self.service.workers.run(bytes, deadline, work).await? {
            Err(ApplyError::Stopped) => return Err(StoreError::Expired.into()),
            applied => applied?,
        };
        let mut admission = self.service.in_flight().admission();
        admission.grow(value.as_json().len())?;
        Ok((value, admission))
    }
}

/// What is written to one key.
pub(super) enum Write {
    Put(Value, PutRights),
    /// The value of this record once more.
    Revert(Arc<Record>, PutRights),
    /// A put that is merged if others have replaced what it began from.
    Merge(Value, PutRights),
    Patch(Arc<Patch>),
    Delete,
}

impl Write {
    fn purpose(&self) -> Purpose {
        match self {
            Self::Put(..) | Self::Revert(..) | Self::Merge(..) => Purpose::Write,
            Self::Patch(_) | Self::Delete => Purpose::WriteExisting,
        }
    }
}

/// What is to be done to the current record.
enum Decided {
    Change {
        expected: Expected,
        operation: Operation,
        origin: Option<Origin>,
        /// What was made of the record takes room until it is committed.
        admission: Option<Admission>,
    },
    /// It is already as it is to be.
    Nothing,
}

impl Decided {
    fn to(expected: Expected, operation: Operation) -> Self {
        Self::Change {
            expected,
            operation,
            origin: None,
            admission: None,
        }
    }
}

fn written(key: &Key, record: Arc<Record>, is_merged: bool) -> Written {
    Written {
        entry: Entry {
            key: key.clone(),
            record,
        },
        is_merged,
        is_replay: false,
    }
}

fn is_merge(origin: Option<Origin>) -> bool {
    matches!(origin, Some(Origin::Merge { .. }))
}
