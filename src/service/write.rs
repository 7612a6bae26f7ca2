//! Writes of one key.

use std::sync::Arc;

use tokio::time::Instant;

use super::admission::Admission;
use super::commit::no_records;
use super::error::Error;
use super::operations::Operations;
use super::permission::PutRights;
use super::workers::Stop;
use crate::access::Action;
use crate::model::{Change, ChangeSet, Entry, Expected, Key, Operation, Origin, Record, Value};
use crate::patch::{ApplyError, Patch};
use crate::precondition::{Decision, Preconditions, Purpose, decide};
use crate::storage::StoreError;

impl Operations<'_> {
    /// Creates or replaces a key's value. The entry's version is 1 if this created it.
    ///
    /// What has not been begun by `deadline` is not done at all; that holds for each write.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::ValueTooLarge`], [`Error::PreconditionFailed`],
    /// [`Error::PreconditionRequired`], [`Error::Unserved`].
    pub async fn put(
        &self,
        key: Key,
        value: Value,
        conditions: &Preconditions,
        deadline: Instant,
    ) -> Result<Entry, Error> {
        let rights = self.put_rights(&key, conditions)?;
        let limit = self.service.max_value_bytes();
        if value.as_json().len() > limit {
            return Err(Error::ValueTooLarge { limit });
        }
        self.write(key, &Write::Put(value, rights), conditions, deadline)
            .await
    }

    /// Deletes a key, and returns its last entry if the caller may read it.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::NotFound`], [`Error::PreconditionFailed`],
    /// [`Error::PreconditionRequired`], [`Error::Unserved`].
    pub async fn delete(
        &self,
        key: Key,
        conditions: &Preconditions,
        deadline: Instant,
    ) -> Result<Option<Entry>, Error> {
        self.require(Action::Delete, &key)?;
        let entry = self
            .write(key, &Write::Delete, conditions, deadline)
            .await?;
        Ok(self.readable(entry))
    }

    /// Changes a part of a key's value, and returns the new entry if the caller may read it. A JSON Patch can
    /// ask what the value is, so it needs the right to read it. Without a precondition it applies to the current
    /// value, and again, until `deadline`, if that was replaced meanwhile.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::NotFound`], [`Error::Patch`], [`Error::PreconditionFailed`],
    /// [`Error::PreconditionRequired`], [`Error::Unserved`].
    pub async fn patch(
        &self,
        key: Key,
        patch: Patch,
        conditions: &Preconditions,
        deadline: Instant,
    ) -> Result<Option<Entry>, Error> {
        self.require(Action::Update, &key)?;
        if patch.reads_value() && !self.may(Action::Read, &key) {
            self.audit_refused(&[Action::Update], &key);
            self.require(Action::Read, &key)?;
        }
        let write = Write::Patch(patch.into());
        let entry = self.write(key, &write, conditions, deadline).await?;
        Ok(self.readable(entry))
    }

    fn readable(&self, entry: Entry) -> Option<Entry> {
        self.may(Action::Read, &entry.key).then_some(entry)
    }

    /// Decides on the current record and commits only if that is still current; otherwise decides again on
    /// the new one.
    pub(super) async fn write(
        &self,
        key: Key,
        write: &Write,
        conditions: &Preconditions,
        deadline: Instant,
    ) -> Result<Entry, Error> {
        self.service.check_policy(conditions)?;
        let mut current = self.store().get(&key).await?;
        loop {
            if let Write::Put(_, rights) | Write::Revert(_, rights) = write {
                self.require_for(*rights, &key, conditions, current.as_deref())?;
            }
            let expected = match decide(conditions, write.purpose(), current.as_deref()) {
                Decision::Proceed(expected) => expected,
                Decision::NotFound => return Err(Error::NotFound),
                Decision::Failed | Decision::NotModified => {
                    let entry = current.map(|record| Entry {
                        key: key.clone(),
                        record,
                    });
                    return Err(Error::mismatch(self.current(&key, entry), conditions));
                }
            };
            // The result of a patch takes room until it is committed.
            let mut _admission = None;
            let (expected, operation) = match (write, &current) {
                (Write::Put(value, rights), current) => {
                    let expected = rights.narrow(expected, current.as_deref());
                    (expected, Operation::Put(value.clone()))
                }
                (Write::Revert(then, rights), current) => {
                    let expected = rights.narrow(expected, current.as_deref());
                    (expected, Operation::Put(then.value.clone()))
                }
                (Write::Delete, _) => (expected, Operation::Delete),
                (Write::Patch(_), None) => return Err(Error::NotFound),
                (Write::Patch(patch), Some(record)) => {
                    // Boxed, so that the futures of other writes need no room for it.
                    let patched = Box::pin(self.patched(patch, record, deadline));
                    let (value, admission) = patched.await?;
                    _admission = Some(admission);
                    // A result of patching this value fits no other.
                    (Expected::At(record.revision), Operation::Put(value))
                }
            };
            let change = Change {
                key: key.clone(),
                expected,
                operation,
            };
            let changes = ChangeSet::from(change).from_origin(write.origin());
            match self.commit(changes, deadline).await? {
                Ok(committed) => {
                    let record = committed.records.into_iter().next().flatten();
                    let entry = record.map(|record| Entry { key, record });
                    return Ok(entry.ok_or_else(no_records)?);
                }
                Err(lost) => current = lost.into_iter().next().and_then(|lost| lost.current),
            }
        }
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
    Patch(Arc<Patch>),
    Delete,
}

impl Write {
    fn purpose(&self) -> Purpose {
        match self {
            Self::Put(..) | Self::Revert(..) => Purpose::Write,
            Self::Patch(_) | Self::Delete => Purpose::WriteExisting,
        }
    }

    fn origin(&self) -> Option<Origin> {
        match self {
            Self::Revert(then, _) => Some(Origin::Revert {
                revision: then.revision,
            }),
            Self::Put(..) | Self::Patch(_) | Self::Delete => None,
        }
    }
}
