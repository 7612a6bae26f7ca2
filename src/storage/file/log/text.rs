//! The texts in the frames of a segment.

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::model::{
    Commit, Done, Fingerprint, IdempotencyKey, Key, Name, Origin, Position, Record, Request,
    Revision, StateDigest, Timestamp,
};
use crate::storage::file::format::{
    EntryWriter, FORMAT, Members, Names, StoredRecord, known_format, store_revision,
};
use crate::storage::file::frame::{begin_frame, end_frame};
use crate::storage::file::identity::LogId;

/// What the first frame of a segment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentStart {
    /// The state before its first commit.
    pub position: Position,
    /// The newest moment at which that was the state.
    pub at: Timestamp,
    /// The log that it belongs to.
    pub id: LogId,
    /// Whether the data file needs its commits.
    pub is_journal: bool,
}

/// The first frame of a segment.
#[must_use]
pub fn first_frame(start: &SegmentStart) -> Vec<u8> {
    let SegmentStart {
        position,
        at,
        id,
        is_journal,
    } = start;
    let Position { revision, state } = position;
    let text = format!(
        "{{\"format\":{FORMAT},\"log\":\"{id}\",\"journal\":{is_journal},\"revision\":{revision},\
         \"state\":\"{state}\",\"at\":\"{at}\"}}"
    );
    let mut frame = begin_frame();
    frame.extend_from_slice(text.as_bytes());
    end_frame(frame)
}

