//! States of the past, and their commits.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Weak};

use parking_lot::RwLock;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::scan::{for_each_commit, kept_of};
use super::segment::{Place, Segment, Segments};
use super::text::{Group, StoredCommit};
use crate::model::{Commit, Key, Position, Record, Revision, StateDigest, Timestamp};
use crate::storage::file::format::Names;
use crate::storage::file::frame::read_frame_at;
use crate::storage::past::PastError;
use crate::storage::table::Table;
use crate::storage::{Lease, Leases, StoreError};

/// How many readers may wait for the disk at once.
const MAX_READERS: usize = 4;
/// What a key takes in memory besides its text, in bytes, roughly.
const KEY_REST_BYTES: u64 = 48;

/// Reads the past from the log. Everything here may wait for the disk.
#[derive(Debug, Clone)]
pub struct LogReader {
    pub(super) segments: Arc<Segments>,
    pub(super) table: Arc<RwLock<Table>>,
    pub(super) keeps_history: bool,
    /// On what was read for one reader.
    leases: Leases,
    /// Who may wait for the disk.
    turns: Arc<Semaphore>,
    /// Whom this one reads for, if it is for one alone. Whoever waits no more has dropped it.
    asker: Option<Weak<()>>,
}

impl LogReader {
    /// Reads these segments of the store whose records are in `table`.
    pub fn new(segments: Arc<Segments>, table: Arc<RwLock<Table>>, keeps_history: bool) -> Self {
        let leases = table.read().leases().clone();
        Self {
            segments,
            table,
            keeps_history,
            leases,
            turns: Arc::new(Semaphore::new(MAX_READERS)),
            asker: None,
        }
    }

    /// The same with other leases.
    #[cfg(test)]
    pub fn with_leases(self, leases: Leases) -> Self {
        Self { leases, ..self }
    }

    /// The leases on what is read for one reader.
    pub fn leases(&self) -> &Leases {
        &self.leases
    }

    /// Reads on a thread that may wait for the disk, when it is this reader's turn. What takes long ends early if nobody
    /// waits for it any more.
    ///
    /// # Errors
    /// Those of `read`, and [`StoreError`] if it panics.
    pub async fn on_thread<T: Send + 'static, E: From<StoreError> + Send + 'static>(
        &self,
        read: impl FnOnce(&Self) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.map_err(|_| StoreError::Closed)?;
        let asker = Arc::new(());
        let reader = Self {
            asker: Some(Arc::downgrade(&asker)),
            ..self.clone()
        };
        let done = spawn_blocking(move || {
            let _turn = turn;
            read(&reader)
        });
        done.await
            .unwrap_or_else(|ended| Err(StoreError::Unreadable(io::Error::other(ended)).into()))
    }

    /// # Errors
    /// [`StoreError::Expired`] if nobody waits for what is read.
    fn check_is_awaited(&self) -> Result<(), StoreError> {
        match &self.asker {
            Some(asker) if asker.strong_count() == 0 => Err(StoreError::Expired),
            _ => Ok(()),
        }
    }

    /// The oldest state that is kept, which is the current one if no other is.
    pub fn oldest(&self) -> Position {
        let current = self.table.read().position();
        let oldest = self.segments.oldest().filter(|_| self.keeps_history);
        oldest.unwrap_or(current)
    }

    /// Checks that the state at a revision is kept.
    ///
    /// # Errors
    /// [`PastError::Compacted`], [`PastError::Future`].
    pub fn check(&self, revision: Revision) -> Result<(), PastError> {
        let newest = self.table.read().revision();
        if revision > newest {
            return Err(PastError::Future { newest });
        }
        let oldest = self.oldest().revision;
        if revision < oldest {
            return Err(PastError::Compacted { oldest });
        }
        Ok(())
    }

    /// The record of a key at a revision.
    ///
    /// # Errors
    /// [`PastError`].
    pub fn record_at(
        &self,
        key: &Key,
        revision: Revision,
    ) -> Result<Option<Arc<Record>>, PastError> {
        // A revision that comes while this looks for it may be missed.
        self.check(revision)?;
        let record = self.find_record(key, revision);
        // What was looked for may have been dropped meanwhile.
        self.check(revision)?;
        Ok(record?)
    }

    fn find_record(
        &self,
        key: &Key,
        revision: Revision,
    ) -> Result<Option<Arc<Record>>, StoreError> {
        let current = self.table.read().get(key).cloned();
        if current
            .as_ref()
            .is_some_and(|current| current.revision <= revision)
            || !self.keeps_history
        {
            return Ok(current);
        }
        let hash = self.segments.hash(key);
        let mut up_to = revision;
        while let Some(place) = self.segments.newest(hash, up_to) {
            let commit = read_commit(&place)?;
            if let Some(done) = commit.changes.into_iter().find(|done| done.key == *key) {
                return Ok(done.after);
            }
            // It was another key with the same hash.
            up_to = place.found.revision.saturating_sub(1);
        }
        let mut after = revision;
        while let Some(place) = self.segments.oldest_after(hash, after) {
            let commit = read_commit(&place)?;
            if let Some(done) = commit.changes.into_iter().find(|done| done.key == *key) {
                return Ok(done.before);
            }
            after = place.found.revision;
        }
        // It was not changed since.
        Ok(current)
    }

