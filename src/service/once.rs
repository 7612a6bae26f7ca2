//! Requests that are done once, however often they are sent.

use std::sync::Arc;

use super::error::Error;
use super::operations::Operations;
use crate::access::Action;
use crate::model::{Commit, Done, Entry, Key};
use crate::storage::CommitError;

/// What became of a write.
pub(super) enum Attempt<T> {
    /// It was done now.
    Now(T),
    /// It was done before, by this commit.
    Before(Arc<Commit>),
}

impl Operations<'_> {
    /// Does `work` unless the request was done before. What a caller may not do is to be refused before, as far
    /// as that does not depend on the state of the store.
    ///
    /// # Errors
    /// [`Error::RequestInProgress`], [`Error::RequestMismatch`], [`Error::AnswerCompacted`], [`Error::Unserved`],
    /// those of `work`.
    pub(super) async fn once<T>(
        &self,
        work: impl Future<Output = Result<Attempt<T>, Error>>,
    ) -> Result<Attempt<T>, Error> {
        let Some(request) = self.request else {
            return work.await;
        };
        let named = (self.principal.name().cloned(), request.key.clone());
        let _in_progress = self.service.requests.begin(named)?;
        if let Some(commit) = self.done_before().await? {
            return Ok(Attempt::Before(commit));
        }
        let refused = match work.await {
            Err(error) if !matches!(error, Error::Unserved(_)) => error,
            attempt => return attempt,
        };
        // A commit that was begun for it, and whose caller has gone, may have been done meanwhile. Then what it has
        // written is why it is refused now.
        match self.done_before().await? {
            Some(commit) => Ok(Attempt::Before(commit)),
            None => Err(refused),
        }
    }

    /// The commit that was made for this request.
    ///
    /// # Errors
    /// [`Error::RequestMismatch`], [`Error::AnswerCompacted`], [`Error::Unserved`].
    pub(super) async fn done_before(&self) -> Result<Option<Arc<Commit>>, Error> {
        let Some(request) = self.request else {
            return Ok(None);
        };
        let past = self.store().past();
        match past.committed_for(self.principal.name(), request).await {
            Ok(commit) => Ok(commit),
            Err(CommitError::RequestMismatch) => Err(Error::RequestMismatch),
            Err(CommitError::AnswerCompacted { revision, oldest }) => {
                Err(Error::AnswerCompacted { revision, oldest })
            }
            Err(CommitError::Store(error)) => Err(error.into()),
            Err(CommitError::Conflict(_) | CommitError::Repeated(_)) => Ok(None),
        }
    }

    /// The entry that a commit wrote or deleted, if the caller may still do that.
    ///
    /// # Errors
    /// [`Error::Forbidden`].
    pub(super) fn entry_of(&self, commit: &Commit, key: &Key) -> Result<Option<Entry>, Error> {
        let Some(done) = commit.changes.iter().find(|done| done.key == *key) else {
            return Ok(None);
        };
        self.require(action_of(done), key)?;
        let record = done.after.as_ref().or(done.before.as_ref());
        Ok(record.map(|record| Entry {
            key: key.clone(),
            record: Arc::clone(record),
        }))
    }
}

fn action_of(done: &Done) -> Action {
    match &done.after {
        None => Action::Delete,
        Some(after) if after.version == 1 => Action::Create,
        Some(_) => Action::Update,
    }
}
