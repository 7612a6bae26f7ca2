//! The content of the store in the memory of this process, which the follower of etcd fills.

use std::collections::{BTreeMap, HashMap};
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use thiserror::Error;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::decoded::{After, Change, Decoded, Mark, MarkChange, commit};
use super::lineage::{self, Lineage};
use super::text::Digits;
use crate::model::{Commit, Filter, Position, ResumeToken, Revision, StateDigest};
use crate::storage::Subscription;
use crate::storage::feed::Feed;
use crate::storage::past::PastError;
use crate::storage::recent_commits::{RECENT_COMMITS_MAX_BYTES, RecentCommits, before};
use crate::storage::requests::Requests;
use crate::storage::snapshot::LentSnapshot;
use crate::storage::table::Table;

/// The content of the store, as far as it was followed.
#[derive(Debug)]
pub struct Mirror {
    table: RwLock<Table>,
    /// Locked after the table, and changed while that is locked for writing.
    rest: Mutex<Rest>,
    /// Everything up to this revision is in the table.
    reached: watch::Sender<Revision>,
    /// When it was last certain that nothing was newer.
    current_at: Mutex<Option<Instant>>,
    sizes: Sizes,
}

/// What a mirror keeps besides the entries.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// How long requests are remembered.
    pub idempotency_window: Duration,
    /// How much of the recent changes is kept for watchers, in bytes.
    pub watch_buffer_bytes: usize,
}

#[derive(Debug)]
struct Rest {
    past: RecentCommits,
    feed: Arc<Feed>,
    lineage: Lineage,
    /// Where something is stored that is no entry, and why it is none.
    damaged: BTreeMap<Bytes, String>,
    /// Whether nobody may watch any more.
    is_closed: bool,
    /// Who waits for which commits.
    awaited: HashMap<Digits, oneshot::Sender<Arc<Commit>>>,
}

/// A whole content that was read from etcd.
#[derive(Debug)]
pub struct Loaded {
    /// The entries.
    pub table: Table,
    /// The commits that led to them, as far back as they are known.
    pub commits: Vec<Arc<Commit>>,
    /// The state before those.
    pub oldest: Position,
    /// The marks of these commits, ascending.
    pub marks: Vec<Mark>,
    /// Where something is stored that is no entry, and why it is none.
    pub damaged: BTreeMap<Bytes, String>,
    /// Everything up to this revision is in it.
    pub reached: Revision,
}

/// An event was lost: what is in memory is not what is stored.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("revision {revision} does not continue what was known of {key:?}")]
pub struct Discontinuous {
    revision: Revision,
    key: String,
}

/// How far the mirror is, compared with the newest mark in etcd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// It has this commit.
    Reached,
    /// It does not have this revision yet.
    Behind(Revision),
    /// What is in etcd is another past.
    OtherPast,
}

impl Mirror {
    /// A mirror of what was loaded.
    #[must_use]
    pub fn new(loaded: Loaded, sizes: Sizes) -> Self {
        let reached = loaded.reached;
        let (table, rest) = parts(loaded, sizes, HashMap::new());
        Self {
            table: RwLock::new(table),
            rest: Mutex::new(rest),
            reached: watch::channel(reached).0,
            current_at: Mutex::new(None),
            sizes,
        }
    }

    /// The entries.
    pub fn table(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read()
    }

    /// The entries and the recent commits, as of one moment.
    pub fn with_past<T>(&self, read: impl FnOnce(&Table, &RecentCommits) -> T) -> T {
        let table = self.table.read();
        read(&table, &self.rest.lock().past)
    }

    /// Everything up to this revision is in the table.
    #[must_use]
    pub fn reached(&self) -> Revision {
        *self.reached.borrow()
    }

    /// Waits until everything up to this revision is in the table. May be dropped.
    pub async fn reach(&self, revision: Revision) {
        let mut reached = self.reached.subscribe();
        // The sender lives as long as the mirror.
        let _ = reached.wait_for(|reached| *reached >= revision).await;
    }

    /// The newest mark that is known.
    #[must_use]
    pub fn newest_mark(&self) -> Option<Mark> {
        self.rest.lock().lineage.newest()
    }

    /// Compares with the newest mark in etcd.
    #[must_use]
    pub fn compare(&self, mark: Option<Mark>) -> Reach {
        let rest = self.rest.lock();
        match (rest.lineage.compare(mark, self.reached()), mark) {
            (lineage::Known::Same, _) => Reach::Reached,
            (lineage::Known::Newer, Some(mark)) => Reach::Behind(mark.revision),
            (lineage::Known::Newer | lineage::Known::Other, _) => Reach::OtherPast,
        }
    }

