//! Where each kept version of a key is in its segment. Keys are known by a hash, so an index is as large for
//! long keys as for short ones, and what it finds must be compared with the key.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::model::{Revision, Timestamp};

/// How far apart marks are at least, in bytes of the segment.
const MARK_EVERY_BYTES: u32 = 64 * 1024;
/// The bit of a place that says that the key was deleted.
const DELETED: u32 = 1 << 31;

/// A commit that changed a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    hash: u64,
    /// How many revisions after the beginning of the segment.
    revision: u32,
    /// Where its frame begins, in bytes from the beginning of the segment.
    frame: u32,
    /// Which commit of the frame it is, counted from 0, and whether the key was deleted.
    commit: u32,
}

/// A commit that changed a key, and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Its revision.
    pub revision: Revision,
    /// Where its frame begins, in bytes.
    pub frame: u32,
    /// Which commit of the frame it is, counted from 0.
    pub commit: u32,
}

/// A frame before which something is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Where it begins, in bytes.
    pub frame: u32,
    /// The revision before it.
    pub after: Revision,
    /// When the last commit before it was made.
    pub at: Timestamp,
}

/// The index of a segment.
#[derive(Debug)]
pub struct Index {
    first: Revision,
    versions: Vec<Version>,
    order: Order,
    marks: Vec<Mark>,
}

/// All versions of an index by hash and revision.
#[derive(Debug)]
pub struct Sorted(Vec<Version>);

/// How the versions are ordered.
#[derive(Debug)]
enum Order {
    /// By revision, while a segment is read: whoever looks for one goes through them all.
    Read,
    /// By revision. For each hash the newest, and for each version the one before of the same hash.
    Appended {
        newest: HashMap<u64, u32, BuildHasherDefault<AsIs>>,
        previous: Vec<u32>,
    },
    /// By hash and revision.
    Sealed,
}

/// No version.
const NONE: u32 = u32::MAX;

