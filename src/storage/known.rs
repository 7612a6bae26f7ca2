//! What one process knows of a store without asking anybody.

use std::sync::Arc;
use std::time::Duration;

use super::{Snapshot, StoreError};
use crate::model::{Key, Position, Record};

/// What this process knows of a store, without waiting and without asking anybody. If the engine belongs to one
/// process, that is the current state. If several processes share it, it is a state that the store has had, and
/// others may have written since: a decision on it may be made if the commit compares with it, but nobody may be
/// refused because of it.
///
/// It never goes back, unless the store does because a backup was restored. It is at least as new as anything that
/// this process has returned by a commit, a conflict or an event, and after a strict read has returned, also one of no
/// keys, as what that read would show.
pub trait Known: Send + Sync {
    /// The record of a key.
    fn record(&self, key: &Key) -> Option<Arc<Record>>;

    /// The newest commit that is known. What is read after this call is at least as new.
    fn position(&self) -> Position;

    /// All entries.
    fn snapshot(&self) -> Box<dyn Snapshot>;

    /// Whether all of it can be read: the record of `key` if one is named, or else all entries.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`] if something is stored that is no entry, so that what is known lacks it.
    fn check(&self, key: Option<&Key>) -> Result<(), StoreError> {
        let _ = key;
        Ok(())
    }

    /// How long ago it was known to be current: since the last strict read that succeeded began. Zero if no other process can write.
    fn age(&self) -> Duration {
        Duration::ZERO
    }
}
