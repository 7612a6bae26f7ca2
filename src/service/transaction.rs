//! Writes and checks of several keys at once.

use std::collections::HashSet;
use std::sync::Arc;

use thiserror::Error;
use tokio::time::Instant;

use super::commit::{Outcome, no_records};
use super::error::{Error, FailedOperation, Forbidden};
use super::once::Attempt;
use super::operations::Operations;
use super::permission::PutRights;
use super::strict::is_same;
use crate::access::Action;
use crate::model::{
    Change, ChangeSet, Commit, Entry, Key, Operation, Record, RepeatedKey, Revision,
    TRANSACTION_MAX_OPERATIONS,
};
use crate::precondition::{Decision, Mismatch, Preconditions, Purpose, decide};
use crate::storage::PastError;

/// One operation of a transaction.
#[derive(Debug, Clone)]
pub struct TransactionOperation {
    /// Which key.
    pub key: Key,
    /// What is done to it.
    pub operation: Operation,
    /// What is required of it.
    pub conditions: Preconditions,
}

/// From 1 to [`TRANSACTION_MAX_OPERATIONS`] operations, each on a key of its own.
#[derive(Debug, Clone)]
pub struct Transaction(Vec<TransactionOperation>);

/// Why some operations are not a valid transaction.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidTransaction {
    /// There are none, or too many.
    #[error("there must be 1 to {TRANSACTION_MAX_OPERATIONS} operations, not {0}")]
    Count(usize),
    /// Two of them have the same key.
    #[error("operations[{index}]: {:?} appears twice", key.as_str())]
    RepeatedKey {
        /// The second of the two, counted from 0.
        index: usize,
        /// Their key.
        key: Key,
    },
}

/// A transaction that was done.
#[derive(Debug)]
pub struct Transacted {
    /// Its commit; if it only checked, that of the state that it saw.
    pub revision: Revision,
    /// For each operation the entry that it wrote, deleted or found.
    pub results: Vec<Option<Entry>>,
    /// Whether it was done before, for the same request.
    pub is_replay: bool,
}

impl Transaction {
    /// The operations in this order.
    ///
    /// # Errors
    /// [`InvalidTransaction`].
    pub fn new(operations: Vec<TransactionOperation>) -> Result<Self, InvalidTransaction> {
        let count = operations.len();
        if !(1..=TRANSACTION_MAX_OPERATIONS).contains(&count) {
            return Err(InvalidTransaction::Count(count));
        }
        let mut keys = HashSet::with_capacity(count);
        for (index, operation) in operations.iter().enumerate() {
            if !keys.insert(&operation.key) {
                let key = operation.key.clone();
                return Err(InvalidTransaction::RepeatedKey { index, key });
            }
        }
        Ok(Self(operations))
    }
}

