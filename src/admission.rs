//! How many bytes of requests may be under way at once, in the whole process.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Error;

/// How many bytes of requests may be under way at once unless a flag says otherwise.
pub const DEFAULT_MAX_IN_FLIGHT_BYTES: usize = 64 * 1024 * 1024;

/// The bytes that requests may take together: what has come in of their bodies, and what patches
/// have made of stored values.
#[derive(Debug, Clone)]
pub struct InFlight(Arc<Semaphore>);

/// A part of [`InFlight`] that is taken until this is dropped.
#[derive(Debug)]
pub struct Admission {
    in_flight: InFlight,
    taken: Option<OwnedSemaphorePermit>,
}

impl InFlight {
    /// Room for so many bytes.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(
            max_bytes.min(Semaphore::MAX_PERMITS),
        )))
    }

    /// An admission that takes nothing yet.
    #[must_use]
    pub fn admission(&self) -> Admission {
        Admission {
            in_flight: self.clone(),
            taken: None,
        }
    }
}

impl Admission {
    /// Takes so many bytes more.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if there is no room for them; nothing more is taken then.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Error> {
        let bytes = u32::try_from(bytes).map_err(|_| Error::Overloaded)?;
        let more = Arc::clone(&self.in_flight.0).try_acquire_many_owned(bytes);
        let more = more.map_err(|_| Error::Overloaded)?;
        match &mut self.taken {
            Some(taken) => taken.merge(more),
            None => self.taken = Some(more),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_way_is_bounded_together_and_freed_when_it_ends() {
        let in_flight = InFlight::new(10);
        let (mut one, mut other) = (in_flight.admission(), in_flight.admission());
        assert!(one.grow(4).is_ok() && other.grow(4).is_ok() && one.grow(2).is_ok());
        assert!(matches!(other.grow(1), Err(Error::Overloaded)));
        drop(one);
        assert!(other.grow(6).is_ok());
        assert!(matches!(other.grow(usize::MAX), Err(Error::Overloaded)));
    }
}
