//! A client's socket: it notices when the client is gone or does not read.

use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::mem;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep};

use super::client::{Connection, HALF_CLOSED_GRACE, Phase};
use super::unread::Unread;

/// How often a client is checked while nothing is read from it. Together with [`HALF_CLOSED_GRACE`] this is
/// less than the two seconds promised.
const GONE_CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// How many of a client's first bytes can be looked at.
pub const FIRST_BYTES: usize = 24;

/// A client's socket.
pub struct Socket {
    stream: TcpStream,
    /// Released after the stream is closed: fields are dropped in declaration order.
    _descriptor: Option<OwnedSemaphorePermit>,
    connection: Arc<Connection>,
    /// Runs once the client has closed its sending side while its answer is being made.
    half_closed: Option<Pin<Box<Sleep>>>,
    /// Whether the last poll waits for data from the client, and so notices when it closes.
    is_reading: bool,
    /// The next check of a client from which nothing is read.
    gone_check: Option<Pin<Box<Sleep>>>,
    taken_bytes: u64,
    unread: Unread,
    first: FirstBytes,
    /// How many bytes may still be read from the client, if there is a limit.
    readable_bytes: Option<usize>,
}

/// The first bytes from the client, looked at before anybody reads them.
#[derive(Default)]
struct FirstBytes {
    bytes: [u8; FIRST_BYTES],
    filled: usize,
    /// How many of them were read since.
    read: usize,
}

impl Socket {
    /// A socket of `connection` whose client must read enough in each `unread_timeout`.
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
            is_reading: false,
            gone_check: None,
            taken_bytes: 0,
            unread: Unread::new(unread_timeout),
            first: FirstBytes::default(),
            readable_bytes: None,
        }
    }

    /// Looks at the first bytes from the client, until `judge` has enough of them; they are still to be read.
    ///
    /// # Errors
    /// If the client hangs up, or `judge` wants more than [`FIRST_BYTES`].
    pub async fn look<T>(&mut self, judge: impl Fn(&[u8]) -> Option<T>) -> io::Result<T> {
        loop {
            let first = &mut self.first;
            if let Some(judged) = judge(&first.bytes[..first.filled]) {
                return Ok(judged);
            }
            let (stream, mut buffer) = (
                &mut self.stream,
                ReadBuf::new(&mut first.bytes[first.filled..]),
            );
            poll_fn(|context| Pin::new(&mut *stream).poll_read(context, &mut buffer)).await?;
            let count = buffer.filled().len();
            if count == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            first.filled += count;
        }
    }

    /// From now on the client may send so many bytes; more are an error. `None` is no limit.
    pub fn limit_reading(&mut self, bytes: Option<usize>) {
        self.readable_bytes = bytes;
    }

    /// Whether the client's end of sending ends the connection, for a protocol above that has an end of its own.
    pub fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // It is known that nothing more comes.
        self.is_reading = true;
        self.poll_gone(context)
    }

    /// Whether the client's closing of its sending side ends the connection.
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
            Phase::Idle
            | Phase::Waiting
            | Phase::Streaming
            | Phase::Multiplexing
            | Phase::Closed => Poll::Ready(()),
        }
    }

    /// The same while nothing is read: hyper does not read while a client has pipelined more data or sent a
    /// body that is not wanted.
    ///
    /// The system reports the close once, mixed with the report of unread bytes, so there is no event to wait
    /// for. The runtime remembers the close, so checking costs no system call.
    fn poll_gone_without_reading(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self.connection.phase() {
            Phase::Answering | Phase::Waiting | Phase::Streaming | Phase::Multiplexing => {}
            Phase::Idle | Phase::Sending | Phase::Flushing | Phase::Closed => {
                self.half_closed = None;
                return Poll::Pending;
            }
        }
        match &self.gone_check {
            // Most requests with a body are answered before the first check is due.
            Some(check) if !check.is_elapsed() => return Poll::Pending,
            Some(_) if self.is_read_closed(context) => return self.poll_gone(context),
            Some(_) | None => {}
        }
        let check = self
            .gone_check
            .get_or_insert_with(|| Box::pin(sleep(Duration::ZERO)));
        check.as_mut().reset(Instant::now() + GONE_CHECK_INTERVAL);
        // Only to register the waker.
        let _ = check.as_mut().poll(context);
        Poll::Pending
    }

    /// Whether the client has closed its sending side or reset the connection, as far as the runtime knows.
    fn is_read_closed(&self, context: &mut Context<'_>) -> bool {
        let ready = pin!(self.stream.ready(Interest::READABLE)).poll(context);
        matches!(ready, Poll::Ready(Ok(ready)) if ready.is_read_closed())
    }

    /// # Errors
    /// If the client has sent more than it may.
    fn count_read(&mut self, bytes: usize) -> io::Result<()> {
        if let Some(left) = &mut self.readable_bytes {
            let reason = "the client sends too much";
            *left = left
                .checked_sub(bytes)
                .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, reason))?;
        }
        Ok(())
    }

    /// The result of a write, or an error if the client reads too little.
    fn check_progress(
        &mut self,
        written: Poll<io::Result<usize>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = written {
            self.taken_bytes += *written.as_ref().unwrap_or(&0) as u64;
            return Poll::Ready(written);
        }
        ready!(self.unread.poll_too_little(self.taken_bytes, context));
        let reason = "the client has left its answer unread";
        Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, reason)))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let first = &mut self.first;
        if first.read < first.filled {
            let count = buffer.remaining().min(first.filled - first.read);
            buffer.put_slice(&first.bytes[first.read..first.read + count]);
            first.read += count;
            return Poll::Ready(self.count_read(count));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.is_reading = read.is_pending();
        ready!(read)?;
        let count = buffer.filled().len() - before;
        if count == 0 && buffer.remaining() > 0 {
            ready!(self.poll_end(context));
        }
        Poll::Ready(self.count_read(count))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.check_progress(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.check_progress(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Called whenever the connection has been polled and there is nothing left to write.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.unread.nothing();
        self.connection.flushed();
        if !mem::take(&mut self.is_reading) && self.poll_gone_without_reading(context).is_ready() {
            let reason = "the client is gone";
            return Poll::Ready(Err(io::Error::new(ErrorKind::ConnectionAborted, reason)));
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
