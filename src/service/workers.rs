//! Parsing and patching of large texts, apart from the threads that answer requests.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use super::error::Unserved;
use crate::storage::StoreError;

/// From this many bytes of JSON, work leaves the threads that answer requests. It then takes about half a
/// millisecond; switching to another thread and back takes a tenth of that.
const LARGE_BYTES: usize = 32 * 1024;
/// How many bytes of JSON are worked on at once. The nodes of a patch can take 75 times the bytes of their
/// text, so this bounds the memory of all of them to some 150 MiB.
const AT_WORK_MAX_BYTES: usize = 2 * 1024 * 1024;
/// How many jobs run at once at the most, however many cores there are.
const MAX_RUNNING_JOBS: usize = 4;
/// How many jobs may wait for a thread; past that a request is refused at once.
const MAX_WAITING_JOBS: usize = 256;

/// A bounded number of threads with a bounded queue.
#[derive(Debug)]
pub struct Workers {
    /// Bytes of JSON that may be worked on.
    room: Arc<Semaphore>,
    /// The least that a job takes of it, so that no more of them run than there are cores.
    min_bytes: usize,
    queue: Semaphore,
}

/// Tells a job whether to stop: its caller has gone away, or its deadline has passed.
#[derive(Debug, Clone)]
pub struct Stop {
    /// Whether its caller has gone away; `None` for a job that its caller does itself.
    abandoned: Option<Arc<AtomicBool>>,
    deadline: Instant,
}

impl Stop {
    /// Whether the outcome is no longer needed.
    #[must_use]
    pub fn is_due(&self) -> bool {
        let is_abandoned = |abandoned: &Arc<AtomicBool>| abandoned.load(Ordering::Relaxed);
        self.abandoned.as_ref().is_some_and(is_abandoned) || Instant::now() >= self.deadline
    }
}

/// Abandons a job when it is dropped.
struct Caller(Arc<AtomicBool>);

impl Drop for Caller {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Workers {
    /// As many threads as there are cores, within limits.
    #[must_use]
    pub fn new() -> Self {
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            room: Arc::new(Semaphore::new(AT_WORK_MAX_BYTES)),
            min_bytes: AT_WORK_MAX_BYTES / cores.min(MAX_RUNNING_JOBS),
            queue: Semaphore::new(MAX_WAITING_JOBS),
        }
    }

    /// What `work` on so many bytes of JSON yields: here if they are few, else on a thread of its own
    /// once there is room. A caller that goes away takes its job out of the queue; one that is running
    /// is told to stop.
    ///
    /// # Errors
    /// [`Unserved::Overloaded`] if too many wait; [`StoreError::Expired`] if `deadline` came first.
    pub async fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        deadline: Instant,
        work: impl FnOnce(&Stop) -> T + Send + 'static,
    ) -> Result<T, Unserved> {
        if bytes < LARGE_BYTES {
            let stop = Stop {
                abandoned: None,
                deadline,
            };
            return Ok(work(&stop));
        }
        let place = self.queue.try_acquire().map_err(|_| Unserved::Overloaded)?;
        let bytes = bytes.clamp(self.min_bytes, AT_WORK_MAX_BYTES);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(bytes);
        let Ok(Ok(room)) = timeout_at(deadline, room).await else {
            return Err(StoreError::Expired.into());
        };
        drop(place);
        let abandoned = Arc::default();
        let _caller = Caller(Arc::clone(&abandoned));
        let stop = Stop {
            abandoned: Some(abandoned),
            deadline,
        };
        let job = spawn_blocking(move || {
            let yielded = work(&stop);
            drop(room);
            yielded
        });
        // A job that is told to stop at the deadline ends soon after it.
        job.await
            .map_err(|ended| StoreError::NotApplied(io::Error::other(ended)).into())
    }
}

impl Default for Workers {
    fn default() -> Self {
        Self::new()
    }
}
