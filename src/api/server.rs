//! Connections: accepting, limiting, draining.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::Request;
use axum::response::Response;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};
use tower::Service as _;

use super::client::{Client, Clock, Connection, TICK};
use super::connections::{Capacity, Connections, Place};
use super::guard::Guard;
use super::handshake::Handshakes;
use super::listener::Listener;
use super::router::{Api, full_api, overload_api};
use super::socket::Socket;
use super::state::Limits;
use super::tls::ClientCertificate;
use crate::service::Service;
use crate::storage::StoreError;

/// The size of a connection's buffer, in bytes; the header of a request must fit into it. Ten thousand full
/// ones take 160 MiB.
const CONNECTION_BUFFER_BYTES: usize = 16 * 1024;
/// How many fifths of the grace time requests may take; the rest is for closing the store.
const DRAINING_FIFTHS: u32 = 4;
/// How long the header of a request may take on a connection past the limit.
const OVERLOAD_HEADER_TIMEOUT: Duration = Duration::from_secs(2);
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
    let handshakes = tls.as_ref().map(|tls| {
        let handshakes = Handshakes::new(tls.current(), limits.header_timeout);
        Arc::new(handshakes)
    });
    let acceptor = Acceptor::new(&service, limits, guard.into(), handshakes);
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
                Ok((stream, _)) => acceptor.admit(stream, descriptor, graceful.watcher()),
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
    http: http1::Builder,
    overload_http: http1::Builder,
    full: Api,
    overload: Api,
    capacity: Capacity,
    connections: Arc<Connections>,
    clock: Clock,
    /// If connections are secured.
    handshakes: Option<Arc<Handshakes>>,
    service: Arc<Service>,
    /// One for each socket, and one more than `capacity` has, so that the next connection can be accepted
    /// while another is still being closed.
    descriptors: Arc<Semaphore>,
    limits: Limits,
}

impl Acceptor {
    fn new(
        service: &Arc<Service>,
        limits: Limits,
        guard: Guard,
        handshakes: Option<Arc<Handshakes>>,
    ) -> Self {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .max_buf_size(CONNECTION_BUFFER_BYTES)
            .header_read_timeout(limits.header_timeout);
        let mut overload_http = http.clone();
        overload_http
            .keep_alive(false)
            .header_read_timeout(limits.header_timeout.min(OVERLOAD_HEADER_TIMEOUT));
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
            http,
            overload_http,
            full: full_api(Arc::clone(service), limits, guard.clone()),
            overload: overload_api(Arc::clone(service), limits, guard),
            capacity,
            connections: Arc::new(Connections::new(clock.clone())),
            clock,
            handshakes,
            service: Arc::clone(service),
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

    fn admit(&self, stream: TcpStream, descriptor: Option<OwnedSemaphorePermit>, watcher: Watcher) {
        self.hang_up_if_unread(&stream);
        // Without it, Nagle's algorithm and delayed acknowledgements hold answers back for 40 ms.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY cannot be set");
        }
        let address = stream.peer_addr().ok().map(|address| address.ip());
        let connection = Connection::new(self.clock.clone()).with_address(address);
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
        let (http, api) = match place {
            Some(_) => (&self.http, &self.full),
            None => (&self.overload_http, &self.overload),
        };
        let mut requests = Requests {
            api: RefCell::new(api.clone()),
            connection,
            certificate: None,
        };
        let task = match &self.handshakes {
            None => {
                let serving = serve_http(http, socket, requests, watcher);
                tokio::spawn(async move {
                    serving.await;
                    drop(place);
                })
            }
            Some(handshakes) => {
                let handshakes = Arc::clone(handshakes);
                let drained = self.service.drained();
                let http = http.clone();
                tokio::spawn(async move {
                    let secured = tokio::select! {
                        secured = handshakes.secure(socket) => secured,
                        () = drained => return,
                    };
                    match secured {
                        Ok(stream) => {
                            requests.certificate = stream.client_certificate();
                            serve_http(&http, stream, requests, watcher).await;
                        }
                        Err(error) => tracing::debug!(%error, "handshake failed"),
                    }
                    drop(place);
                })
            }
        };
        task.abort_handle()
    }
}

fn serve_http<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    http: &http1::Builder,
    stream: S,
    requests: Requests,
    watcher: Watcher,
) -> impl Future<Output = ()> + use<S> {
    let serving = watcher.watch(http.serve_connection(TokioIo::new(stream), requests));
    async {
        // A connection that ends early is no error of ours: the client hung up, or was too slow.
        if let Err(error) = serving.await {
            tracing::debug!(%error, "connection ended");
        }
    }
}

/// The requests of one connection.
struct Requests {
    /// The connection's own copy: with one per request, all processors would contend for its reference
    /// counts.
    api: RefCell<Api>,
    connection: Arc<Connection>,
    certificate: Option<ClientCertificate>,
}

impl hyper::service::Service<Request<Incoming>> for Requests {
    type Response = Response<AnswerBody>;
    type Error = Closed;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        let connection = Arc::clone(&self.connection);
        if !connection.begin() {
            return Answering::Closed;
        }
        let mut request = request.map(Body::new);
        let client = Client::on(Arc::clone(&connection));
        request.extensions_mut().insert(client);
        if let Some(certificate) = &self.certificate {
            request.extensions_mut().insert(certificate.clone());
        }
        Answering::Begun {
            answer: self.api.borrow_mut().call(request),
            connection,
        }
    }
}

/// The connection was closed before its request was begun.
#[derive(Debug, Error)]
#[error("the connection was closed for a new one")]
struct Closed;

/// An answer that is being made.
enum Answering {
    Begun {
        answer: <Api as tower::Service<Request<Body>>>::Future,
        connection: Arc<Connection>,
    },
    Closed,
}

impl Future for Answering {
    type Output = Result<Response<AnswerBody>, Closed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self::Begun { answer, connection } = &mut *self else {
            return Poll::Ready(Err(Closed));
        };
        let Ok(response) = ready!(answer.as_mut().poll(context));
        connection.begin_sending();
        let connection = Arc::clone(connection);
        Poll::Ready(Ok(response.map(|body| AnswerBody { body, connection })))
    }
}

/// The body of an answer. Dropping it, sent or abandoned, ends the request.
struct AnswerBody {
    body: Body,
    connection: Arc<Connection>,
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.connection.end();
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
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
