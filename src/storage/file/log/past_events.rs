//! Events of the past: what happened, page by page.

use super::past::{LogReader, damaged, decode, read_commit, read_group};
use super::segment::Segment;
use crate::model::{
    Commit, Filter, HistoryPage, HistoryPoint, HistoryQuery, Key, PastEvent, Revision,
};
use crate::storage::StoreError;
use crate::storage::file::format::Names;
use crate::storage::file::frame::{frame_bytes, read_frame_at};
use crate::storage::recent_commits::past_event;

/// How much of a log is read for one page of the history of a prefix, in bytes.
const SCAN_BYTES: u64 = 4 * 1024 * 1024;

impl LogReader {
    /// What happened, the newest first.
    ///
    /// # Errors
    /// [`StoreError`] if the log cannot be read.
    pub fn history(&self, query: &HistoryQuery) -> Result<HistoryPage, StoreError> {
        let mut page = Page {
            query,
            bytes: 0,
            filled: HistoryPage {
                events: Vec::new(),
                next: None,
                oldest_revision: self.oldest().revision,
            },
        };
        if !self.keeps_history {
            return Ok(page.filled);
        }
        // What is durable but not shown by reads yet comes later.
        let newest = self.table.read().revision();
        let read = if let [Filter::Key(key)] = &query.filters[..] {
            self.history_of_key(key, newest, &mut page)
        } else {
            self.history_of_all(newest, &mut page)
        };
        let mut page = page.filled;
        let known = page.oldest_revision;
        page.oldest_revision = self.oldest().revision;
        match read {
            // The rest was dropped meanwhile.
            Err(_) if page.oldest_revision > known => {}
            read => read?,
        }
        Ok(page)
    }

    fn history_of_key(
        &self,
        key: &Key,
        newest: Revision,
        page: &mut Page<'_>,
    ) -> Result<(), StoreError> {
        let hash = self.segments.hash(key);
        let mut up_to = newest.min(page.query.before.revision);
        while let Some(place) = self.segments.newest(hash, up_to) {
            if !page.add_commit(&read_commit(&place)?) {
                return Ok(());
            }
            let Some(before) = place.found.revision.checked_sub(1) else {
                return Ok(());
            };
            up_to = before;
        }
        Ok(())
    }

    fn history_of_all(&self, newest: Revision, page: &mut Page<'_>) -> Result<(), StoreError> {
        let last = newest.min(page.query.before.revision);
        let mut scanned = 0;
        for segment in self.segments.all().into_iter().rev() {
            if segment.start.position.revision >= last {
                continue;
            }
            let marks = segment.with(|content| {
                let marks = content.index.marks();
                let end = marks.partition_point(|mark| mark.after < last);
                let mut ends: Vec<_> = marks
                    .iter()
                    .skip(1)
                    .map(|mark| u64::from(mark.frame))
                    .collect();
                ends.push(content.bytes);
                let blocks = marks.iter().zip(ends).take(end);
                blocks.map(|(mark, end)| (*mark, end)).collect::<Vec<_>>()
            });
            for (mark, end) in marks.into_iter().rev() {
                if scanned >= SCAN_BYTES {
                    page.filled.next = Some(HistoryPoint {
                        revision: mark_end(&segment, end, last),
                        changes: 0,
                    });
                    return Ok(());
                }
                let begin = u64::from(mark.frame);
                scanned += end - begin;
                for commit in read_block(&segment, begin, end, last)?.iter().rev() {
                    if !page.add_commit(commit) {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}

/// The revision after which a part of a segment that was not read begins.
fn mark_end(segment: &Segment, end: u64, last: Revision) -> Revision {
    let next = segment.with(|content| {
        let marks = content.index.marks();
        let next = marks.iter().find(|mark| u64::from(mark.frame) == end);
        next.map_or(content.end.revision, |mark| mark.after)
    });
    next.saturating_add(1).min(last)
}

/// A page that is being filled.
struct Page<'a> {
    query: &'a HistoryQuery,
    bytes: usize,
    filled: HistoryPage,
}

impl Page<'_> {
    /// Adds what the query asks for. Returns whether there is room for more.
    fn add_commit(&mut self, commit: &Commit) -> bool {
        for (index, done) in commit.changes.iter().enumerate().rev() {
            if !self.query.matches(&done.key) {
                continue;
            }
            let Some(event) = past_event(commit, index) else {
                continue;
            };
            if event.point >= self.query.before {
                continue;
            }
            if self.filled.events.len() >= self.query.limit || self.bytes >= self.query.max_bytes {
                self.filled.next = self.filled.events.last().map(|event| event.point);
                return false;
            }
            self.bytes += event_bytes(&event);
            self.filled.events.push(event);
        }
        true
    }
}

fn event_bytes(event: &PastEvent) -> usize {
    event.entry.key.as_str().len() + event.entry.record.text_bytes()
}

/// The commits up to a revision in a part of a segment.
fn read_block(
    segment: &Segment,
    begin: u64,
    end: u64,
    last: Revision,
) -> Result<Vec<Commit>, StoreError> {
    let last = last.min(segment.end().revision);
    let mut commits = Vec::new();
    let mut names = Names::default();
    let file = segment.file().map_err(damaged)?;
    let mut at = begin;
    while at < end {
        let text = read_frame_at(&file, at).map_err(damaged)?;
        let group = read_group(&text)?;
        for commit in &group.commits {
            if commit.revision <= last {
                commits.push(decode(commit, &mut names)?);
            }
        }
        at += frame_bytes(&text);
    }
    Ok(commits)
}
