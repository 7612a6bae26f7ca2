//! What a write does to the record of its key.

use std::mem;
use std::sync::Arc;

use tokio::time::Instant;

use super::admission::Admission;
use super::error::{Comparison, Error, Unmerged};
use super::merging::{Base, Merged};
use super::operations::Operations;
use super::permission::PutRights;
use super::strict::is_same;
use super::workers::Stop;
use crate::model::{Expected, Key, Operation, Origin, Record, Value};
use crate::patch::{ApplyError, Patch};
use crate::precondition::{Decision, Preconditions, Purpose, decide};
use crate::storage::StoreError;

/// A write of one key, as it was asked for.
pub(super) struct Asked<'a> {
    pub(super) key: &'a Key,
    pub(super) write: &'a Write,
    pub(super) conditions: &'a Preconditions,
    pub(super) deadline: Instant,
}

/// The record on which a write is decided.
pub(super) struct Seen {
    pub(super) record: Option<Arc<Record>>,
    /// Whether it is as new as the request; otherwise another process may have written since.
    pub(super) is_strict: bool,
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
    /// Those of the caller, if it is a put.
    fn rights(&self) -> Option<PutRights> {
        match self {
            Self::Put(_, rights) | Self::Revert(_, rights) | Self::Merge(_, rights) => {
                Some(*rights)
            }
            Self::Patch(_) | Self::Delete => None,
        }
    }

    fn purpose(&self) -> Purpose {
        match self {
            Self::Put(..) | Self::Revert(..) | Self::Merge(..) => Purpose::Write,
            Self::Patch(_) | Self::Delete => Purpose::WriteExisting,
        }
    }
}

/// What is to be done to the current record.
pub(super) enum Decided {
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

impl Operations<'_> {
    /// Decides what a write does to the record that is seen. It refuses and merges only after a strict read, whose
    /// record is then seen.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::NotFound`], [`Error::Patch`], [`Error::PreconditionFailed`],
    /// [`Error::MergedTooLarge`], [`Error::Unserved`].
    pub(super) async fn decide(
        &self,
        asked: &Asked<'_>,
        seen: &mut Seen,
        base: &mut Option<Base>,
    ) -> Result<Decided, Error> {
        loop {
            let record = seen.record.as_deref();
            let rights = asked.write.rights();
            let missing = rights.and_then(|rights| rights.missing(asked.conditions, record));
            let decision = decide(asked.conditions, asked.write.purpose(), record);
            let proceeds = missing.is_none() && matches!(decision, Decision::Proceed(_));
            if !proceeds && !seen.is_strict {
                *seen = self.see_newest(asked).await?;
                continue;
            }
            if let Some(needed) = missing {
                return Err(self.forbidden(needed, asked.key).into());
            }
            let decided = self.act(asked, decision, seen.record.as_ref(), base).await;
            match decided {
                // A patch that does not fit.
                Err(refused) if !seen.is_strict && !matches!(refused, Error::Unserved(_)) => {
                    let newest = self.see_newest(asked).await?;
                    let before = mem::replace(seen, newest).record;
                    if is_same(seen.record.as_ref(), before.as_ref()) {
                        return Err(refused);
                    }
                }
                decided => return decided,
            }
        }
    }

    async fn see_newest(&self, asked: &Asked<'_>) -> Result<Seen, Error> {
        // Boxed, so that the futures of other writes need no room for it.
        let record = Box::pin(self.newest(asked.key, asked.deadline)).await?;
        Ok(Seen {
            record,
            is_strict: true,
        })
    }

    /// What a write does to a record on which its preconditions gave this decision.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Patch`], [`Error::PreconditionFailed`], [`Error::MergedTooLarge`],
    /// [`Error::Unserved`].
    async fn act(
        &self,
        asked: &Asked<'_>,
        decision: Decision,
        current: Option<&Arc<Record>>,
        base: &mut Option<Base>,
    ) -> Result<Decided, Error> {
        let expected = match decision {
            Decision::Proceed(expected) => expected,
            Decision::NotFound => return Err(Error::NotFound),
            Decision::Failed | Decision::NotModified => {
                // Boxed, as patches are below.
                return Box::pin(self.merge_or_refuse(asked, current, base)).await;
            }
        };
        match (asked.write, current) {
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
                let patched = Box::pin(self.patched(patch, record, asked.deadline));
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
        asked: &Asked<'_>,
        current: Option<&Arc<Record>>,
        base: &mut Option<Base>,
    ) -> Result<Decided, Error> {
        let Asked {
            key,
            conditions,
            deadline,
            ..
        } = *asked;
        let mine = match asked.write {
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
