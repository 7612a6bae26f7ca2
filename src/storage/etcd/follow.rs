//! Follows what is written to etcd, by whichever process, and keeps the mirror up to date.
//!
//! One watch delivers everything in the order of the revisions. If it breaks, the next one begins where it ended, on
//! another endpoint, after it is certain that etcd still has the past that is known here. If it does not, or if the
//! revisions in between were compacted, everything is loaded anew.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use super::client::{Client, WatchStream};
use super::decoded::{Decoded, Mark};
use super::error::ClientError;
use super::gather::{Gather, OutOfOrder};
use super::layout::number;
use super::load::{LoadError, load};
use super::mirror::{Discontinuous, Mirror};
use super::query::{self, Delivery};
use super::text::Reader;
use crate::model::Revision;

/// The first pause before a watch is tried again.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long a watch may deliver nothing after one that was given up for that, at first and at the most.
const FIRST_LENIENCE: Duration = Duration::from_secs(1);
const LONGEST_LENIENCE: Duration = Duration::from_secs(60);
/// How long a watch is waited for that should say what is compacted.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

/// What a follower tells others, and they it.
#[derive(Debug)]
pub struct Following {
    /// How often it was certain that etcd has the past that is known here.
    verified: watch::Sender<u64>,
    /// Somebody doubts that.
    doubted: Notify,
    /// Somebody waits for events that do not come.
    stalled: Notify,
    /// What is in memory differs from what is stored.
    is_distrusted: AtomicBool,
    /// How often everything was loaded anew.
    resyncs: watch::Sender<u64>,
}

impl Default for Following {
    fn default() -> Self {
        Self {
            verified: watch::channel(0).0,
            doubted: Notify::new(),
            stalled: Notify::new(),
            is_distrusted: AtomicBool::new(false),
            resyncs: watch::channel(0).0,
        }
    }
}

impl Following {
    /// Waits until etcd is followed for the first time.
    pub async fn begun(&self) {
        let mut verified = self.verified.subscribe();
        // The sender lives as long as this.
        let _ = verified.wait_for(|verified| *verified > 0).await;
    }

    /// Waits until it is certain anew that etcd has the past that is known here.
    pub async fn verify(&self) {
        let mut verified = self.verified.subscribe();
        let before = *verified.borrow_and_update();
        self.doubted.notify_one();
        // The sender lives as long as this.
        let _ = verified.wait_for(|now| *now > before).await;
    }

    fn times_verified(&self) -> u64 {
        *self.verified.borrow()
    }

    /// The watch may be dead: another is begun, unless this one was just begun for the same reason.
    pub fn doubt(&self) {
        self.stalled.notify_one();
    }

    /// What is in memory differs from what is stored: everything is loaded anew.
    pub fn distrust(&self) {
        self.is_distrusted.store(true, Ordering::Release);
        self.doubted.notify_one();
    }

    /// How often everything was loaded anew, now and later.
    #[must_use]
    pub fn resyncs(&self) -> watch::Receiver<u64> {
        self.resyncs.subscribe()
    }
}

/// The task that follows etcd.
#[derive(Debug)]
pub struct Follower {
    /// How it is reached.
    pub client: Client,
    /// Reads what is stored.
    pub reader: Reader,
    /// What it fills.
    pub mirror: Arc<Mirror>,
    /// What it tells.
    pub following: Arc<Following>,
    /// How long etcd may take for an answer.
    pub patience: Duration,
}

/// How the next watch is begun, after those that have delivered nothing.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    delivery: Delivery,
    /// Whether what comes is too long for one response.
    is_too_long: bool,
    /// How long it may deliver nothing.
    lenience: Duration,
}

impl Default for Attempt {
    fn default() -> Self {
        Self {
            delivery: Delivery::Whole,
            is_too_long: false,
            lenience: Duration::ZERO,
        }
    }
}

impl Attempt {
    /// The one after this one, which was given up because its events did not come.
    fn after(self, interrupted: &Interrupted) -> Self {
        let is_too_long = match interrupted {
            Interrupted::Stalled => self.is_too_long,
            Interrupted::Client(ClientError::TooLarge(_)) => true,
            _ => return self,
        };
        let delivery = match self.delivery {
            Delivery::InFragments if !is_too_long => Delivery::Whole,
            Delivery::InFragments | Delivery::Whole => Delivery::InFragments,
        };
        let lenience = (self.lenience * 2).clamp(FIRST_LENIENCE, LONGEST_LENIENCE);
        Self {
            delivery,
            is_too_long,
            lenience,
        }
    }
}

