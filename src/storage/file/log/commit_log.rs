//! The writer's side of the log: appending, beginning segments, dropping old ones.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::index::Index;
use super::scan::{Scanned, segment_path};
use super::segment::{Content, Segment, Segments};
use super::text::{SegmentStart, first_frame, group_frame, last_frame};
use crate::atomic_file::{PathState, ReplaceError, ReplacedFile};
use crate::model::{Position, Revision, Timestamp};
use crate::storage::StoreError;
use crate::storage::file::identity::LogId;
use crate::storage::file::settings::{History, Settings};
use crate::storage::staged::Staged;

/// How long a segment becomes at the most before the next one is begun, in bytes.
const SEGMENT_MAX_BYTES: u64 = 16 * 1024 * 1024;
/// The same where very much is kept, in bytes: a place in a segment has 32 bits.
const LONGEST_SEGMENT_BYTES: u64 = 1024 * 1024 * 1024;
/// How many full segments there are about at the most.
const SEGMENTS_MAX: u64 = 256;
/// How long it becomes at the least, in bytes, however little is kept.
const SEGMENT_MIN_BYTES: u64 = 64 * 1024;
/// How much is kept without a history for requests to be repeated, in bytes.
const REQUESTS_MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Into how many segments at least what is kept is divided: the oldest is dropped as a whole.
const SEGMENTS_KEPT: u32 = 16;

/// The log as its one writer sees it.
pub struct CommitLog {
    data: ReplacedFile,
    id: LogId,
    kept: Kept,
    segments: Arc<Segments>,
    /// The last segment, if it can be appended to.
    active: Option<Arc<Segment>>,
    /// Files that belong to another past, until they are dropped, too.
    void: Vec<Arc<Segment>>,
    /// Segments in whose places there is something else.
    lost: Vec<ReplacedFile>,
    last_number: u64,
    /// The state after the last commit that is durable in it.
    end: Position,
    at: Timestamp,
}

/// How much of the log is kept beyond what the data file needs.
#[derive(Debug, Clone, Copy)]
struct Kept {
    history: History,
    /// How long a request is remembered.
    idempotency_window: Duration,
    /// Until when a request is remembered, whose commit the log must have.
    requests_until: Timestamp,
}

impl Kept {
    fn note_request(&mut self, at: Timestamp) {
        let window = u64::try_from(self.idempotency_window.as_millis()).unwrap_or(u64::MAX);
        let until = Timestamp::from_millis(at.millis().saturating_add(window));
        self.requests_until = self.requests_until.max(until);
    }

    /// For how long, and how many bytes; nothing if only a journal is.
    fn limits_at(&self, now: Timestamp) -> Option<(Duration, u64)> {
        match self.history {
            History::For { time, max_bytes } => Some((time, max_bytes)),
            History::Never if now <= self.requests_until => {
                Some((self.idempotency_window, REQUESTS_MAX_BYTES))
            }
            History::Never => None,
        }
    }
}

/// A frame that was written and may not be durable yet.
#[derive(Debug, Clone, Copy)]
pub struct Appended {
    at: u64,
    bytes: u64,
    replaced_bytes: u64,
}

impl Appended {
    /// How much of the frame the data file does not have, in bytes: all but what the commits replaced.
    pub fn journal_bytes(self) -> u64 {
        self.bytes - self.replaced_bytes
    }
}