/// The hash of what is a hash already.
#[derive(Debug, Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl Index {
    /// An empty one of a segment that begins after this revision. It is to be [sealed](Self::seal), or
    /// [linked](Self::link) if more is added while it is read.
    pub fn new(first: Revision) -> Self {
        Self {
            first,
            versions: Vec::new(),
            order: Order::Read,
            marks: Vec::new(),
        }
    }

    /// Makes it quick while more is added, for which it takes more memory.
    pub fn link(&mut self) {
        if !matches!(self.order, Order::Read) {
            return;
        }
        let mut newest = HashMap::default();
        let previous = (0..).zip(&self.versions);
        let previous = previous
            .map(|(number, version)| newest.insert(version.hash, number).unwrap_or(NONE))
            .collect();
        self.order = Order::Appended { newest, previous };
    }

    /// Notes where a frame begins. Call it for each, in their order.
    pub fn note_frame(&mut self, mark: Mark) {
        let last = self.marks.last();
        if last.is_none_or(|last| mark.frame - last.frame >= MARK_EVERY_BYTES) {
            self.marks.push(mark);
        }
    }

    /// Adds a change of a key, in the order of the commits.
    pub fn add(&mut self, hash: u64, found: Found, is_deleted: bool) {
        let number = u32::try_from(self.versions.len()).unwrap_or(NONE);
        if let Order::Appended { newest, previous } = &mut self.order {
            previous.push(newest.insert(hash, number).unwrap_or(NONE));
        }
        self.versions.push(Version {
            hash,
            revision: self.relative(found.revision),
            frame: found.frame,
            commit: found.commit | if is_deleted { DELETED } else { 0 },
        });
    }

    /// Its versions by hash and revision, for [`seal`](Self::seal), unless that was done.
    pub fn sorted(&self) -> Option<Sorted> {
        if matches!(self.order, Order::Sealed) {
            return None;
        }
        let mut versions = self.versions.clone();
        versions.sort_unstable();
        Some(Sorted(versions))
    }

    /// Makes it smaller, because nothing more is added. What was [sorted](Self::sorted) is all that it has.
    pub fn seal(&mut self, sorted: Sorted) {
        self.versions = sorted.0;
        self.order = Order::Sealed;
        self.marks.shrink_to_fit();
    }

    /// Forgets everything after a revision.
    pub fn truncate(&mut self, revision: Revision) {
        let last = self.relative(revision);
        let kept: Vec<Version> = self
            .versions
            .iter()
            .filter(|version| version.revision <= last)
            .copied()
            .collect();
        self.versions = kept;
        self.order = Order::Sealed;
        self.versions.sort_unstable();
        self.marks.retain(|mark| mark.after <= revision);
    }

    /// The newest change of a key up to a revision.
    pub fn newest(&self, hash: u64, revision: Revision) -> Option<Found> {
        let limit = self.limit(revision)?;
        match &self.order {
            Order::Read => {
                let is_it = |version: &&Version| version.hash == hash && version.revision <= limit;
                let version = self.versions.iter().rfind(is_it)?;
                Some(self.found(*version))
            }
            Order::Appended { newest, previous } => {
                let mut number = newest.get(&hash).copied().unwrap_or(NONE);
                loop {
                    let version = self.versions.get(number as usize)?;
                    if version.revision <= limit {
                        return Some(self.found(*version));
                    }
                    number = previous.get(number as usize).copied().unwrap_or(NONE);
                }
            }
            Order::Sealed => {
                let end = self
                    .versions
                    .partition_point(|version| (version.hash, version.revision) <= (hash, limit));
                let version = self.versions.get(end.checked_sub(1)?)?;
                (version.hash == hash).then(|| self.found(*version))
            }
        }
    }

    /// The oldest change of a key after a revision.
    pub fn oldest_after(&self, hash: u64, revision: Revision) -> Option<Found> {
        let limit = self.limit(revision);
        match &self.order {
            Order::Read => {
                let is_after =
                    |version: &Version| limit.is_none_or(|limit| version.revision > limit);
                let mut versions = self.versions.iter();
                let version = versions.find(|version| version.hash == hash && is_after(version))?;
                Some(self.found(*version))
            }
            Order::Appended { newest, previous } => {
                let mut oldest = None;
                let mut number = newest.get(&hash).copied().unwrap_or(NONE);
                while let Some(version) = self.versions.get(number as usize)
                    && limit.is_none_or(|limit| version.revision > limit)
                {
                    oldest = Some(self.found(*version));
                    number = previous.get(number as usize).copied().unwrap_or(NONE);
                }
                oldest
            }
            Order::Sealed => {
                let start = self.versions.partition_point(|version| match limit {
                    Some(limit) => (version.hash, version.revision) <= (hash, limit),
                    None => version.hash < hash,
                });
                let version = self.versions.get(start)?;
                (version.hash == hash).then(|| self.found(*version))
            }
        }
    }

    /// The deletions after a revision, in no order.
    pub fn deletions_after(&self, revision: Revision) -> impl Iterator<Item = Found> {
        let limit = self.limit(revision);
        self.versions
            .iter()
            .filter(move |version| {
                version.commit & DELETED != 0 && limit.is_none_or(|limit| version.revision > limit)
            })
            .map(|version| self.found(*version))
    }

    /// The frames before which something is known, ascending.
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    fn found(&self, version: Version) -> Found {
        Found {
            revision: self.first + Revision::from(version.revision),
            frame: version.frame,
            commit: version.commit & !DELETED,
        }
    }

    fn relative(&self, revision: Revision) -> u32 {
        let relative = revision.saturating_sub(self.first);
        u32::try_from(relative).unwrap_or(u32::MAX)
    }

    /// The revision in the form of the versions; none if it is before all of them.
    fn limit(&self, revision: Revision) -> Option<u32> {
        let relative = revision.checked_sub(self.first)?;
        Some(u32::try_from(relative).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(revision: Revision) -> Found {
        let number = u32::try_from(revision).unwrap();
        Found {
            revision,
            frame: number * 10,
            commit: number % 3,
        }
    }

    /// Versions of three keys, whose revisions are known.
    fn example() -> (Index, Vec<(u64, Revision)>) {
        let mut index = Index::new(100);
        let mut all = Vec::new();
        for revision in 101..=200 {
            let hash = [7, 9, u64::MAX][usize::try_from(revision).unwrap() * 7 % 3];
            index.add(hash, found(revision), revision % 5 == 0);
            all.push((hash, revision));
        }
        (index, all)
    }

    #[test]
    fn versions_are_found_before_and_after_every_revision_in_every_order() {
        let (mut index, all) = example();
        for order in 0..3 {
            match order {
                0 => {}
                1 => index.link(),
                _ => {
                    let sorted = index.sorted().unwrap();
                    index.seal(sorted);
                    assert!(index.sorted().is_none());
                }
            }
            for hash in [7, 8, 9, u64::MAX] {
                for revision in 90..=210 {
                    let of_key = || all.iter().filter(|(of, _)| *of == hash);
                    let newest = of_key().rfind(|(_, at)| *at <= revision);
                    let expected = newest.map(|(_, at)| found(*at));
                    assert_eq!(index.newest(hash, revision), expected, "{hash} {revision}");
                    let oldest = of_key().find(|(_, at)| *at > revision);
                    let expected = oldest.map(|(_, at)| found(*at));
                    assert_eq!(
                        index.oldest_after(hash, revision),
                        expected,
                        "{hash} {revision}"
                    );
                }
            }
            let deletions = |after| {
                let mut revisions: Vec<_> = index
                    .deletions_after(after)
                    .map(|found| found.revision)
                    .collect();
                revisions.sort_unstable();
                revisions
            };
            assert_eq!(deletions(187), [190, 195, 200]);
            assert_eq!(deletions(0).len(), 20);
        }
    }

    #[test]
    fn what_is_added_to_a_linked_index_is_found() {
        let (mut index, _) = example();
        index.link();
        index.add(9, found(201), false);
        assert_eq!(index.newest(9, 300), Some(found(201)));
        assert_eq!(index.oldest_after(9, 200), Some(found(201)));
        assert!(index.newest(9, 200).unwrap().revision <= 200);
    }

    #[test]
    fn what_was_truncated_is_not_found() {
        let (mut index, _) = example();
        index.truncate(150);
        assert_eq!(index.versions.len(), 50);
        assert_eq!(index.oldest_after(7, 150), None);
        assert!(index.newest(7, 200).unwrap().revision <= 150);
    }

    #[test]
    fn a_version_takes_few_bytes() {
        assert!(size_of::<Version>() <= 24);
    }
}
