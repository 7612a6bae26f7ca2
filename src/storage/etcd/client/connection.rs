//! One HTTP/2 connection to a member.
//!
//! tonic's own channel is not used: it reconnects behind its caller's back, and then does not say whether a
//! request was sent. For a transaction that is the difference between a safe repetition and a lost update.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::Status;
use tonic::body::Body;
use tower::Service;

/// How long a member may take to say that it is there.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the end of a connection is waited for whose end is known already.
const REASON_TIMEOUT: Duration = Duration::from_millis(100);
/// What etcd tolerates by default (`--grpc-keepalive-min-time`).
const KEEP_ALIVE_MIN: Duration = Duration::from_secs(5);

/// Makes connections.
pub struct Connector {
    pub tls: Option<TlsConnector>,
    pub connect_timeout: Duration,
    pub keep_alive: Duration,
}

impl Connector {
    /// Connects to `endpoint`, which is `host:port`, and whose certificate names `name`.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn connect(
        &self,
        endpoint: &str,
        name: &ServerName<'static>,
    ) -> Result<Connection, String> {
        match timeout(self.connect_timeout, self.open(endpoint, name)).await {
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
    ) -> Result<Connection, Box<dyn Error + Send + Sync>> {
        let stream = TcpStream::connect(endpoint).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => Ok(self.handshake(stream).await?),
            Some(tls) => {
                let stream = tls.connect(name.clone(), stream).await?;
                Ok(self.handshake(stream).await?)
            }
        }
    }

    async fn handshake<T>(&self, stream: T) -> Result<Connection, hyper::Error>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            // Only while an answer is waited for: etcd ends connections that ask when they are idle.
            .keep_alive_while_idle(false)
            .keep_alive_interval(self.keep_alive.max(KEEP_ALIVE_MIN))
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .handshake(TokioIo::new(stream))
            .await?;
        let (end, ended) = watch::channel(String::new());
        let task = tokio::spawn(async move {
            let reason = match connection.await {
                Ok(()) => "the member has closed the connection".to_owned(),
                Err(error) => with_causes(&error),
            };
            end.send_replace(reason);
        });
        Ok(Connection {
            sender,
            ended,
            task: Arc::new(Task(task.abort_handle())),
        })
    }
}

/// A connection. It is closed when the last clone is dropped, with all that is under way on it.
#[derive(Clone)]
pub struct Connection {
    sender: SendRequest<Body>,
    /// Why it has ended; empty before that.
    ended: watch::Receiver<String>,
    task: Arc<Task>,
}

impl Connection {
    /// Whether no request can be sent on it any more.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Why it has ended, if it has. A member that does not accept a certificate says so only there.
    async fn reason(mut self) -> Option<String> {
        if !self.is_closed() {
            return None;
        }
        let ended = self.ended.wait_for(|reason| !reason.is_empty());
        let reason = timeout(REASON_TIMEOUT, ended).await.ok()?.ok()?;
        Some(reason.clone())
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

impl Service<Request<Body>> for Connection {
    type Response = Response<Incoming>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let sent = self.sender.try_send_request(request);
        let connection = self.clone();
        Box::pin(async move {
            let mut error = match sent.await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            let is_sent = error.take_message().is_none() && !is_refused(error.error());
            let text = match connection.reason().await {
                Some(reason) => reason,
                None => with_causes(error.error()),
            };
            let mut status = Status::unavailable(text.clone());
            status.set_source(Arc::new(if is_sent {
                BrokenConnection::Lost(text)
            } else {
                BrokenConnection::NotSent(text)
            }));
            Err(status)
        })
    }
}

/// Whether the member says that it has not looked at the request (RFC 9113 §8.7).
fn is_refused(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref());
    cause.is_some_and(|error: &h2::Error| error.reason() == Some(h2::Reason::REFUSED_STREAM))
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