impl CommitLog {
    /// The log as it was found beside a store that is at `position`, whose last request was committed at
    /// `last_request`. It is appended to if it leads there.
    pub fn new(
        data: ReplacedFile,
        scanned: Scanned,
        settings: &Settings,
        position: Position,
        last_request: Option<Timestamp>,
    ) -> Self {
        let mut kept = Kept {
            history: settings.history,
            idempotency_window: settings.idempotency_window,
            requests_until: Timestamp::default(),
        };
        if let Some(at) = last_request {
            kept.note_request(at);
        }
        let last = scanned.segments.last().cloned();
        let id = last
            .as_ref()
            .map_or_else(LogId::random, |last| last.start.id.clone());
        for segment in scanned.segments.iter().rev().skip(1) {
            segment.seal();
        }
        let (end, at) = last
            .as_ref()
            .map_or_else(Default::default, |last| (last.end(), last.newest_at()));
        let is_whole = last.as_ref().is_some_and(|last| {
            let leads_there = end.state == position.state && end.revision <= position.revision;
            let metadata = last.file().and_then(|file| file.metadata());
            leads_there
                && !scanned.is_cut
                && last.number == scanned.last_number
                && metadata.is_ok_and(|metadata| metadata.len() == last.bytes())
        });
        match &last {
            Some(last) if is_whole => last.with(|content| content.index.link()),
            Some(last) => last.seal(),
            None => {}
        }
        Self {
            data,
            id,
            kept,
            segments: Arc::new(Segments::of(scanned.segments, scanned.hasher)),
            active: last.filter(|_| is_whole),
            void: scanned.void,
            lost: Vec::new(),
            last_number: scanned.last_number,
            end,
            at,
        }
    }

    /// What keys and the past are read from.
    pub fn segments(&self) -> &Arc<Segments> {
        &self.segments
    }

    /// The name that the data file has for it.
    pub fn id(&self) -> &LogId {
        &self.id
    }

    /// Whether nothing of it is kept but what the data file needs.
    pub fn is_only_journal(&self, now: Timestamp) -> bool {
        self.kept.limits_at(now).is_none()
    }

    /// Whether it must have these commits even if the data file has them, too: for the history, or because a
    /// request is remembered whose commit it has.
    pub fn must_have(&self, staged: &Staged) -> bool {
        let mut commits = staged.commits().iter();
        !staged.is_empty()
            && (!self.is_only_journal(staged.at())
                || commits.any(|commit| commit.request.is_some()))
    }

    /// Begins a segment after the state at `position`, which is durable, unless there is one already that can
    /// take the next commit.
    ///
    /// # Errors
    /// [`StoreError::NotApplied`]; the log may not be appended to then before another one was begun.
    pub fn ensure_open(
        &mut self,
        position: Position,
        at: Timestamp,
        is_journal: bool,
    ) -> Result<(), StoreError> {
        let is_open = self.active.as_ref().is_some_and(|active| {
            active.start.is_journal == is_journal && active.bytes() < self.segment_bytes()
        });
        if is_open && self.end.state == position.state {
            return Ok(());
        }
        self.begin(position, at, is_journal)
    }

    /// Begins a segment after the state at `position`, which is durable.
    ///
    /// # Errors
    /// [`StoreError::NotApplied`]; the log may not be appended to then before another one was begun.
    pub fn begin(
        &mut self,
        position: Position,
        at: Timestamp,
        is_journal: bool,
    ) -> Result<(), StoreError> {
        // Revisions may have been left out since the last commit.
        let leads_on = self.end.state == position.state && self.end.revision <= position.revision;
        let leads_on = leads_on && self.segments.oldest().is_some();
        let start = SegmentStart {
            position: if leads_on { self.end } else { position },
            at: if leads_on { self.at.max(at) } else { at },
            id: self.id.clone(),
            is_journal,
        };
        let number = self.last_number + 1;
        let path = segment_path(&self.data, number);
        let first = first_frame(&start);
        let written = match path.replace(|writer| writer.write_all(&first)) {
            Ok(written) => written,
            Err(ReplaceError::Before(error)) => return Err(StoreError::NotApplied(error)),
            Err(ReplaceError::After(error)) => {
                // It may be there after a power cut, so nothing is appended before it.
                self.last_number = number;
                self.distrust();
                return Err(StoreError::NotApplied(error));
            }
        };
        self.last_number = number;
        let noted = if is_journal && leads_on {
            self.note_next(number)
        } else {
            Ok(())
        };
        self.distrust();
        noted.map_err(StoreError::NotApplied)?;
        (self.end, self.at) = (start.position, start.at);
        let mut index = Index::new(start.position.revision);
        index.link();
        let content = Content {
            index,
            end: start.position,
            at: start.at,
            bytes: written.bytes,
            next: None,
        };
        let segment = Arc::new(Segment::new(number, path, written.file, start, content));
        if !leads_on {
            self.void.extend(self.segments.all());
        }
        self.segments.push(Arc::clone(&segment));
        self.active = Some(segment);
        Ok(())
    }

