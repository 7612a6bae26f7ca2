//! Connections: accepting, limiting, draining.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Api, Limits, overload_router, router};
use crate::service::Service;

/// How many connections past the limit are told so; still more are closed without a word.
const OVERLOAD_CONNECTIONS: usize = 64;
/// How long the header of a request may take on such a connection.
const OVERLOAD_HEADER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long accepting rests when the process has no descriptor left.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Serves until `shutdown` is ready. Then no connection is accepted any more, and requests under
/// way have [`Limits::shutdown_grace`] to finish; those that have not are cut off. At the end the
/// service's store is closed.
pub async fn serve(
    listener: TcpListener,
    service: Arc<Service>,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) {
    let front = Front::new(&service, limits);
    let graceful = GracefulShutdown::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => front.admit(stream, graceful.watcher()),
                Err(error) => rest_after(&error).await,
            },
        }
    }
    drop(listener);
    service.start_draining();
    tracing::info!(connections = graceful.count(), "draining");
    tokio::select! {
        () = graceful.shutdown() => {}
        () = tokio::time::sleep(limits.shutdown_grace) => {
            tracing::warn!("requests were cut off at the end of the grace time");
        }
    }
    service.close().await;
}

/// What connections are given to.
struct Front {
    http: http1::Builder,
    overload_http: http1::Builder,
    full: Api,
    overload: Api,
    places: Arc<Semaphore>,
    overload_places: Arc<Semaphore>,
    /// How long a client may leave what it is sent before the system hangs up on it.
    unread_timeout: Duration,
}

impl Front {
    fn new(service: &Arc<Service>, limits: Limits) -> Self {
        let mut http = http1::Builder::new();
        // A client may close its side once its request is sent; the request counts all the same.
        http.half_close(true)
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout);
        let mut overload_http = http.clone();
        overload_http
            .keep_alive(false)
            .header_read_timeout(limits.header_timeout.min(OVERLOAD_HEADER_TIMEOUT));
        Self {
            http,
            overload_http,
            full: router(Arc::clone(service), limits),
            overload: overload_router(Arc::clone(service), limits),
            places: Arc::new(Semaphore::new(limits.max_connections)),
            overload_places: Arc::new(Semaphore::new(OVERLOAD_CONNECTIONS)),
            unread_timeout: limits.request_timeout,
        }
    }

    fn admit(&self, stream: TcpStream, watcher: Watcher) {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            self.serve(stream, watcher, place, &self.http, self.full.clone());
        } else if let Ok(place) = Arc::clone(&self.overload_places).try_acquire_owned() {
            self.serve(
                stream,
                watcher,
                place,
                &self.overload_http,
                self.overload.clone(),
            );
        }
    }

    /// Has the system find out whether the client reads what it is sent (RFC 5482). Other systems
    /// than Linux have no such option.
    #[cfg(target_os = "linux")]
    fn hang_up_if_unread(&self, stream: &TcpStream) {
        let timeout = u32::try_from(self.unread_timeout.as_millis()).unwrap_or(u32::MAX);
        if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(stream, timeout) {
            tracing::debug!(%error, "TCP_USER_TIMEOUT cannot be set");
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn hang_up_if_unread(&self, _: &TcpStream) {}

    fn serve(
        &self,
        stream: TcpStream,
        watcher: Watcher,
        place: OwnedSemaphorePermit,
        http: &http1::Builder,
        api: Api,
    ) {
        self.hang_up_if_unread(&stream);
        // Without it, Nagle's algorithm and delayed acknowledgements hold answers back for 40 ms.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY cannot be set");
        }
        let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(api));
        let connection = watcher.watch(connection);
        tokio::spawn(async move {
            // What ends a connection early is the client's affair: it hung up, or was too slow.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
            drop(place);
        });
    }
}

/// A client that hung up before it was accepted is no reason to wait; a lack of descriptors is.
async fn rest_after(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    if !matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    ) {
        tracing::error!(%error, "a connection cannot be accepted");
        tokio::time::sleep(ACCEPT_REST).await;
    }
}
