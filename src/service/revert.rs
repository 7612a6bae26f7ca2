//! Bringing back a value of the past.

use tokio::time::Instant;

use super::error::Error;
use super::operations::Operations;
use super::write::{Write, Written};
use crate::access::Action;
use crate::model::{Key, Revision};
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
        let then = self.store().past().record_at(&key, revision).await?;
        let then = then.ok_or(Error::NothingToRevert { revision })?;
        let limit = self.service.max_value_bytes();
        if then.value.as_json().len() > limit {
            return Err(Error::ValueTooLarge { limit });
        }
        let write = Write::Revert(then, rights);
        self.write(key, &write, conditions, deadline).await
    }
}