    /// Notes at the end of the last segment that another one goes on from there, so that a start without that one is
    /// refused. If it fails, whatever was written is void, because the next segment begins before it.
    fn note_next(&self, number: u64) -> io::Result<()> {
        let Some(last) = &self.active else {
            return Ok(());
        };
        let (at, frame) = (last.bytes(), last_frame(self.end.revision, number));
        let file = last.file()?;
        file.write_all_at(&frame, at)?;
        file.sync_data()?;
        last.with(|content| {
            content.bytes += frame.len() as u64;
            content.next = Some(number);
        });
        Ok(())
    }

    /// Nothing more is appended to the last segment: it may have content that is not known.
    pub fn distrust(&mut self) {
        if let Some(last) = self.active.take() {
            let sealed = Arc::clone(&last);
            let sealing = thread::Builder::new()
                .name("seal".to_owned())
                .spawn(move || sealed.seal());
            if sealing.is_err() {
                last.seal();
            }
        }
    }

    /// The last segment is not where it was, so the next start would not find what is before it, either.
    pub fn abandon(&mut self) {
        let Some(last) = self.active.take() else {
            return;
        };
        self.lost.push(last.path.clone());
        self.void.extend(self.segments.clear());
    }

    /// Removes what is in the places of segments that were abandoned: the next start would refuse it. The data file
    /// must be all.
    pub fn remove_lost(&mut self) {
        for path in self.lost.drain(..) {
            if let Err(error) = path.remove() {
                let file = path.path().display();
                tracing::warn!(%file, %error, "a file that took the place of a segment cannot be removed");
            }
        }
    }

    /// Writes a frame with the staged commits at the end. It is neither durable nor known to readers.
    ///
    /// # Errors
    /// If it cannot be written; then it must be [cut off](Self::cut_off).
    pub fn append(&self, staged: &Staged) -> io::Result<Appended> {
        let active = self.active()?;
        let commits = staged.commits().iter().map(|commit| &**commit);
        let first = active.start.position.revision;
        let frame = group_frame(self.end.revision, first, commits)?;
        let at = active.bytes();
        active.file()?.write_all_at(&frame.bytes, at)?;
        Ok(Appended {
            at,
            bytes: frame.bytes.len() as u64,
            replaced_bytes: frame.replaced_bytes,
        })
    }

    /// The file to sync.
    ///
    /// # Errors
    /// If there is no segment that is appended to.
    pub fn file(&self) -> io::Result<Arc<File>> {
        self.active()?.file()
    }

    fn active(&self) -> io::Result<&Arc<Segment>> {
        let none = || io::Error::other("the log has no segment to append to");
        self.active.as_ref().ok_or_else(none)
    }

    /// Removes what was written after the last commit that counts. The segment is not appended to again if a
    /// system call failed on it.
    ///
    /// # Errors
    /// If a system call fails: it may come back.
    pub fn cut_off(&mut self) -> io::Result<()> {
        let Some(active) = self.active.clone() else {
            return Ok(());
        };
        let cut = active.file().and_then(|file| {
            file.set_len(active.bytes())?;
            file.sync_all()
        });
        if cut.is_err() {
            self.distrust();
        }
        cut
    }

