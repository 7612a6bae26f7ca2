//! Compacts etcd, if this service is told to: it forgets, for all who share it, what was replaced or deleted longer ago
//! than a while.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::client::Client;
use super::follow::Following;
use super::layout::etcd_number;
use super::mirror::Mirror;
use crate::model::Revision;

/// In how many parts of the time something is forgotten.
const PARTS: u32 = 24;
/// The shortest pause.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// The task that compacts. Any number of processes may have one: the shortest time holds.
#[derive(Debug)]
pub struct Compactor {
    /// How etcd is reached.
    pub client: Client,
    /// What is in memory.
    pub mirror: Arc<Mirror>,
    /// Who loads everything anew.
    pub following: Arc<Following>,
    /// How long everything is kept. After its start a process waits as long before it compacts anything.
    pub keep: Duration,
    /// How long etcd may take for an answer.
    pub patience: Duration,
}

impl Compactor {
    /// Compacts now and then, for as long as the task runs.
    pub async fn run(self) {
        let mut resyncs = self.following.resyncs();
        let mut seen = Seen::default();
        loop {
            // The revisions of another past mean nothing in this one.
            if resyncs.has_changed().is_ok_and(|has_changed| has_changed) {
                resyncs.mark_unchanged();
                seen = Seen::default();
            }
            let now = Instant::now();
            seen.note(now, self.mirror.reached());
            if let Some(revision) = seen.newest_before(now, self.keep) {
                self.compact(revision).await;
            }
            sleep((self.keep / PARTS).max(PAUSE_MIN)).await;
        }
    }

    async fn compact(&self, revision: Revision) {
        let deadline = Instant::now() + self.patience;
        match self.client.compact(etcd_number(revision), deadline).await {
            Ok(()) => tracing::debug!(revision, "etcd was compacted"),
            Err(error) => tracing::warn!(%error, revision, "etcd was not compacted"),
        }
    }
}

/// Which revisions there were when.
#[derive(Debug, Default)]
struct Seen(VecDeque<(Instant, Revision)>);

impl Seen {
    fn note(&mut self, at: Instant, revision: Revision) {
        self.0.push_back((at, revision));
    }

    /// The newest revision that is so old, if there is a new one, which is forgotten with those before it.
    fn newest_before(&mut self, now: Instant, age: Duration) -> Option<Revision> {
        let old = |(at, _): &&(Instant, Revision)| now - *at >= age;
        let count = self.0.iter().take_while(old).count();
        let (_, revision) = self.0.drain(..count).next_back()?;
        (revision > 0).then_some(revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_compacted_once_when_it_is_old_enough() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let minute = Duration::from_secs(60);
        let mut seen = Seen::default();
        for (seconds, revision) in [(0, 0), (10, 5), (20, 5), (30, 9)] {
            seen.note(at(seconds), revision);
        }
        assert_eq!(seen.newest_before(at(59), minute), None);
        assert_eq!(
            seen.newest_before(at(60), minute),
            None,
            "nothing was there"
        );
        assert_eq!(seen.newest_before(at(80), minute), Some(5));
        assert_eq!(seen.newest_before(at(85), minute), None);
        assert_eq!(seen.newest_before(at(90), minute), Some(9));
        assert_eq!(seen.newest_before(at(1000), minute), None);
    }
}
