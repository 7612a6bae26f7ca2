//! Compares what is in memory with what etcd has, now and then: an event that etcd has lost would otherwise never be
//! noticed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, sleep, timeout};

use super::client::Client;
use super::decoded::Mark;
use super::error::ClientError;
use super::follow::Following;
use super::layout::{Layout, Place, number};
use super::load::Pages;
use super::messages::KeyValue;
use super::mirror::Mirror;
use super::query;
use crate::model::{Entry, Range, Revision};
use crate::storage::StoreError;
use crate::storage::past::PastError;
use crate::storage::snapshot::LentSnapshot;

/// How many entries of those in memory are looked at at once.
const PAGE_ENTRIES: usize = 1000;
/// How many keys that differ are named.
const NAMED_MAX: usize = 3;
/// How long after a difference it is looked for again. What somebody else has written, whose commits have no marker,
/// may not have been there yet.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// What comparisons have found.
#[derive(Debug, Default)]
pub struct Checked {
    checks: AtomicU64,
    mismatches: AtomicU64,
}

impl Checked {
    /// How often everything was compared.
    #[must_use]
    pub fn checks(&self) -> u64 {
        self.checks.load(Ordering::Relaxed)
    }

    /// How many keys were different.
    #[must_use]
    pub fn mismatches(&self) -> u64 {
        self.mismatches.load(Ordering::Relaxed)
    }
}

/// The task that compares.
#[derive(Debug)]
pub struct Checker {
    /// How etcd is reached.
    pub client: Client,
    /// Where things are.
    pub layout: Layout,
    /// What is in memory.
    pub mirror: Arc<Mirror>,
    /// Who loads everything anew.
    pub following: Arc<Following>,
    /// What is found.
    pub checked: Arc<Checked>,
    /// How often.
    pub interval: Duration,
    /// How long etcd may take for an answer.
    pub patience: Duration,
}

/// Why nothing could be compared.
#[derive(Debug, Error)]
enum CheckError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Past(#[from] PastError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the mirror is behind")]
    Behind,
}

impl Checker {
    /// Compares now and then, and each time that everything was loaded anew.
    pub async fn run(self) {
        let mut resyncs = self.following.resyncs();
        let mut healed_at: Option<Instant> = None;
        loop {
            tokio::select! {
                () = sleep(self.interval) => {}
                changed = resyncs.changed() => if changed.is_err() {
                    return;
                },
            }
            match self.check_twice().await {
                Ok(Differences { count: 0, .. }) => {}
                Ok(Differences { count, named }) => {
                    self.checked.mismatches.fetch_add(count, Ordering::Relaxed);
                    let keys = named.join(", ");
                    tracing::error!(count, keys, "what is in memory differs from what etcd has");
                    // Not over and over again if that does not help.
                    if healed_at.is_none_or(|at| at.elapsed() >= self.interval) {
                        healed_at = Some(Instant::now());
                        self.following.distrust();
                    }
                }
                Err(error) => {
                    tracing::info!(%error, "what is in memory could not be compared with etcd");
                }
            }
            self.checked.checks.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn check_twice(&self) -> Result<Differences, CheckError> {
        let found = self.check().await?;
        if found.count == 0 {
            return Ok(found);
        }
        sleep(AGAIN_AFTER).await;
        self.check().await
    }

    async fn check(&self) -> Result<Differences, CheckError> {
        let mut pages = Pages::of(self.layout.entries()).without_values();
        let Some(mut page) = pages.next(&self.client, self.patience).await? else {
            return Ok(Differences::default());
        };
        let revision = number(pages.revision);
        self.reach(revision).await?;
        let snapshot = self.mirror.as_of(revision)?;
        let mut comparison = Comparison::with(&snapshot);
        loop {
            for stored in &page {
                let is_known = self.mirror.damage(&stored.key).is_some();
                if !is_known && let Place::Entry(key) = self.layout.place(&stored.key) {
                    comparison.add(key, stored)?;
                }
            }
            match pages.next(&self.client, self.patience).await? {
                Some(next) => page = next,
                None => return comparison.end(),
            }
        }
    }

    /// Waits until the mirror has everything that was committed up to a revision.
    async fn reach(&self, revision: Revision) -> Result<(), CheckError> {
        let marker = query::get_at(self.layout.marker(), revision);
        let deadline = Instant::now() + self.patience;
        let found = query::first(self.client.range(&marker, deadline).await?);
        let last = found.map_or(0, |stored| Mark::of(&stored).revision);
        let reached = timeout(self.patience, self.mirror.reach(last)).await;
        reached.map_err(|_| CheckError::Behind)
    }
}

/// What differs.
#[derive(Debug, Default, PartialEq, Eq)]
struct Differences {
    count: u64,
    /// Some of the keys.
    named: Vec<String>,
}

impl Differences {
    fn add(&mut self, key: &[u8]) {
        self.count += 1;
        if self.named.len() < NAMED_MAX {
            self.named.push(String::from_utf8_lossy(key).into_owned());
        }
    }
}

/// Compares entries with what etcd has, both ascending by key.
struct Comparison<'a> {
    snapshot: &'a LentSnapshot,
    /// The next entries of those in memory.
    next: VecDeque<Entry>,
    /// The last key before them.
    after: Option<String>,
    is_over: bool,
    found: Differences,
}

impl<'a> Comparison<'a> {
    fn with(snapshot: &'a LentSnapshot) -> Self {
        Self {
            snapshot,
            next: VecDeque::new(),
            after: None,
            is_over: false,
            found: Differences::default(),
        }
    }