    /// Nothing was newer at this moment.
    pub fn note_current(&self, at: Instant) {
        *self.current_at.lock() = Some(at);
    }

    /// How long ago it was certain that nothing was newer.
    #[must_use]
    pub fn age(&self) -> Duration {
        let current_at = *self.current_at.lock();
        current_at.map_or(Duration::MAX, |at| at.elapsed())
    }

    /// Why the entry of a key cannot be read, if that is so.
    #[must_use]
    pub fn damage(&self, place: &[u8]) -> Option<String> {
        self.rest.lock().damaged.get(place).cloned()
    }

    /// A place with something that is no entry and why it is none, and how many there are.
    #[must_use]
    pub fn damaged(&self) -> Option<(String, usize)> {
        let rest = self.rest.lock();
        let (place, reason) = rest.damaged.first_key_value()?;
        let text = format!("{}: {reason}", String::from_utf8_lossy(place));
        Some((text, rest.damaged.len()))
    }

    /// Subscribes to changes.
    #[must_use]
    pub fn watch(&self, filter: Filter, since: Option<ResumeToken>) -> Subscription {
        self.feed().watch(filter, since)
    }

    /// The digest of the state at a revision, as far back as it is known.
    #[must_use]
    pub fn state_at(&self, revision: Revision) -> Option<StateDigest> {
        self.rest.lock().past.state_at(revision)
    }

    /// Ends all watchers, also those to come.
    pub fn close(&self) {
        let mut rest = self.rest.lock();
        rest.is_closed = true;
        rest.feed.close();
    }

    fn feed(&self) -> Arc<Feed> {
        Arc::clone(&self.rest.lock().feed)
    }

    /// Waits for the commit with these digits, which is not begun yet.
    pub fn expect(&self, digits: Digits) -> Awaited<'_> {
        let (sender, commit) = oneshot::channel();
        self.rest.lock().awaited.insert(digits, sender);
        Awaited {
            mirror: self,
            digits,
            commit,
        }
    }

    /// Applies what the next revision changed.
    ///
    /// # Errors
    /// [`Discontinuous`]; nothing was applied.
    pub fn apply(&self, decoded: Decoded) -> Result<(), Discontinuous> {
        let mut table = self.table.write();
        let mut rest = self.rest.lock();
        for change in &decoded.changes {
            rest.check(&table, decoded.revision, change)?;
        }
        let at = decoded.at(table.last_commit_at());
        let Decoded {
            revision,
            changes,
            marker,
            mark,
        } = decoded;
        let digits = marker.as_ref().map(|marker| marker.digits);
        let mut done = Vec::with_capacity(changes.len());
        for change in changes {
            rest.note_damage(&change);
            let before = change.key.as_ref().and_then(|key| table.get(key)).cloned();
            done.extend(change.done(before));
        }
        let records = done.iter();
        let records = records.map(|done| (done.key.clone(), done.after.clone()));
        let before = table.position().state;
        let position = Position {
            revision,
            state: done
                .iter()
                .fold(before, |state, done| done.state_after(state)),
        };
        table.update(records.collect::<BTreeMap<_, _>>(), position, at);
        let commit = Arc::new(commit(marker, position, at, done));
        table.requests_mut().note(&commit);
        let oldest = rest.past.add(slice::from_ref(&commit));
        table.requests_mut().forget_to(oldest);
        rest.feed
            .publish(slice::from_ref(&commit), table.position());
        match mark {
            MarkChange::Unchanged => {}
            MarkChange::Put(mark) => rest.lineage.note(Some(mark)),
            MarkChange::Deleted => rest.lineage.note(None),
        }
        let waiting = digits.and_then(|digits| rest.awaited.remove(&digits));
        self.reached.send_replace(revision);
        drop(rest);
        drop(table);
        if let Some(waiting) = waiting {
            // Who waited may have gone.
            let _ = waiting.send(commit);
        }
        Ok(())
    }

    /// Nothing of the content was changed up to this revision.
    pub fn skip_to(&self, revision: Revision) {
        self.reached.send_if_modified(|reached| {
            let is_newer = *reached < revision;
            *reached = revision.max(*reached);
            is_newer
        });
    }

    /// Replaces everything by what was loaded. Watchers end: those of a past that is still known resume, and others
    /// list again. Nobody learns what became of a commit that is not among those that were loaded.
    pub fn replace(&self, loaded: Loaded) {
        let reached = loaded.reached;
        let mut table = self.table.write();
        let mut rest = self.rest.lock();
        let mut awaited = std::mem::take(&mut rest.awaited);
        let mut found = Vec::new();
        for mark in &loaded.marks {
            let is_it = |commit: &Arc<Commit>| commit.position.revision.cmp(&mark.revision);
            if let Ok(index) = loaded.commits.binary_search_by(is_it)
                && let Some(waiting) = awaited.remove(&mark.digits)
            {
                found.push((waiting, Arc::clone(&loaded.commits[index])));
            }
        }
        // Those that are not found may still be under way.
        let (new_table, new_rest) = parts(loaded, self.sizes, awaited);
        let replaced_bytes = table.live_bytes();
        let replaced = table.count() as u64;
        let old_table = std::mem::replace(&mut *table, new_table);
        let old_rest = std::mem::replace(&mut *rest, new_rest);
        if old_rest.is_closed {
            rest.is_closed = true;
            rest.feed.close();
        }
        table.leases().note_replaced(replaced_bytes, replaced);
        self.reached.send_replace(reached);
        drop(rest);
        drop(table);
        old_rest.feed.close();
        drop((old_table, old_rest));
        for (waiting, commit) in found {
            // Who waited may have gone.
            let _ = waiting.send(commit);
        }
    }

    /// The entries at a revision, if that is remembered. It may take some time.
    ///
    /// # Errors
    /// [`PastError::Compacted`].
    pub fn as_of(&self, revision: Revision) -> Result<LentSnapshot, PastError> {
        // Only this with the locks: what was changed may be very much.
        let (basis, commits, state) = self.with_past(|table, past| {
            let commits = past.commits_since(revision)?;
            let state = past.state_at(revision).unwrap_or_default();
            Ok::<_, PastError>((table.basis(), commits, state))
        })?;
        Ok(basis.lend_past(before(&commits), Position { revision, state }))
    }

    /// Loses an entry, as if its event had been lost.
    #[cfg(feature = "internals")]
    pub fn lose(&self, key: &crate::model::Key) {
        self.table.write().remove(key);
    }
}

