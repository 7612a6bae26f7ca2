//! Strict reads before a refusal. A write is decided on what this process knows, and a commit that proceeds compares
//! with that; but who is refused must not be because of what others have changed since.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::error::Error;
use super::operations::Operations;
use crate::model::{Key, Record};
use crate::storage::StoreError;

impl Operations<'_> {
    /// The current record of a key.
    ///
    /// # Errors
    /// [`Error::Unserved`], also if `deadline` comes first.
    pub(super) async fn newest(
        &self,
        key: &Key,
        deadline: Instant,
    ) -> Result<Option<Arc<Record>>, Error> {
        let read = timeout_at(deadline, self.store().get(key)).await;
        Ok(read.map_err(|_| StoreError::Expired)??)
    }

    /// The current records of these keys, as of one moment. Of no key, it makes this process know every commit that was
    /// acknowledged before.
    ///
    /// # Errors
    /// [`Error::Unserved`], also if `deadline` comes first.
    pub(super) async fn newest_of(
        &self,
        keys: &[&Key],
        deadline: Instant,
    ) -> Result<Vec<Option<Arc<Record>>>, Error> {
        let read = timeout_at(deadline, self.store().get_many(keys)).await;
        Ok(read.map_err(|_| StoreError::Expired)??)
    }
}

/// Whether two reads of a key gave the same record.
pub(super) fn is_same(one: Option<&Arc<Record>>, other: Option<&Arc<Record>>) -> bool {
    // A revision could come back with a backup, a tag does not.
    let tag = |record: Option<&Arc<Record>>| record.map(|record| record.etag());
    tag(one) == tag(other)
}
