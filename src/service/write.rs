//! Writes of one key.

use std::sync::Arc;

use tokio::time::Instant;

use super::commit::{Outcome, no_records};
use super::decision::{Asked, Decided, Seen, Write};
use super::error::Error;
use super::once::Attempt;
use super::operations::Operations;
use super::permission::PutRights;
use crate::access::Action;
use crate::model::{Change, ChangeSet, Commit, Entry, Key, Origin, Record, Value};
use crate::patch::Patch;
use crate::precondition::Preconditions;

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

    /// Decides on the record that is known and commits only if that is still current; otherwise decides again on
    /// the new one.
    async fn write_now(
        &self,
        key: &Key,
        write: &Write,
        conditions: &Preconditions,
        deadline: Instant,
    ) -> Result<Attempt<Written>, Error> {
        self.service.check_policy(conditions)?;
        let asked = Asked {
            key,
            write,
            conditions,
            deadline,
        };
        let mut seen = Seen {
            record: self.store().known().record(key),
            is_strict: false,
        };
        let mut base = None;
        loop {
            let decided = self.decide(&asked, &mut seen, &mut base).await?;
            let (change, origin, admission) = match decided {
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
                    let record = seen.record.ok_or_else(no_records)?;
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
                    seen = Seen {
                        record: lost.into_iter().next().and_then(|lost| lost.current),
                        is_strict: true,
                    };
                }
            }
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
