//! Entries that are shown piece by piece.

use super::Service;
use crate::model::Entry;
use crate::storage::lease::Lease;

impl Service {
    /// Keeps the entries of an answer that is sent piece by piece, as long as the store lets it.
    pub async fn hold(&self, entries: Vec<Entry>) -> Lease<Vec<Entry>> {
        self.store.hold(entries).await
    }
}
