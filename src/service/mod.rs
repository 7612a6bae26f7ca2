//! What the operations mean: read → decide → commit, and again if a race was lost.

mod held;
mod transaction;
mod watching;
mod write;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time;

pub use self::transaction::{
    InvalidTransaction, TRANSACTION_MAX_VALUES, Transacted, Transaction, TransactionOperation,
};
use crate::admission::{DEFAULT_MAX_IN_FLIGHT_BYTES, InFlight};
use crate::error::{CommitError, Conflict, Error, StoreError};
use crate::model::{ChangeSet, DEFAULT_MAX_VALUE_BYTES, EntityTag, Entry, Key, Position, Record};
use crate::precondition::{Decision, Mismatch, Preconditions, Purpose, Tags, decide};
use crate::storage::{Committed, Snapshot, Status, Store};
use crate::workers::Workers;

/// The operations on one store, without HTTP.
pub struct Service {
    store: Arc<dyn Store>,
    settings: Settings,
    workers: Workers,
    in_flight: InFlight,
    started: Instant,
    draining: watch::Sender<bool>,
}

/// How a [`Service`] works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Which writes are taken.
    pub policy: Policy,
    /// The largest value taken, in bytes of its JSON text.
    pub max_value_bytes: usize,
    /// How many bytes of requests may be under way at once; one request always has room.
    pub max_in_flight_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            policy: Policy::AllWrites,
            max_value_bytes: DEFAULT_MAX_VALUE_BYTES,
            max_in_flight_bytes: DEFAULT_MAX_IN_FLIGHT_BYTES,
        }
    }
}

/// Which writes are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Every write.
    AllWrites,
    /// Only writes whose preconditions rule out a lost update (RFC 6585 §3).
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
    pub fn new(store: Arc<dyn Store>, settings: Settings) -> Self {
        // The largest request must fit in by itself.
        let request_max_bytes = settings.max_value_bytes * TRANSACTION_MAX_VALUES;
        Self {
            store,
            settings,
            workers: Workers::new(),
            in_flight: InFlight::new(settings.max_in_flight_bytes.max(request_max_bytes)),
            started: Instant::now(),
            draining: watch::Sender::new(false),
        }
    }

    /// The threads for work on large texts.
    #[must_use]
    pub fn workers(&self) -> &Workers {
        &self.workers
    }

    /// What the requests under way may take together.
    #[must_use]
    pub fn in_flight(&self) -> &InFlight {
        &self.in_flight
    }

    /// The largest value taken, in bytes of its JSON text.
    #[must_use]
    pub fn max_value_bytes(&self) -> usize {
        self.settings.max_value_bytes
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
            (Decision::Failed, current) => Err(failed(key, current, conditions)),
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
    ///
    /// # Errors
    /// [`StoreError`] if the store could not be left as it should be.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.start_draining();
        self.store.close().await
    }

    fn check_policy(&self, conditions: &Preconditions) -> Result<(), Error> {
        if self.settings.policy == Policy::ConditionalWrites && !conditions.rule_out_lost_updates()
        {
            return Err(Error::PreconditionRequired);
        }
        Ok(())
    }

    /// Commits, or says what was lost instead.
    ///
    /// # Errors
    /// [`Error::Store`].
    async fn commit(
        &self,
        changes: ChangeSet,
        deadline: time::Instant,
    ) -> Result<Result<Committed, Vec<Conflict>>, Error> {
        match self.store.commit(changes, deadline).await {
            Ok(committed) => Ok(Ok(committed)),
            Err(CommitError::Conflict(conflicts)) => Ok(Err(conflicts)),
            Err(CommitError::Store(error)) => Err(error.into()),
        }
    }
}

fn unsaid() -> StoreError {
    StoreError::Unknown(io::Error::other("the store did not say what it wrote"))
}

fn failed(key: Key, current: Option<Arc<Record>>, conditions: &Preconditions) -> Error {
    Error::PreconditionFailed {
        reason: Mismatch::of(conditions),
        current: current.map(|record| Entry { key, record }),
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
        return Err(Error::PreconditionFailed {
            current: None,
            reason: Mismatch::of(conditions),
        });
    }
    let has_it = |tags: &Tags| tags.match_weakly(&etag);
    Ok(conditions.if_none_match.as_ref().is_some_and(has_it))
}
