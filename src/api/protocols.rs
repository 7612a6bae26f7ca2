//! Which protocol a client speaks, and who answers it.

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::Watcher;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::client::Connection;
use super::connections::Capacity;
use super::guard::Guard;
use super::handshake::Handshakes;
use super::http1::Requests;
use super::http2::{Http2, StreamCapacity, Streams, is_preface};
use super::router::{Api, full_api, overload_api};
use super::socket::Socket;
use super::state::Limits;
use super::tls::{ClientCertificate, CurrentTls};
use crate::service::Service;

/// The size of a connection's buffer, in bytes; the header of a request must fit into it. Ten thousand full
/// ones take 160 MiB.
const CONNECTION_BUFFER_BYTES: usize = 16 * 1024;
/// How long the header of a request may take on a connection past the limit.
const OVERLOAD_HEADER_TIMEOUT: Duration = Duration::from_secs(2);

/// What serves a connection, whichever protocol its client speaks.
pub struct Protocols {
    http1: http1::Builder,
    overload_http1: http1::Builder,
    http2: Http2,
    stream_capacity: StreamCapacity,
    full: Api,
    overload: Api,
    /// If connections are secured.
    handshakes: Option<Handshakes>,
    service: Arc<Service>,
    header_timeout: Duration,
}

/// A client that is connected.
struct Connected {
    connection: Arc<Connection>,
    certificate: Option<ClientCertificate>,
    is_overload: bool,
    watcher: Watcher,
}

impl Protocols {
    /// Those of a service for `hosts`, secured by `tls`.
    pub fn new(
        service: &Arc<Service>,
        limits: Limits,
        guard: Guard,
        capacity: Capacity,
        tls: Option<CurrentTls>,
    ) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .max_buf_size(CONNECTION_BUFFER_BYTES)
            .header_read_timeout(limits.header_timeout);
        let mut overload_http1 = http1.clone();
        overload_http1
            .keep_alive(false)
            .header_read_timeout(limits.header_timeout.min(OVERLOAD_HEADER_TIMEOUT));
        Self {
            http1,
            overload_http1,
            http2: Http2::new(limits),
            stream_capacity: StreamCapacity::new(capacity),
            full: full_api(Arc::clone(service), limits, guard.clone()),
            overload: overload_api(Arc::clone(service), limits, guard),
            handshakes: tls.map(|tls| Handshakes::new(tls, limits.header_timeout)),
            service: Arc::clone(service),
            header_timeout: limits.header_timeout,
        }
    }

    /// Serves a connection to its end; one past the limit by the overload routes.
    pub async fn serve(
        &self,
        socket: Socket,
        connection: Arc<Connection>,
        is_overload: bool,
        watcher: Watcher,
    ) {
        let client = Connected {
            connection,
            certificate: None,
            is_overload,
            watcher,
        };
        match &self.handshakes {
            None => self.serve_plain(socket, client).await,
            // Much larger than the other, and seldom needed by those who have no use for it.
            Some(handshakes) => Box::pin(self.serve_secured(handshakes, socket, client)).await,
        }
    }

    async fn serve_plain(&self, mut socket: Socket, client: Connected) {
        let time = if client.is_overload {
            self.header_timeout.min(OVERLOAD_HEADER_TIMEOUT)
        } else {
            self.header_timeout
        };
        let is_http2 = tokio::select! {
            // A request that has come is answered.
            biased;
            looked = timeout(time, socket.look(is_preface)) => looked,
            () = self.service.drained() => return,
        };
        match is_http2 {
            Ok(Ok(false)) => self.serve_http1(socket, client).await,
            Ok(Ok(true)) => Box::pin(self.serve_http2(socket, client)).await,
            Ok(Err(error)) => tracing::debug!(%error, "connection ended"),
            Err(_) => tracing::debug!("connection ended: no request came"),
        }
    }

    async fn serve_secured(&self, handshakes: &Handshakes, socket: Socket, mut client: Connected) {
        let secured = tokio::select! {
            biased;
            secured = handshakes.secure(socket) => secured,
            () = self.service.drained() => return,
        };
        match secured {
            Ok(stream) => {
                client.certificate = stream.client_certificate();
                if stream.is_http2() {
                    self.serve_http2(stream, client).await;
                } else {
                    self.serve_http1(stream, client).await;
                }
            }
            Err(error) => tracing::debug!(%error, "handshake failed"),
        }
    }

    async fn serve_http1(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
        client: Connected,
    ) {
        let (http, api) = if client.is_overload {
            (&self.overload_http1, &self.overload)
        } else {
            (&self.http1, &self.full)
        };
        let requests = Requests::new(api.clone(), client.connection, client.certificate);
        let serving = http.serve_connection(TokioIo::new(stream), requests);
        // A connection that ends early is no error of ours: the client hung up, or was too slow.
        if let Err(error) = client.watcher.watch(serving).await {
            tracing::debug!(%error, "connection ended");
        }
    }

    async fn serve_http2(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
        client: Connected,
    ) {
        let (http, full) = if client.is_overload {
            (self.http2.idle_at_most(OVERLOAD_HEADER_TIMEOUT), None)
        } else {
            (self.http2, Some(self.full.clone()))
        };
        let streams = Streams::new(
            full,
            self.overload.clone(),
            self.stream_capacity.clone(),
            client.connection,
            client.certificate,
        );
        http.serve(stream, streams, self.service.drained()).await;
        // Draining waits until this is dropped.
        drop(client.watcher);
    }
}
