//! Reads the whole content at one revision, and the recent past before it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tokio::time::{Instant, timeout};

use super::client::Client;
use super::decoded::{Decoded, Mark, MarkChange, rewind};
use super::error::ClientError;
use super::gather::{Gather, OutOfOrder};
use super::layout::{Place, etcd_number, number};
use super::messages::{Event, KeyValue, RangeRequest};
use super::mirror::Loaded;
use super::query::{self, Delivery};
use super::text::Reader;
use crate::model::Revision;
use crate::storage::lease::Leases;
use crate::storage::table::Table;

/// How many keys one page has at the most.
const PAGE_MAX_KEYS: i64 = 1000;
/// How many keys the first page has. Nobody knows yet how long values are.
const FIRST_PAGE_KEYS: i64 = 16;
/// How long a page should be, in bytes.
const PAGE_BYTES: usize = 2 * 1024 * 1024;
/// By how much a page may have more keys than the one before.
const PAGE_GROWTH: i64 = 4;
/// How many revisions of the past are read.
const PAST_REVISIONS: u64 = 10_000;
/// How much of the past is read, in bytes.
const PAST_MAX_BYTES: usize = 32 * 1024 * 1024;
/// How often less of the past is asked for, because it was too much or was compacted meanwhile.
const PAST_ATTEMPTS: usize = 8;

/// Why the content cannot be read.
#[derive(Debug, Error)]
pub enum LoadError {
    /// etcd fails.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// etcd delivers the past in disorder.
    #[error(transparent)]
    OutOfOrder(#[from] OutOfOrder),
    /// etcd does not deliver the past.
    #[error("etcd delivers no events of revision {0}")]
    Silent(Revision),
}

/// Reads everything.
///
/// # Errors
/// [`LoadError`].
pub async fn load(
    client: &Client,
    reader: &mut Reader,
    leases: Leases,
    patience: Duration,
) -> Result<Loaded, LoadError> {
    let begun = Instant::now();
    let content = Content::read(client, reader, leases, patience).await?;
    let newest = content.table.revision();
    let (from, decoded) = read_past(client, reader, newest, content.reached, patience).await?;
    let before = mark_before(client, reader, from, patience).await?;
    let begins = match before {
        Before::Nothing => Some(0),
        Before::Commit(mark) => Some(mark.revision),
        Before::Compacted => None,
    };
    let marks = marks_of(before, &decoded, content.mark);
    let (oldest, commits) = rewind(&content.table, from, begins, decoded);
    tracing::info!(
        keys = content.table.count(),
        revision = newest,
        commits = commits.len(),
        seconds = begun.elapsed().as_secs_f64(),
        "the content of etcd is loaded"
    );
    Ok(Loaded {
        table: content.table,
        commits,
        oldest,
        marks,
        damaged: content.damaged,
        reached: content.reached,
    })
}

/// What was committed last before a revision.
#[derive(Debug, Clone, Copy)]
enum Before {
    /// Nothing.
    Nothing,
    /// This.
    Commit(Mark),
    /// It is compacted.
    Compacted,
}

async fn mark_before(
    client: &Client,
    reader: &Reader,
    revision: Revision,
    patience: Duration,
) -> Result<Before, ClientError> {
    let last = revision.saturating_sub(1);
    if last == 0 {
        return Ok(Before::Nothing);
    }
    let request = query::get_at(reader.layout().marker(), last);
    match client.range(&request, Instant::now() + patience).await {
        Ok(response) => {
            let stored = query::first(response);
            Ok(stored.map_or(Before::Nothing, |stored| Before::Commit(Mark::of(&stored))))
        }
        Err(ClientError::Compacted { .. }) => Ok(Before::Compacted),
        Err(error) => Err(error),
    }
}

/// The mark before the past that is known, those in it, and the newest. Without that there are none: somebody has
/// deleted the marker.
fn marks_of(before: Before, decoded: &[Decoded], newest: Option<Mark>) -> Vec<Mark> {
    let Some(newest) = newest else {
        return Vec::new();
    };
    let before = match before {
        Before::Commit(mark) => Some(mark),
        Before::Nothing | Before::Compacted => None,
    };
    let past = decoded.iter().filter_map(|decoded| match decoded.mark {
        MarkChange::Put(mark) => Some(mark),
        MarkChange::Unchanged | MarkChange::Deleted => None,
    });
    let past = before.into_iter().chain(past);
    let past = past.filter(|mark| mark.revision < newest.revision);
    past.chain([newest]).collect()
}

/// Everything at one revision.
struct Content {
    table: Table,
    damaged: BTreeMap<Bytes, String>,
    mark: Option<Mark>,
    /// The revision of etcd.
    reached: Revision,
}

impl Content {
    async fn read(
        client: &Client,
        reader: &mut Reader,
        leases: Leases,
        patience: Duration,
    ) -> Result<Self, ClientError> {
        let mut content = Self {
            table: Table::with_leases(leases),
            damaged: BTreeMap::new(),
            mark: None,
            reached: 0,
        };
        let mut pages = Pages::of(reader.layout().content());
        while let Some(page) = pages.next(client, patience).await? {
            for stored in &page {
                content.add(stored, reader);
            }
        }
        content.reached = number(pages.revision);
        Ok(content)
    }

