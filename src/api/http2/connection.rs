//! The limits of a connection that speaks HTTP/2, and how it ends.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::super::client::{Connection, TICK};
use super::super::state::Limits;
use super::answer::{STREAM_BUFFER_BYTES, StreamExecutor};
use super::paced::Paced;
use super::streams::Streams;

/// What a client begins with (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How many requests a client may have at once on a connection.
const MAX_STREAMS: u32 = 100;
/// The size of a request's header, in bytes, as HPACK counts them (RFC 7541 §4.1): that of a buffer of HTTP/1.1.
const MAX_HEADER_BYTES: u32 = 16 * 1024;
/// How much of a request's body may come before it is read, in bytes, and how much of all bodies of a connection.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024 - 1;
const CONNECTION_WINDOW_BYTES: u32 = 128 * 1024;
/// How many requests may be withdrawn before the service has seen them; with more the connection ends
/// (CVE-2023-44487, rapid reset).
const MAX_WITHDRAWN_STREAMS: usize = 20;
/// How many streams may break the protocol before the connection ends (CVE-2025-8671).
const MAX_BROKEN_STREAMS: usize = 100;
/// How long nothing may come from a client before it is asked whether it is still there.
const PING_AFTER: Duration = Duration::from_secs(10);
/// How long a client may take to hear that its connection ends (RFC 9113 §6.8).
const GOAWAY_TIME: Duration = Duration::from_secs(1);

/// Whether a client begins with the preface of HTTP/2, as far as its first bytes show that.
pub fn is_preface(first: &[u8]) -> Option<bool> {
    let length = first.len().min(PREFACE.len());
    if first[..length] != PREFACE[..length] {
        return Some(false);
    }
    (length == PREFACE.len()).then_some(true)
}

/// How connections are served.
#[derive(Debug, Clone, Copy)]
pub struct Http2 {
    /// How long a connection may have no request.
    idle_timeout: Duration,
    /// How long a client may leave an answer unread, or not answer a ping.
    unread_timeout: Duration,
}

impl Http2 {
    /// With the limits that connections of HTTP/1.1 have.
    pub fn new(limits: Limits) -> Self {
        Self {
            idle_timeout: limits.header_timeout,
            unread_timeout: limits.request_timeout,
        }
    }

    /// The same, but a connection may have no request for `time` at most.
    pub fn idle_at_most(self, time: Duration) -> Self {
        Self {
            idle_timeout: self.idle_timeout.min(time),
            ..self
        }
    }

    /// Serves a connection. It is told to end when the service has `drained`, after its first request if it is past
    /// the limit of connections, and when it has no request for too long.
    pub async fn serve(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
        streams: Streams,
        drained: impl Future<Output = ()>,
    ) {
        let connection = Arc::clone(&streams.connection);
        let has_asked = Arc::clone(&streams.has_asked);
        let unread = Arc::new(Notify::new());
        let executor = StreamExecutor::new(
            Arc::clone(&streams.begun),
            self.unread_timeout,
            Arc::clone(&unread),
        );
        let http = self.builder(executor);
        let mut serving = pin!(http.serve_connection(TokioIo::new(Paced::new(stream)), streams));
        // A connection that ends early is no error of ours: the client hung up, or was too slow.
        let log = |ended| {
            if let Err(error) = ended {
                tracing::debug!(%error, "connection ended");
            }
        };
        tokio::select! {
            ended = serving.as_mut() => return log(ended),
            () = unread.notified() => return,
            () = drained => {}
            () = has_asked.notified() => {}
            () = idle_for(&connection, self.idle_timeout) => {}
        }
        serving.as_mut().graceful_shutdown();
        let told = async {
            sleep(GOAWAY_TIME).await;
            idle_for(&connection, Duration::ZERO).await;
        };
        tokio::select! {
            ended = serving.as_mut() => log(ended),
            () = unread.notified() => {}
            () = told => {}
        }
    }

    fn builder(self, executor: StreamExecutor) -> http2::Builder<StreamExecutor> {
        let mut http = http2::Builder::new(executor);
        http.timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEADER_BYTES)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_send_buf_size(STREAM_BUFFER_BYTES)
            .max_pending_accept_reset_streams(MAX_WITHDRAWN_STREAMS)
            .max_local_error_reset_streams(MAX_BROKEN_STREAMS)
            .keep_alive_interval(PING_AFTER)
            // A client that reads slowly gets the ping after what it has not read yet.
            .keep_alive_timeout(self.unread_timeout);
        http
    }
}

/// Returns once a connection has been idle for `time`.
async fn idle_for(connection: &Connection, time: Duration) {
    loop {
        let idle = connection.idle_time();
        if idle.is_some_and(|idle| idle >= time) {
            return;
        }
        let left = time.saturating_sub(idle.unwrap_or_default());
        sleep(left.max(TICK)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preface_is_told_from_a_request_by_its_first_bytes() {
        for (first, expected) in [
            ("", None),
            ("P", None),
            ("PR", None),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r", None),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Some(true)),
            ("PUT /kv/a HTTP/1.1\r\n", Some(false)),
            ("GET", Some(false)),
            ("PRI * HTTP/1.1\r\n", Some(false)),
        ] {
            assert_eq!(is_preface(first.as_bytes()), expected, "{first:?}");
        }
    }
}
