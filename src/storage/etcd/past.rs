//! The past. Lists, histories and resume points come from memory, as far as the recent commits in it reach: 64 MiB of
//! them, of which a process reads 10,000 revisions or 32 MiB at its start. The entry of one key at a revision, what was
//! written to it since it was created, and what a request wrote, come from etcd if memory no longer has them and etcd
//! has not compacted them.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use tokio::task::spawn_blocking;

use super::engine::Engine;
use super::requests::ReadError;
use super::store::EtcdStore;
use crate::model::{
    Commit, Filter, HistoryPage, HistoryQuery, Key, Name, Record, Request, Revision, StateDigest,
    Timestamp,
};
use crate::storage::past::{Past, PastError};
use crate::storage::requests::KnownRequest;
use crate::storage::{CommitError, Snapshot, StoreError};

impl Engine {
    /// Waits until everything up to a revision is known, if it was committed before this call.
    ///
    /// # Errors
    /// [`PastError::Future`], [`PastError::Store`].
    async fn reach_past(&self, revision: Revision) -> Result<(), PastError> {
        if revision > self.mirror.table().revision() {
            self.catch_up().await?;
            let newest = self.mirror.table().revision();
            if revision > newest {
                return Err(PastError::Future { newest });
            }
        }
        Ok(())
    }

    /// The record of a key at a revision, if the memory reaches back to that.
    fn remembered(&self, key: &Key, revision: Revision) -> Result<Option<Arc<Record>>, PastError> {
        self.mirror.with_past(|table, past| {
            let current = table.get(key);
            if current.is_some_and(|current| current.revision <= revision) {
                return Ok(current.cloned());
            }
            Ok(match past.before_change(key, revision)? {
                Some(done) => done.before.clone(),
                None => current.cloned(),
            })
        })
    }
}

#[async_trait]
impl Past for EtcdStore {
    async fn committed_for(
        &self,
        writer: Option<&Name>,
        request: &Request,
    ) -> Result<Option<Arc<Commit>>, CommitError> {
        let engine = self.engine();
        let now = SystemTime::now().into();
        let remembered = engine.mirror.with_past(|table, past| {
            let known = table.requests().known(writer, request, now);
            match known {
                None => Ok(None),
                Some(KnownRequest::Mismatch) => Err(CommitError::RequestMismatch),
                Some(KnownRequest::Done(position)) => Ok(past.get(position.revision).cloned()),
            }
        })?;
        if remembered.is_some() {
            return Ok(remembered);
        }
        // It may have been done before this process was started, or longer ago than it remembers.
        let Some(found) = engine.stored.request(writer, request).await? else {
            return Ok(None);
        };
        if found.done.fingerprint != request.fingerprint {
            return Err(CommitError::RequestMismatch);
        }
        let revision = found.revision;
        let remembered = engine
            .mirror
            .with_past(|_, past| past.get(revision).cloned());
        if remembered.is_some() {
            return Ok(remembered);
        }
        let state = engine.mirror.state_at(revision).unwrap_or_default();
        let current = |key: &Key| engine.mirror.table().get(key).cloned();
        let stored = &engine.stored;
        match stored
            .commit(found, (writer, request), state, current)
            .await
        {
            Ok(commit) => Ok(Some(Arc::new(commit))),
            Err(ReadError::Compacted) => {
                let oldest = engine.mirror.with_past(|_, past| past.oldest());
                Err(CommitError::AnswerCompacted { revision, oldest })
            }
            Err(ReadError::Store(error)) => Err(error.into()),
        }
    }

    fn newest_at(&self) -> Timestamp {
        self.engine().mirror.table().last_commit_at()
    }

    async fn revision_at(&self, at: Timestamp) -> Result<Revision, PastError> {
        self.engine().catch_up().await?;
        let mirror = &self.engine().mirror;
        mirror.with_past(|_, past| past.revision_at(at))
    }

    async fn record_at(
        &self,
        key: &Key,
        revision: Revision,
    ) -> Result<Option<Arc<Record>>, PastError> {
        let engine = self.engine();
        engine.reach_past(revision).await?;
        let compacted = match engine.remembered(key, revision) {
            Err(compacted @ PastError::Compacted { .. }) if revision > 0 => compacted,
            remembered => return remembered,
        };
        match engine.stored.record_at(key, revision).await {
            Ok(record) => Ok(record),
            Err(ReadError::Compacted) => Err(compacted),
            Err(ReadError::Store(error)) => Err(error.into()),
        }
    }

    async fn snapshot_at(&self, revision: Revision) -> Result<Box<dyn Snapshot>, PastError> {
        let engine = self.engine();
        engine.reach_past(revision).await?;
        engine.check_undamaged()?;
        let mirror = Arc::clone(&engine.mirror);
        let made = spawn_blocking(move || mirror.as_of(revision)).await;
        let made = made.map_err(|error| StoreError::Unreadable(io::Error::other(error)))?;
        Ok(Box::new(made?))
    }

    async fn history(&self, query: HistoryQuery) -> Result<HistoryPage, StoreError> {
        let engine = self.engine();
        if query.before.revision > engine.mirror.table().revision() {
            engine.catch_up().await?;
        }
        let mut page = engine.mirror.with_past(|_, past| past.history(&query));
        if page.next.is_none()
            && let [Filter::Key(key)] = &query.filters[..]
        {
            engine.stored.add_older(key, &query, &mut page).await?;
        }
        Ok(page)
    }

    async fn state_at(&self, revision: Revision) -> Result<Option<StateDigest>, StoreError> {
        match self.engine().reach_past(revision).await {
            Ok(()) => Ok(self.engine().mirror.state_at(revision)),
            Err(PastError::Store(error)) => Err(error),
            Err(PastError::Future { .. } | PastError::Compacted { .. }) => Ok(None),
        }
    }

    fn secret(&self) -> Arc<str> {
        self.shared_secret()
    }
}
