//! Numbers of events, as a few ranges.

use std::collections::VecDeque;
use std::ops::Range;

/// The most ranges that are held at once. Together they take 1 KiB.
const RANGES_MAX: usize = 64;

/// Which event, counted from the beginning of the feed.
pub type Number = u64;

/// Numbers of events, ascending, among which are all that a filter matches. A few ranges say which: when
/// there are too many, the last one is extended over the gap, and the reader skips what does not match.
#[derive(Debug, Default, Clone)]
pub struct Ranges(VecDeque<Range<Number>>);

impl Ranges {
    /// Adds what comes after the last.
    pub fn push(&mut self, range: Range<Number>) {
        if range.is_empty() {
            return;
        }
        let is_full = self.0.len() >= RANGES_MAX;
        match self.0.back_mut() {
            Some(last) if is_full || last.end >= range.start => {
                last.end = last.end.max(range.end);
            }
            _ => self.0.push_back(range),
        }
    }

    /// The first number.
    pub fn first(&self) -> Option<Number> {
        self.0.front().map(|range| range.start)
    }

    /// Removes the first number.
    pub fn remove_first(&mut self) {
        if let Some(range) = self.0.front_mut() {
            range.start += 1;
            if range.is_empty() {
                self.0.pop_front();
            }
        }
    }

    /// Removes everything before `number`, and returns it.
    pub fn remove_before(&mut self, number: Number) -> Self {
        let mut removed = Self::default();
        while let Some(range) = self.0.front_mut()
            && range.start < number
        {
            removed.push(range.start..range.end.min(number));
            range.start = range.end.min(number);
            if range.is_empty() {
                self.0.pop_front();
            }
        }
        removed
    }

    /// Whether it has no ranges.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes them all.
    pub fn clear(&mut self) {
        // Gives back the memory of a burst.
        self.0 = VecDeque::new();
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Range<Number>> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_stay_few_and_leave_nothing_out() {
        let mut ranges = Ranges::default();
        let numbers: Vec<_> = (0..1000).map(|number| 3 * number).collect();
        for &number in &numbers {
            ranges.push(number..number + 1);
            assert!(ranges.iter().count() <= RANGES_MAX);
        }
        let covered: Vec<_> = ranges.iter().cloned().flatten().collect();
        assert!(covered.is_sorted_by(|one, next| one < next));
        assert!(numbers.iter().all(|number| covered.contains(number)));
        let before = ranges.remove_before(100);
        assert_eq!(before.iter().last(), Some(&(99..100)));
        assert_eq!(ranges.first(), Some(102));
    }
}