    /// The newest revision that was committed at `at` or before.
    ///
    /// # Errors
    /// [`PastError::Compacted`], [`PastError::Store`].
    pub fn revision_at(&self, at: Timestamp) -> Result<Revision, PastError> {
        let oldest = self.oldest().revision;
        match self.find_revision(at) {
            Err(PastError::Store(_)) if self.has_dropped_since(oldest) => {
                Err(PastError::Compacted {
                    oldest: self.oldest().revision,
                })
            }
            found => found,
        }
    }

    /// Whether a part of the log that was there is not any more: its file cannot be read then.
    fn has_dropped_since(&self, oldest: Revision) -> bool {
        self.oldest().revision > oldest
    }

    fn find_revision(&self, at: Timestamp) -> Result<Revision, PastError> {
        let (newest, newest_at) = {
            let table = self.table.read();
            (table.revision(), table.last_commit_at())
        };
        let all = self.segments.all();
        if !self.keeps_history || all.is_empty() || at >= newest_at {
            if at >= newest_at {
                return Ok(newest);
            }
            return Err(PastError::Compacted { oldest: newest });
        }
        let begun = all.partition_point(|segment| segment.start.at <= at);
        let mut found = None;
        for (index, segment) in all.iter().enumerate().skip(begun.saturating_sub(1)) {
            let from = segment.with(|content| {
                let marks = content.index.marks();
                let next = marks.partition_point(|mark| mark.at <= at);
                let mark = next.checked_sub(1).and_then(|index| marks.get(index));
                mark.map_or(segment.start.position.revision, |mark| mark.after)
            });
            if index < begun {
                found = Some(from);
            }
            let mut is_later = false;
            for_each_commit(segment, from, |commit| {
                is_later = commit.at > at;
                if !is_later {
                    found = Some(commit.revision);
                }
                Ok(!is_later)
            })
            .map_err(damaged)?;
            // A segment is begun a little later than its first commit, so that may be in the next one.
            if is_later {
                break;
            }
        }
        let begins_empty = all
            .first()
            .is_some_and(|first| first.start.position.revision == 0);
        match found {
            Some(found) => Ok(found.min(newest)),
            None if begins_empty => Ok(0),
            None => Err(PastError::Compacted {
                oldest: self.oldest().revision,
            }),
        }
    }

    /// The digest of the state at a revision, if that is kept.
    ///
    /// # Errors
    /// [`StoreError`] if the log cannot be read.
    pub fn state_at(&self, revision: Revision) -> Result<Option<StateDigest>, StoreError> {
        let oldest = self.oldest().revision;
        match self.find_state(revision) {
            Err(_) if self.has_dropped_since(oldest) => Ok(None),
            found => found,
        }
    }

    fn find_state(&self, revision: Revision) -> Result<Option<StateDigest>, StoreError> {
        let current = self.table.read().position();
        if revision == current.revision {
            return Ok(Some(current.state));
        }
        if !self.keeps_history || revision > current.revision {
            return Ok(None);
        }
        let all = self.segments.all();
        let begun = all.partition_point(|segment| segment.start.position.revision <= revision);
        let Some(segment) = begun.checked_sub(1).and_then(|index| all.get(index)) else {
            return Ok(None);
        };
        let mut state = segment.start.position;
        if state.revision < revision {
            for_each_commit(segment, revision - 1, |commit| {
                state = commit.position()?;
                Ok(false)
            })
            .map_err(damaged)?;
        }
        if state.revision != revision {
            // It was left out, because it was not known whether its commit was made.
            state = kept_of(segment, revision).map_err(damaged)?.end;
        }
        Ok(Some(state.state))
    }

    /// The commit with this revision, if it is kept.
    ///
    /// # Errors
    /// [`StoreError`] if the log cannot be read.
    pub fn commit(&self, revision: Revision) -> Result<Option<Arc<Commit>>, StoreError> {
        let oldest = self.oldest().revision;
        match self.find_commit(revision) {
            Err(_) if self.has_dropped_since(oldest) => Ok(None),
            found => found,
        }
    }