/// # Errors
/// Why it is not the text of a first frame.
pub fn read_first(text: &[u8]) -> Result<SegmentStart, String> {
    let first: First = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    Ok(SegmentStart {
        position: Position {
            revision: first.revision,
            state: state(&first.state)?,
        },
        at: first.at,
        id: first.log,
        is_journal: first.journal,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct First {
    #[serde(rename = "format", deserialize_with = "known_format")]
    _format: u64,
    log: LogId,
    journal: bool,
    #[serde(deserialize_with = "store_revision")]
    revision: Revision,
    state: String,
    at: Timestamp,
}

fn state(digits: &str) -> Result<StateDigest, String> {
    digits
        .parse()
        .map_err(|_| format!("the state {digits:?} is not 16 digits from 0 to f"))
}

/// A frame of commits.
#[derive(Debug)]
pub struct GroupFrame {
    /// All of it.
    pub bytes: Vec<u8>,
    /// How much of it is what the commits replaced, in bytes.
    pub replaced_bytes: u64,
}

/// The frame of a group of commits after the revision `after`, in a segment that begins at `segment`. A record
/// that was replaced is in it if no commit of the segment wrote it, so that the states between are known
/// although older segments are not kept.
///
/// # Errors
/// Never: writing to memory does not fail.
pub fn group_frame<'a>(
    after: Revision,
    segment: Revision,
    commits: impl IntoIterator<Item = &'a Commit>,
) -> io::Result<GroupFrame> {
    let mut frame = begin_frame();
    let mut writers = Writers::default();
    let mut replaced_bytes = 0;
    frame.extend_from_slice(b"{\"after\":");
    frame.extend_from_slice(itoa::Buffer::new().format(after).as_bytes());
    frame.extend_from_slice(b",\"commits\":[");
    let mut separator = &b""[..];
    for commit in commits {
        frame.extend_from_slice(separator);
        replaced_bytes += write_commit(&mut frame, segment, commit, &mut writers)?;
        separator = b",";
    }
    frame.extend_from_slice(b"]}");
    Ok(GroupFrame {
        bytes: end_frame(frame),
        replaced_bytes: replaced_bytes as u64,
    })
}

/// Writers of records. Those of a group have one moment; what they replaced has others.
#[derive(Default)]
struct Writers {
    after: EntryWriter,
    before: EntryWriter,
}

/// The frame that a segment ends with when the next one has been begun, whose number it has.
#[must_use]
pub fn last_frame(after: Revision, next: u64) -> Vec<u8> {
    let mut frame = begin_frame();
    frame.extend_from_slice(format!("{{\"after\":{after},\"next\":{next}}}").as_bytes());
    end_frame(frame)
}

fn write_commit(
    frame: &mut Vec<u8>,
    segment: Revision,
    commit: &Commit,
    writers: &mut Writers,
) -> io::Result<usize> {
    let Position { revision, state } = commit.position;
    // Without the formatter, which took a tenth of the time of a frame.
    frame.extend_from_slice(b"{\"revision\":");
    frame.extend_from_slice(itoa::Buffer::new().format(revision).as_bytes());
    frame.extend_from_slice(b",\"at\":\"");
    frame.extend_from_slice(writers.after.text_of(commit.at).as_bytes());
    frame.push(b'"');
    let head = Head {
        by: commit.by.as_ref(),
        request: commit.request.as_ref().map(|request| request.key.as_str()),
        content: commit
            .request
            .as_ref()
            .map(|request| request.fingerprint.to_string()),
        reverted: match commit.origin {
            Some(Origin::Revert { revision }) => Some(revision),
            _ => None,
        },
        merged: match commit.origin {
            Some(Origin::Merge { base, theirs }) => Some([base, theirs]),
            _ => None,
        },
    };
    if !head.is_empty() {
        let text = serde_json::to_vec(&head)?;
        frame.push(b',');
        // Without its braces.
        frame.extend_from_slice(text.get(1..text.len() - 1).unwrap_or_default());
    }
    let changes = commit.changes.iter();
    let after = changes.map(|done| (&done.key, done.after.as_deref()));
    write_members(frame, "changes", after, &mut writers.after)?;
    let changes = commit.changes.iter();
    let before = changes.filter_map(|done| {
        let before = done.before.as_deref()?;
        let is_needed = done.after.is_none() || before.revision <= segment;
        is_needed.then_some((&done.key, Some(before)))
    });
    let mut before = before.peekable();
    let bytes_before = frame.len();
    if before.peek().is_some() {
        write_members(frame, "before", before, &mut writers.before)?;
    }
    let replaced_bytes = frame.len() - bytes_before;
    frame.extend_from_slice(b",\"state\":\"");
    frame.extend_from_slice(&state.digits());
    frame.extend_from_slice(b"\"}");
    Ok(replaced_bytes)
}

fn write_members<'a>(
    frame: &mut Vec<u8>,
    name: &str,
    members: impl Iterator<Item = (&'a Key, Option<&'a Record>)>,
    entry_writer: &mut EntryWriter,
) -> io::Result<()> {
    frame.extend_from_slice(b",\"");
    frame.extend_from_slice(name.as_bytes());
    frame.extend_from_slice(b"\":{");
    let mut separator = &b""[..];
    for (key, record) in members {
        frame.extend_from_slice(separator);
        entry_writer.write(frame, key, record)?;
        separator = b",";
    }
    frame.push(b'}');
    Ok(())
}

/// What a commit has that most have not.
#[derive(Serialize)]
struct Head<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'a Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reverted: Option<Revision>,
    #[serde(skip_serializing_if = "Option::is_none")]
    merged: Option<[Revision; 2]>,
}

impl Head<'_> {
    fn is_empty(&self) -> bool {
        self.by.is_none()
            && self.request.is_none()
            && self.reverted.is_none()
            && self.merged.is_none()
    }
}

/// The text of a frame of commits, whose values are not parsed yet.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group<'a> {
    /// The revision before them.
    #[serde(deserialize_with = "store_revision")]
    pub after: Revision,
    /// In their order.
    #[serde(borrow, default)]
    pub commits: Vec<StoredCommit<'a>>,
    /// Instead of commits, the number of the segment that goes on from here.
    #[serde(default)]
    pub next: Option<u64>,
}

/// A commit in a frame.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredCommit<'a> {
    #[serde(deserialize_with = "store_revision")]
    pub revision: Revision,
    pub at: Timestamp,
    #[serde(default)]
    pub by: Option<Name>,
    #[serde(default)]
    request: Option<String>,
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    reverted: Option<Revision>,
    #[serde(default)]
    merged: Option<[Revision; 2]>,
    /// `null` for a key that was deleted.
    #[serde(borrow)]
    pub changes: Members<&'a RawValue>,
    #[serde(borrow, default = "no_members")]
    before: Members<&'a RawValue>,
    state: String,
}

