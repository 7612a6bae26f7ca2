//! What the operations mean: decide on what is known → commit, repeated after a lost race; and read before a refusal.
//!
//! | file | has |
//! | --- | --- |
//! | `operations`, `permission`, `scope` | the operations as one caller may do them, and what of a list or a stream that caller sees |
//! | `read`, `fresh` | entries and lists, as new as is asked for |
//! | `history`, `revert` | the past: entries and lists as of then, what happened, and bringing a value back |
//! | `write`, `transaction`, `commit` | writes of one key, of several, and what both have in common |
//! | `decision`, `strict` | what a write does to the record of its key, and what is read before it is refused |
//! | `once`, `in_progress` | writes that are done once, however often their request is sent |
//! | `merging` | writes that are merged with what others have written, and where that differs |
//! | `watch` | streams of changes, and reads that wait for something newer |
//! | `lifecycle` | health, draining and closing |
//! | `admission`, `workers` | the bytes of requests in progress, and the threads for work on large texts |
//! | `audit` | the lines of the log that say who wrote what |
//! | `error` | why an operation was not done |

mod admission;
mod audit;
mod commit;
mod decision;
mod error;
mod fresh;
mod history;
mod in_progress;
mod lifecycle;
mod merging;
mod once;
mod operations;
mod permission;
mod read;
mod revert;
mod scope;
mod strict;
mod transaction;
mod watch;
mod workers;
mod write;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch::Sender;

pub use self::admission::{Admission, DEFAULT_MAX_IN_FLIGHT_BYTES, InFlight};
pub use self::audit::AUDIT_TARGET;
pub use self::error::{
    Comparison, Current, Error, FailedOperation, Forbidden, Place, Unmerged, Unserved,
};
pub use self::fresh::{Aged, Freshness};
pub use self::history::{AsOf, HeldEvent, History};
use self::in_progress::RequestsInProgress;
pub use self::lifecycle::Health;
pub use self::operations::Operations;
pub use self::read::Reading;
pub use self::scope::Points;
pub use self::transaction::{InvalidTransaction, Transacted, Transaction, TransactionOperation};
pub use self::watch::Watching;
pub use self::workers::{Stop, Workers};
pub use self::write::Written;
use crate::model::{DEFAULT_MAX_VALUE_BYTES, Entry};
use crate::storage::{Lease, Store};

/// How many values of the largest size a transaction has room for.
pub const TRANSACTION_MAX_VALUES: usize = 8;
/// How many bytes of events all readers of histories keep together while they are sent.
const HELD_EVENTS_MAX_BYTES: usize = 32 * 1024 * 1024;

/// The operations on one store, without HTTP.
pub struct Service {
    store: Arc<dyn Store>,
    settings: Settings,
    workers: Workers,
    in_flight: InFlight,
    held_events: InFlight,
    requests: RequestsInProgress,
    started: Instant,
    draining: Sender<bool>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("settings", &self.settings)
            .field("started", &self.started)
            .finish_non_exhaustive()
    }
}

/// The settings of a [`Service`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Which writes are accepted.
    pub policy: Policy,
    /// The largest value taken, in bytes of its JSON text.
    pub max_value_bytes: usize,
    /// How many bytes of requests may be in progress at once; one request always has room.
    pub max_in_flight_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            policy: Policy::AllWrites,
            max_value_bytes: DEFAULT_MAX_VALUE_BYTES,
            max_in_flight_bytes: DEFAULT_MAX_IN_FLIGHT_BYTES,
        }
    }
}

/// Which writes are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Every write.
    AllWrites,
    /// Only writes whose preconditions rule out a lost update (RFC 6585 §3).
    ConditionalWrites,
}

impl Service {
    /// A service on `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, settings: Settings) -> Self {
        // The largest request must fit in by itself.
        let request_max_bytes = settings.max_value_bytes * TRANSACTION_MAX_VALUES;
        Self {
            store,
            settings,
            workers: Workers::new(),
            in_flight: InFlight::new(settings.max_in_flight_bytes.max(request_max_bytes)),
            held_events: InFlight::new(HELD_EVENTS_MAX_BYTES),
            requests: RequestsInProgress::default(),
            started: Instant::now(),
            draining: Sender::new(false),
        }
    }

    /// The threads for work on large texts.
    #[must_use]
    pub fn workers(&self) -> &Workers {
        &self.workers
    }

    /// What the requests in progress may take together.
    #[must_use]
    pub fn in_flight(&self) -> &InFlight {
        &self.in_flight
    }

    /// Keeps the entries of an answer that is sent piece by piece, until the store revokes them.
    pub fn hold(&self, entries: Vec<Entry>) -> Lease<Vec<Entry>> {
        self.store.hold(entries)
    }

    /// The largest value taken, in bytes of its JSON text.
    #[must_use]
    pub fn max_value_bytes(&self) -> usize {
        self.settings.max_value_bytes
    }
}
