//! What the operations of a store share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::barrier::Barrier;
use super::check::Checked;
use super::client::Client;
use super::follow::Following;
use super::format::Format;
use super::layout::Layout;
use super::mirror::Mirror;
use super::requests::{RequestLeases, StoredPast};
use super::space::Space;
use crate::storage::StoreError;

/// How many commits may be under way; past that, callers wait.
pub const COMMITS_MAX: u32 = 1024;

/// What the operations of a store share.
#[derive(Debug)]
pub struct Engine {
    /// How etcd is reached.
    pub client: Client,
    /// Where things are.
    pub layout: Layout,
    /// Whether this program may write there.
    pub format: Arc<Format>,
    /// What is in memory.
    pub mirror: Arc<Mirror>,
    /// What makes reads of that strict.
    pub barrier: Barrier,
    /// The leases of requests.
    pub leases: RequestLeases,
    /// What is no longer in memory.
    pub stored: StoredPast,
    /// Whether etcd has room.
    pub space: Arc<Space>,
    /// How etcd is followed.
    pub following: Arc<Following>,
    /// What comparisons with etcd have found.
    pub checked: Arc<Checked>,
    /// How long etcd may take for an answer.
    pub patience: Duration,
    /// Who may commit.
    pub turns: Arc<Semaphore>,
    /// The store is closed: it accepts no commit.
    pub closed: AtomicBool,
}

impl Engine {
    /// Whether the store is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Waits until the mirror has everything that was committed before this call.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if that is not certain in time.
    pub async fn catch_up(&self) -> Result<(), StoreError> {
        self.barrier.pass().await
    }
}
