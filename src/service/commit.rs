//! What all writes have in common.

use std::io;

use tokio::time::Instant;

use super::error::Error;
use super::operations::Operations;
use super::{Policy, Service};
use crate::model::ChangeSet;
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

impl Operations<'_> {
    /// Commits, or returns which keys another commit has changed.
    ///
    /// # Errors
    /// [`Error::Unserved`].
    pub(super) async fn commit(
        &self,
        changes: ChangeSet,
        deadline: Instant,
    ) -> Result<Result<Committed, Vec<Conflict>>, Error> {
        let changes = changes.by(self.principal.name().cloned());
        let begun = self.audit_begun(&changes);
        match self.store().commit(changes, deadline).await {
            Ok(committed) => {
                begun.were_done(&committed);
                Ok(Ok(committed))
            }
            Err(CommitError::Conflict(conflicts)) => {
                begun.were_not_done();
                Ok(Err(conflicts))
            }
            Err(CommitError::Repeated(_) | CommitError::RequestMismatch) => {
                begun.were_not_done();
                Err(no_records().into())
            }
            Err(CommitError::Store(error)) => {
                let is_known =
                    !matches!(error, StoreError::Unknown(_) | StoreError::OutcomeUnknown);
                if is_known {
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
