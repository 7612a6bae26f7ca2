//! Whether what etcd has is the past that is known here. A snapshot of etcd that was restored has the cluster id, and
//! may have the revisions, of what it replaced; but the marker at a revision has other digits. Pure.

use std::collections::VecDeque;

use super::decoded::Mark;
use crate::model::Revision;

/// How many marks are remembered.
const MARKS_MAX: usize = 4096;

/// The recent marks, ascending.
#[derive(Debug, Default)]
pub struct Lineage(VecDeque<Mark>);

/// What is known of a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// It is one of this past.
    Same,
    /// It is newer than what is known.
    Newer,
    /// It is not of this past.
    Other,
}

impl Lineage {
    /// The newest mark; nothing before the first commit.
    #[must_use]
    pub fn newest(&self) -> Option<Mark> {
        self.0.back().copied()
    }

    /// Adds the newest mark, or forgets them all because the marker was deleted.
    pub fn note(&mut self, mark: Option<Mark>) {
        let Some(mark) = mark else {
            self.0.clear();
            return;
        };
        if self.0.len() >= MARKS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(mark);
    }

    /// What is known of the mark that etcd has, where everything up to `reached` is known.
    #[must_use]
    pub fn compare(&self, mark: Option<Mark>, reached: Revision) -> Known {
        let Some(mark) = mark else {
            return match self.newest() {
                Some(_) => Known::Other,
                None => Known::Same,
            };
        };
        if mark.revision > reached {
            return Known::Newer;
        }
        let index = self
            .0
            .partition_point(|known| known.revision < mark.revision);
        match self.0.get(index) {
            Some(known) if *known == mark => Known::Same,
            // It is older than what is remembered.
            Some(_) if index == 0 && self.0.len() == MARKS_MAX => Known::Same,
            _ => Known::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::etcd::text::Digits;

    fn mark(revision: Revision, digits: u64) -> Mark {
        Mark {
            revision,
            digits: Digits::from_bits(digits),
        }
    }

    #[test]
    fn a_mark_is_known_by_its_revision_and_its_digits() {
        let mut lineage = Lineage::default();
        assert_eq!(lineage.compare(None, 0), Known::Same);
        for revision in [3, 5, 9] {
            lineage.note(Some(mark(revision, revision)));
        }
        for (of, known) in [
            (Some(mark(9, 9)), Known::Same),
            (Some(mark(5, 5)), Known::Same),
            (Some(mark(9, 8)), Known::Other),
            (Some(mark(4, 4)), Known::Other),
            (Some(mark(10, 9)), Known::Other),
            (Some(mark(2, 2)), Known::Other),
            (Some(mark(12, 9)), Known::Newer),
            (None, Known::Other),
        ] {
            assert_eq!(lineage.compare(of, 11), known, "{of:?}");
        }
        lineage.note(None);
        assert_eq!(lineage.compare(None, 11), Known::Same);
        assert_eq!(lineage.newest(), None);
    }

    #[test]
    fn a_bounded_number_of_marks_is_remembered_and_older_ones_pass() {
        let mut lineage = Lineage::default();
        let count = 2 * MARKS_MAX as u64;
        for revision in 1..=count {
            lineage.note(Some(mark(revision, 1)));
        }
        assert_eq!(lineage.0.len(), MARKS_MAX);
        assert_eq!(lineage.compare(Some(mark(3, 2)), count), Known::Same);
        assert_eq!(
            lineage.compare(Some(mark(count - 3, 2)), count),
            Known::Other
        );
    }
}
