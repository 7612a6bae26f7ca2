//! What makes reads of the mirror strict: before it is read, it has everything that was committed before the read came.
//!
//! A barrier is one linearizable get of the marker, whose `mod_revision` is that of the newest commit; the mirror has
//! to reach it. All reads that come while one barrier is passed share the next one, so that etcd gets one request at a
//! time, however many readers there are. A task of its own passes it: a reader may be left alone, by a client that takes
//! no more of its response, and must not hold up the others.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout_at};

use super::client::Client;
use super::decoded::Mark;
use super::error::ClientError;
use super::follow::Following;
use super::layout::Layout;
use super::mirror::{Mirror, Reach};
use super::query;
use crate::model::Revision;
use crate::storage::StoreError;

/// How many readers are taken into one barrier at a time.
const ROUND_READERS: usize = 1024;
/// How long after a barrier another one is passed though nobody reads, so that it is known whether that works.
const IDLE: Duration = Duration::from_secs(1);
/// How long the mirror may stand still although it is behind before another watch is begun.
const STALLED: Duration = Duration::from_secs(1);

/// What readers wait for.
type Waiter = oneshot::Sender<Result<(), StoreError>>;

/// The readers' side.
#[derive(Debug)]
pub struct Barrier {
    waiters: mpsc::UnboundedSender<Waiter>,
    health: Arc<Health>,
    patience: Duration,
}

/// How the last barriers went.
#[derive(Debug, Default)]
pub struct Health {
    passed_at: Mutex<Option<Instant>>,
    is_failing: AtomicBool,
    problem: Mutex<Option<String>>,
}

impl Health {
    /// Whether a barrier was passed not longer ago than this.
    #[must_use]
    pub fn has_passed_within(&self, time: Duration) -> bool {
        self.passed_at.lock().is_some_and(|at| at.elapsed() <= time)
    }

    /// Why the last one was not passed, if that is so.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.problem.lock().clone()
    }

    fn note(&self, result: &Result<(), StoreError>) {
        match result {
            Ok(()) => {
                *self.passed_at.lock() = Some(Instant::now());
                if self.is_failing.swap(false, Ordering::AcqRel) {
                    *self.problem.lock() = None;
                    tracing::info!("etcd can be reached again");
                }
            }
            Err(error) => {
                *self.problem.lock() = Some(error.to_string());
                if !self.is_failing.swap(true, Ordering::AcqRel) {
                    tracing::error!(%error, "strict reads and writes are refused until etcd can be reached");
                }
            }
        }
    }
}

impl Barrier {
    /// A barrier that readers wait at for so long, and the task that passes it.
    #[must_use]
    pub fn new(
        client: Client,
        layout: Layout,
        mirror: Arc<Mirror>,
        following: Arc<Following>,
        patience: Duration,
    ) -> (Self, Rounds) {
        let (waiters, received) = mpsc::unbounded_channel();
        let health = Arc::new(Health::default());
        let rounds = Rounds {
            client,
            layout,
            mirror,
            following,
            patience,
            waiters: received,
            health: Arc::clone(&health),
        };
        let barrier = Self {
            waiters,
            health,
            patience,
        };
        (barrier, rounds)
    }

    /// Waits until the mirror has everything that was committed before this call.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if that is not certain in time.
    pub async fn pass(&self) -> Result<(), StoreError> {
        self.pass_until(Instant::now() + self.patience).await
    }

    /// The same, until `deadline` at the latest.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn pass_until(&self, deadline: Instant) -> Result<(), StoreError> {
        let deadline = deadline.min(Instant::now() + self.patience);
        let (waiter, passed) = oneshot::channel();
        // Its task ends when the store is closed or dropped.
        self.waiters.send(waiter).map_err(|_| StoreError::Closed)?;
        match timeout_at(deadline, passed).await {
            Ok(Ok(passed)) => passed,
            Ok(Err(_)) => Err(StoreError::Closed),
            Err(_) => {
                let problem = self.health.problem();
                let unknown = || "etcd does not answer in time".to_owned();
                Err(StoreError::Unavailable(problem.unwrap_or_else(unknown)))
            }
        }
    }

    /// How the last ones went.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.health
    }
}

