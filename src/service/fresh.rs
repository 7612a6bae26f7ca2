//! Reads that need not be strict: of a revision that the reader has seen, or of an older state while the store cannot
//! be reached.

use std::time::Duration;

use tokio::time::timeout;

use super::error::Error;
use super::operations::Operations;
use super::read::{Reading, is_unmodified, reading_of};
use crate::access::Action;
use crate::model::{Entry, Key, Position, Range, Revision};
use crate::precondition::Preconditions;
use crate::storage::{Snapshot, StoreError};

/// How long a reader who accepts an older state waits for the current one.
const STALE_AFTER: Duration = Duration::from_secs(1);

/// How new a read must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Freshness {
    /// At least as new as the last commit that was acknowledged before it.
    #[default]
    Strict,
    /// At least as new as this revision. If this process knows that, the store is not asked.
    AtLeast(Revision),
    /// Strict; but while the store cannot be reached, what was known to be current so long ago at the most.
    OrStale(Duration),
}

/// What a read that need not be strict gives.
#[derive(Debug)]
pub struct Aged<T> {
    /// The result.
    pub reading: Result<T, Error>,
    /// How long ago it was known to be current, if the store could not be asked.
    pub age: Option<Duration>,
}

impl<T> From<Result<T, Error>> for Aged<T> {
    /// Of a read that is as new as it was to be.
    fn from(reading: Result<T, Error>) -> Self {
        Self { reading, age: None }
    }
}

impl Operations<'_> {
    /// [`read`](Self::read), or [`read_newer`](Self::read_newer) if there is a `wait`, as new as `freshness` asks.
    /// An older state is not waited with.
    ///
    /// # Errors
    /// As [`read`](Self::read), and [`Error::Future`] if that revision was never committed.
    pub async fn read_aged(
        &self,
        key: Key,
        freshness: Freshness,
        conditions: &Preconditions,
        wait: Option<impl Future<Output = ()>>,
    ) -> Aged<Reading<Entry, Entry>> {
        if let Err(refused) = self.require(Action::Read, &key) {
            return Aged::from(Err(refused));
        }
        let age = match self.freshen(freshness).await {
            Ok(age) => age,
            Err(error) => return Aged::from(Err(error)),
        };
        match wait {
            Some(wait) if age.is_none() => self.read_newer(key, conditions, wait).await.into(),
            _ => {
                let known = self.store().known();
                let record = known.record(&key);
                if record.is_none()
                    && let Err(error) = known.check(Some(&key))
                {
                    return Aged::from(Err(error.into()));
                }
                let reading = reading_of(key, record, conditions);
                Aged { reading, age }
            }
        }
    }

    /// [`list`](Self::list), or [`list_newer`](Self::list_newer) if there is a `wait`, as new as `freshness` asks. An
    /// older state is not waited with.
    ///
    /// # Errors
    /// As [`list`](Self::list), and [`Error::Future`] if that revision was never committed.
    pub async fn list_aged(
        &self,
        range: &Range,
        freshness: Freshness,
        conditions: &Preconditions,
        wait: Option<impl Future<Output = ()>>,
    ) -> Aged<Reading<Box<dyn Snapshot>, Position>> {
        let scope = match self.scope_of(&range.prefix) {
            Ok(scope) => scope,
            Err(refused) => return Aged::from(Err(refused)),
        };
        let age = match self.freshen(freshness).await {
            Ok(age) => age,
            Err(error) => return Aged::from(Err(error)),
        };
        match wait {
            Some(wait) if age.is_none() => self.list_newer(range, conditions, wait).await.into(),
            _ => {
                let known = self.store().known();
                if let Err(error) = known.check(None) {
                    return Aged::from(Err(error.into()));
                }
                let snapshot = scope.part_of(known.snapshot(), &self.points_of(&scope));
                let reading = match is_unmodified(snapshot.position(), conditions) {
                    Ok(true) => Ok(Reading::NotModified(snapshot.position())),
                    Ok(false) => Ok(Reading::Found(snapshot)),
                    Err(error) => Err(error),
                };
                Aged { reading, age }
            }
        }
    }

    /// Makes what this process knows as new as that. Returns how old it is, if it is accepted although the store
    /// cannot be reached.
    ///
    /// # Errors
    /// [`Error::Future`], [`Error::Unserved`].
    async fn freshen(&self, freshness: Freshness) -> Result<Option<Duration>, Error> {
        let known = self.store().known();
        // A strict read of no key is how this process learns all that is new.
        let read = || self.store().get_many(&[]);
        match freshness {
            Freshness::Strict => {
                read().await?;
                Ok(None)
            }
            Freshness::AtLeast(revision) => {
                if known.position().revision < revision {
                    read().await?;
                }
                let newest = known.position().revision;
                if newest < revision {
                    return Err(Error::Future { newest });
                }
                Ok(None)
            }
            Freshness::OrStale(limit) => {
                let error = match timeout(STALE_AFTER, read()).await {
                    Ok(Ok(_)) => return Ok(None),
                    Ok(Err(error @ StoreError::Unavailable(_))) => error,
                    Ok(Err(error)) => return Err(error.into()),
                    Err(_) => StoreError::Unavailable("no answer in time".to_owned()),
                };
                let age = known.age();
                if age > limit {
                    return Err(error.into());
                }
                Ok(Some(age))
            }
        }
    }
}
