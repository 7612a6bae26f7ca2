//! The segments of a log, as those see them who read the past.

use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::index::{Found, Index, Mark};
use super::text::SegmentStart;
use crate::atomic_file::ReplacedFile;
use crate::model::{Commit, Key, Position, Revision, Timestamp};

/// A segment.
#[derive(Debug)]
pub struct Segment {
    /// Its place among the segments, counted from 1.
    pub number: u64,
    /// Where it is on disk.
    pub path: ReplacedFile,
    /// What its first frame says.
    pub start: SegmentStart,
    /// Open while it is appended to. The others are opened to be read: there may be more of them than the process
    /// should have descriptors.
    file: Mutex<Option<Arc<File>>>,
    content: RwLock<Content>,
}

/// What is known of what a segment holds.
#[derive(Debug)]
pub struct Content {
    /// Where its versions are.
    pub index: Index,
    /// The state after its last commit.
    pub end: Position,
    /// When that was made.
    pub at: Timestamp,
    /// How long it is, in bytes.
    pub bytes: u64,
    /// The number of the segment that goes on from its end, if it says so.
    pub next: Option<u64>,
}

/// Where a commit is.
#[derive(Debug, Clone)]
pub struct Place {
    /// In which segment.
    pub segment: Arc<Segment>,
    /// Where in it.
    pub found: Found,
}

impl Segment {
    /// A segment with this content.
    pub fn new(
        number: u64,
        path: ReplacedFile,
        file: File,
        start: SegmentStart,
        content: Content,
    ) -> Self {
        Self {
            number,
            path,
            start,
            file: Mutex::new(Some(Arc::new(file))),
            content: RwLock::new(content),
        }
    }

    /// Its file, to be read.
    ///
    /// # Errors
    /// If it is not there any more, because it was dropped, or cannot be opened.
    pub fn file(&self) -> io::Result<Arc<File>> {
        if let Some(file) = &*self.file.lock() {
            return Ok(Arc::clone(file));
        }
        File::open(self.path.path()).map(Arc::new)
    }

    /// Nothing more is appended to it: its file is closed, and its index becomes smaller.
    pub fn seal(&self) {
        *self.file.lock() = None;
        // Sorting takes some milliseconds, in which readers do not wait.
        let sorted = self.content.read().index.sorted();
        if let Some(sorted) = sorted {
            self.content.write().index.seal(sorted);
        }
    }

    /// The state after its last commit.
    pub fn end(&self) -> Position {
        self.content.read().end
    }

    /// When its last commit was made.
    pub fn newest_at(&self) -> Timestamp {
        self.content.read().at
    }

    /// How long it is, in bytes.
    pub fn bytes(&self) -> u64 {
        self.content.read().bytes
    }

    /// Asks or changes what is known of it. It should be quick: readers and the writer wait for one another.
    pub fn with<T>(&self, ask: impl FnOnce(&mut Content) -> T) -> T {
        ask(&mut self.content.write())
    }
}

/// All segments that are kept, shared by the writer and those who read the past.
#[derive(Debug, Default)]
pub struct Segments {
    /// Ascending and without gaps: each begins where the one before ends.
    kept: RwLock<Vec<Arc<Segment>>>,
    hasher: RandomState,
}

impl Segments {
    /// These.
    pub fn of(kept: Vec<Arc<Segment>>, hasher: RandomState) -> Self {
        Self {
            kept: RwLock::new(kept),
            hasher,
        }
    }

    /// What a key is known by in an index.
    pub fn hash(&self, key: &Key) -> u64 {
        self.hasher.hash_one(key.as_str())
    }

    /// All of them, the oldest first.
    pub fn all(&self) -> Vec<Arc<Segment>> {
        self.kept.read().clone()
    }

    /// Adds one that begins where the last one ends, or that makes all before it unknown.
    pub fn push(&self, segment: Arc<Segment>) {
        let mut kept = self.kept.write();
        let continues = kept
            .last()
            .is_some_and(|last| last.end() == segment.start.position);
        if !continues {
            kept.clear();
        }
        kept.push(segment);
    }

    /// Forgets all. Returns them.
    pub fn clear(&self) -> Vec<Arc<Segment>> {
        std::mem::take(&mut *self.kept.write())
    }

    /// Forgets the oldest. Returns the oldest state that is still known.
    pub fn pop(&self) -> Option<Position> {
        let mut kept = self.kept.write();
        if !kept.is_empty() {
            kept.remove(0);
        }
        kept.first().map(|segment| segment.start.position)
    }

    /// The oldest state that is known, if any is.
    pub fn oldest(&self) -> Option<Position> {
        self.kept
            .read()
            .first()
            .map(|segment| segment.start.position)
    }

    /// Adds commits to the index of a segment, which begin in a frame at `frame`, now that they are durable.
    pub fn add(&self, segment: &Segment, frame: u64, bytes: u64, commits: &[Arc<Commit>]) {
        let Some(last) = commits.last() else {
            return;
        };
        segment.with(|content| {
            let frame = u32::try_from(frame).unwrap_or(u32::MAX);
            content.index.note_frame(Mark {
                frame,
                after: content.end.revision,
                at: content.at,
            });
            for (number, commit) in (0..).zip(commits) {
                let found = Found {
                    revision: commit.position.revision,
                    frame,
                    commit: number,
                };
                for done in &commit.changes {
                    let hash = self.hash(&done.key);
                    content.index.add(hash, found, done.after.is_none());
                }
            }
            content.end = last.position;
            content.at = content.at.max(last.at);
            content.bytes += bytes;
        });
    }

    /// The newest change of a key up to a revision. What is found may be another key's.
    pub fn newest(&self, hash: u64, revision: Revision) -> Option<Place> {
        let segments = self.all();
        let before = segments.into_iter().rev();
        before
            .filter(|segment| segment.start.position.revision < revision)
            .find_map(|segment| {
                let found = segment.with(|content| content.index.newest(hash, revision))?;
                Some(Place { segment, found })
            })
    }

    /// The oldest change of a key after a revision. What is found may be another key's.
    pub fn oldest_after(&self, hash: u64, revision: Revision) -> Option<Place> {
        let segments = self.all();
        segments
            .into_iter()
            .filter(|segment| segment.end().revision > revision)
            .find_map(|segment| {
                let found = segment.with(|content| content.index.oldest_after(hash, revision))?;
                Some(Place { segment, found })
            })
    }
}
