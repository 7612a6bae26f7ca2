//! One HTTP/2 connection to a member.
//!
//! tonic's own channel is not used: it reconnects behind its caller's back, and then does not say whether a
//! request was sent. For a transaction that is the difference between a safe repetition and a lost update. Nor is
//! hyper's client: it sends the head of a request before it looks for the body, which costs each side another
//! turn.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::{fmt, io};

use bytes::Bytes;
use h2::client::{self, SendRequest};
use h2::{Ping, PingPong, Reason, RecvStream, SendStream};
use hyper::body::{Body, Frame};
use hyper::{Request, Response};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tokio_util::io::{InspectReader, InspectWriter};
use tonic::Status;

use super::tls::Tls;

/// How long a member may take to say that it is there.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(3);
/// How much a member may send of one response before it was read, and of all, in bytes.
const STREAM_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 5 * 1024 * 1024;
/// How long the end of a connection is waited for whose end is known already.
const REASON_TIMEOUT: Duration = Duration::from_millis(100);
/// What etcd tolerates by default (`--grpc-keepalive-min-time`).
const KEEP_ALIVE_MIN: Duration = Duration::from_secs(5);
/// What to try when a member ends a connection without TLS before it speaks HTTP/2.
const MAY_SPEAK_TLS: &str =
    "it may speak TLS: then name the authority of its certificate with --etcd-ca";
/// What to try when a member does not do what TLS begins with.
const MAY_NOT_SPEAK_TLS: &str = "it may not speak TLS: then leave out --etcd-ca";
/// What to try when a member ends a connection with TLS before it speaks HTTP/2.
const MAY_WANT_CERTIFICATE: &str =
    "it may want a certificate of this service, or another one: name that with --etcd-cert";

/// Makes connections.
pub struct Connector {
    pub tls: Tls,
    pub connect_timeout: Duration,
}

impl Connector {
    /// Connects to `endpoint`, which is `host:port`, and whose certificate names `name`. With `keep_alive` the member
    /// is asked that often, but not more often than etcd tolerates, whether it is there, and the connection ends when
    /// it does not answer: for a connection that a response is always waited for on, as etcd ends others that ask.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn connect(
        &self,
        endpoint: &str,
        name: &ServerName<'static>,
        keep_alive: Option<Duration>,
    ) -> Result<Connection, String> {
        match timeout(self.connect_timeout, self.open(endpoint, name, keep_alive)).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(format!("cannot connect: {}", with_causes(&*error))),
            Err(_) => Err(format!(
                "cannot connect within {}",
                humantime::format_duration(self.connect_timeout)
            )),
        }
    }

    async fn open(
        &self,
        endpoint: &str,
        name: &ServerName<'static>,
        keep_alive: Option<Duration>,
    ) -> Result<Connection, Box<dyn Error + Send + Sync>> {
        let tls = self.tls.connector().await;
        let stream = TcpStream::connect(endpoint).await?;
        stream.set_nodelay(true)?;
        match tls {
            None => Ok(handshake(stream, keep_alive, MAY_SPEAK_TLS).await?),
            Some(tls) => {
                let stream = tls.connect(name.clone(), stream).await;
                let stream = stream.map_err(with_advice)?;
                Ok(handshake(stream, keep_alive, MAY_WANT_CERTIFICATE).await?)
            }
        }
    }
}

/// How TLS failed, with what to try if the member seems not to speak it.
fn with_advice(error: io::Error) -> io::Error {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    let advice = match cause {
        Some(rustls::Error::InvalidMessage(_)) => MAY_NOT_SPEAK_TLS,
        Some(rustls::Error::AlertReceived(_)) => MAY_WANT_CERTIFICATE,
        _ if error.kind() == io::ErrorKind::UnexpectedEof => MAY_NOT_SPEAK_TLS,
        _ => return error,
    };
    io::Error::new(error.kind(), format!("{error}: {advice}"))
}

/// `advice` is what to try if the member ends the connection before it speaks HTTP/2.
async fn handshake<T>(
    stream: T,
    keep_alive: Option<Duration>,
    advice: &'static str,
) -> Result<Connection, h2::Error>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let writes = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&writes);
    let stream = InspectWriter::new(stream, move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let speaks_http2 = Arc::new(AtomicBool::new(false));
    let heard = Arc::clone(&speaks_http2);
    let stream = InspectReader::new(stream, move |bytes| {
        // It begins with the length of its settings, whose first byte is 0 (RFC 9113 §3.4).
        if bytes.first() == Some(&0) {
            heard.store(true, Ordering::Relaxed);
        }
    });
    let (sender, mut connection) = client::Builder::new()
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .handshake(stream)
        .await?;
    let pings = connection.ping_pong();
    let silence = async move {
        match (pings, keep_alive) {
            (Some(pings), Some(keep_alive)) => silence(pings, keep_alive).await,
            _ => std::future::pending().await,
        }
    };
    let (end, ended) = watch::channel(String::new());
    let task = tokio::spawn(async move {
        let reason = tokio::select! {
            ended = connection => {
                let reason = match ended {
                    Ok(()) => "the member has closed the connection".to_owned(),
                    Err(error) => with_causes(&error),
                };
                if speaks_http2.load(Ordering::Relaxed) {
                    reason
                } else {
                    format!("{reason}: {advice}")
                }
            }
            reason = silence => reason,
        };
        end.send_replace(reason);
    });
    Ok(Connection {
        sender,
        writes,
        ended,
        task: Arc::new(Task(task.abort_handle())),
    })
}