fn no_members<T>() -> Members<T> {
    Members(Vec::new())
}

impl<'a> Group<'a> {
    /// # Errors
    /// Why it is not the text of such a frame.
    pub fn read(text: &'a [u8]) -> Result<Self, String> {
        serde_json::from_slice(text).map_err(|error| error.to_string())
    }
}

impl StoredCommit<'_> {
    /// The store after it.
    ///
    /// # Errors
    /// Why that is not written as it should be.
    pub fn position(&self) -> Result<Position, String> {
        Ok(Position {
            revision: self.revision,
            state: state(&self.state)?,
        })
    }

    /// The request that it was made for.
    ///
    /// # Errors
    /// Why that is not written as it should be.
    pub fn request(&self) -> Result<Option<Request>, String> {
        let (Some(key), Some(content)) = (&self.request, &self.content) else {
            return Ok(None);
        };
        let key = IdempotencyKey::new(key).map_err(|error| error.to_string())?;
        let fingerprint = Fingerprint::parse(content)
            .ok_or_else(|| format!("the content {content:?} is not 32 hexadecimal digits"))?;
        Ok(Some(Request { key, fingerprint }))
    }

    /// The keys that it changed, with their records after it, in its order.
    ///
    /// # Errors
    /// Why a record is not written as it should be.
    pub fn records(
        &self,
        names: &mut Names,
    ) -> impl Iterator<Item = Result<(&Key, Option<Arc<Record>>), String>> {
        self.records_of(names, |_| true)
    }

    /// The same of the keys that are wanted. The others are not parsed.
    ///
    /// # Errors
    /// Why a record is not written as it should be.
    pub fn records_of(
        &self,
        names: &mut Names,
        is_wanted: impl Fn(&Key) -> bool,
    ) -> impl Iterator<Item = Result<(&Key, Option<Arc<Record>>), String>> {
        let wanted = self.changes.0.iter().filter(move |(key, _)| is_wanted(key));
        wanted.map(|(key, text)| {
            let stored: Option<StoredRecord> =
                serde_json::from_str(text.get()).map_err(|error| error.to_string())?;
            if let Some(of) = stored.as_ref().map(StoredRecord::revision)
                && of != self.revision
            {
                let revision = self.revision;
                return Err(format!("commit {revision} has a record of revision {of}"));
            }
            Ok((key, stored.map(|stored| stored.of(key, names))))
        })
    }

    /// The keys that it deleted.
    pub fn deleted(&self) -> impl Iterator<Item = &Key> {
        let changes = self.changes.0.iter();
        changes.filter_map(|(key, text)| (text.get() == "null").then_some(key))
    }

    /// The commit with its values. A record that was replaced is there if it was deleted, or if no earlier commit
    /// of the segment wrote it.
    ///
    /// # Errors
    /// Why a value is not written as it should be.
    pub fn decode(&self, names: &mut Names) -> Result<Commit, String> {
        let position = self.position()?;
        let mut names_before = Names::default();
        let mut before = self.before.0.iter().peekable();
        let mut changes = Vec::with_capacity(self.changes.0.len());
        for record in self.records(names) {
            let (key, after) = record?;
            // Both are in the same order.
            let before = match before.next_if(|(of, _)| of == key) {
                Some((_, text)) => {
                    let stored: StoredRecord =
                        serde_json::from_str(text.get()).map_err(|error| error.to_string())?;
                    Some(stored.of(key, &mut names_before))
                }
                None => None,
            };
            changes.push(Done {
                key: key.clone(),
                before,
                after,
            });
        }
        let origin = match (self.reverted, self.merged) {
            (Some(revision), _) => Some(Origin::Revert { revision }),
            (None, Some([base, theirs])) => Some(Origin::Merge { base, theirs }),
            (None, None) => None,
        };
        Ok(Commit {
            position,
            at: self.at,
            by: self.by.clone(),
            request: self.request()?,
            origin,
            changes,
        })
    }
}