/// The task that passes barriers, one at a time.
#[derive(Debug)]
pub struct Rounds {
    client: Client,
    layout: Layout,
    mirror: Arc<Mirror>,
    following: Arc<Following>,
    patience: Duration,
    waiters: mpsc::UnboundedReceiver<Waiter>,
    health: Arc<Health>,
}

impl Rounds {
    /// Passes barriers for as long as there are readers.
    pub async fn run(mut self) {
        let mut round = Vec::new();
        loop {
            tokio::select! {
                count = self.waiters.recv_many(&mut round, ROUND_READERS) => if count == 0 {
                    return;
                },
                () = sleep(IDLE) => {}
            }
            // Those who were just answered may ask again at once: time to answer them, and to read what they ask.
            yield_now().await;
            yield_now().await;
            // All who wait, so that nobody waits for two.
            while let Ok(waiter) = self.waiters.try_recv() {
                round.push(waiter);
            }
            let begun = Instant::now();
            let passed = self.pass(begun + self.patience).await;
            self.health.note(&passed);
            if passed.is_ok() {
                self.mirror.note_current(begun);
            }
            for waiter in round.drain(..) {
                let passed = passed.as_ref().copied().map_err(StoreError::duplicate);
                // Who waited may have gone.
                let _ = waiter.send(passed);
            }
        }
    }

    async fn pass(&self, deadline: Instant) -> Result<(), StoreError> {
        loop {
            let known = self.mirror.newest_mark();
            let request = query::get(self.layout.marker());
            let response = self.client.range(&request, deadline).await;
            let found = query::first(response.map_err(unavailable)?);
            let mark = found.map(|stored| Mark::of(&stored));
            // What was known here before etcd was asked is known there too, unless it was restored from a backup.
            let is_older = mark.map(|mark| mark.revision) < known.map(|mark| mark.revision);
            match self.mirror.compare(mark) {
                _ if is_older => {}
                Reach::Reached => return Ok(()),
                Reach::Behind(revision) => {
                    self.reach(revision, deadline).await?;
                    // It has to be this past.
                    if self.mirror.compare(mark) == Reach::Reached {
                        return Ok(());
                    }
                }
                Reach::OtherPast => {}
            }
            // Then the mirror is made anew, and etcd is asked again.
            let verified = timeout_at(deadline, self.following.verify()).await;
            verified.map_err(|_| behind())?;
        }
    }

    /// Waits until the mirror has a revision. If it stands still, another watch is begun.
    async fn reach(&self, revision: Revision, deadline: Instant) -> Result<(), StoreError> {
        let mut is_doubted = false;
        while Instant::now() < deadline {
            let before = self.mirror.reached();
            let stalled = deadline.min(Instant::now() + STALLED);
            let reached = timeout_at(stalled, self.mirror.reach(revision)).await;
            if reached.is_ok() {
                return Ok(());
            }
            if !is_doubted && self.mirror.reached() == before {
                is_doubted = true;
                self.following.doubt();
            }
        }
        Err(behind())
    }
}

fn behind() -> StoreError {
    StoreError::Unavailable("the watch of etcd is behind".to_owned())
}

/// A read that etcd does not answer.
#[must_use]
pub fn unavailable(error: ClientError) -> StoreError {
    match error {
        ClientError::Unavailable(text)
        | ClientError::Unknown(text)
        | ClientError::Denied(text)
        | ClientError::NoSpace(text)
        | ClientError::TooLarge(text)
        | ClientError::Rejected(text) => StoreError::Unavailable(text),
        ClientError::Compacted { .. } | ClientError::Future => {
            StoreError::Unreadable(io::Error::other(error.to_string()))
        }
    }
}
