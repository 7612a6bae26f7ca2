//! What the operations mean: read → decide → commit, and again if a race was lost.

mod watching;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::blocking::work_on;
use crate::error::{CommitError, Error, FailedOperation, StoreError};
use crate::model::{
    Change, EntityTag, Entry, Expected, Key, Operation, Position, Record, Revision, Value,
};
use crate::patch::{ApplyError, Patch};
use crate::precondition::{Decision, Preconditions, Purpose, Tags, decide};
use crate::storage::{Snapshot, Status, Store};

/// The operations on one store, without HTTP.
pub struct Service {
    store: Arc<dyn Store>,
    policy: Policy,
    started: Instant,
    draining: watch::Sender<bool>,
}

/// Which writes are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Every write.
    AllWrites,
    /// Only writes that name an entity tag (RFC 6585 §3).
    ConditionalWrites,
}

/// What a conditional read comes to.
#[derive(Debug)]
pub enum Reading<T, U> {
    /// It is this.
    Found(T),
    /// The reader has it already; its validators are those of this.
    NotModified(U),
}

/// One operation of a transaction.
#[derive(Debug, Clone)]
pub struct TransactionOperation {
    /// Which key.
    pub key: Key,
    /// What is done to it.
    pub operation: Operation,
    /// What must hold of it.
    pub conditions: Preconditions,
}

/// A transaction that was done.
#[derive(Debug)]
pub struct Transaction {
    /// Its commit; if it only checked, that of the state that it saw.
    pub revision: Revision,
    /// For each operation the entry that it wrote, deleted or found.
    pub results: Vec<Option<Entry>>,
}

/// How the service is.
#[derive(Debug)]
pub struct Health {
    /// Whether it can read and commit, and goes on doing so.
    pub ready: bool,
    /// How long it has been up.
    pub uptime: Duration,
    /// How its store is.
    pub store: Status,
}

impl Service {
    /// A service on `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, policy: Policy) -> Self {
        Self {
            store,
            policy,
            started: Instant::now(),
            draining: watch::Sender::new(false),
        }
    }

    /// The entry of a key, if the preconditions let it be shown.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PreconditionFailed`], [`Error::Store`].
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
            (Decision::Failed, current) => Err(failed(key, current)),
            (_, None) | (Decision::NotFound, _) => Err(Error::NotFound),
        }
    }

    /// The entries as they stand, if the preconditions let them be shown. A list has an entity tag but
    /// no date, so dates are ignored (RFC 9110 §13.1.3, §13.1.4).
    ///
    /// # Errors
    /// [`Error::PreconditionFailed`], [`Error::Store`].
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

    /// Creates or replaces a key's value. The entry's version is 1 if this created it.
    ///
    /// # Errors
    /// [`Error::PreconditionFailed`], [`Error::PreconditionRequired`], [`Error::Store`].
    pub async fn put(
        &self,
        key: Key,
        value: Value,
        conditions: Preconditions,
    ) -> Result<Entry, Error> {
        self.write(key, Write::Put(value), conditions).await
    }

    /// Deletes a key, and returns the entry that it was.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PreconditionFailed`], [`Error::PreconditionRequired`],
    /// [`Error::Store`].
    pub async fn delete(&self, key: Key, conditions: Preconditions) -> Result<Entry, Error> {
        self.write(key, Write::Delete, conditions).await
    }

    /// How the service is.
    pub async fn health(&self) -> Health {
        let store = self.store.status().await;
        Health {
            ready: store.writable && !self.is_draining(),
            uptime: self.started.elapsed(),
            store,
        }
    }

    /// From now on the service calls itself not ready and holds nobody; it goes on working.
    pub fn start_draining(&self) {
        self.draining.send_replace(true);
    }

    /// Ready when the service drains.
    pub fn drained(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut draining = self.draining.subscribe();
        async move {
            // A service that is gone has drained.
            let _ = draining.wait_for(|draining| *draining).await;
        }
    }

    fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Finishes the writes that are under way and takes no more.
    pub async fn close(&self) {
        self.start_draining();
        self.store.close().await;
    }

    /// Changes a part of a key's value. Without a precondition it applies to whatever stands, and
    /// again if that was replaced meanwhile.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Patch`], [`Error::PreconditionFailed`],
    /// [`Error::PreconditionRequired`], [`Error::Store`].
    pub async fn patch(
        &self,
        key: Key,
        patch: Patch,
        max_value_bytes: usize,
        conditions: Preconditions,
    ) -> Result<Entry, Error> {
        let write = Write::Patch {
            patch: Arc::new(patch),
            max_value_bytes,
        };
        self.write(key, write, conditions).await
    }

    /// Does all of `operations` under one revision, or none. Each key stands at most once in them.
    ///
    /// # Errors
    /// [`Error::TransactionFailed`], [`Error::PreconditionRequired`], [`Error::Store`].
    pub async fn transact(
        &self,
        operations: Vec<TransactionOperation>,
    ) -> Result<Transaction, Error> {
        for operation in &operations {
            if operation.operation != Operation::Check {
                self.check_policy(&operation.conditions)?;
            }
        }
        let store = Arc::clone(&self.store);
        detached(async move { transact_when_allowed(&*store, operations).await }).await
    }

    fn check_policy(&self, conditions: &Preconditions) -> Result<(), Error> {
        if self.policy == Policy::ConditionalWrites && !conditions.name_a_tag() {
            return Err(Error::PreconditionRequired);
        }
        Ok(())
    }

    async fn write(
        &self,
        key: Key,
        write: Write,
        conditions: Preconditions,
    ) -> Result<Entry, Error> {
        self.check_policy(&conditions)?;
        let store = Arc::clone(&self.store);
        detached(async move { write_when_allowed(&*store, key, write, &conditions).await }).await
    }
}

