//! What the operations mean: read → decide → commit, and again if a race was lost.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::error::{CommitError, Error, StoreError};
use crate::model::{
    Change, EntityTag, Entry, Key, Operation, Page, Position, Range, Record, Value,
};
use crate::precondition::{Decision, Preconditions, Purpose, decide};
use crate::storage::{Status, Store};

/// The operations on one store, without HTTP.
pub struct Service {
    store: Arc<dyn Store>,
    policy: Policy,
    started: Instant,
    draining: AtomicBool,
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
            draining: AtomicBool::new(false),
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
        let decision = decide(conditions, Purpose::Read, current.as_ref());
        match (decision, current) {
            (Decision::Proceed(_), Some(record)) => Ok(Reading::Found(Entry { key, record })),
            (Decision::NotModified, Some(record)) => {
                Ok(Reading::NotModified(Entry { key, record }))
            }
            (Decision::Failed, current) => Err(failed(key, current)),
            (_, None) | (Decision::NotFound, _) => Err(Error::NotFound),
        }
    }

    /// The entries of a range, if the preconditions let them be shown. A list has an entity tag but
    /// no date, so dates are ignored (RFC 9110 §13.1.3, §13.1.4).
    ///
    /// # Errors
    /// [`Error::PreconditionFailed`], [`Error::Store`].
    pub async fn list(
        &self,
        range: &Range,
        conditions: &Preconditions,
    ) -> Result<Reading<Page, Position>, Error> {
        // The tag first: who has the list already does not make anybody gather it again.
        let position = self.store.status().await.position;
        if let Some(tags) = &conditions.if_none_match
            && conditions.if_match.is_none()
            && tags.match_weakly(&EntityTag::of_list(&position))
        {
            return Ok(Reading::NotModified(position));
        }
        let page = self.store.list(range).await?;
        if let Some(tags) = &conditions.if_match
            && !tags.match_strongly(&EntityTag::of_list(&page.position))
        {
            return Err(Error::PreconditionFailed { current: None });
        }
        Ok(Reading::Found(page))
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
        self.write(key, Purpose::Write, Operation::Put(value), conditions)
            .await
    }

    /// Deletes a key, and returns the entry that it was.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PreconditionFailed`], [`Error::PreconditionRequired`],
    /// [`Error::Store`].
    pub async fn delete(&self, key: Key, conditions: Preconditions) -> Result<Entry, Error> {
        self.write(key, Purpose::WriteExisting, Operation::Delete, conditions)
            .await
    }

    /// How the service is.
    pub async fn health(&self) -> Health {
        let store = self.store.status().await;
        Health {
            ready: store.writable && !self.draining.load(Ordering::Acquire),
            uptime: self.started.elapsed(),
            store,
        }
    }

    /// From now on the service calls itself not ready; it goes on working.
    pub fn start_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Finishes the writes that are under way and takes no more.
    pub async fn close(&self) {
        self.start_draining();
        self.store.close().await;
    }

    /// Runs detached from the caller: one that hangs up does not undo or tear what was begun.
    async fn write(
        &self,
        key: Key,
        purpose: Purpose,
        operation: Operation,
        conditions: Preconditions,
    ) -> Result<Entry, Error> {
        if self.policy == Policy::ConditionalWrites && !conditions.name_a_tag() {
            return Err(Error::PreconditionRequired);
        }
        let store = Arc::clone(&self.store);
        let write = tokio::spawn(async move {
            write_when_allowed(&*store, key, purpose, operation, &conditions).await
        });
        write
            .await
            .unwrap_or_else(|ended| Err(StoreError::Unknown(io::Error::other(ended)).into()))
    }
}

/// Decides on what is there and commits only if that is still there; otherwise decides again on
/// what has come instead.
async fn write_when_allowed(
    store: &dyn Store,
    key: Key,
    purpose: Purpose,
    operation: Operation,
    conditions: &Preconditions,
) -> Result<Entry, Error> {
    let mut current = store.get(&key).await?;
    loop {
        let expected = match decide(conditions, purpose, current.as_ref()) {
            Decision::Proceed(expected) => expected,
            Decision::NotFound => return Err(Error::NotFound),
            Decision::Failed | Decision::NotModified => return Err(failed(key, current)),
        };
        let change = Change {
            key: key.clone(),
            expected,
            operation: operation.clone(),
        };
        match store.commit(vec![change]).await {
            Ok(committed) => {
                return committed
                    .records
                    .into_iter()
                    .next()
                    .map(|record| Entry { key, record })
                    .ok_or_else(|| {
                        let short = io::Error::other("the store did not say what it wrote");
                        StoreError::Unknown(short).into()
                    });
            }
            Err(CommitError::Conflict(conflicts)) => {
                current = conflicts.into_iter().next().and_then(|lost| lost.current);
            }
            Err(CommitError::Store(error)) => return Err(error.into()),
        }
    }
}

fn failed(key: Key, current: Option<Record>) -> Error {
    Error::PreconditionFailed {
        current: current.map(|record| Entry { key, record }),
    }
}
