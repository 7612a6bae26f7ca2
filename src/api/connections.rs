//! The places for connections, and what happens when none is free.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::client::{Clock, Connection, TICK};

/// How many connections past the limit get 503, or have their probes answered.
const OVERLOAD_CONNECTIONS: usize = 64;
/// How long a connection past the limit has to send a request, however many come after it. So at most 6,400 a
/// second are accepted, and the system's full queue (4,096) is worked off in less than a second.
const OVERLOAD_MIN: Duration = Duration::from_millis(10);
/// How many descriptors are left for the store, the runtime and the standard streams.
const RESERVED_DESCRIPTORS: usize = 32;
/// How long a connection must have been idle before it gives its place to a new one.
const IDLE_BEFORE_CLOSED: Duration = Duration::from_secs(1);
/// The same in ticks, plus one: the idle time may have begun late in its first tick.
#[expect(clippy::cast_possible_truncation, reason = "it is a small number")]
const IDLE_TICKS_BEFORE_CLOSED: u32 =
    (IDLE_BEFORE_CLOSED.as_millis() / TICK.as_millis()) as u32 + 1;

/// How many places there are for connections, and for those past the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Connections that are served.
    pub served: usize,
    /// Connections that get 503.
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
#[derive(Debug)]
pub struct Connections {
    open: Mutex<Open>,
    clock: Clock,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    served: HashMap<u64, Served>,
    idle: Idle,
    /// The oldest first; some may have ended.
    overload: VecDeque<Overload>,
}

/// A connection past the limit.
#[derive(Debug)]
struct Overload {
    accepted: Instant,
    connection: Arc<Connection>,
    task: AbortHandle,
}

impl Overload {
    /// Ends it after [`OVERLOAD_MIN`] or, if it sends a request in that time, after its answer.
    fn end(self) {
        let due = self.accepted + OVERLOAD_MIN;
        if due <= Instant::now() {
            self.task.abort();
            return;
        }
        tokio::spawn(async move {
            sleep_until(due).await;
            if self.connection.close_if_idle() {
                self.task.abort();
            }
        });
    }
}

#[derive(Debug)]
struct Served {
    connection: Arc<Connection>,
    task: Option<AbortHandle>,
}

/// The connections that could be closed at the last scan. Some may not be idle any more, but any that has
/// become idle since then has been idle for less time than all of these.
#[derive(Debug, Default)]
struct Idle {
    /// Since when, and which; the longest idle last.
    found: Vec<(u32, u64)>,
    /// The tick of that scan. Another one in the same tick would find nothing new, so a flood of clients
    /// costs one scan per tick, not one per client.
    looked: Option<u32>,
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
        self.connections.open.lock().served.remove(&self.number);
    }
}

impl Connections {
    /// No connections yet; idle times are measured by `clock`.
    pub fn new(clock: Clock) -> Self {
        Self {
            open: Mutex::default(),
            clock,
        }
    }

    /// A place for `connection` among at most `limit`. If none is free, the connection that has been idle the
    /// longest gives up its place.
    pub fn place(self: &Arc<Self>, limit: usize, connection: &Arc<Connection>) -> Option<Place> {
        let mut open = self.open.lock();
        if open.served.len() >= limit && !open.close_idle(self.clock.now()) {
            return None;
        }
        let number = open.next;
        open.next += 1;
        let served = Served {
            connection: Arc::clone(connection),
            task: None,
        };
        open.served.insert(number, served);
        Some(Place {
            connections: Arc::clone(self),
            number,
        })
    }

    /// Notes which task serves the connection of a place, unless it has ended already.
    pub fn set_task(&self, number: u64, task: AbortHandle) {
        if let Some(served) = self.open.lock().served.get_mut(&number) {
            served.task = Some(task);
        }
    }

    /// Keeps the task that serves a connection past the limit. Of more than `limit` such connections one ends:
    /// the oldest that has not asked for anything, or the oldest of all.
    pub fn add_overload(&self, limit: usize, connection: Arc<Connection>, task: AbortHandle) {
        let mut open = self.open.lock();
        let overload = &mut open.overload;
        overload.retain(|one| !one.task.is_finished());
        overload.push_back(Overload {
            accepted: Instant::now(),
            connection,
            task,
        });
        if overload.len() > limit {
            let silent = overload
                .iter()
                .position(|one| one.connection.idle_since().is_some());
            if let Some(one) = overload.remove(silent.unwrap_or(0)) {
                one.end();
            }
        }
    }
}

impl Open {
    /// Closes the connection that has been idle the longest; returns whether there was one.
    fn close_idle(&mut self, now: u32) -> bool {
        if self.idle.found.is_empty() && self.idle.looked != Some(now) {
            self.idle.looked = Some(now);
            self.find_idle(now);
        }
        while let Some((since, number)) = self.idle.found.pop() {
            let Some(served) = self.served.get(&number) else {
                continue;
            };
            if let Some(task) = &served.task
                && served.connection.idle_since() == Some(since)
                && served.connection.close_if_idle()
            {
                task.abort();
                self.served.remove(&number);
                return true;
            }
        }
        false
    }

