//! Reading segments at the start: which commits count, and which damage stops it.

use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, BufReader, Read as _};
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use super::index::{Found, Index, Mark};
use super::segment::{Content, Segment};
use super::text::{Group, SegmentStart, StoredCommit, read_first};
use crate::atomic_file::ReplacedFile;
use crate::model::{Name, Position, Request, Revision, Timestamp};
use crate::storage::file::frame::{frame_bytes, is_torn, next_frame, read_frame_at};
use crate::storage::file::suitable::open_regular;

/// How many bytes of a segment are read at once.
const READ_BYTES: usize = 256 * 1024;
/// How many threads read segments at the most.
const MAX_THREADS: usize = 4;
/// How many digits the number of a segment has.
const NUMBER_DIGITS: usize = 8;
/// What is between the name of the data file and the number of a segment.
const INFIX: &str = ".commits.";

/// Why a log cannot be used.
#[derive(Debug)]
pub enum ScanError {
    /// A segment is damaged.
    Damaged {
        /// Its file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// A system call failed.
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the system call.
        source: io::Error,
    },
}

/// A log as it was found.
#[derive(Debug, Default)]
pub struct Scanned {
    /// The segments that count, the oldest first; each begins where the one before ends.
    pub segments: Vec<Arc<Segment>>,
    /// Older ones that belong to another past.
    pub void: Vec<Arc<Segment>>,
    /// The requests of the commits, in their order.
    pub requests: Vec<PastRequest>,
    /// What keys are known by.
    pub hasher: RandomState,
    /// The number of the last segment that was found.
    pub last_number: u64,
    /// How much of that segment a power cut has torn, in bytes.
    pub torn_bytes: u64,
    /// How many frames of commits it has.
    pub last_frames: u64,
    /// Whether the last segment that counts has commits that do not.
    pub is_cut: bool,
}

/// A request that was committed.
#[derive(Debug)]
pub struct PastRequest {
    /// By which commit.
    pub position: Position,
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub by: Option<Name>,
    /// Which.
    pub request: Request,
}

/// The file of the segment with this number.
pub fn segment_path(data: &ReplacedFile, number: u64) -> ReplacedFile {
    data.companion(&format!("{INFIX}{number:0NUMBER_DIGITS$}"))
}

/// The last segment of a data file, to which commits may be appended.
///
/// # Errors
/// If the folder cannot be read.
pub fn last_segment(data: &ReplacedFile) -> io::Result<Option<ReplacedFile>> {
    let last = numbers(data)?.pop();
    Ok(last.map(|number| segment_path(data, number)))
}

