//! Connections: accepting, limiting, draining.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

use super::client::{Clock, Connection, Peer, TICK};
use super::connections::{Capacity, Connections, Place};
use super::guard::Guard;
use super::listener::Listener;
use super::protocols::Protocols;
use super::socket::Socket;
use super::state::Limits;
use super::tls::{CurrentTls, Tls};
use crate::service::Service;
use crate::storage::StoreError;

/// How many fifths of the grace time requests may take; the rest is for closing the store.
const DRAINING_FIFTHS: u32 = 4;
/// How long accepting pauses when the process has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown` is ready. Then no more connections are accepted, and requests in progress have
/// most of [`Limits::shutdown_grace`] to finish; the rest are cut off. At the end the service's store is
/// closed.
///
/// `listener` is a [`TcpListener`](tokio::net::TcpListener), or a [`Listener`] if connections are secured.
///
/// # Errors
/// [`StoreError`] if the store could not be closed cleanly.
pub async fn serve(
    listener: impl Into<Listener>,
    service: Arc<Service>,
    limits: Limits,
    guard: impl Into<Guard>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), StoreError> {
    let Listener { tcp, tls } = listener.into();
    let current = tls.as_ref().map(Tls::current);
    let acceptor = Acceptor::new(&service, limits, guard.into(), current);
    // Ends with this function.
    let mut upkeep = JoinSet::new();
    if let Some(tls) = tls {
        upkeep.spawn(tls.keep_current());
    }
    let graceful = GracefulShutdown::new();
    let mut ticks = interval(TICK);
    // A burst of missed ticks would make every connection look idle.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tokio::pin!(shutdown);
    loop {
        let accept = async {
            // Until there is a descriptor for it, a client waits in the system's queue.
            let descriptor = acceptor.descriptor().await;
            (descriptor, tcp.accept().await)
        };
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            _ = ticks.tick() => acceptor.clock.tick(),
            (descriptor, accepted) = accept => match accepted {
                Ok((stream, address)) => {
                    acceptor.admit(stream, address.ip(), descriptor, graceful.watcher());
                }
                Err(error) => pause_after(&error).await,
            },
        }
    }
    drop(tcp);
    service.start_draining();
    tracing::info!(connections = graceful.count(), "draining");
    tokio::select! {
        () = graceful.shutdown() => {}
        () = tokio::time::sleep(limits.shutdown_grace / 5 * DRAINING_FIFTHS) => {
            tracing::warn!("requests were cut off at the end of the grace time");
        }
    }
    service.close().await
}

/// Accepts connections and serves each in a task.
struct Acceptor {
    protocols: Arc<Protocols>,
    capacity: Capacity,
    connections: Arc<Connections>,
    clock: Clock,
    /// One for each socket, and one more than `capacity` has, so that the next connection can be accepted
    /// while another is still being closed.
    descriptors: Arc<Semaphore>,
    limits: Limits,
    /// Whether connections are secured by TLS.
    is_secured: bool,
}

impl Acceptor {
    fn new(service: &Arc<Service>, limits: Limits, guard: Guard, tls: Option<CurrentTls>) -> Self {
        let descriptors = rlimit::Resource::NOFILE.get_soft();
        let descriptors = descriptors.map_or(usize::MAX, |descriptors| {
            usize::try_from(descriptors).unwrap_or(usize::MAX)
        });
        let capacity = Capacity::within(limits.max_connections, descriptors);
        if capacity.served < limits.max_connections {
            tracing::warn!(
                connections = capacity.served,
                open_files = descriptors,
                "fewer connections than --max-connections, because of the limit of open files"
            );
        }
        let clock = Clock::default();
        Self {
            is_secured: tls.is_some(),
            protocols: Arc::new(Protocols::new(service, limits, guard, capacity, tls)),
            capacity,
            connections: Arc::new(Connections::new(clock.clone())),
            clock,
            descriptors: Arc::new(Semaphore::new(capacity.served + capacity.overload + 1)),
            limits,
        }
    }

    /// A permit for one more socket.
    async fn descriptor(&self) -> Option<OwnedSemaphorePermit> {
        let descriptor = Arc::clone(&self.descriptors).acquire_owned().await;
        // The semaphore is never closed.
        descriptor.ok()
    }

    fn admit(
        &self,
        stream: TcpStream,
        address: IpAddr,
        descriptor: Option<OwnedSemaphorePermit>,
        watcher: Watcher,
    ) {
        self.hang_up_if_unread(&stream);
        // Without it, Nagle's algorithm and delayed acknowledgements hold answers back for 40 ms.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY cannot be set");
        }
        let peer = Peer {
            address: Some(address),
            is_secured: self.is_secured,
        };
        let connection = Connection::new(self.clock.clone()).with_peer(peer);
        let connection = Arc::new(connection);
        let timeout = self.limits.request_timeout;
        let socket = Socket::new(stream, descriptor, Arc::clone(&connection), timeout);
        match self.connections.place(self.capacity.served, &connection) {
            Some(place) => {
                let number = place.number();
                let task = self.serve(socket, watcher, connection, Some(place));
                self.connections.set_task(number, task);
            }
            None => {
                let task = self.serve(socket, watcher, Arc::clone(&connection), None);
                let limit = self.capacity.overload;
                self.connections.add_overload(limit, connection, task);
            }
        }
    }

    /// Has the system close the connection if the client stops taking data (RFC 5482). Only Linux has this
    /// option.
    #[cfg(target_os = "linux")]
    fn hang_up_if_unread(&self, stream: &TcpStream) {
        let timeout = self.limits.request_timeout.as_millis();
        let timeout = u32::try_from(timeout).unwrap_or(u32::MAX);
        if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(stream, timeout) {
            tracing::debug!(%error, "TCP_USER_TIMEOUT cannot be set");
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn hang_up_if_unread(&self, _: &TcpStream) {}

    /// Serves a connection in a task; without a place, by the overload routes.
    fn serve(
        &self,
        socket: Socket,
        watcher: Watcher,
        connection: Arc<Connection>,
        place: Option<Place>,
    ) -> AbortHandle {
        let protocols = Arc::clone(&self.protocols);
        let task = tokio::spawn(async move {
            let is_overload = place.is_none();
            protocols
                .serve(socket, connection, is_overload, watcher)
                .await;
            drop(place);
        });
        task.abort_handle()
    }
}

/// Pauses for a lack of descriptors, but not for a client that hung up before it was accepted.
async fn pause_after(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    if !matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    ) {
        tracing::error!(%error, "a connection cannot be accepted");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}