    fn add(&mut self, key: &[u8], stored: &KeyValue) -> Result<(), StoreError> {
        loop {
            let Some(entry) = self.peek()? else {
                self.found.add(key);
                return Ok(());
            };
            let known = entry.key.as_str().as_bytes();
            if known > key {
                self.found.add(key);
                return Ok(());
            }
            let is_same = entry.record.revision == number(stored.mod_revision)
                && entry.record.version == number(stored.version);
            if known < key || !is_same {
                let known = known.to_vec();
                self.found.add(&known);
            }
            let is_it = known_is(&self.next, key);
            self.next.pop_front();
            if is_it {
                return Ok(());
            }
        }
    }

    fn end(mut self) -> Result<Differences, CheckError> {
        while let Some(entry) = self.peek()? {
            let key = entry.key.as_str().as_bytes().to_vec();
            self.found.add(&key);
            self.next.pop_front();
        }
        Ok(self.found)
    }

    fn peek(&mut self) -> Result<Option<&Entry>, StoreError> {
        if self.next.is_empty() && !self.is_over {
            let page = self.snapshot.page_now(&Range {
                after: self.after.take(),
                limit: Some(PAGE_ENTRIES),
                ..Range::default()
            })?;
            self.is_over = !page.more;
            self.after = page.entries.last().map(|last| last.key.to_string());
            self.next = page.entries.into();
        }
        Ok(self.next.front())
    }
}

fn known_is(next: &VecDeque<Entry>, key: &[u8]) -> bool {
    let first = next.front();
    first.is_some_and(|entry| entry.key.as_str().as_bytes() == key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Record, Stamp, Timestamp, Value};
    use crate::storage::table::Table;

    fn table(keys: &[&str]) -> Table {
        let mut table = Table::default();
        for text in keys {
            let key = text.parse().unwrap();
            let stamp = Stamp {
                version: 2,
                revision: 7,
                modified_at: Timestamp::default(),
                modified_by: None,
            };
            let value = Value::from_json(b"1").unwrap();
            let record = Record::new(&key, value, stamp);
            table.insert(key, Arc::new(record));
        }
        table
    }

    fn compared(table: &Table, stored: &[(&str, i64, i64)]) -> Differences {
        let snapshot = table.lend();
        let mut comparison = Comparison::with(&snapshot);
        for (key, version, mod_revision) in stored {
            let stored = KeyValue {
                version: *version,
                mod_revision: *mod_revision,
                ..KeyValue::default()
            };
            comparison.add(key.as_bytes(), &stored).unwrap();
        }
        comparison.end().unwrap()
    }

    #[test]
    fn each_key_that_is_missing_or_different_is_found() {
        let table = table(&["a", "b", "d"]);
        let same = [("a", 2, 7), ("b", 2, 7), ("d", 2, 7)];
        assert_eq!(compared(&table, &same), Differences::default());
        for (stored, keys) in [
            (vec![("a", 2, 7), ("b", 2, 7)], vec!["d"]),
            (vec![("b", 2, 7), ("d", 2, 7)], vec!["a"]),
            (vec![("a", 2, 7), ("b", 2, 8), ("d", 3, 7)], vec!["b", "d"]),
            (
                vec![("a", 2, 7), ("b", 2, 7), ("c", 1, 1), ("d", 2, 7)],
                vec!["c"],
            ),
            (
                vec![("a", 2, 7), ("b", 2, 7), ("d", 2, 7), ("e", 1, 1)],
                vec!["e"],
            ),
            (vec![], vec!["a", "b", "d"]),
        ] {
            let found = compared(&table, &stored);
            assert_eq!(
                (found.count, found.named.len()),
                (keys.len() as u64, keys.len())
            );
            assert_eq!(found.named, keys, "{stored:?}");
        }
    }

    #[test]
    fn many_keys_are_compared_page_by_page() {
        let keys: Vec<_> = (0..2500).map(|number| format!("{number:04}")).collect();
        let texts: Vec<_> = keys.iter().map(String::as_str).collect();
        let table = table(&texts);
        let mut stored: Vec<_> = texts.iter().map(|key| (*key, 2, 7)).collect();
        assert_eq!(compared(&table, &stored), Differences::default());
        stored.remove(1000);
        stored[2000].2 = 8;
        let found = compared(&table, &stored);
        assert_eq!(found.named, ["1000", "2001"]);
    }
}