    fn find_idle(&mut self, now: u32) {
        let idle = self.served.iter().filter_map(|(number, served)| {
            let since = served.connection.idle_since()?;
            let is_long = now.wrapping_sub(since) >= IDLE_TICKS_BEFORE_CLOSED;
            (is_long && served.task.is_some()).then_some((since, *number))
        });
        self.idle.found.extend(idle);
        self.idle
            .found
            .sort_unstable_by(|one, other| other.cmp(one));
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::task::JoinHandle;

    use super::*;

    /// A connection that has a task and is idle from now on, if there is a place for it.
    fn connect(connections: &Arc<Connections>, limit: usize) -> Option<(Arc<Connection>, Place)> {
        let connection = Arc::new(Connection::new(connections.clock.clone()));
        let place = connections.place(limit, &connection)?;
        let task = tokio::spawn(pending::<()>()).abort_handle();
        connections.set_task(place.number(), task);
        Some((connection, place))
    }

    fn ask(connection: &Connection) {
        assert!(connection.begin());
        connection.begin_sending();
        connection.end();
        connection.flushed();
    }

    fn pass(clock: &Clock, ticks: u32) {
        (0..ticks).for_each(|_| clock.tick());
    }

    #[tokio::test]
    async fn the_connection_that_was_idle_the_longest_gives_its_place() {
        let clock = Clock::default();
        let connections = Arc::new(Connections::new(clock.clone()));
        let places: Vec<_> = (0..3).map_while(|_| connect(&connections, 3)).collect();
        let [(first, _), (second, _), (third, _)] = &places[..] else {
            panic!("there is room for three");
        };
        pass(&clock, IDLE_TICKS_BEFORE_CLOSED - 1);
        assert!(connect(&connections, 3).is_none(), "none is idle for long");
        ask(second);
        clock.tick();
        ask(third);
        pass(&clock, IDLE_TICKS_BEFORE_CLOSED);
        assert!(first.begin());
        let one = connect(&connections, 3);
        assert!(one.is_some() && !second.begin(), "the second is closed");
        let other = connect(&connections, 3);
        assert!(other.is_some() && !third.begin(), "the third is closed");
        assert!(connect(&connections, 3).is_none(), "the first is not idle");
    }

    #[tokio::test]
    async fn a_connection_that_has_asked_since_it_was_found_idle_keeps_its_place() {
        let clock = Clock::default();
        let connections = Arc::new(Connections::new(clock.clone()));
        let places: Vec<_> = (0..3).map_while(|_| connect(&connections, 3)).collect();
        pass(&clock, IDLE_TICKS_BEFORE_CLOSED);
        let newcomer = connect(&connections, 3);
        assert!(newcomer.is_some());
        let left = places.iter().filter(|(one, _)| one.idle_since().is_some());
        let left: Vec<_> = left.collect();
        assert_eq!(left.len(), 2);
        for (connection, _) in &left {
            ask(connection);
        }
        assert!(connect(&connections, 3).is_none(), "they were idle before");
        pass(&clock, IDLE_TICKS_BEFORE_CLOSED);
        assert!(connect(&connections, 3).is_some());
    }

    #[tokio::test]
    async fn a_connection_is_idle_once_its_answer_is_flushed() {
        let clock = Clock::default();
        let connections = Arc::new(Connections::new(clock.clone()));
        let (connection, _place) = connect(&connections, 1).expect("there is room");
        assert!(connection.begin());
        connection.begin_sending();
        connection.end();
        pass(&clock, IDLE_TICKS_BEFORE_CLOSED);
        assert!(
            connect(&connections, 1).is_none(),
            "its answer is not flushed"
        );
        connection.flushed();
        assert!(
            connect(&connections, 1).is_none(),
            "it has just become idle"
        );
        pass(&clock, IDLE_TICKS_BEFORE_CLOSED);
        assert!(connect(&connections, 1).is_some());
    }

    /// A connection past the limit of `connections`, of which there can be one.
    fn overload(connections: &Connections) -> (Arc<Connection>, JoinHandle<()>) {
        let connection = Arc::new(Connection::new(connections.clock.clone()));
        let task = tokio::spawn(pending());
        connections.add_overload(1, Arc::clone(&connection), task.abort_handle());
        (connection, task)
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_past_the_limit_has_time_to_ask_however_many_come_after_it() {
        let connections = Connections::new(Clock::default());
        let (_, first) = overload(&connections);
        let begin = Instant::now();
        let (_, second) = overload(&connections);
        assert!(first.await.is_err_and(|error| error.is_cancelled()));
        assert!(begin.elapsed() >= OVERLOAD_MIN);
        assert!(!second.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_past_the_limit_that_asks_in_its_time_is_answered() {
        let connections = Connections::new(Clock::default());
        let (asking, first) = overload(&connections);
        let _second = overload(&connections);
        assert!(asking.begin());
        tokio::time::sleep(2 * OVERLOAD_MIN).await;
        assert!(!first.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_past_the_limit_that_has_asked_is_answered_before_a_silent_one_stays() {
        let connections = Connections::new(Clock::default());
        let (asking, first) = overload(&connections);
        assert!(asking.begin());
        let (_, silent) = overload(&connections);
        assert!(silent.await.is_err_and(|error| error.is_cancelled()));
        assert!(!first.is_finished());
    }

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
