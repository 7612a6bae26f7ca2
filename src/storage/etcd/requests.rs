//! Requests that are done once, by whichever process: each is stored by the transaction that does it, which compares
//! that it is not there yet.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinError;
use tokio::time::Instant;

use super::barrier::unavailable;
use super::client::Client;
use super::error::ClientError;
use super::layout::{Layout, number};
use super::messages::{KeyValue, RangeRequest, RangeResponse};
use super::query;
use super::text::{Damaged, DoneRequest, Reader};
use crate::model::{Commit, Done, Key, Name, Position, Record, Request, Revision, StateDigest};
use crate::storage::StoreError;

/// How long requests share a lease. Each of them is remembered for as long as was promised, and up to twice this
/// longer.
const SHARED_FOR: Duration = Duration::from_secs(60);

/// The longest lease that etcd grants.
const LEASE_MAX_SECONDS: i64 = 9_000_000_000;

/// The leases of the requests of this process: etcd forgets each of them some time after the last one was done.
#[derive(Debug)]
pub struct RequestLeases {
    client: Client,
    window: Duration,
    current: Mutex<Option<Granted>>,
}

#[derive(Debug, Clone, Copy)]
struct Granted {
    id: i64,
    at: Instant,
}

impl RequestLeases {
    /// Leases of requests that are remembered for so long.
    #[must_use]
    pub fn new(client: Client, window: Duration) -> Self {
        Self {
            client,
            window,
            current: Mutex::new(None),
        }
    }

    /// The lease for a request that is done now.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn current(&self, deadline: Instant) -> Result<i64, ClientError> {
        let mut current = self.current.lock().await;
        if let Some(granted) = *current
            && granted.at.elapsed() < SHARED_FOR
        {
            return Ok(granted.id);
        }
        let at = Instant::now();
        let seconds = self.window.saturating_add(2 * SHARED_FOR).as_secs();
        let seconds = i64::try_from(seconds)
            .map_or(LEASE_MAX_SECONDS, |seconds| seconds.min(LEASE_MAX_SECONDS));
        let id = self.client.lease_grant(seconds, deadline).await?;
        *current = Some(Granted { id, at });
        Ok(id)
    }

    /// This lease is no longer there.
    pub async fn forget(&self, id: i64) {
        let mut current = self.current.lock().await;
        if current.is_some_and(|granted| granted.id == id) {
            *current = None;
        }
    }
}

/// A request that is stored, and the revision of its commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The commit.
    pub revision: Revision,
    /// What was done.
    pub done: DoneRequest,
}

impl Found {
    /// What is stored under the key of a request.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`].
    pub fn read(stored: &KeyValue) -> Result<Self, StoreError> {
        Ok(Self {
            revision: number(stored.mod_revision),
            done: DoneRequest::read(&stored.value).map_err(unreadable)?,
        })
    }
}

/// Reads from etcd what is no longer in memory.
#[derive(Debug, Clone)]
pub struct StoredPast {
    /// How etcd is reached.
    pub client: Client,
    /// Where things are.
    pub layout: Layout,
    /// How long etcd may take for an answer.
    pub patience: Duration,
}

impl StoredPast {
    /// The request of a writer with this key, by a linearizable read.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn request(
        &self,
        writer: Option<&Name>,
        request: &Request,
    ) -> Result<Option<Found>, StoreError> {
        let key = self.layout.request(writer, &request.key);
        let response = self.ask(query::get(key)).await;
        let found = query::first(response.map_err(unavailable)?);
        found.map(|stored| Found::read(&stored)).transpose()
    }

    /// The record of a key at a revision, which is not 0.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn record_at(
        &self,
        key: &Key,
        revision: Revision,
    ) -> Result<Option<Arc<Record>>, ReadError> {
        let request = query::get_at(self.layout.entry(key), revision);
        let response = self.ask(request).await?;
        let mut reader = Reader::new(self.layout.clone());
        let record = query::first(response).map(|stored| reader.record(key, &stored));
        let record = record.transpose().map_err(unreadable)?;
        Ok(record.map(Arc::new))
    }

    /// The commit of a request of this writer. `current` has the records that may be those that it wrote, for the case that they
    /// can no longer be read as of then.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn commit(
        &self,
        found: Found,
        (writer, request): (Option<&Name>, &Request),
        state: StateDigest,
        current: impl Fn(&Key) -> Option<Arc<Record>>,
    ) -> Result<Commit, ReadError> {
        let revision = found.revision;
        let mut changes = Vec::with_capacity(found.done.changed.len());
        for key in found.done.changed {
            let written = current(&key).filter(|record| record.revision == revision);
            let after = match written {
                Some(written) => Some(written),
                None => self.record_at(&key, revision).await?,
            };
            let before = match after {
                Some(_) => None,
                None => self.record_at(&key, revision.saturating_sub(1)).await?,
            };
            changes.push(Done { key, before, after });
        }
        Ok(Commit {
            position: Position { revision, state },
            at: found.done.at,
            by: writer.cloned(),
            request: Some(request.clone()),
            origin: found.done.origin,
            changes,
        })
    }

    /// Asks etcd, in a task of its own: what somebody who is left alone does not take of an answer would hold up all others
    /// on the connection.
    pub(super) async fn ask(&self, request: RangeRequest) -> Result<RangeResponse, ClientError> {
        let (client, deadline) = (self.client.clone(), Instant::now() + self.patience);
        let asked = tokio::spawn(async move { client.range(&request, deadline).await });
        let failed = |error: JoinError| ClientError::Unavailable(error.to_string());
        asked.await.map_err(failed)?
    }
}

/// Why the past cannot be read.
#[derive(Debug)]
pub enum ReadError {
    /// It is compacted.
    Compacted,
    /// The store fails.
    Store(StoreError),
}

impl From<StoreError> for ReadError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<ClientError> for ReadError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Compacted { .. } => Self::Compacted,
            error => Self::Store(unavailable(error)),
        }
    }
}

/// What is stored is not as it should be.
#[must_use]
pub fn unreadable(damaged: Damaged) -> StoreError {
    StoreError::Unreadable(io::Error::other(damaged))
}