    fn add(&mut self, stored: &KeyValue, reader: &mut Reader) {
        let layout = reader.layout().clone();
        let key = match layout.place(&stored.key) {
            Place::Other => return,
            Place::Marker => {
                self.mark = Some(Mark::of(stored));
                return self.table.skip_to(number(stored.mod_revision));
            }
            Place::Entry(key) => Reader::key(key),
        };
        self.table.skip_to(number(stored.mod_revision));
        let record = key.and_then(|key| {
            let record = reader.record(&key, stored)?;
            Ok((key, record))
        });
        match record {
            Ok((key, record)) => drop(self.table.insert(key, Arc::new(record))),
            Err(damaged) => {
                let place = String::from_utf8_lossy(&stored.key);
                tracing::error!(%place, reason = damaged.0, "what is stored there is no entry");
                let place = Bytes::copy_from_slice(&stored.key);
                self.damaged.insert(place, damaged.0);
            }
        }
    }
}

/// A range of keys, page by page, at the revision of the first page.
pub struct Pages {
    next: Option<Bytes>,
    end: Bytes,
    /// That of the pages; 0 before the first.
    pub revision: i64,
    limit: i64,
    keys_only: bool,
}

impl Pages {
    /// The keys from the first of these to before the second.
    #[must_use]
    pub fn of((next, end): (Bytes, Bytes)) -> Self {
        Self {
            next: Some(next),
            end,
            revision: 0,
            limit: FIRST_PAGE_KEYS,
            keys_only: false,
        }
    }

    /// The same without values.
    #[must_use]
    pub fn without_values(self) -> Self {
        Self {
            keys_only: true,
            limit: PAGE_MAX_KEYS,
            ..self
        }
    }

    /// The next page.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn next(
        &mut self,
        client: &Client,
        patience: Duration,
    ) -> Result<Option<Vec<KeyValue>>, ClientError> {
        let Some(key) = self.next.clone() else {
            return Ok(None);
        };
        let response = loop {
            let request = RangeRequest {
                key: key.clone(),
                range_end: self.end.clone(),
                limit: self.limit,
                revision: self.revision,
                keys_only: self.keys_only,
                ..RangeRequest::default()
            };
            match client.range(&request, Instant::now() + patience).await {
                // Values are longer here: the answer was longer than the client takes.
                Err(ClientError::TooLarge(_) | ClientError::Unknown(_)) if self.limit > 1 => {
                    self.limit = (self.limit / 2 / PAGE_GROWTH).max(1);
                }
                response => break response?,
            }
        };
        if self.revision == 0 {
            self.revision = query::revision_of(&response);
        }
        let bytes = response.kvs.iter().map(|stored| stored.value.len()).sum();
        self.limit = next_limit(self.limit, response.kvs.len(), bytes);
        let last = response.kvs.last().filter(|_| response.more);
        self.next = last.map(|last| [&last.key[..], b"\0"].concat().into());
        Ok(Some(response.kvs))
    }
}

