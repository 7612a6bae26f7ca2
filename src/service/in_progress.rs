//! The requests in progress that are done once: no two of one name at a time.

use std::collections::HashSet;

use parking_lot::Mutex;

use super::error::Error;
use crate::model::{IdempotencyKey, Name};

/// The requests in progress that are done once, by writer and idempotency key. All anonymous writers are one.
#[derive(Debug, Default)]
pub(super) struct RequestsInProgress(Mutex<HashSet<Named>>);

type Named = (Option<Name>, IdempotencyKey);

/// A request that is in progress until this is dropped.
pub(super) struct InProgress<'a> {
    requests: &'a RequestsInProgress,
    named: Named,
}

impl RequestsInProgress {
    /// # Errors
    /// [`Error::RequestInProgress`] if there is one of this name already.
    pub(super) fn begin(&self, named: Named) -> Result<InProgress<'_>, Error> {
        if !self.0.lock().insert(named.clone()) {
            return Err(Error::RequestInProgress);
        }
        Ok(InProgress {
            requests: self,
            named,
        })
    }
}

impl Drop for InProgress<'_> {
    fn drop(&mut self) {
        self.requests.0.lock().remove(&self.named);
    }
}
