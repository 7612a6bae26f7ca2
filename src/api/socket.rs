//! A client's socket: it notices who is gone and who does not read.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep};

use super::client::{Connection, HALF_CLOSED_GRACE, Phase};

/// How much a client must take of an answer in each `--request-timeout`, in bytes.
pub const MIN_TAKEN_BYTES: u64 = 64 * 1024;

/// A client's socket.
pub struct Socket {
    stream: TcpStream,
    /// Given back when the stream has been closed: fields are dropped in their order.
    _descriptor: Option<OwnedSemaphorePermit>,
    connection: Arc<Connection>,
    /// Runs once the client has closed its sending side while its answer is being made.
    half_closed: Option<Pin<Box<Sleep>>>,
    unread_timeout: Duration,
    taken_bytes: u64,
    unread: Option<Unread>,
}

/// A time in which the client must take a part of what is ready for it.
struct Unread {
    end: Pin<Box<Sleep>>,
    /// What it had taken at the beginning, in bytes.
    taken_before: u64,
}

impl Socket {
    /// A socket of `connection` whose client must take [`MIN_TAKEN_BYTES`] in each `unread_timeout`.
    pub fn new(
        stream: TcpStream,
        descriptor: Option<OwnedSemaphorePermit>,
        connection: Arc<Connection>,
        unread_timeout: Duration,
    ) -> Self {
        Self {
            stream,
            _descriptor: descriptor,
            connection,
            half_closed: None,
            unread_timeout,
            taken_bytes: 0,
            unread: None,
        }
    }

    /// Whether the end of what the client sends is the end of the connection.
    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.connection.half_closed(context.waker());
        let phase = self.connection.phase();
        if phase != Phase::Answering {
            self.half_closed = None;
        }
        match phase {
            Phase::Sending | Phase::Flushing => Poll::Pending,
            Phase::Answering => {
                let grace = || Box::pin(sleep(HALF_CLOSED_GRACE));
                let half_closed = self.half_closed.get_or_insert_with(grace);
                half_closed.as_mut().poll(context)
            }
            Phase::Idle | Phase::Waiting | Phase::Streaming | Phase::Closed => Poll::Ready(()),
        }
    }

    /// What a write came to, unless the client takes too little.
    fn judge(
        &mut self,
        written: Poll<io::Result<usize>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = written {
            self.taken_bytes += *written.as_ref().unwrap_or(&0) as u64;
            return Poll::Ready(written);
        }
        let (timeout, taken_bytes) = (self.unread_timeout, self.taken_bytes);
        let unread = self.unread.get_or_insert_with(|| Unread {
            end: Box::pin(sleep(timeout)),
            taken_before: taken_bytes,
        });
        while unread.end.as_mut().poll(context).is_ready() {
            if taken_bytes - unread.taken_before < MIN_TAKEN_BYTES {
                let reason = "the client has left its answer unread";
                return Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, reason)));
            }
            unread.taken_before = taken_bytes;
            unread.end.as_mut().reset(Instant::now() + timeout);
        }
        Poll::Pending
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() == before && buffer.remaining() > 0 {
            ready!(self.poll_gone(context));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.judge(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Called when there is nothing left to write.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.unread = None;
        self.connection.flushed();
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