/// How many keys the next page has, after one of so many keys and bytes.
fn next_limit(limit: i64, keys: usize, bytes: usize) -> i64 {
    let fitting = (keys.max(1) * PAGE_BYTES) / bytes.max(1);
    let fitting = i64::try_from(fitting).unwrap_or(i64::MAX);
    fitting.min(limit * PAGE_GROWTH).clamp(1, PAGE_MAX_KEYS)
}

/// What was changed up to `newest`, the oldest first, with what was there before; and from where on.
async fn read_past(
    client: &Client,
    reader: &mut Reader,
    newest: Revision,
    reached: Revision,
    patience: Duration,
) -> Result<(Revision, Vec<Decoded>), LoadError> {
    let mut from = (reached + 1).saturating_sub(PAST_REVISIONS).max(1);
    let mut delivery = Delivery::Whole;
    for _ in 0..PAST_ATTEMPTS {
        if from > newest {
            break;
        }
        match read_from(client, reader, from..=newest, delivery, patience).await {
            Ok(Ok(decoded)) => return Ok((from, decoded)),
            Ok(Err(Excess { until })) => {
                // The newest part of it, and with a margin: commits may have become longer.
                let fitting = (until.saturating_sub(from) / 2).max(1);
                from = (newest + 1).saturating_sub(fitting).max(from + 1);
            }
            Err(LoadError::Client(ClientError::Compacted { revision })) => {
                from = number(revision).max(from) + 1;
            }
            Err(LoadError::Silent(_) | LoadError::Client(ClientError::TooLarge(_)))
                if delivery == Delivery::Whole =>
            {
                delivery = Delivery::InFragments;
            }
            // Without a past there are no resume points, but there is a service.
            Err(error @ LoadError::Silent(_)) => {
                tracing::warn!(%error, "the recent past is left out");
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok((reached + 1, Vec::new()))
}

/// The past is too long, already up to this revision.
struct Excess {
    until: Revision,
}

async fn read_from(
    client: &Client,
    reader: &mut Reader,
    revisions: RangeInclusive<Revision>,
    delivery: Delivery,
    patience: Duration,
) -> Result<Result<Vec<Decoded>, Excess>, LoadError> {
    let (from, newest) = revisions.into_inner();
    let layout = reader.layout().clone();
    let request = query::watch(&layout, etcd_number(from), true, delivery);
    let mut stream = client.watch(request).await?;
    let mut gather = Gather::after(from - 1);
    let mut decoded = Vec::new();
    let mut bytes = 0;
    loop {
        let response = timeout(patience, stream.next()).await;
        let response = response.map_err(|_| LoadError::Silent(newest))??;
        bytes += response.events.iter().map(event_bytes).sum::<usize>();
        for group in gather.add(&layout, response.events, response.fragment)? {
            if group.revision <= newest {
                decoded.push(Decoded::read(&group, reader));
            }
        }
        if number(gather.next()) > newest {
            return Ok(Ok(decoded));
        }
        if bytes > PAST_MAX_BYTES {
            let until = number(gather.next());
            return Ok(Err(Excess { until }));
        }
    }
}

fn event_bytes(event: &Event) -> usize {
    let stored = [&event.kv, &event.prev_kv].into_iter().flatten();
    stored
        .map(|stored| stored.value.len() + stored.key.len())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_bounded_in_keys_and_in_bytes() {
        // Small values: each page has more keys than the one before, up to the limit.
        assert_eq!(next_limit(16, 16, 160), 64);
        assert_eq!(next_limit(64, 64, 640), 256);
        assert_eq!(next_limit(256, 256, 2560), PAGE_MAX_KEYS);
        assert_eq!(next_limit(PAGE_MAX_KEYS, 1000, 10_000), PAGE_MAX_KEYS);
        // Values of 1 MiB.
        assert_eq!(next_limit(16, 16, 16 * 1024 * 1024), 2);
        assert_eq!(next_limit(1000, 1000, 1000 * 4 * 1024 * 1024), 1);
        // Nothing.
        assert_eq!(next_limit(16, 0, 0), 64);
    }
}
