//! Work that several callers need at the same time.

use std::future::Future;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

/// Work that is done once for all who need it meanwhile. A task of its own does it: a caller may be left alone, by a client
/// that takes no more of its response, and must not hold up the others.
pub struct Joint<T> {
    under_way: Arc<Mutex<Option<watch::Receiver<Option<T>>>>>,
}

impl<T> Default for Joint<T> {
    fn default() -> Self {
        Self {
            under_way: Arc::default(),
        }
    }
}

impl<T: Clone + Send + Sync + 'static> Joint<T> {
    /// What the work under way gives; if there is none, `work` is begun. `None` if it has panicked.
    pub async fn join(&self, work: impl Future<Output = T> + Send + 'static) -> Option<T> {
        let mut result = self.joined(work);
        let result = result.wait_for(Option::is_some).await.ok()?;
        result.clone()
    }

    fn joined(&self, work: impl Future<Output = T> + Send + 'static) -> watch::Receiver<Option<T>> {
        let mut under_way = self.under_way.lock();
        // The sender is gone if it has panicked.
        let running = under_way.as_ref().filter(|it| it.has_changed().is_ok());
        if let Some(running) = running {
            return running.clone();
        }
        let (done, result) = watch::channel(None);
        *under_way = Some(result.clone());
        let slot = Arc::clone(&self.under_way);
        tokio::spawn(async move {
            let value = work.await;
            // Nothing of it is kept longer than somebody waits.
            *slot.lock() = None;
            done.send_replace(Some(value));
        });
        result
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt as _;
    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn all_who_wait_get_what_was_done_once() {
        let joint = Joint::default();
        let begun = Arc::new(AtomicUsize::new(0));
        let work = || {
            let begun = Arc::clone(&begun);
            async move {
                tokio::task::yield_now().await;
                begun.fetch_add(1, Ordering::Relaxed)
            }
        };
        let first = join_all((0..8).map(|_| joint.join(work()))).await;
        assert_eq!(first, [Some(0); 8]);
        // The first of them is left alone.
        let mut alone = Box::pin(joint.join(work()));
        assert_eq!((&mut alone).now_or_never(), None);
        assert_eq!(joint.join(work()).await, Some(1));
        assert_eq!(joint.join(work()).await, Some(2));
        assert_eq!(alone.await, Some(1));
    }

    #[tokio::test]
    async fn work_that_panics_is_begun_again_by_the_next() {
        let joint: Joint<u8> = Joint::default();
        assert_eq!(joint.join(async { panic!("as it should") }).await, None);
        assert_eq!(joint.join(async { 1 }).await, Some(1));
    }
}