    /// The commits of a frame are durable, so readers may know them.
    pub fn publish(&mut self, appended: Appended, staged: &Staged) {
        let Some(active) = &self.active else {
            return;
        };
        self.segments
            .add(active, appended.at, appended.bytes, staged.commits());
        for commit in staged.commits() {
            if commit.request.is_some() {
                self.kept.note_request(commit.at);
            }
        }
        (self.end, self.at) = (active.end(), active.newest_at());
    }

    /// Whether the file that is appended to is still where it was.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn state(&self) -> io::Result<PathState> {
        match &self.active {
            Some(active) => active.path.state(Some(active.bytes())),
            None => Ok(PathState::Unchanged),
        }
    }

    /// The path of the file that is appended to.
    pub fn active_path(&self) -> Option<&ReplacedFile> {
        self.active.as_ref().map(|active| &active.path)
    }

    /// Whether a segment that has commits after a revision is not where it was.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn misses_any_after(&self, revision: Revision) -> io::Result<bool> {
        for segment in self.segments.all() {
            if segment.end().revision > revision
                && segment.path.state(Some(segment.bytes()))? != PathState::Unchanged
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Drops what is no longer kept at `now`: whole segments, the oldest first, and none with a commit after
    /// `needed_after`, which the data file does not have. Returns the oldest state that is still known.
    pub fn drop_old(&mut self, now: Timestamp, needed_after: Option<Revision>) -> Position {
        while let Some(oldest) = self.void.first().or(self.segments.all().first()).cloned()
            && self.is_droppable(&oldest, now, needed_after)
        {
            // Readers learn of it first: they open the file when they need it.
            if self.void.is_empty() {
                self.segments.pop();
            } else {
                self.void.remove(0);
            }
            if let Err(error) = oldest.path.remove() {
                let file = oldest.path.path().display();
                tracing::warn!(%file, %error, "an old part of the history cannot be removed");
            }
            let is_active = |active: &Arc<Segment>| active.number == oldest.number;
            if self.active.as_ref().is_some_and(is_active) {
                self.active = None;
            }
        }
        self.segments.oldest().unwrap_or(self.end)
    }

    fn is_droppable(
        &self,
        segment: &Arc<Segment>,
        now: Timestamp,
        needed_after: Option<Revision>,
    ) -> bool {
        let is_void = !self.void.is_empty();
        let is_active = self
            .active
            .as_ref()
            .is_some_and(|active| active.number == segment.number);
        if let Some(needed_after) = needed_after
            && !is_void
            && (is_active || segment.end().revision > needed_after)
        {
            return false;
        }
        match self.kept.limits_at(now) {
            None => true,
            Some(_) if is_active => false,
            Some((time, max_bytes)) => {
                let age = now.millis().saturating_sub(segment.newest_at().millis());
                u128::from(age) > time.as_millis() || self.bytes() > max_bytes
            }
        }
    }

    /// Whether the last segment is so old that the next commit should begin another, so that it can be dropped in
    /// time.
    pub fn is_due(&self, now: Timestamp) -> bool {
        let (Some(active), Some((time, _))) = (&self.active, self.kept.limits_at(now)) else {
            return false;
        };
        let age = now.millis().saturating_sub(active.start.at.millis());
        active.end() != active.start.position
            && u128::from(age) > (time / SEGMENTS_KEPT).as_millis()
    }

    fn bytes(&self) -> u64 {
        let segments = self.segments.all();
        let all = self.void.iter().chain(&segments);
        all.map(|segment| segment.bytes()).sum()
    }

    fn segment_bytes(&self) -> u64 {
        match self.kept.history {
            History::Never => SEGMENT_MAX_BYTES,
            History::For { max_bytes, .. } => {
                let part = max_bytes / u64::from(SEGMENTS_KEPT);
                // So that there are not too many of them.
                let most =
                    (max_bytes / SEGMENTS_MAX).clamp(SEGMENT_MAX_BYTES, LONGEST_SEGMENT_BYTES);
                part.clamp(SEGMENT_MIN_BYTES, most)
            }
        }
    }
}