/// Whether a reader has the list at `position` already.
///
/// # Errors
/// [`Error::PreconditionFailed`] if it wants another.
fn is_unmodified(position: &Position, conditions: &Preconditions) -> Result<bool, Error> {
    let etag = EntityTag::of_list(position);
    let wants_another = |tags: &Tags| !tags.match_strongly(&etag);
    if conditions.if_match.as_ref().is_some_and(wants_another) {
        return Err(Error::PreconditionFailed { current: None });
    }
    let has_it = |tags: &Tags| tags.match_weakly(&etag);
    Ok(conditions.if_none_match.as_ref().is_some_and(has_it))
}

/// Work that goes on when the caller goes away: one that hangs up does not undo or tear what was
/// begun. As long as the caller stays, the work costs no task of its own.
struct Detached<T: 'static>(Option<Pin<Box<dyn Future<Output = T> + Send>>>);

fn detached<T: 'static>(work: impl Future<Output = T> + Send + 'static) -> Detached<T> {
    Detached(Some(Box::pin(work)))
}

impl<T> Future for Detached<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let Some(work) = &mut self.0 else {
            return Poll::Pending;
        };
        let polled = work.as_mut().poll(context);
        if polled.is_ready() {
            self.0 = None;
        }
        polled
    }
}

impl<T> Drop for Detached<T> {
    fn drop(&mut self) {
        // Without a runtime the process is about to end, which tears nothing either.
        if let (Some(work), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(async move { drop(work.await) });
        }
    }
}

/// What is written to one key.
enum Write {
    Put(Value),
    Patch {
        patch: Arc<Patch>,
        max_value_bytes: usize,
    },
    Delete,
}

impl Write {
    fn purpose(&self) -> Purpose {
        match self {
            Self::Put(_) => Purpose::Write,
            Self::Patch { .. } | Self::Delete => Purpose::WriteExisting,
        }
    }

