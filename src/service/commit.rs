//! What all writes have in common.

use std::io;
use std::sync::Arc;

use tokio::time::Instant;

use super::error::Error;
use super::operations::Operations;
use super::{Policy, Service};
use crate::model::{ChangeSet, Commit};
use crate::precondition::Preconditions;
use crate::storage::{CommitError, Committed, Conflict, StoreError};

impl Service {
    /// # Errors
    /// [`Error::PreconditionRequired`].
    pub(super) fn check_policy(&self, conditions: &Preconditions) -> Result<(), Error> {
        if self.settings.policy == Policy::ConditionalWrites && !conditions.rule_out_lost_updates()
        {
            return Err(Error::PreconditionRequired);
        }
        Ok(())
    }
}

/// What became of a commit.
pub(super) enum Outcome {
    /// It is durable.
    Committed(Committed),
    /// Its request was done before, by this commit.
    Repeated(Arc<Commit>),
    /// Another commit has changed these keys.
    Lost(Vec<Conflict>),
}

impl Operations<'_> {
    /// Commits.
    ///
    /// # Errors
    /// [`Error::RequestMismatch`], [`Error::AnswerCompacted`], [`Error::Unserved`].
    pub(super) async fn commit(
        &self,
        changes: ChangeSet,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        let changes = changes
            .by(self.principal.name().cloned())
            .for_request(self.request.cloned());
        let begun = self.audit_begun(&changes);
        match self.store().commit(changes, deadline).await {
            Ok(committed) => {
                begun.were_done(&committed);
                Ok(Outcome::Committed(committed))
            }
            Err(CommitError::Conflict(conflicts)) => {
                begun.were_not_done();
                Ok(Outcome::Lost(conflicts))
            }
            Err(CommitError::Repeated(_)) => {
                begun.were_not_done();
                let before = self.done_before().await?;
                Ok(Outcome::Repeated(before.ok_or_else(no_records)?))
            }
            Err(CommitError::AnswerCompacted { revision, oldest }) => {
                begun.were_not_done();
                Err(Error::AnswerCompacted { revision, oldest })
            }
            Err(CommitError::RequestMismatch) => {
                begun.were_not_done();
                Err(Error::RequestMismatch)
            }
            Err(CommitError::Store(error)) => {
                if !error.leaves_outcome_unknown() {
                    begun.were_not_done();
                }
                Err(error.into())
            }
        }
    }
}

/// An engine has broken its contract.
pub(super) fn no_records() -> StoreError {
    StoreError::Unknown(io::Error::other("the store did not return what it wrote"))
}
