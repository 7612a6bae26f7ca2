//! Bringing back a value of the past.

use std::sync::Arc;

use tokio::time::Instant;

use super::decision::Write;
use super::error::Error;
use super::operations::Operations;
use super::write::Written;
use crate::access::Action;
use crate::model::{Key, Record, Revision};
use crate::precondition::Preconditions;

impl Operations<'_> {
    /// Writes the value that a key had at `revision` once more, as a new commit. It undoes a deletion as well;
    /// then the entry's version is 1. The caller needs the rights of a put, and to read the key.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::NothingToRevert`], [`Error::Compacted`], [`Error::Future`],
    /// [`Error::ValueTooLarge`], [`Error::PreconditionFailed`], [`Error::PreconditionRequired`],
    /// [`Error::RequestInProgress`], [`Error::RequestMismatch`], [`Error::Unserved`].
    pub async fn revert(
        &self,
        key: Key,
        revision: Revision,
        conditions: &Preconditions,
        deadline: Instant,
    ) -> Result<Written, Error> {
        let rights = self.put_rights(&key, conditions)?;
        if !self.may(Action::Read, &key) {
            self.audit_refused(&[Action::Update], &key);
            self.require(Action::Read, &key)?;
        }
        self.service.check_policy(conditions)?;
        // What was reverted to for the same request may no longer be kept.
        if let Some(commit) = self.done_before().await? {
            return self.written_before(&commit, &key);
        }
        let then = match self.value_of(&key, revision).await {
            Err(error) if self.request.is_some() && !matches!(error, Error::Unserved(_)) => {
                // It may have been done by another process, of which this one does not know yet.
                Box::pin(self.newest_of(&[], deadline)).await?;
                return match self.done_before().await? {
                    Some(commit) => self.written_before(&commit, &key),
                    None => Err(error),
                };
            }
            then => then?,
        };
        let limit = self.service.max_value_bytes();
        if then.value.as_json().len() > limit {
            return Err(Error::ValueTooLarge { limit });
        }
        let write = Write::Revert(then, rights);
        self.write(key, &write, conditions, deadline).await
    }

    /// The record that a key had, whose value can be brought back.
    ///
    /// # Errors
    /// [`Error::NothingToRevert`], [`Error::Compacted`], [`Error::Future`], [`Error::Unserved`].
    async fn value_of(&self, key: &Key, revision: Revision) -> Result<Arc<Record>, Error> {
        let then = self.store().past().record_at(key, revision).await?;
        then.ok_or(Error::NothingToRevert { revision })
    }
}