/// The numbers of all segments of a data file, ascending.
///
/// # Errors
/// If the folder cannot be read.
fn numbers(data: &ReplacedFile) -> io::Result<Vec<u64>> {
    let beginning = data.beside(INFIX);
    let folder = data.path().parent().ok_or(io::ErrorKind::InvalidInput)?;
    let beginning = beginning.file_name().unwrap_or_default().to_owned();
    let mut numbers = Vec::new();
    for file in folder.read_dir()? {
        let name = file?.file_name();
        let number = name
            .as_encoded_bytes()
            .strip_prefix(beginning.as_encoded_bytes())
            .filter(|digits| digits.len() >= NUMBER_DIGITS)
            .and_then(|digits| str::from_utf8(digits).ok()?.parse().ok());
        numbers.extend(
            number.filter(|number| segment_path(data, *number).path().file_name() == Some(&name)),
        );
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The segments that were being begun when the process ended: they are not there, but temporary files may be.
///
/// # Errors
/// If the folder cannot be read.
pub fn unfinished(data: &ReplacedFile) -> io::Result<Vec<ReplacedFile>> {
    let beginning = data.beside(INFIX);
    let folder = data.path().parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut beginning_of_name = std::ffi::OsString::from(".");
    beginning_of_name.push(beginning.file_name().unwrap_or_default());
    let mut unfinished = Vec::new();
    for file in folder.read_dir()? {
        let name = file?.file_name();
        let rest = name
            .as_encoded_bytes()
            .strip_prefix(beginning_of_name.as_encoded_bytes());
        let number = rest
            .and_then(|rest| rest.split(|byte| *byte == b'.').next())
            .and_then(|digits| str::from_utf8(digits).ok()?.parse().ok());
        unfinished.extend(number.map(|number| segment_path(data, number)));
    }
    Ok(unfinished)
}

/// Reads the log of a data file, and changes nothing.
///
/// # Errors
/// [`ScanError`].
pub fn read(data: &ReplacedFile) -> Result<Scanned, ScanError> {
    let path = || data.path().to_owned();
    let numbers = numbers(data).map_err(|source| ScanError::Io {
        path: path(),
        source,
    })?;
    let mut scanned = Scanned {
        last_number: numbers.last().copied().unwrap_or(0),
        ..Scanned::default()
    };
    let read = read_all(data, &numbers, &scanned.hasher)?;
    for (index, one) in read.iter().enumerate() {
        // What a later segment makes void need not be whole.
        let next = read.get(index + 1).map(|next| next.start.position.revision);
        if let Some(damage) = &one.damage
            && next.is_none_or(|next| next > one.content.end.revision)
        {
            return Err(ScanError::Damaged {
                path: one.path.path().to_owned(),
                reason: format!("{damage}, at byte {}", one.content.bytes),
            });
        }
    }
    for one in read {
        scanned.add(one)?;
    }
    Ok(scanned)
}

/// Reads segments on several threads.
fn read_all(
    data: &ReplacedFile,
    numbers: &[u64],
    hasher: &RandomState,
) -> Result<Vec<ReadSegment>, ScanError> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = threads.min(MAX_THREADS).min(numbers.len().max(1));
    let last = numbers.last();
    let read_every = |first: usize| {
        let of_thread = numbers.iter().skip(first).step_by(threads);
        of_thread
            .map(|number| {
                let mut read = ReadSegment::read(data, *number, hasher)?;
                // Only the last one may be appended to.
                let index = &mut read.content.index;
                if last != Some(number)
                    && let Some(sorted) = index.sorted()
                {
                    index.seal(sorted);
                }
                Ok(read)
            })
            .collect::<Result<Vec<_>, _>>()
    };
    let parts = thread::scope(|scope| {
        let others: Vec<_> = (1..threads)
            .map(|first| scope.spawn(move || read_every(first)))
            .collect();
        let mut parts = vec![read_every(0)];
        for other in others {
            parts.push(other.join().unwrap_or_else(|_| {
                Err(ScanError::Io {
                    path: data.path().to_owned(),
                    source: io::Error::other("the thread that read the log panicked"),
                })
            }));
        }
        parts
    });
    let mut all = Vec::with_capacity(numbers.len());
    for part in parts {
        all.extend(part?);
    }
    all.sort_by_key(|one| one.number);
    Ok(all)
}

/// A segment that was read.
struct ReadSegment {
    number: u64,
    path: ReplacedFile,
    file: File,
    start: SegmentStart,
    content: Content,
    requests: Vec<PastRequest>,
    /// How many frames of commits it has.
    frames: u64,
    /// What is wrong with what follows its content, unless a power cut has torn that.
    damage: Option<String>,
    torn_bytes: u64,
}

impl ReadSegment {
    fn read(data: &ReplacedFile, number: u64, hasher: &RandomState) -> Result<Self, ScanError> {
        let path = segment_path(data, number);
        let failed = |source| ScanError::Io {
            path: path.path().to_owned(),
            source,
        };
        let damaged = |reason: String| ScanError::Damaged {
            path: path.path().to_owned(),
            reason,
        };
        let file = open_regular(path.path(), OpenOptions::new().read(true).write(true))
            .and_then(|file| file.ok_or_else(|| io::ErrorKind::NotFound.into()))
            .map_err(failed)?;
        path.note(&file.metadata().map_err(failed)?);
        let mut reader = BufReader::with_capacity(READ_BYTES, &file);
        let mut frame = Vec::new();
        let first = next_frame(&mut reader, &mut frame).map_err(failed)?;
        let first =
            first.ok_or_else(|| damaged("the first frame is not whole, at byte 0".to_owned()))?;
        let start = read_first(first).map_err(|reason| damaged(format!("{reason}, at byte 0")))?;
        let content = Content {
            index: Index::new(start.position.revision),
            end: start.position,
            at: start.at,
            bytes: frame.len() as u64,
            next: None,
        };
        let mut read = Self {
            number,
            file: file.try_clone().map_err(failed)?,
            start,
            content,
            requests: Vec::new(),
            frames: 0,
            damage: None,
            torn_bytes: 0,
            path: path.clone(),
        };
        loop {
            match next_frame(&mut reader, &mut frame).map_err(failed)? {
                None => break,
                Some(text) => {
                    if let Err(reason) = read.add(text, hasher) {
                        read.damage = Some(reason);
                        return Ok(read);
                    }
                }
            }
            read.content.bytes += frame.len() as u64;
            read.frames += 1;
        }
        reader.read_to_end(&mut frame).map_err(failed)?;
        if is_torn(read.content.bytes, &frame) {
            read.torn_bytes = frame.len() as u64;
        } else if !frame.is_empty() {
            read.damage = Some("the frame is damaged".to_owned());
        }
        Ok(read)
    }

    /// Adds a frame, unless it does not fit what is before it.
    fn add(&mut self, text: &[u8], hasher: &RandomState) -> Result<(), String> {
        let group = Group::read(text)?;
        let frame = u32::try_from(self.content.bytes).map_err(|_| "the segment is too long")?;
        let before = self.content.end.revision;
        if group.after != before {
            let after = group.after;
            return Err(format!(
                "the frame leads on from revision {after}, but the one before to {before}"
            ));
        }
        self.content.index.note_frame(Mark {
            frame,
            after: before,
            at: self.content.at,
        });
        for (number, commit) in (0..).zip(&group.commits) {
            let (revision, last) = (commit.revision, self.content.end.revision);
            if revision <= last {
                return Err(format!("commit {revision} does not follow commit {last}"));
            }
            let found = Found {
                revision,
                frame,
                commit: number,
            };
            for (key, text) in &commit.changes.0 {
                let is_deleted = text.get() == "null";
                let hash = hasher.hash_one(key.as_str());
                self.content.index.add(hash, found, is_deleted);
            }
            self.content.end = commit.position()?;
            // The clock may have been set back after the segment was begun.
            self.content.at = self.content.at.max(commit.at);
            if let Some(request) = commit.request()? {
                self.requests.push(PastRequest {
                    position: self.content.end,
                    at: commit.at,
                    by: commit.by.clone(),
                    request,
                });
            }
        }
        if group.commits.is_empty() && group.next.is_none() {
            return Err("the frame has no commit".to_owned());
        }
        self.content.next = group.next;
        Ok(())
    }
}

impl Scanned {
    /// The state after the last commit, if there is a log.
    pub fn end(&self) -> Option<Position> {
        self.segments.last().map(|last| last.end())
    }

    /// Cuts off what a power cut has torn at the end of the last segment.
    ///
    /// # Errors
    /// [`ScanError::Io`].
    pub fn cut_torn_end(&self) -> Result<(), ScanError> {
        let torn_bytes = self.torn_bytes;
        let Some(last) = self.segments.last().filter(|_| torn_bytes > 0) else {
            return Ok(());
        };
        let whole_bytes = last.bytes();
        tracing::warn!(
            file = %last.path.path().display(),
            at = whole_bytes,
            bytes = torn_bytes,
            "cutting off a commit that was being written at a power cut"
        );
        let cut = last.file().and_then(|file| {
            file.set_len(whole_bytes)?;
            file.sync_all()?;
            file.metadata()
        });
        let metadata = cut.map_err(|source| ScanError::Io {
            path: last.path.path().to_owned(),
            source,
        })?;
        last.path.note(&metadata);
        Ok(())
    }

    /// When the last commit was made.
    pub fn newest_at(&self) -> Timestamp {
        self.segments
            .last()
            .map_or_else(Timestamp::default, |last| last.newest_at())
    }

    /// Adds the next segment, and makes void what it does not continue.
    fn add(&mut self, read: ReadSegment) -> Result<(), ScanError> {
        let begins = read.start.position;
        let continues = match self.end() {
            None => false,
            Some(end) if end.revision >= begins.revision => {
                self.truncate(begins.revision)?;
                self.end() == Some(begins)
            }
            // Revisions of which it was not known whether they were committed are left out.
            Some(end) => end.state == begins.state,
        };
        if !continues {
            self.void.append(&mut self.segments);
            self.requests.clear();
        }
        self.requests.extend(read.requests);
        (self.last_frames, self.torn_bytes) = (read.frames, read.torn_bytes);
        self.is_cut = false;
        self.segments.push(Arc::new(Segment::new(
            read.number,
            read.path,
            read.file,
            read.start,
            read.content,
        )));
        Ok(())
    }

    /// Makes void what was committed after a revision. If the log has no state of that revision, its end is
    /// another then.
    ///
    /// # Errors
    /// [`ScanError`].
    pub fn truncate(&mut self, revision: Revision) -> Result<(), ScanError> {
        while let Some(last) = self.segments.last()
            && last.start.position.revision > revision
        {
            self.void.extend(self.segments.pop());
        }
        self.requests
            .retain(|request| request.position.revision <= revision);
        let Some(last) = self.segments.last() else {
            return Ok(());
        };
        if last.end().revision <= revision {
            return Ok(());
        }
        let kept = kept_of(last, revision).map_err(|source| ScanError::Io {
            path: last.path.path().to_owned(),
            source,
        })?;
        last.with(|content| {
            content.index.truncate(revision);
            content.end = kept.end;
            content.at = kept.at;
            content.bytes = kept.bytes;
            content.next = None;
        });
        self.is_cut = true;
        Ok(())
    }
}

/// What is left of a segment without its last commits.
pub struct Kept {
    /// The state after the last commit that is left.
    pub end: Position,
    /// When that was made.
    pub at: Timestamp,
    /// The end of its frame, which may have commits after it that are not left, in bytes.
    pub bytes: u64,
}

/// What is left of a segment, which begins before a revision, without the commits after that.
///
/// # Errors
/// Those of reading, or if a frame is damaged.
pub fn kept_of(segment: &Segment, revision: Revision) -> io::Result<Kept> {
    let (first, bytes) = segment.with(|content| {
        let first = content.index.marks().first();
        let first = first.map_or(content.bytes, |mark| u64::from(mark.frame));
        (first, content.bytes)
    });
    let mut kept = Kept {
        end: segment.start.position,
        at: segment.start.at,
        bytes: first,
    };
    let file = segment.file()?;
    while kept.bytes < bytes {
        let text = read_frame_at(&file, kept.bytes)?;
        let group = Group::read(&text).map_err(io::Error::other)?;
        let last = group
            .commits
            .iter()
            .rfind(|commit| commit.revision <= revision);
        let Some(last) = last else {
            break;
        };
        kept.end = last.position().map_err(io::Error::other)?;
        kept.at = kept.at.max(last.at);
        kept.bytes += frame_bytes(&text);
    }
    Ok(kept)
}

/// Calls `each` with the commits of a segment after a revision, until it returns false.
///
/// # Errors
/// Those of reading, or if a frame is damaged, or that of `each`.
pub fn for_each_commit(
    segment: &Segment,
    after: Revision,
    mut each: impl FnMut(&StoredCommit<'_>) -> Result<bool, String>,
) -> io::Result<()> {
    let (mark, bytes, last) = segment.with(|content| {
        let marks = content.index.marks();
        let next = marks.partition_point(|mark| mark.after <= after);
        let mark = next.checked_sub(1).and_then(|index| marks.get(index));
        (mark.copied(), content.bytes, content.end.revision)
    });
    let Some(mark) = mark else {
        return Ok(());
    };
    let file = segment.file()?;
    let mut at = u64::from(mark.frame);
    while at < bytes {
        let text = read_frame_at(&file, at)?;
        let damaged = |reason| io::Error::other(format!("{reason}, at byte {at}"));
        let group = Group::read(&text).map_err(damaged)?;
        for commit in &group.commits {
            // The last frame may have commits that do not count.
            if commit.revision > last {
                return Ok(());
            }
            if commit.revision > after && !each(commit).map_err(damaged)? {
                return Ok(());
            }
        }
        at += frame_bytes(&text);
    }
    Ok(())
}