fn parts(
    loaded: Loaded,
    sizes: Sizes,
    awaited: HashMap<Digits, oneshot::Sender<Arc<Commit>>>,
) -> (Table, Rest) {
    let mut table = loaded.table;
    let mut past = RecentCommits::since(loaded.oldest, RECENT_COMMITS_MAX_BYTES);
    let oldest = past.add(&loaded.commits);
    let feed = Feed::new(loaded.oldest, sizes.watch_buffer_bytes);
    feed.publish(&loaded.commits, table.position());
    *table.requests_mut() = Requests::within(sizes.idempotency_window);
    for commit in &loaded.commits {
        table.requests_mut().note(commit);
        table.note_commit_at(commit.at);
    }
    table.requests_mut().forget_to(oldest);
    let mut lineage = Lineage::default();
    for mark in loaded.marks {
        lineage.note(Some(mark));
    }
    let rest = Rest {
        past,
        feed: Arc::new(feed),
        lineage,
        damaged: loaded.damaged,
        is_closed: false,
        awaited,
    };
    (table, rest)
}

impl Rest {
    /// Whether a change follows from what is known.
    fn check(
        &self,
        table: &Table,
        revision: Revision,
        change: &Change,
    ) -> Result<(), Discontinuous> {
        let Some(key) = &change.key else {
            return Ok(());
        };
        let is_damaged = !self.damaged.is_empty() && self.damaged.contains_key(&change.place);
        if is_damaged || change.follows(table.get(key).map(Arc::as_ref)) {
            return Ok(());
        }
        Err(Discontinuous {
            revision,
            key: key.to_string(),
        })
    }

    fn note_damage(&mut self, change: &Change) {
        if let After::Damaged(reason) = &change.after {
            let place = String::from_utf8_lossy(&change.place);
            tracing::error!(%place, reason, "what somebody has stored there is no entry");
            self.damaged.insert(change.place.clone(), reason.clone());
        } else if !self.damaged.is_empty() {
            self.damaged.remove(&change.place);
        }
    }
}

/// What becomes known of a commit.
#[derive(Debug)]
pub struct Awaited<'a> {
    mirror: &'a Mirror,
    digits: Digits,
    commit: oneshot::Receiver<Arc<Commit>>,
}

impl Awaited<'_> {
    /// Waits until the mirror has the commit. Waits for ever if it is not made. May be dropped and called again.
    pub async fn shown(&mut self) -> Option<Arc<Commit>> {
        (&mut self.commit).await.ok()
    }
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        self.mirror.rest.lock().awaited.remove(&self.digits);
    }
}
