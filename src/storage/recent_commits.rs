//! The history of an engine that keeps it in memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::past::PastError;
use crate::model::{
    Commit, Done, EventKind, HistoryPage, HistoryPoint, HistoryQuery, Key, PastEvent, Position,
    Record, Revision, StateDigest, Timestamp,
};

/// How much of the recent commits is kept, in bytes.
pub const RECENT_COMMITS_MAX_BYTES: usize = 64 * 1024 * 1024;
/// What a commit takes besides its changes, in bytes, roughly.
const COMMIT_REST_BYTES: usize = 256;
/// What a change takes besides its key and values, in bytes, roughly.
const CHANGE_REST_BYTES: usize = 256;
/// How many commits are looked at for one page.
const SCAN_COMMITS: usize = 10_000;

/// Recent commits, at most so many bytes of them.
#[derive(Debug)]
pub struct RecentCommits {
    /// The oldest first.
    commits: VecDeque<Arc<Commit>>,
    /// The state before them.
    oldest: Position,
    bytes: usize,
    limit_bytes: usize,
}

impl RecentCommits {
    /// None yet, of a store at `position`.
    #[must_use]
    pub fn since(position: Position, limit_bytes: usize) -> Self {
        Self {
            commits: VecDeque::new(),
            oldest: position,
            bytes: 0,
            limit_bytes,
        }
    }

    /// Adds commits. Returns the oldest state that is kept.
    pub fn add(&mut self, commits: &[Arc<Commit>]) -> Revision {
        for commit in commits {
            self.bytes += memory_bytes(commit);
            self.commits.push_back(Arc::clone(commit));
        }
        while self.bytes > self.limit_bytes
            && let Some(dropped) = self.commits.pop_front()
        {
            self.bytes -= memory_bytes(&dropped);
            self.oldest = dropped.position;
        }
        self.oldest.revision
    }

    /// The commit with this revision.
    #[must_use]
    pub fn get(&self, revision: Revision) -> Option<&Arc<Commit>> {
        let index = self.first_after(revision.checked_sub(1)?);
        let commit = self.commits.get(index);
        commit.filter(|commit| commit.position.revision == revision)
    }

    /// The oldest state that is kept.
    #[must_use]
    pub fn oldest(&self) -> Revision {
        self.oldest.revision
    }

    /// The digest of the state at a revision. One that was left out has the state before it.
    #[must_use]
    pub fn state_at(&self, revision: Revision) -> Option<StateDigest> {
        let newest = self.commits.back().map(|commit| commit.position);
        if revision > newest.unwrap_or(self.oldest).revision {
            return None;
        }
        let next = self.first_after(revision);
        let last = next
            .checked_sub(1)
            .and_then(|index| self.commits.get(index));
        let position = last.map_or(self.oldest, |commit| commit.position);
        (position.revision <= revision).then_some(position.state)
    }

    /// The newest state of a time; `newest` is the current revision.
    ///
    /// # Errors
    /// [`PastError::Compacted`] if it is no longer kept.
    pub fn revision_at(&self, at: Timestamp) -> Result<Revision, PastError> {
        let later = self.commits.partition_point(|commit| commit.at <= at);
        match later
            .checked_sub(1)
            .and_then(|index| self.commits.get(index))
        {
            Some(commit) => Ok(commit.position.revision),
            None if self.oldest.revision == 0 => Ok(0),
            None => Err(self.compacted()),
        }
    }

    /// What a key was at `revision`, if it was changed since.
    ///
    /// # Errors
    /// [`PastError::Compacted`] if that state is no longer kept.
    pub fn before_change(&self, key: &Key, revision: Revision) -> Result<Option<&Done>, PastError> {
        if revision < self.oldest.revision {
            return Err(self.compacted());
        }
        let later = self.commits.range(self.first_after(revision)..);
        let mut changes = later.flat_map(|commit| &commit.changes);
        Ok(changes.find(|done| done.key == *key))
    }