    /// The change to commit, made for what stands.
    async fn change(
        &self,
        key: &Key,
        expected: Expected,
        current: Option<&Arc<Record>>,
    ) -> Result<Change, Error> {
        let (expected, operation) = match (self, current) {
            (Self::Put(value), _) => (expected, Operation::Put(value.clone())),
            (Self::Delete, _) => (expected, Operation::Delete),
            (Self::Patch { .. }, None) => return Err(Error::NotFound),
            (
                Self::Patch {
                    patch,
                    max_value_bytes,
                },
                Some(record),
            ) => {
                let (patch, before, limit) = (patch.clone(), record.clone(), *max_value_bytes);
                let patched = work_on(record.value.as_json().len(), move || {
                    patched(&patch, &before.value, limit)
                });
                // Made of this value, it fits no other.
                (
                    Expected::At(record.revision),
                    Operation::Put(patched.await??),
                )
            }
        };
        Ok(Change {
            key: key.clone(),
            expected,
            operation,
        })
    }
}

fn patched(patch: &Patch, value: &Value, limit: usize) -> Result<Value, ApplyError> {
    let value = Value::from_tree(&patch.apply(value.to_tree(), limit)?);
    if value.as_json().len() > limit {
        return Err(ApplyError::TooLarge { limit });
    }
    Ok(value)
}

/// Decides on what is there and commits only if that is still there; otherwise decides again on
/// what has come instead.
async fn write_when_allowed(
    store: &dyn Store,
    key: Key,
    write: Write,
    conditions: &Preconditions,
) -> Result<Entry, Error> {
    let mut current = store.get(&key).await?;
    loop {
        let expected = match decide(conditions, write.purpose(), current.as_deref()) {
            Decision::Proceed(expected) => expected,
            Decision::NotFound => return Err(Error::NotFound),
            Decision::Failed | Decision::NotModified => return Err(failed(key, current)),
        };
        let change = write.change(&key, expected, current.as_ref()).await?;
        match store.commit(vec![change]).await {
            Ok(committed) => {
                let record = committed.records.into_iter().next().flatten();
                return record
                    .map(|record| Entry { key, record })
                    .ok_or_else(|| unsaid().into());
            }
            Err(CommitError::Conflict(conflicts)) => {
                current = conflicts.into_iter().next().and_then(|lost| lost.current);
            }
            Err(CommitError::Store(error)) => return Err(error.into()),
        }
    }
}

/// The same for several keys at once.
async fn transact_when_allowed(
    store: &dyn Store,
    operations: Vec<TransactionOperation>,
) -> Result<Transaction, Error> {
    let mut current = Vec::with_capacity(operations.len());
    for operation in &operations {
        current.push(store.get(&operation.key).await?);
    }
    loop {
        let changes = changes_of(&operations, &current)?;
        match store.commit(changes).await {
            Ok(committed) if committed.records.len() == operations.len() => {
                let entry = |(operation, record): (TransactionOperation, Option<Arc<Record>>)| {
                    let key = operation.key;
                    record.map(|record| Entry { key, record })
                };
                return Ok(Transaction {
                    revision: committed.revision,
                    results: operations
                        .into_iter()
                        .zip(committed.records)
                        .map(entry)
                        .collect(),
                });
            }
            Ok(_) => return Err(unsaid().into()),
            Err(CommitError::Conflict(conflicts)) => {
                for conflict in conflicts {
                    current[conflict.index] = conflict.current;
                }
            }
            Err(CommitError::Store(error)) => return Err(error.into()),
        }
    }
}

/// # Errors
/// [`Error::TransactionFailed`] with every operation whose preconditions do not hold.
fn changes_of(
    operations: &[TransactionOperation],
    current: &[Option<Arc<Record>>],
) -> Result<Vec<Change>, Error> {
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
                });
            }
        }
    }
    if failed.is_empty() {
        Ok(changes)
    } else {
        Err(Error::TransactionFailed(failed))
    }
}

fn unsaid() -> StoreError {
    StoreError::Unknown(io::Error::other("the store did not say what it wrote"))
}

fn failed(key: Key, current: Option<Arc<Record>>) -> Error {
    Error::PreconditionFailed {
        current: current.map(|record| Entry { key, record }),
    }
}
