//! What a connection is doing, to distinguish a client that is gone from one that has only finished sending.
//!
//! In both cases the sending side is closed. What that means depends on the phase:
//!
//! | phase | the sending side closes |
//! | --- | --- |
//! | idle | the connection ends |
//! | the request is arriving, or its answer is being made | it has [`HALF_CLOSED_GRACE`]: a short request is answered by then |
//! | the answer is being sent, to the last byte | the client is still there: otherwise a write would fail |
//! | the answer waits for a change, or is a stream of changes | the client is gone |
//! | streams of HTTP/2 are open, each with a request | the client is gone: it has another way to end a request |

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::task::Waker;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::Extensions;
use axum::http::request::Parts;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

/// How long an answer may still take when the client has closed its sending side.
pub const HALF_CLOSED_GRACE: Duration = Duration::from_secs(1);

/// How long a tick of a [`Clock`] is.
pub const TICK: Duration = Duration::from_millis(250);

/// A cheap clock: the accept loop advances it one tick at a time.
#[derive(Debug, Clone, Default)]
pub struct Clock(Arc<AtomicU32>);

impl Clock {
    /// How many ticks have passed.
    pub fn now(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Advances it by one; it overflows after 34 years.
    pub fn tick(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// It has no request.
    Idle,
    /// A request has begun, and its answer has not.
    Answering,
    /// The answer is held until something changes.
    Waiting,
    /// The answer is a stream of changes.
    Streaming,
    /// The answer is being sent.
    Sending,
    /// The answer is complete, and the rest of it is still to be handed to the system.
    Flushing,
    /// At least one stream of HTTP/2 is open.
    Multiplexing,
    /// It is to be closed and takes no further request.
    Closed,
}

impl Phase {
    fn of(number: u8) -> Self {
        [
            Self::Idle,
            Self::Answering,
            Self::Waiting,
            Self::Streaming,
            Self::Sending,
            Self::Flushing,
            Self::Multiplexing,
        ]
        .into_iter()
        .find(|phase| *phase as u8 == number)
        .unwrap_or(Self::Closed)
    }
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct Peer {
    /// Its address, as far as it is known.
    pub address: Option<IpAddr>,
    /// Whether the connection is secured by TLS.
    pub is_secured: bool,
}

/// The state of one connection. Only the task that serves the connection changes it, or with HTTP/2 who has
/// locked `streams`, with one exception: an idle connection may be closed to free its place. So only a change from
/// [`Phase::Idle`] must be a compare-and-exchange, and only a change to it publishes something to others.
#[derive(Debug)]
pub struct Connection {
    peer: Peer,
    phase: AtomicU8,
    /// How many streams of HTTP/2 are open.
    streams: Mutex<usize>,
    clock: Clock,
    /// The tick in which it became idle.
    idle_since: AtomicU32,
    /// Whether its client has closed its sending side, and `reader` waits for another phase.
    is_half_closed: AtomicBool,
    reader: AtomicWaker,
}

impl Connection {
    /// A connection that has just been accepted.
    pub fn new(clock: Clock) -> Self {
        Self {
            peer: Peer::default(),
            phase: AtomicU8::new(Phase::Idle as u8),
            streams: Mutex::new(0),
            idle_since: AtomicU32::new(clock.now()),
            clock,
            is_half_closed: AtomicBool::new(false),
            reader: AtomicWaker::new(),
        }
    }

    /// The same with this client.
    pub fn with_peer(self, peer: Peer) -> Self {
        Self { peer, ..self }
    }

    /// What it is doing.
    pub fn phase(&self) -> Phase {
        Phase::of(self.phase.load(Ordering::Acquire))
    }

    /// Notes that its client has closed its sending side. `reader` is woken when the phase changes.
    pub fn half_closed(&self, reader: &Waker) {
        self.reader.register(reader);
        self.is_half_closed.store(true, Ordering::Release);
    }

    /// Notes that a request has begun. Returns `false` if the connection is closed instead.
    pub fn begin(&self) -> bool {
        if self.leave_idle(Phase::Answering) {
            return true;
        }
        let is_flushing = self.is(Phase::Flushing);
        if is_flushing {
            self.set(Phase::Answering);
        }
        is_flushing
    }

    /// Notes that the answer is being sent. A stream of changes stays in its phase.
    pub fn begin_sending(&self) {
        if !self.is(Phase::Streaming) {
            self.enter(Phase::Sending);
        }
    }

    /// Notes that everything there is to send has been handed to the system.
    pub fn flushed(&self) {
        if self.is(Phase::Flushing) {
            self.become_idle();
        }
    }

    /// Notes that a stream of HTTP/2 has begun, until what is returned is dropped. `None` if the connection is
    /// closed instead.
    pub fn begin_stream(self: &Arc<Self>) -> Option<Stream> {
        let mut streams = self.streams.lock();
        if *streams == 0 && !self.leave_idle(Phase::Multiplexing) {
            return None;
        }
        *streams += 1;
        Some(Stream(Arc::clone(self)))
    }

    /// For how long it has been idle; `None` while it is not.
    pub fn idle_time(&self) -> Option<Duration> {
        let since = self.idle_since()?;
        Some(TICK * self.clock.now().wrapping_sub(since))
    }

    /// Notes that the answer is complete.
    pub fn end(&self) {
        self.enter(Phase::Flushing);
    }

    /// The tick in which it became idle; `None` while it is not.
    pub fn idle_since(&self) -> Option<u32> {
        // The phase first: the tick is valid once the phase is idle.
        self.is(Phase::Idle)
            .then(|| self.idle_since.load(Ordering::Relaxed))
    }

    /// Closes it if it is idle; returns whether it was. It takes no request after that.
    pub fn close_if_idle(&self) -> bool {
        self.leave_idle(Phase::Closed)
    }

    fn become_idle(&self) {
        let now = self.clock.now();
        self.idle_since.store(now, Ordering::Relaxed);
        self.enter(Phase::Idle);
    }

    fn is(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Acquire) == phase as u8
    }

    fn leave_idle(&self, to: Phase) -> bool {
        let (idle, to) = (Phase::Idle as u8, to as u8);
        let left = self
            .phase
            .compare_exchange(idle, to, Ordering::AcqRel, Ordering::Acquire);
        left.is_ok()
    }

    fn set(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    fn enter(&self, phase: Phase) {
        self.set(phase);
        if self.is_half_closed.load(Ordering::Acquire) {
            self.reader.wake();
        }
    }
}

/// A stream of HTTP/2 that is open.
#[derive(Debug)]
pub struct Stream(Arc<Connection>);

impl Drop for Stream {
    fn drop(&mut self) {
        let mut streams = self.0.streams.lock();
        *streams -= 1;
        if *streams == 0 {
            self.0.become_idle();
        }
    }
}

/// The client of a request, as handlers see it.
#[derive(Debug, Clone, Default)]
pub struct Client {
    /// The connection whose phase is that of the request.
    connection: Option<Arc<Connection>>,
    peer: Peer,
}

impl<S: Sync> FromRequestParts<S> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.extensions))
    }
}

impl Client {
    /// The client of a connection that has one request at a time.
    pub fn on(connection: Arc<Connection>) -> Self {
        Self {
            peer: connection.peer,
            connection: Some(connection),
        }
    }

    /// The client of one of many streams. The phase of their connection says that some are open, whatever each
    /// of them is doing.
    pub fn on_stream(connection: &Connection) -> Self {
        Self {
            peer: connection.peer,
            connection: None,
        }
    }

    /// The client of a request; without a connection, nothing is noted.
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get().cloned().unwrap_or_default()
    }

    /// Who it is, as far as that is known.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// Notes that the answer is held until something changes.
    pub fn waits(&self) {
        self.enter(Phase::Waiting);
    }

    /// Notes that the answer is a stream of changes.
    pub fn watches(&self) {
        self.enter(Phase::Streaming);
    }

    fn enter(&self, phase: Phase) {
        if let Some(connection) = &self.connection {
            connection.enter(phase);
        }
    }
}
