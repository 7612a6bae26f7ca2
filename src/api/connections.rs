//! Who is served: a place for each connection, and what happens when there are no more.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::client::Connection;

/// How many connections past the limit are told so, or have their probes answered.
pub const OVERLOAD_CONNECTIONS: usize = 64;
/// How many descriptors are left for the store, the runtime and the standard streams.
const RESERVED_DESCRIPTORS: usize = 32;
/// How long a connection must be seen idle before it gives its place to a new one.
const IDLE_BEFORE_CLOSED: Duration = Duration::from_secs(1);

/// How many places there are for connections, and for those past the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Connections that are served.
    pub served: usize,
    /// Connections that are told that there are too many.
    pub overload: usize,
}

impl Capacity {
    /// As many as wanted, but so few that they never take the descriptors that the store needs.
    pub fn within(wanted: usize, descriptors: usize) -> Self {
        // One is taken while a connection is accepted to be closed at once.
        let free = descriptors.saturating_sub(RESERVED_DESCRIPTORS + 1);
        let overload = OVERLOAD_CONNECTIONS.min(free / 4).max(1);
        let served = wanted.min(free.saturating_sub(overload)).max(1);
        Self { served, overload }
    }
}

/// The connections that are open.
#[derive(Debug, Default)]
pub struct Connections(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    next: u64,
    served: HashMap<u64, Served>,
    /// The oldest first; some may have ended.
    overload: VecDeque<AbortHandle>,
}

#[derive(Debug)]
struct Served {
    connection: Arc<Connection>,
    task: Option<AbortHandle>,
    /// How many requests it had had when it was last looked at, and since when.
    seen: (u64, Instant),
}

/// A place among the connections that are served, given back when this is dropped.
#[derive(Debug)]
pub struct Place {
    connections: Arc<Connections>,
    number: u64,
}

impl Place {
    /// Its number, for [`Connections::set_task`].
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.0.lock().served.remove(&self.number);
    }
}

impl Connections {
    /// A place for `connection` among at most `limit`. If none is free, the connection that has been
    /// idle the longest gives up its own.
    pub fn place(self: &Arc<Self>, limit: usize, connection: &Arc<Connection>) -> Option<Place> {
        let mut open = self.0.lock();
        if open.served.len() >= limit && !open.close_idle() {
            return None;
        }
        let number = open.next;
        open.next += 1;
        let served = Served {
            connection: Arc::clone(connection),
            task: None,
            seen: (0, Instant::now()),
        };
        open.served.insert(number, served);
        Some(Place {
            connections: Arc::clone(self),
            number,
        })
    }

    /// Notes which task serves the connection of a place, unless it has ended already.
    pub fn set_task(&self, number: u64, task: AbortHandle) {
        if let Some(served) = self.0.lock().served.get_mut(&number) {
            served.task = Some(task);
        }
    }

    /// Keeps a task that serves a connection past the limit; of those past `limit` the oldest ends.
    /// One that has asked for something is answered long before.
    pub fn add_overload(&self, limit: usize, task: AbortHandle) {
        let mut open = self.0.lock();
        open.overload.retain(|task| !task.is_finished());
        open.overload.push_back(task);
        if open.overload.len() > limit
            && let Some(oldest) = open.overload.pop_front()
        {
            oldest.abort();
        }
    }
}

impl Open {
    /// Closes the connection that has been idle the longest; returns whether there was one.
    fn close_idle(&mut self) -> bool {
        let now = Instant::now();
        let idle = self.served.iter_mut().filter_map(|(number, served)| {
            let requests = served.connection.requests_if_idle()?;
            if served.seen.0 != requests {
                served.seen = (requests, now);
            }
            let idle_for = now.duration_since(served.seen.1);
            let is_long = idle_for >= IDLE_BEFORE_CLOSED && served.task.is_some();
            is_long.then_some((idle_for, *number))
        });
        let Some((_, number)) = idle.max() else {
            return false;
        };
        let closed = self.served.get(&number).and_then(|served| {
            // A request may have come in just now.
            let task = served.task.as_ref()?;
            served.connection.close_if_idle().then(|| task.abort())
        });
        closed.is_some() && self.served.remove(&number).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_to_the_store() {
        for (wanted, descriptors, served, overload) in [
            (10_000, usize::MAX, 10_000, OVERLOAD_CONNECTIONS),
            (10_000, 1_000_000, 10_000, OVERLOAD_CONNECTIONS),
            (10_000, 1_024, 927, OVERLOAD_CONNECTIONS),
            (10_000, 64, 24, 7),
            (8, 64, 8, 7),
            (8, 10, 1, 1),
        ] {
            let capacity = Capacity::within(wanted, descriptors);
            assert_eq!(capacity, Capacity { served, overload });
        }
    }
}