    fn find_commit(&self, revision: Revision) -> Result<Option<Arc<Commit>>, StoreError> {
        let all = self.segments.all();
        let begun = all.partition_point(|segment| segment.start.position.revision < revision);
        let Some(segment) = begun.checked_sub(1).and_then(|index| all.get(index)) else {
            return Ok(None);
        };
        let mut found = None;
        for_each_commit(segment, revision - 1, |commit| {
            if commit.revision == revision {
                found = Some(Arc::new(commit.decode(&mut Names::default())?));
            }
            Ok(false)
        })
        .map_err(damaged)?;
        Ok(found)
    }

    /// Which keys were deleted after a revision, on a lease.
    ///
    /// # Errors
    /// [`PastError`].
    pub fn deleted_since(&self, revision: Revision) -> Result<Lease<BTreeSet<Key>>, PastError> {
        let mut deleted = BTreeSet::new();
        for segment in self.segments.all() {
            if segment.end().revision <= revision {
                continue;
            }
            if let Err(error) = self.add_deleted(&segment, revision, &mut deleted) {
                // It may have been dropped meanwhile.
                self.check(revision)?;
                return Err(error.into());
            }
        }
        let bytes = deleted
            .iter()
            .map(|key| KEY_REST_BYTES + key.as_str().len() as u64);
        let bytes = bytes.sum();
        Ok(self.leases.hold_owned(deleted, bytes))
    }

    /// Adds the keys that a segment has deleted after a revision. Each frame is read once, however many it has deleted.
    fn add_deleted(
        &self,
        segment: &Segment,
        revision: Revision,
        deleted: &mut BTreeSet<Key>,
    ) -> Result<(), StoreError> {
        let mut places: Vec<_> = segment.with(|content| {
            let deletions = content.index.deletions_after(revision);
            deletions.map(|found| (found.frame, found.commit)).collect()
        });
        if places.is_empty() {
            return Ok(());
        }
        places.sort_unstable();
        places.dedup();
        let file = segment.file().map_err(damaged)?;
        for of_frame in places.chunk_by(|(frame, _), (next, _)| frame == next) {
            self.check_is_awaited()?;
            let Some((frame, _)) = of_frame.first() else {
                continue;
            };
            let text = read_frame_at(&file, u64::from(*frame)).map_err(damaged)?;
            let group = read_group(&text)?;
            for (_, number) in of_frame {
                let commit = commit_of(&group, *number)?;
                deleted.extend(commit.deleted().cloned());
            }
        }
        Ok(())
    }

    /// The commits after a revision, in their order: about `max_bytes` of the log, but one at least if there is
    /// one.
    ///
    /// # Errors
    /// [`StoreError`] if the log cannot be read.
    pub fn commits_after(
        &self,
        revision: Revision,
        max_bytes: usize,
    ) -> Result<Vec<Commit>, StoreError> {
        let newest = self.table.read().revision();
        let all = self.segments.all();
        let later = all.iter().find(|segment| segment.end().revision > revision);
        // If the next one that is kept begins later, some are missing.
        let Some(segment) = later.filter(|later| later.start.position.revision <= revision) else {
            return Ok(Vec::new());
        };
        let mut commits = Vec::new();
        let mut names = Names::default();
        let mut bytes = 0;
        for_each_commit(segment, revision, |commit| {
            if commit.revision > newest {
                return Ok(false);
            }
            let commit = commit.decode(&mut names)?;
            let texts = commit
                .changes
                .iter()
                .flat_map(|done| [&done.before, &done.after]);
            bytes += texts
                .flatten()
                .map(|record| record.text_bytes())
                .sum::<usize>();
            commits.push(commit);
            Ok(bytes < max_bytes)
        })
        .map_err(damaged)?;
        Ok(commits)
    }
}

/// The commit at a place.
pub(super) fn read_commit(place: &Place) -> Result<Commit, StoreError> {
    let file = place.segment.file().map_err(damaged)?;
    let text = read_frame_at(&file, u64::from(place.found.frame)).map_err(damaged)?;
    let group = read_group(&text)?;
    let commit = commit_of(&group, place.found.commit)?;
    decode(commit, &mut Names::default())
}

/// The commit with this number in a frame.
fn commit_of<'a>(group: &'a Group<'a>, number: u32) -> Result<&'a StoredCommit<'a>, StoreError> {
    let commit = group.commits.get(number as usize);
    commit.ok_or_else(|| damaged(io::Error::other("a commit is missing")))
}

pub(super) fn read_group(text: &[u8]) -> Result<Group<'_>, StoreError> {
    Group::read(text).map_err(|reason| damaged(io::Error::other(reason)))
}

pub(super) fn decode(commit: &StoredCommit<'_>, names: &mut Names) -> Result<Commit, StoreError> {
    let decoded = commit.decode(names);
    decoded.map_err(|reason| damaged(io::Error::other(reason)))
}

/// The log was whole when the store was opened, and it is not now.
pub(super) fn damaged(error: io::Error) -> StoreError {
    StoreError::Unreadable(error)
}