impl Operations<'_> {
    /// Does all of a transaction under one revision, or nothing of it. Each operation must be granted; a check
    /// needs the right to read.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::TransactionFailed`], [`Error::ValueTooLarge`],
    /// [`Error::PreconditionRequired`], [`Error::RequestInProgress`], [`Error::RequestMismatch`],
    /// [`Error::Unserved`].
    pub async fn transact(
        &self,
        transaction: Transaction,
        deadline: Instant,
    ) -> Result<Transacted, Error> {
        let operations = transaction.0;
        let mut rights = Vec::with_capacity(operations.len());
        for operation in &operations {
            rights.push(self.check_operation(operation)?);
        }
        let transacting = self.transact_now(&operations, &rights, deadline);
        let attempt = if self.request.is_some() {
            // Boxed, so that the futures of other transactions need no room for it.
            Box::pin(self.once(transacting)).await?
        } else {
            transacting.await?
        };
        match attempt {
            Attempt::Now(transacted) => Ok(transacted),
            Attempt::Before(commit) => Box::pin(self.transacted_before(&operations, &commit)).await,
        }
    }

    async fn transact_now(
        &self,
        operations: &[TransactionOperation],
        rights: &[Option<PutRights>],
        deadline: Instant,
    ) -> Result<Attempt<Transacted>, Error> {
        for operation in operations {
            if !matches!(operation.operation, Operation::Check) {
                self.service.check_policy(&operation.conditions)?;
            }
        }
        let known = self.store().known();
        let keys = operations.iter().map(|operation| &operation.key);
        let mut current: Vec<_> = keys.clone().map(|key| known.record(key)).collect();
        let mut is_strict = false;
        loop {
            let changes = match self.changes_of(operations, rights, &current) {
                Err(refused) if is_strict => return Err(self.audited(refused)),
                // Nobody is refused before a strict read.
                Err(refused) => {
                    let keys: Vec<_> = keys.clone().collect();
                    // Boxed, so that the futures of other transactions need no room for it.
                    let newest = Box::pin(self.newest_of(&keys, deadline)).await?;
                    let mut pairs = newest.iter().zip(&current);
                    if pairs.all(|(newest, known)| is_same(newest.as_ref(), known.as_ref())) {
                        return Err(self.audited(refused));
                    }
                    current = newest;
                    is_strict = true;
                    continue;
                }
                Ok(changes) => changes,
            };
            match self.commit(changes, deadline).await? {
                Outcome::Committed(committed) if committed.records.len() == operations.len() => {
                    let records = operations.iter().zip(committed.records);
                    let result = |(operation, record): (&TransactionOperation, Option<_>)| {
                        let key = operation.key.clone();
                        let entry = record.map(|record| Entry { key, record })?;
                        self.result_of(&operation.operation, entry)
                    };
                    return Ok(Attempt::Now(Transacted {
                        revision: committed.revision,
                        results: records.map(result).collect(),
                        is_replay: false,
                    }));
                }
                Outcome::Committed(_) => return Err(no_records().into()),
                Outcome::Repeated(commit) => return Ok(Attempt::Before(commit)),
                Outcome::Lost(conflicts) => {
                    for conflict in conflicts {
                        current[conflict.index] = conflict.current;
                    }
                    // What is refused now is because of these.
                    is_strict = true;
                }
            }
        }
    }

    /// What a commit did for the same transaction. An entry that was only checked is that of its revision; it is
    /// missing if that is no longer kept.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::Unserved`].
    async fn transacted_before(
        &self,
        operations: &[TransactionOperation],
        commit: &Commit,
    ) -> Result<Transacted, Error> {
        let revision = commit.position.revision;
        let mut results = Vec::with_capacity(operations.len());
        for TransactionOperation { key, operation, .. } in operations {
            let entry = match operation {
                Operation::Put(_) | Operation::Delete => self.entry_of(commit, key)?,
                Operation::Check => match self.store().past().record_at(key, revision).await {
                    Ok(record) => record.map(|record| Entry {
                        key: key.clone(),
                        record,
                    }),
                    Err(PastError::Store(error)) => return Err(error.into()),
                    Err(PastError::Compacted { .. } | PastError::Future { .. }) => None,
                },
            };
            results.push(entry.and_then(|entry| self.result_of(operation, entry)));
        }
        Ok(Transacted {
            revision,
            results,
            is_replay: true,
        })
    }

    /// The caller's rights, if the operation is a put.
    fn check_operation(
        &self,
        operation: &TransactionOperation,
    ) -> Result<Option<PutRights>, Error> {
        let TransactionOperation {
            key, conditions, ..
        } = operation;
        let limit = self.service.max_value_bytes();
        let rights = match &operation.operation {
            Operation::Check => {
                self.require(Action::Read, key)?;
                return Ok(None);
            }
            Operation::Put(value) => {
                let rights = self.put_rights(key, conditions)?;
                if value.as_json().len() > limit {
                    return Err(Error::ValueTooLarge { limit });
                }
                Some(rights)
            }
            Operation::Delete => {
                self.require(Action::Delete, key)?;
                None
            }
        };
        Ok(rights)
    }

    /// What the caller is shown of an operation that was done.
    fn result_of(&self, operation: &Operation, entry: Entry) -> Option<Entry> {
        let is_shown = match operation {
            // They are what was sent, and what may be read.
            Operation::Put(_) | Operation::Check => true,
            Operation::Delete => self.may(Action::Read, &entry.key),
        };
        is_shown.then_some(entry)
    }

    /// # Errors
    /// [`Error::TransactionFailed`] with every operation whose preconditions do not hold, [`Error::Forbidden`], which is
    /// still to be [audited](Self::audited).
    fn changes_of(
        &self,
        operations: &[TransactionOperation],
        rights: &[Option<PutRights>],
        current: &[Option<Arc<Record>>],
    ) -> Result<ChangeSet, Error> {
        let mut changes = Vec::with_capacity(operations.len());
        let mut failed = Vec::new();
        let each = operations.iter().zip(rights).zip(current);
        for (index, ((operation, rights), current)) in each.enumerate() {
            let purpose = match operation.operation {
                Operation::Delete => Purpose::WriteExisting,
                Operation::Put(_) | Operation::Check => Purpose::Write,
            };
            let key = operation.key.clone();
            let missing =
                rights.and_then(|rights| rights.missing(&operation.conditions, current.as_deref()));
            if let Some(needed) = missing {
                return Err(Forbidden::of_key(needed, &key).into());
            }
            match decide(&operation.conditions, purpose, current.as_deref()) {
                Decision::Proceed(expected) => {
                    let expected = match rights {
                        Some(rights) => rights.narrow(expected, current.as_deref()),
                        None => expected,
                    };
                    changes.push(Change {
                        key,
                        expected,
                        operation: operation.operation.clone(),
                    });
                }
                Decision::Failed | Decision::NotFound | Decision::NotModified => {
                    let entry = current.clone().map(|record| Entry {
                        key: key.clone(),
                        record,
                    });
                    failed.push(FailedOperation {
                        index,
                        current: self.current(&key, entry),
                        key,
                        reason: Mismatch::of(&operation.conditions),
                    });
                }
            }
        }
        if !failed.is_empty() {
            return Err(Error::TransactionFailed(failed));
        }
        ChangeSet::new(changes).map_err(|RepeatedKey(key)| Error::RepeatedKey(key))
    }
}
