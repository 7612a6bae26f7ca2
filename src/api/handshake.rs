//! From a client's socket to a connection that is secured by TLS.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::thread::available_parallelism;
use std::time::Duration;

use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::socket::Socket;
use super::tls::{ClientCertificate, CurrentTls, HTTP2};

/// How long a handshake may take, its wait for a turn included.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How many bytes are read in a handshake: of the client's certificates, and of the first record of its request,
/// which comes with the end of the handshake. So ten thousand clients that never end it take 320 MiB.
const HANDSHAKE_MAX_BYTES: usize = 32 * 1024;
/// How many bytes of an answer are kept encrypted until the system takes them.
const ENCRYPTED_MAX_BYTES: usize = 16 * 1024;
/// How long a client that does not speak TLS may take to read its answer.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
const REFUSAL: &str = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 40\r\n\
                       Connection: close\r\n\r\nthis port speaks TLS: begin with https:\n";

/// Makes handshakes.
pub struct Handshakes {
    tls: CurrentTls,
    /// One for each handshake that is computed at the moment. A signature takes as long as many requests, so a
    /// flood of clients leaves half of the processors to those who are connected. Nobody holds one while it
    /// waits for its client.
    turns: Semaphore,
    time: Duration,
}

impl Handshakes {
    /// With the certificate and the key of `tls`, and never longer than `header_timeout`.
    pub fn new(tls: CurrentTls, header_timeout: Duration) -> Self {
        let processors = available_parallelism().map_or(1, usize::from);
        Self {
            tls,
            turns: Semaphore::new((processors / 2).max(1)),
            time: HANDSHAKE_TIMEOUT.min(header_timeout),
        }
    }

    /// Makes one.
    ///
    /// # Errors
    /// If the client does not speak TLS, is too slow, or may not connect.
    pub async fn secure(&self, socket: Socket) -> io::Result<Secured> {
        let deadline = Instant::now() + self.time;
        match timeout_at(deadline, self.secure_in_time(socket)).await {
            Ok(secured) => secured,
            Err(_) => Err(ErrorKind::TimedOut.into()),
        }
    }

    async fn secure_in_time(&self, mut socket: Socket) -> io::Result<Secured> {
        socket.limit_reading(Some(HANDSHAKE_MAX_BYTES));
        let first = socket.look(|bytes| bytes.first().copied()).await?;
        // A method of HTTP; TLS begins with another byte.
        if first.is_ascii_uppercase() {
            // It is refused, whether it reads that or not.
            let _ = timeout(REFUSAL_TIMEOUT, refuse(socket)).await;
            return Err(io::Error::new(ErrorKind::InvalidData, "it speaks HTTP"));
        }
        let hello = LazyConfigAcceptor::new(Acceptor::default(), socket).await?;
        // The semaphore is never closed.
        let turn = self.turns.acquire().await;
        let rest = hello.into_stream_with(self.tls.get(), |session| {
            session.set_buffer_limit(Some(ENCRYPTED_MAX_BYTES));
        });
        drop(turn);
        let mut stream = rest.await?;
        stream.get_mut().0.limit_reading(None);
        Ok(Secured(stream))
    }
}

/// Answers a client that speaks HTTP without TLS.
async fn refuse(mut socket: Socket) -> io::Result<()> {
    socket.write_all(REFUSAL.as_bytes()).await?;
    socket.shutdown().await?;
    // With its request unread, the system would reset the connection, and the client would not see the answer.
    tokio::io::copy(&mut socket, &mut tokio::io::sink()).await?;
    Ok(())
}

/// A client's connection, secured by TLS.
pub struct Secured(TlsStream<Socket>);

impl Secured {
    /// Whether the client wants to speak HTTP/2.
    pub fn is_http2(&self) -> bool {
        let (_, session) = self.0.get_ref();
        session.alpn_protocol() == Some(HTTP2)
    }

    /// The certificate that the client has shown.
    pub fn client_certificate(&self) -> Option<ClientCertificate> {
        let (_, session) = self.0.get_ref();
        session
            .peer_certificates()?
            .first()
            .map(ClientCertificate::of)
    }
}

impl AsyncRead for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.0).poll_read(context, buffer))?;
        if buffer.filled().len() == before && buffer.remaining() > 0 {
            // The client has said that it sends no more, which its socket does not know (RFC 8446 §6.1).
            ready!(self.0.get_mut().0.poll_end(context));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Secured {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