    /// What the keys that were changed after `revision` were then.
    ///
    /// # Errors
    /// [`PastError::Compacted`] if that state is no longer kept.
    pub fn changed_since(
        &self,
        revision: Revision,
    ) -> Result<BTreeMap<Key, Option<Arc<Record>>>, PastError> {
        Ok(before(&self.commits_since(revision)?))
    }

    /// The commits after `revision`.
    ///
    /// # Errors
    /// [`PastError::Compacted`] if that state is no longer kept.
    pub fn commits_since(&self, revision: Revision) -> Result<Vec<Arc<Commit>>, PastError> {
        if revision < self.oldest.revision {
            return Err(self.compacted());
        }
        let later = self.commits.range(self.first_after(revision)..);
        Ok(later.cloned().collect())
    }

    /// What happened, the newest first.
    #[must_use]
    pub fn history(&self, query: &HistoryQuery) -> HistoryPage {
        let mut page = HistoryPage {
            events: Vec::new(),
            next: None,
            oldest_revision: self.oldest.revision,
        };
        let mut bytes = 0;
        let end = self.first_after(query.before.revision);
        for (scanned, commit) in self.commits.range(..end).rev().enumerate() {
            if scanned >= SCAN_COMMITS {
                page.next = Some(HistoryPoint {
                    revision: commit.position.revision + 1,
                    changes: 0,
                });
                return page;
            }
            for index in (0..commit.changes.len()).rev() {
                let Some(event) = past_event(commit, index) else {
                    continue;
                };
                if event.point >= query.before || !query.matches(&event.entry.key) {
                    continue;
                }
                if page.events.len() >= query.limit || bytes >= query.max_bytes {
                    page.next = page.events.last().map(|event| event.point);
                    return page;
                }
                bytes += event.entry.key.as_str().len() + event.entry.record.text_bytes();
                page.events.push(event);
            }
        }
        page
    }

    fn first_after(&self, revision: Revision) -> usize {
        self.commits
            .partition_point(|commit| commit.position.revision <= revision)
    }

    fn compacted(&self) -> PastError {
        let oldest = self.oldest();
        PastError::Compacted { oldest }
    }
}

/// What the keys that some commits changed were before the first of them.
#[must_use]
pub fn before(commits: &[Arc<Commit>]) -> BTreeMap<Key, Option<Arc<Record>>> {
    let mut before = BTreeMap::new();
    for done in commits.iter().flat_map(|commit| &commit.changes) {
        before
            .entry(done.key.clone())
            .or_insert_with(|| done.before.clone());
    }
    before
}

/// A change as the history shows it: of a deletion, when it was made.
#[must_use]
pub fn past_event(commit: &Commit, index: usize) -> Option<PastEvent> {
    let mut event = commit.event(index)?;
    if event.kind == EventKind::Delete {
        let mut record = Record::clone(&event.entry.record);
        record.modified_at = commit.at;
        event.entry.record = Arc::new(record);
    }
    Some(PastEvent {
        point: HistoryPoint {
            revision: commit.position.revision,
            changes: u32::try_from(index).unwrap_or(u32::MAX),
        },
        kind: event.kind,
        entry: event.entry,
        at: commit.at,
        origin: commit.origin,
    })
}

fn memory_bytes(commit: &Commit) -> usize {
    let texts = commit.changes.iter().map(|done| {
        let records = [&done.before, &done.after];
        let records = records.into_iter().flatten();
        let text_bytes: usize = records.map(|record| record.text_bytes()).sum();
        done.key.as_str().len() + text_bytes + CHANGE_REST_BYTES
    });
    COMMIT_REST_BYTES + texts.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_that_change_no_entry_are_forgotten_too() {
        let commit = |revision| {
            Arc::new(Commit {
                position: Position {
                    revision,
                    state: StateDigest::default(),
                },
                at: Timestamp::default(),
                by: None,
                request: None,
                origin: None,
                changes: Vec::new(),
            })
        };
        let mut past = RecentCommits::since(Position::default(), 10 * COMMIT_REST_BYTES);
        for revision in 1..=20 {
            past.add(&[commit(revision)]);
        }
        assert_eq!(past.commits.len(), 10);
        assert!(past.get(10).is_none() && past.get(11).is_some());
    }
}
