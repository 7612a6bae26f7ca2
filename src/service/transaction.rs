//! Writes and checks of several keys at once.

use std::collections::HashSet;
use std::sync::Arc;

use thiserror::Error;
use tokio::time::Instant;

use super::Service;
use super::commit::no_records;
use super::error::{Error, FailedOperation};
use crate::model::{
    Change, ChangeSet, Entry, Key, Operation, Record, RepeatedKey, Revision,
    TRANSACTION_MAX_OPERATIONS,
};
use crate::precondition::{Decision, Mismatch, Preconditions, Purpose, decide};

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

impl Service {
    /// Does all of a transaction under one revision, or nothing of it.
    ///
    /// # Errors
    /// [`Error::TransactionFailed`], [`Error::ValueTooLarge`], [`Error::PreconditionRequired`],
    /// [`Error::Unserved`].
    pub async fn transact(
        &self,
        transaction: Transaction,
        deadline: Instant,
    ) -> Result<Transacted, Error> {
        let operations = transaction.0;
        let mut current = Vec::with_capacity(operations.len());
        for operation in &operations {
            self.check_operation(operation)?;
            current.push(self.store.get(&operation.key).await?);
        }
        loop {
            let changes = changes_of(&operations, &current)?;
            match self.commit(changes, deadline).await? {
                Ok(committed) if committed.records.len() == operations.len() => {
                    let entry = |(operation, record): (TransactionOperation, Option<_>)| {
                        let key = operation.key;
                        record.map(|record| Entry { key, record })
                    };
                    let records = operations.into_iter().zip(committed.records);
                    return Ok(Transacted {
                        revision: committed.revision,
                        results: records.map(entry).collect(),
                    });
                }
                Ok(_) => return Err(no_records().into()),
                Err(conflicts) => {
                    for conflict in conflicts {
                        current[conflict.index] = conflict.current;
                    }
                }
            }
        }
    }

    fn check_operation(&self, operation: &TransactionOperation) -> Result<(), Error> {
        let limit = self.max_value_bytes();
        match &operation.operation {
            Operation::Check => return Ok(()),
            Operation::Put(value) if value.as_json().len() > limit => {
                return Err(Error::ValueTooLarge { limit });
            }
            Operation::Put(_) | Operation::Delete => {}
        }
        self.check_policy(&operation.conditions)
    }
}

/// # Errors
/// [`Error::TransactionFailed`] with every operation whose preconditions do not hold.
fn changes_of(
    operations: &[TransactionOperation],
    current: &[Option<Arc<Record>>],
) -> Result<ChangeSet, Error> {
    let mut changes = Vec::with_capacity(operations.len());
    let mut failed = Vec::new();
    for (index, (operation, current)) in operations.iter().zip(current).enumerate() {
        let purpose = match operation.operation {
            Operation::Delete => Purpose::WriteExisting,
            Operation::Put(_) | Operation::Check => Purpose::Write,
        };
        let key = operation.key.clone();
        match decide(&operation.conditions, purpose, current.as_deref()) {
            Decision::Proceed(expected) => changes.push(Change {
                key,
                expected,
                operation: operation.operation.clone(),
            }),
            Decision::Failed | Decision::NotFound | Decision::NotModified => {
                let current = current.clone().map(|record| Entry {
                    key: key.clone(),
                    record,
                });
                failed.push(FailedOperation {
                    index,
                    key,
                    current,
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
