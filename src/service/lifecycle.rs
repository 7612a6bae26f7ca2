//! Health, draining and closing.

use std::time::Duration;

use super::Service;
use crate::storage::{Status, StoreError};

/// The health of the service.
#[derive(Debug)]
pub struct Health {
    /// Whether it can read and commit, and is not draining.
    pub ready: bool,
    /// How long it has been up.
    pub uptime: Duration,
    /// The status of its store.
    pub store: Status,
}

impl Service {
    /// The health of the service.
    pub async fn health(&self) -> Health {
        let store = self.store.status().await;
        Health {
            ready: store.readable && store.writable && !self.is_draining(),
            uptime: self.started.elapsed(),
            store,
        }
    }

    /// From now on the service reports that it is not ready and delays no answer; it still works.
    pub fn start_draining(&self) {
        self.draining.send_replace(true);
    }

    /// Ready when the service drains.
    pub fn drained(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut draining = self.draining.subscribe();
        async move {
            // A service that is gone has drained.
            let _ = draining.wait_for(|draining| *draining).await;
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Finishes the writes in progress and accepts no more.
    ///
    /// # Errors
    /// [`StoreError`] if the store could not be closed cleanly.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.start_draining();
        self.store.close().await
    }
}
