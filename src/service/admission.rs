//! How many bytes of requests may be in progress at once, in the whole process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::error::Unserved;

/// How many bytes of requests may be in progress at once unless a flag says otherwise.
pub const DEFAULT_MAX_IN_FLIGHT_BYTES: usize = 64 * 1024 * 1024;

/// The bytes that requests may take together: the received parts of their bodies, and the results of patches.
#[derive(Debug, Clone)]
pub struct InFlight(Arc<Room>);

#[derive(Debug)]
struct Room {
    max_bytes: usize,
    taken_bytes: AtomicUsize,
}

/// A part of [`InFlight`] that is taken until this is dropped.
#[derive(Debug)]
pub struct Admission {
    in_flight: InFlight,
    taken_bytes: usize,
}

impl InFlight {
    /// Room for so many bytes.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self(Arc::new(Room {
            max_bytes,
            taken_bytes: AtomicUsize::new(0),
        }))
    }

    /// An admission that takes nothing yet.
    #[must_use]
    pub fn admission(&self) -> Admission {
        Admission {
            in_flight: self.clone(),
            taken_bytes: 0,
        }
    }
}

impl Admission {
    /// Takes so many bytes more.
    ///
    /// # Errors
    /// [`Unserved::Overloaded`] if there is no room for them; nothing more is taken then.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Unserved> {
        let Room {
            max_bytes,
            taken_bytes,
        } = &*self.in_flight.0;
        let more = |taken: usize| taken.checked_add(bytes).filter(|taken| taken <= max_bytes);
        taken_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .map_err(|_| Unserved::Overloaded)?;
        self.taken_bytes += bytes;
        Ok(())
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let taken_bytes = &self.in_flight.0.taken_bytes;
        taken_bytes.fetch_sub(self.taken_bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_progress_are_bounded_together_and_freed_at_the_end() {
        let in_flight = InFlight::new(10);
        let (mut one, mut other) = (in_flight.admission(), in_flight.admission());
        assert!(one.grow(4).is_ok() && other.grow(4).is_ok() && one.grow(2).is_ok());
        assert!(matches!(other.grow(1), Err(Unserved::Overloaded)));
        drop(one);
        assert!(other.grow(6).is_ok());
        assert!(matches!(other.grow(usize::MAX), Err(Unserved::Overloaded)));
    }
}
