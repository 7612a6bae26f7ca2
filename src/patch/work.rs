//! The work budget of a patch, and the check whether its result is still needed.

use super::error::ApplyError;

/// What every patch may cost, however short it and its value are, in units of work.
const LEAST_UNITS: usize = 100_000;
/// What a patch may cost for each byte of its text, of its value's and of what it copies, in units
/// of work.
///
/// A unit is a node that is read, visited, moved or written, [`BYTES_PER_UNIT`] bytes of a number
/// that is compared, or a step of a path. Reading, changing and writing alone take 2 units a byte
/// at most, and large patches of all kinds took 0.1 to 1. Of the costly operations, a unit took 6
/// to 11 ns on a busy machine: with 1 MiB of both texts, 12.7 million units are about 100 ms of one
/// core.
const UNITS_PER_BYTE: usize = 6;
/// How many bytes of a number are compared for a unit of work.
pub const BYTES_PER_UNIT: usize = 2;
/// After how many units `stop` is checked: some 50 µs.
const UNITS_BETWEEN_LOOKS: usize = 4096;

/// What is left of the budget.
pub struct Work<'s> {
    left: usize,
    until_look: usize,
    stop: &'s dyn Fn() -> bool,
}

impl<'s> Work<'s> {
    /// The budget for a patch and a value of so many bytes of text together.
    pub fn on(bytes: usize, stop: &'s dyn Fn() -> bool) -> Self {
        let mut work = Self {
            left: LEAST_UNITS,
            until_look: 0,
            stop,
        };
        work.grant(bytes);
        work
    }

    /// Adds to the budget what so many more bytes of text may cost.
    pub fn grant(&mut self, bytes: usize) {
        let units = bytes.saturating_mul(UNITS_PER_BYTE);
        self.left = self.left.saturating_add(units);
    }

    /// No limit, for work that is linear in a bounded text.
    pub fn unbounded() -> Self {
        Self {
            left: usize::MAX,
            until_look: 0,
            stop: &|| false,
        }
    }

    /// Takes so many units, before the work is done.
    ///
    /// # Errors
    /// [`ApplyError::TooMuchWork`], [`ApplyError::Stopped`].
    pub fn charge(&mut self, units: usize) -> Result<(), ApplyError> {
        self.left = self
            .left
            .checked_sub(units)
            .ok_or(ApplyError::TooMuchWork)?;
        match self.until_look.checked_sub(units) {
            Some(rest) => self.until_look = rest,
            None => {
                self.until_look = UNITS_BETWEEN_LOOKS;
                if (self.stop)() {
                    return Err(ApplyError::Stopped);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn the_budget_grows_with_the_texts_and_ends() {
        for bytes in [0, 1000, 1 << 20] {
            let mut work = Work::on(bytes, &|| false);
            let all = LEAST_UNITS + bytes * UNITS_PER_BYTE;
            assert_eq!(work.charge(all), Ok(()));
            assert_eq!(work.charge(1), Err(ApplyError::TooMuchWork));
        }
    }

    #[test]
    fn stop_is_checked_at_once_and_every_few_thousand_units() {
        let asked = Cell::new(0);
        let stop = || {
            asked.set(asked.get() + 1);
            asked.get() == 3
        };
        let mut work = Work::on(0, &stop);
        let mut units = 0;
        while work.charge(1).is_ok() {
            units += 1;
        }
        assert_eq!(asked.get(), 3);
        assert!(units <= 3 * UNITS_BETWEEN_LOOKS, "{units}");
    }
}
