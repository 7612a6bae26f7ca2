//! What makes reads of the mirror strict: before it is read, it has everything that was committed before the read came.
//!
//! A barrier is one linearizable get of the marker, whose `mod_revision` is that of the newest commit; the mirror has
//! to reach it. A reader that is alone passes it by itself. All reads that come while one barrier is passed share the
//! next one, so that etcd gets one request at a time, however many readers there are.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
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

/// How long after a barrier another one is passed though nobody reads, so that it is known whether that works.
const IDLE: Duration = Duration::from_secs(1);
/// How long the mirror may stand still although it is behind before another watch is begun.
const STALLED: Duration = Duration::from_secs(1);

/// What readers wait for.
type Waiter = oneshot::Sender<Result<(), StoreError>>;

/// Where readers wait. Clones are the same.
#[derive(Debug, Clone)]
pub struct Barrier {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    layout: Layout,
    mirror: Arc<Mirror>,
    following: Arc<Following>,
    /// How long a barrier may take.
    patience: Duration,
    health: Health,
    turns: Mutex<Turns>,
    /// There is somebody who waits, and nobody else whose turn it is.
    handed_over: Notify,
}

/// Whose turn it is to pass a barrier.
#[derive(Debug, Default)]
struct Turns {
    /// Somebody's.
    is_taken: bool,
    /// Those who have come since.
    waiting: Vec<Waiter>,
    /// The store is closed.
    is_over: bool,
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
    /// A barrier that may take so long.
    #[must_use]
    pub fn new(
        client: Client,
        layout: Layout,
        mirror: Arc<Mirror>,
        following: Arc<Following>,
        patience: Duration,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                client,
                layout,
                mirror,
                following,
                patience,
                health: Health::default(),
                turns: Mutex::default(),
                handed_over: Notify::new(),
            }),
        }
    }

    /// Waits until the mirror has everything that was committed before this call.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if that is not certain in time.
    pub async fn pass(&self) -> Result<(), StoreError> {
        self.pass_until(Instant::now() + self.shared.patience).await
    }

    /// The same, until `deadline` at the latest.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn pass_until(&self, deadline: Instant) -> Result<(), StoreError> {
        let patient = Instant::now() + self.shared.patience;
        let passed = match self.shared.come()? {
            Come::First(turn) if deadline >= patient => return turn.pass(patient).await,
            Come::First(turn) => timeout_at(deadline, turn.pass(patient)).await.map(Ok),
            Come::Later(passed) => timeout_at(deadline.min(patient), passed).await,
        };
        match passed {
            Ok(Ok(passed)) => passed,
            Ok(Err(_)) => Err(StoreError::Closed),
            Err(_) => {
                let problem = self.shared.health.problem();
                let unknown = || "etcd does not answer in time".to_owned();
                Err(StoreError::Unavailable(problem.unwrap_or_else(unknown)))
            }
        }
    }

    /// How the last ones went.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.shared.health
    }

    /// Passes barriers for those who have come while another one was passed, and now and then for nobody, for as long
    /// as the task runs.
    pub async fn run(self) {
        let shared = &self.shared;
        let _end = End(shared);
        loop {
            let turn = tokio::select! {
                () = shared.handed_over.notified() => Turn(shared),
                () = sleep(IDLE) => match shared.come() {
                    Ok(Come::First(turn)) => turn,
                    // Somebody else passes one.
                    Ok(Come::Later(_)) | Err(_) => continue,
                }
            };
            // Those who were just answered may ask again at once: time to answer them, and to read what they ask.
            yield_now().await;
            yield_now().await;
            let waiting = std::mem::take(&mut shared.turns.lock().waiting);
            let passed = turn.pass(Instant::now() + shared.patience).await;
            drop(turn);
            for waiter in waiting {
                let passed = passed.as_ref().copied().map_err(StoreError::duplicate);
                // Who waited may have gone.
                let _ = waiter.send(passed);
            }
        }
    }
}

/// How it is for one who has come.
enum Come<'a> {
    /// Nobody else passes a barrier.
    First(Turn<'a>),
    /// The next one is shared.
    Later(oneshot::Receiver<Result<(), StoreError>>),
}

/// The turn to pass a barrier. When it is over, or who has it is gone, it is that of those who wait.
struct Turn<'a>(&'a Shared);

impl Turn<'_> {
    async fn pass(&self, deadline: Instant) -> Result<(), StoreError> {
        let begun = Instant::now();
        let passed = self.0.pass(deadline).await;
        self.0.health.note(&passed);
        if passed.is_ok() {
            self.0.mirror.note_current(begun);
        }
        passed
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut turns = self.0.turns.lock();
        turns.is_taken = !turns.waiting.is_empty();
        if turns.is_taken {
            self.0.handed_over.notify_one();
        }
    }
}

/// No barrier is passed any more.
struct End<'a>(&'a Shared);

impl Drop for End<'_> {
    fn drop(&mut self) {
        let mut turns = self.0.turns.lock();
        turns.is_over = true;
        turns.waiting.clear();
    }
}

impl Shared {
    /// # Errors
    /// [`StoreError::Closed`].
    fn come(&self) -> Result<Come<'_>, StoreError> {
        let mut turns = self.turns.lock();
        if turns.is_over {
            return Err(StoreError::Closed);
        }
        if turns.is_taken {
            let (waiter, passed) = oneshot::channel();
            turns.waiting.push(waiter);
            return Ok(Come::Later(passed));
        }
        turns.is_taken = true;
        Ok(Come::First(Turn(self)))
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