/// Why a watch cannot go on.
#[derive(Debug, Error)]
enum Interrupted {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    OutOfOrder(#[from] OutOfOrder),
    #[error(transparent)]
    Discontinuous(#[from] Discontinuous),
    #[error("it was doubted whether etcd has the past that is known here")]
    Doubted,
    #[error("the watch does not deliver what was committed")]
    Stalled,
}

impl Interrupted {
    /// Whether what is in memory may differ from what is stored.
    fn leaves_doubt(&self) -> bool {
        matches!(self, Self::OutOfOrder(_) | Self::Discontinuous(_))
    }
}

impl Follower {
    /// Follows etcd for as long as the task runs.
    pub async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        let mut attempt = Attempt::default();
        loop {
            let before = self.following.times_verified();
            let reached = self.mirror.reached();
            let Err(interrupted) = self.follow(attempt).await;
            let was_followed = self.following.times_verified() > before;
            attempt = if self.mirror.reached() == reached {
                attempt.after(&interrupted)
            } else {
                Attempt::default()
            };
            if interrupted.leaves_doubt() {
                tracing::error!(%interrupted, "the events of etcd are not whole: everything is loaded anew");
                self.following.is_distrusted.store(true, Ordering::Release);
            } else if was_followed {
                tracing::info!(%interrupted, "the watch of etcd has ended: the next one is begun");
            } else {
                tracing::debug!(%interrupted, "etcd cannot be followed yet");
            }
            if was_followed {
                pause = FIRST_PAUSE;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn follow(&mut self, attempt: Attempt) -> Result<Infallible, Interrupted> {
        let delivery = attempt.delivery;
        let mut gather = Gather::after(self.mirror.reached());
        let mut stream = self.begin(&gather, delivery).await?;
        // Only now: what etcd restores from a snapshot breaks the watch.
        if let Some(until) = self.continue_from(&mut stream).await? {
            if until > self.mirror.reached() {
                self.mirror.skip_to(until);
                gather = Gather::after(until);
                stream = self.begin(&gather, delivery).await?;
            }
        } else {
            self.resync().await?;
            gather = Gather::after(self.mirror.reached());
            stream = self.begin(&gather, delivery).await?;
        }
        self.following
            .verified
            .send_modify(|verified| *verified += 1);
        let layout = self.reader.layout().clone();
        let mut heard_at = Instant::now();
        loop {
            let response = tokio::select! {
                response = stream.next() => response,
                () = self.following.doubted.notified() => return Err(Interrupted::Doubted),
                () = self.following.stalled.notified() => {
                    if heard_at.elapsed() < attempt.lenience {
                        continue;
                    }
                    return Err(Interrupted::Stalled);
                }
            };
            heard_at = Instant::now();
            if response.is_err() {
                tracing::debug!(dropped = gather.dropped(), "events that were known already");
            }
            let response = response?;
            for group in gather.add(&layout, response.events, response.fragment)? {
                let decoded = Decoded::read(&group, &mut self.reader);
                self.mirror.apply(decoded)?;
            }
        }
    }

    /// Begins a watch, and waits until etcd says that it is begun.
    async fn begin(&self, gather: &Gather, delivery: Delivery) -> Result<WatchStream, ClientError> {
        let request = query::watch(self.reader.layout(), gather.next(), false, delivery);
        self.client.watch(request).await
    }

    /// The revision after which the mirror can go on, if etcd has the past that is known here and all that came
    /// after it.
    async fn continue_from(
        &self,
        stream: &mut WatchStream,
    ) -> Result<Option<Revision>, Interrupted> {
        let reached = self.mirror.reached();
        if self.following.is_distrusted.load(Ordering::Acquire) {
            return Ok(None);
        }
        match self.has_known_mark(reached).await {
            Ok(true) => return Ok(Some(reached)),
            Ok(false) | Err(ClientError::Future) => return Ok(None),
            Err(ClientError::Compacted { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        // The watch says up to where. If the newest commit was the same one then, nothing is lost: in an etcd that
        // others use too, revisions go by in which nothing of this store is written.
        let compacted = match timeout(TOLD_WITHIN, stream.next()).await {
            Ok(Err(ClientError::Compacted { revision })) => number(revision),
            Ok(Err(error)) => return Err(error.into()),
            Ok(Ok(_)) | Err(_) => return Ok(None),
        };
        match self.has_known_mark(compacted).await {
            Ok(is_known) => Ok(is_known.then_some(compacted)),
            Err(ClientError::Compacted { .. } | ClientError::Future) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the newest mark at a revision is the newest one that is known here.
    async fn has_known_mark(&self, revision: Revision) -> Result<bool, ClientError> {
        let request = query::get_at(self.reader.layout().marker(), revision);
        let deadline = Instant::now() + self.patience;
        let found = query::first(self.client.range(&request, deadline).await?);
        let found = found.map(|stored| Mark::of(&stored));
        Ok(found == self.mirror.newest_mark())
    }

    /// Loads everything anew.
    async fn resync(&mut self) -> Result<(), LoadError> {
        let leases = self.mirror.table().leases().clone();
        let loaded = load(&self.client, &mut self.reader, leases, self.patience).await?;
        self.mirror.replace(loaded);
        self.following.is_distrusted.store(false, Ordering::Release);
        self.following.resyncs.send_modify(|resyncs| *resyncs += 1);
        Ok(())
    }
}