/// Waits until the member does not say any more that it is there. Returns why.
async fn silence(mut pings: PingPong, keep_alive: Duration) -> String {
    loop {
        sleep(keep_alive.max(KEEP_ALIVE_MIN)).await;
        match timeout(KEEP_ALIVE_TIMEOUT, pings.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return with_causes(&error),
            Err(_) => return "the member does not say that it is there".to_owned(),
        }
    }
}

/// A connection. It is closed when the last clone is dropped, with all that is under way on it.
#[derive(Clone)]
pub struct Connection {
    sender: SendRequest<Bytes>,
    /// How often something was written. A request was not sent if that has not changed since.
    writes: Arc<AtomicU64>,
    /// Why it has ended; empty before that.
    ended: watch::Receiver<String>,
    task: Arc<Task>,
}

impl Connection {
    /// Whether no request can be sent on it any more.
    pub fn is_closed(&self) -> bool {
        self.task.0.is_finished()
    }

    /// Why it has ended, if it has. A member that does not accept a certificate says so only there.
    async fn reason(mut self) -> Option<String> {
        let ended = self.ended.wait_for(|reason| !reason.is_empty());
        let reason = timeout(REASON_TIMEOUT, ended).await.ok()?.ok()?;
        Some(reason.clone())
    }

    /// Sends a request with this body, or with the first part of one that has no end, and waits for the head of the
    /// response.
    ///
    /// # Errors
    /// How the connection failed, with a [`BrokenConnection`] as the source.
    pub async fn send(
        &self,
        request: Request<()>,
        body: Bytes,
        is_whole: bool,
    ) -> Result<Response<Answer>, Status> {
        let not_sent = |error| self.broken(error, BrokenConnection::NotSent);
        let writes = self.writes.load(Ordering::SeqCst);
        let mut sender = match self.sender.clone().ready().await {
            Ok(sender) => sender,
            Err(error) => return Err(not_sent(error).await),
        };
        let (response, mut stream) = match sender.send_request(request, false) {
            Ok(begun) => begun,
            Err(error) => return Err(not_sent(error).await),
        };
        // If that fails, so does the response.
        let _ = stream.send_data(body, is_whole);
        match response.await {
            Ok(response) => Ok(response.map(|received| Answer {
                received,
                _request: stream,
            })),
            // A member that has ended may be noticed only now, before anything is written.
            Err(error) if is_refused(&error) || self.writes.load(Ordering::SeqCst) == writes => {
                Err(not_sent(error).await)
            }
            Err(error) => Err(self.broken(error, BrokenConnection::Lost).await),
        }
    }

    async fn broken(&self, error: h2::Error, how: fn(String) -> BrokenConnection) -> Status {
        let reason = if error.is_reset() {
            None
        } else {
            self.clone().reason().await
        };
        status(how(reason.unwrap_or_else(|| with_causes(&error))))
    }

    /// Whether both are one connection.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.task, &other.task)
    }
}

struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The body of a response. The request is canceled when it is dropped before its end.
pub struct Answer {
    received: RecvStream,
    _request: SendStream<Bytes>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let lost = |error| status(BrokenConnection::Lost(with_causes(&error)));
        if let Some(data) = ready!(self.received.poll_data(context)) {
            return Poll::Ready(Some(data.map_err(lost).map(|data| {
                // It fails only if the stream has ended, and then nothing more comes.
                let _ = self.received.flow_control().release_capacity(data.len());
                Frame::data(data)
            })));
        }
        let trailers = ready!(self.received.poll_trailers(context));
        Poll::Ready(
            trailers
                .map_err(lost)
                .transpose()
                .map(|trailers| trailers.map(Frame::trailers)),
        )
    }

    fn is_end_stream(&self) -> bool {
        self.received.is_end_stream()
    }
}

/// Whether the member says that it has not looked at the request (RFC 9113 §8.7).
fn is_refused(error: &h2::Error) -> bool {
    error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM)
}

fn status(broken: BrokenConnection) -> Status {
    let mut status = Status::unavailable(broken.to_string());
    status.set_source(Arc::new(broken));
    status
}

/// A connection failed before there was an answer.
#[derive(Debug)]
pub enum BrokenConnection {
    /// The member has not looked at the request.
    NotSent(String),
    /// The member may have done what was requested.
    Lost(String),
}

impl fmt::Display for BrokenConnection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent(text) | Self::Lost(text) => formatter.write_str(text),
        }
    }
}

impl Error for BrokenConnection {}

/// An error with what caused it; hyper's own texts leave that out.
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
