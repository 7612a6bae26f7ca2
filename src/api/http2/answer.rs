//! The answer of a stream. A client reads each stream at its own pace, by the window that it opens for it
//! (RFC 9113 §5.2), so its socket does not show which answers it leaves unread.

use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use bytes::Buf;
use futures_util::task::AtomicWaker;
use hyper::body::{Frame, SizeHint};
use hyper::rt::Executor;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::super::client::Stream;
use super::super::unread::Unread;

/// How many bytes of an answer wait in its stream for the client to read them.
pub const STREAM_BUFFER_BYTES: usize = 64 * 1024;
/// How long a piece of an answer is: the largest frame that every client takes (RFC 9113 §4.2).
const PIECE_BYTES: usize = 16 * 1024;

/// What a client has read of an answer. The stream is open as long as this is there.
pub struct Progress {
    waiting_bytes: AtomicUsize,
    taken_bytes: AtomicU64,
    /// Who waits until the client has taken something.
    waker: AtomicWaker,
    _stream: Stream,
    _permit: OwnedSemaphorePermit,
}

impl Progress {
    /// Of an answer of which nothing was sent.
    pub fn new(stream: Stream, permit: OwnedSemaphorePermit) -> Self {
        Self {
            waiting_bytes: AtomicUsize::new(0),
            taken_bytes: AtomicU64::new(0),
            waker: AtomicWaker::new(),
            _stream: stream,
            _permit: permit,
        }
    }

    fn waiting_bytes(&self, context: &Context<'_>) -> usize {
        // First, so that no change comes between.
        self.waker.register(context.waker());
        self.waiting_bytes.load(Ordering::Acquire)
    }
}

/// A piece of an answer; it is dropped when the connection has taken it over.
pub struct Piece {
    bytes: Bytes,
    length: usize,
    progress: Arc<Progress>,
}

impl Piece {
    fn new(bytes: Bytes, progress: Arc<Progress>) -> Self {
        let length = bytes.len();
        progress.waiting_bytes.fetch_add(length, Ordering::AcqRel);
        Self {
            bytes,
            length,
            progress,
        }
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let progress = &self.progress;
        let taken = self.length - self.bytes.len();
        progress
            .taken_bytes
            .fetch_add(taken as u64, Ordering::Relaxed);
        progress
            .waiting_bytes
            .fetch_sub(self.length, Ordering::AcqRel);
        progress.waker.wake();
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

/// The body of an answer, in pieces.
pub struct StreamBody {
    body: Body,
    /// What is left of the frame that came last.
    rest: Bytes,
    progress: Arc<Progress>,
}

impl StreamBody {
    /// All of `body`.
    pub fn new(body: Body, progress: Arc<Progress>) -> Self {
        Self {
            body,
            rest: Bytes::new(),
            progress,
        }
    }
}

impl HttpBody for StreamBody {
    type Data = Piece;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, axum::Error>>> {
        if self.progress.waiting_bytes(context) >= STREAM_BUFFER_BYTES {
            return Poll::Pending;
        }
        while self.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => frame,
            };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(frame) => {
                    let trailers = frame.into_trailers().map(Frame::trailers);
                    return Poll::Ready(trailers.ok().map(Ok));
                }
            }
        }
        let length = self.rest.len().min(PIECE_BYTES);
        let bytes = self.rest.split_to(length);
        let piece = Piece::new(bytes, Arc::clone(&self.progress));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // It is asked before the first frame.
        self.body.size_hint()
    }
}

/// Serves each stream in a task, and ends it if the client leaves its answer unread.
#[derive(Clone)]
pub struct StreamExecutor {
    begun: Begun,
    timeout: Duration,
    /// Notified when only the end of the connection frees what an answer holds.
    unread: Arc<Notify>,
}

/// The stream whose request has just been begun. hyper calls the service and then the executor, with nothing in
/// between.
pub type Begun = Arc<Mutex<Option<Arc<Progress>>>>;

impl StreamExecutor {
    /// Of the streams that come by `begun`; the client must read enough of each in `timeout`.
    pub fn new(begun: Begun, timeout: Duration, unread: Arc<Notify>) -> Self {
        Self {
            begun,
            timeout,
            unread,
        }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for StreamExecutor {
    fn execute(&self, future: F) {
        let progress = mem::take(&mut *self.begun.lock());
        let Some(progress) = progress else {
            // It was refused.
            tokio::spawn(future);
            return;
        };
        tokio::spawn(StreamTask {
            serving: Some(Box::pin(future)),
            progress,
            unread: Unread::new(self.timeout),
            connection: Arc::clone(&self.unread),
        });
    }
}

/// Serves one stream.
struct StreamTask<F> {
    /// `None` when all of the answer is on its way.
    serving: Option<Pin<Box<F>>>,
    progress: Arc<Progress>,
    unread: Unread,
    connection: Arc<Notify>,
}

impl<F: Future<Output = ()>> Future for StreamTask<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if let Some(serving) = &mut this.serving
            && serving.as_mut().poll(context).is_ready()
        {
            this.serving = None;
        }
        if this.progress.waiting_bytes(context) == 0 {
            this.unread.nothing();
            return match this.serving {
                Some(_) => Poll::Pending,
                None => Poll::Ready(()),
            };
        }
        let taken_bytes = this.progress.taken_bytes.load(Ordering::Relaxed);
        ready!(this.unread.poll_too_little(taken_bytes, context));
        if this.serving.take().is_none() {
            // The stream is out of reach: its end was handed over already.
            this.connection.notify_one();
        }
        Poll::Ready(())
    }
}
