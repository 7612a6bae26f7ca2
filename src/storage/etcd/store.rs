//! The side of the engine that its callers see.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::engine::{COMMITS_MAX, Engine};
use crate::model::{ChangeSet, Entry, Filter, Key, Position, Record, ResumeToken};
use crate::storage::known::Known;
use crate::storage::lease::Lease;
use crate::storage::past::Past;
use crate::storage::{CommitError, Committed, Snapshot, Status, Store, StoreError, Subscription};

/// How long ago the last barrier may have been passed so that the store counts as readable.
const READABLE: Duration = Duration::from_secs(5);

/// A [`Store`] in an etcd cluster, which several processes may share.
#[derive(Debug)]
pub struct EtcdStore {
    engine: Arc<Engine>,
    /// Also a closed store is read, and must not be behind the others that share etcd.
    _tasks: Tasks,
    secret: Arc<str>,
}

/// What has happened to an [`EtcdStore`] so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// How often everything was loaded anew, because what was written meanwhile could not be read any more.
    pub resyncs: u64,
    /// How often what is in memory was compared with what etcd has.
    pub checks: u64,
    /// How many keys were different then. They are loaded anew.
    pub mismatches: u64,
}

/// The tasks of a store, which end with it.
#[derive(Debug)]
pub(super) struct Tasks(Vec<JoinHandle<()>>);

impl Tasks {
    pub(super) fn new(tasks: Vec<JoinHandle<()>>) -> Self {
        Self(tasks)
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

impl EtcdStore {
    /// What has happened so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            resyncs: *self.engine.following.resyncs().borrow(),
            checks: self.engine.checked.checks(),
            mismatches: self.engine.checked.mismatches(),
        }
    }

    /// Loses an entry of those in memory, so that a test sees that this is noticed.
    #[cfg(feature = "internals")]
    #[doc(hidden)]
    pub fn lose(&self, key: &Key) {
        self.engine.mirror.lose(key);
    }

    pub(super) fn new(engine: Engine, tasks: Tasks, secret: Arc<str>) -> Self {
        Self {
            engine: Arc::new(engine),
            _tasks: tasks,
            secret,
        }
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(super) fn shared_secret(&self) -> Arc<str> {
        Arc::clone(&self.secret)
    }
}

impl Engine {
    /// # Errors
    /// [`StoreError::Unreadable`] if something is stored that is no entry: a list would lack it.
    pub(super) fn check_undamaged(&self) -> Result<(), StoreError> {
        match self.mirror.damaged() {
            None => Ok(()),
            Some((text, _)) => Err(StoreError::Unreadable(io::Error::other(text))),
        }
    }

    fn check_key(&self, key: &Key) -> Result<(), StoreError> {
        match self.mirror.damage(&self.layout.entry(key)) {
            None => Ok(()),
            Some(reason) => Err(StoreError::Unreadable(io::Error::other(reason))),
        }
    }

    fn may_write(&self) -> bool {
        !self.is_closed() && !self.space.is_full() && self.format.problem().is_none()
    }

    fn problem(&self) -> Option<String> {
        let outdated = self.format.problem();
        if outdated.is_some() {
            return outdated;
        }
        if let Some((text, count)) = self.mirror.damaged() {
            return Some(format!(
                "{count} keys hold something that is no entry, which somebody else has put there: {text}"
            ));
        }
        let health = self.barrier.health();
        // What nobody answers has not failed yet.
        let is_silent = !health.has_passed_within(READABLE);
        health
            .problem()
            .or_else(|| is_silent.then(|| "etcd does not answer".to_owned()))
            .or_else(|| self.space.problem())
    }
}

impl Known for Engine {
    fn record(&self, key: &Key) -> Option<Arc<Record>> {
        self.mirror.table().get(key).cloned()
    }

    fn position(&self) -> Position {
        self.mirror.table().position()
    }

    fn snapshot(&self) -> Box<dyn Snapshot> {
        Box::new(self.mirror.table().lend())
    }

    fn check(&self, key: Option<&Key>) -> Result<(), StoreError> {
        match key {
            Some(key) => self.check_key(key),
            None => self.check_undamaged(),
        }
    }

    fn age(&self) -> Duration {
        self.mirror.age()
    }
}

#[async_trait]
impl Store for EtcdStore {
    async fn get(&self, key: &Key) -> Result<Option<Arc<Record>>, StoreError> {
        self.engine.catch_up().await?;
        let record = self.engine.mirror.table().get(key).cloned();
        if record.is_none() {
            self.engine.check_key(key)?;
        }
        Ok(record)
    }

    async fn get_many(&self, keys: &[&Key]) -> Result<Vec<Option<Arc<Record>>>, StoreError> {
        self.engine.catch_up().await?;
        let records = self.engine.mirror.table().get_many(keys);
        for (key, record) in keys.iter().zip(&records) {
            if record.is_none() {
                self.engine.check_key(key)?;
            }
        }
        Ok(records)
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        self.engine.catch_up().await?;
        self.engine.check_undamaged()?;
        Ok(Box::new(self.engine.mirror.table().lend()))
    }

    fn known(&self) -> &dyn Known {
        &*self.engine
    }

    fn hold(&self, entries: Vec<Entry>) -> Lease<Vec<Entry>> {
        self.engine.mirror.table().hold(entries)
    }

    async fn commit(
        &self,
        changes: ChangeSet,
        deadline: Instant,
    ) -> Result<Committed, CommitError> {
        if Instant::now() >= deadline {
            return Err(StoreError::Expired.into());
        }
        if self.engine.is_closed() {
            return Err(StoreError::Closed.into());
        }
        let turns = Arc::clone(&self.engine.turns);
        let turn = match timeout_at(deadline, turns.acquire_owned()).await {
            Ok(turn) => turn.map_err(|_| StoreError::Closed)?,
            Err(_) => return Err(StoreError::Expired.into()),
        };
        let engine = Arc::clone(&self.engine);
        let (answer, outcome) = oneshot::channel();
        // In a task, so that a caller who goes does not stop a commit that was begun.
        tokio::spawn(async move {
            let committed = {
                let is_wanted = || !answer.is_closed();
                engine.commit(&changes, deadline, is_wanted).await
            };
            drop(turn);
            // Who waited may have gone.
            let _ = answer.send(committed);
        });
        outcome
            .await
            .unwrap_or_else(|_| Err(StoreError::OutcomeUnknown.into()))
    }

    async fn watch(
        &self,
        filter: Filter,
        since: Option<ResumeToken>,
    ) -> Result<Subscription, StoreError> {
        self.engine.catch_up().await?;
        Ok(self.engine.mirror.watch(filter, since))
    }

    fn past(&self) -> &dyn Past {
        self
    }

    async fn status(&self) -> Status {
        let engine = &self.engine;
        let health = engine.barrier.health();
        let is_damaged = engine.mirror.damaged().is_some();
        let readable = health.has_passed_within(READABLE) && !is_damaged;
        let table = engine.mirror.table();
        Status {
            engine: "etcd",
            keys: table.count(),
            position: table.position(),
            readable,
            writable: readable && engine.may_write(),
            problem: engine.problem(),
        }
    }

    async fn close(&self) -> Result<(), StoreError> {
        let engine = &self.engine;
        engine.closed.store(true, Ordering::Release);
        // When nobody has a turn, no commit is under way. If it is closed already, nobody has.
        if let Ok(turns) = engine.turns.acquire_many(COMMITS_MAX).await {
            engine.turns.close();
            drop(turns);
        }
        engine.mirror.close();
        Ok(())
    }
}
