//! Whether a client reads what is ready for it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// How much a client must read of an answer in each `--request-timeout`, in bytes.
const MIN_TAKEN_BYTES: u64 = 64 * 1024;

/// Measures what a client reads while something is ready for it.
pub struct Unread {
    timeout: Duration,
    period: Option<Period>,
}

/// A time in which the client must read part of what is ready for it.
struct Period {
    end: Pin<Box<Sleep>>,
    /// What it had read at the beginning, in bytes.
    taken_before: u64,
}

impl Unread {
    /// The client must read [`MIN_TAKEN_BYTES`] in each `timeout`.
    pub fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            period: None,
        }
    }

    /// Notes that nothing is left for it to read.
    pub fn nothing(&mut self) {
        self.period = None;
    }

    /// Notes that something is ready for it, and that it has read `taken_bytes` so far. Ready when that is too
    /// little.
    pub fn poll_too_little(&mut self, taken_bytes: u64, context: &mut Context<'_>) -> Poll<()> {
        let period = self.period.get_or_insert_with(|| Period {
            end: Box::pin(sleep(self.timeout)),
            taken_before: taken_bytes,
        });
        loop {
            ready!(period.end.as_mut().poll(context));
            if taken_bytes - period.taken_before < MIN_TAKEN_BYTES {
                return Poll::Ready(());
            }
            period.taken_before = taken_bytes;
            period.end.as_mut().reset(Instant::now() + self.timeout);
        }
    }
}
