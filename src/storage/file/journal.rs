//! `data.json.journal` ↔ commits. Pure.
//!
//! One frame per line, after RFC 7464: a record separator, the length of the JSON text in bytes
//! and its CRC-32 as hexadecimal digits, the text, a line feed. JSON text has neither a record
//! separator nor a line feed nor a zero byte, so each of them tells what it is:
//! ```text
//! ␞000000000032 05b190de {"format":1,"revision":41,"id":"9c56cc51b374c3ba"}
//! ␞0000000000c5 96f3b1d0 {"after":41,"revision":42,"changes":{"doc/a":{"value":…},"doc/b":null}}
//! ```
//! The first frame names the revision from which the journal leads on, and the id by which the data
//! file knows it; journals that older versions left have none. Each further frame holds
//! what one group of commits changed, and the revisions before and after it.

use std::fmt;
use std::io::{self, BufRead, Read as _, Write as _};

use serde::Deserialize;
use thiserror::Error;

use super::format::{self, FORMAT, Members, StoredRecord, known_format, store_revision};
use super::identity::JournalId;
use crate::model::Revision;
use crate::storage::staged::Staged;
use crate::storage::table::Table;

/// What a frame begins with (RFC 7464 §2.2).
const SEPARATOR: u8 = 0x1E;
/// What it ends with.
const END: u8 = b'\n';
/// How many hexadecimal digits tell the length.
const LENGTH_DIGITS: usize = 12;
/// How many tell the checksum.
const CHECKSUM_DIGITS: usize = 8;
/// The bytes before the text: separator, length, space, checksum, space.
const HEAD_BYTES: usize = 1 + LENGTH_DIGITS + 1 + CHECKSUM_DIGITS + 1;
/// What a disk writes as a whole, in bytes: of a write that a power cut tore, some of these are
/// there and others are zero.
const SECTOR_BYTES: usize = 512;

/// Why a journal cannot be replayed, and where.
#[derive(Debug, Error)]
#[error("{reason}, at byte {offset}")]
pub struct JournalError {
    reason: String,
    offset: u64,
}

/// How replaying failed.
#[derive(Debug)]
pub enum ReplayError {
    /// The journal is damaged or leads on from another state.
    Journal(JournalError),
    /// It cannot be read.
    Io(io::Error),
}

/// What replaying came to.
#[derive(Debug, PartialEq, Eq)]
pub struct Replayed {
    /// How much of the journal is whole, in bytes.
    pub whole_bytes: u64,
    /// How much follows: a frame that was being written when the power went, in bytes.
    pub torn_bytes: u64,
    /// The revision to which the journal leads.
    pub revision: Revision,
    /// By which the data file knows it.
    pub id: Option<JournalId>,
}

/// The frame that a journal begins with, if it leads on from this revision.
#[must_use]
pub fn first_frame(revision: Revision, id: &JournalId) -> Vec<u8> {
    let mut frame = begin_frame();
    let text = format!("{{\"format\":{FORMAT},\"revision\":{revision},\"id\":\"{id}\"}}");
    frame.extend_from_slice(text.as_bytes());
    end_frame(frame)
}

/// The frame of a group of commits.
///
/// # Errors
/// Never: writing to memory does not fail.
pub fn frame(staged: &Staged) -> io::Result<Vec<u8>> {
    let mut frame = begin_frame();
    let (after, revision) = (staged.after(), staged.revision());
    write!(
        frame,
        "{{\"after\":{after},\"revision\":{revision},\"changes\":{{"
    )?;
    let mut separator = &b""[..];
    for (key, record) in staged.changes() {
        frame.extend_from_slice(separator);
        format::write_entry(&mut frame, key, record)?;
        separator = b",";
    }
    frame.extend_from_slice(b"}}");
    Ok(end_frame(frame))
}

fn begin_frame() -> Vec<u8> {
    vec![0; HEAD_BYTES]
}

/// Puts the head before the text, now that it is known.
fn end_frame(mut frame: Vec<u8>) -> Vec<u8> {
    let head = head(&frame[HEAD_BYTES..]);
    frame[..HEAD_BYTES].copy_from_slice(&head);
    frame.push(END);
    frame
}

fn head(text: &[u8]) -> [u8; HEAD_BYTES] {
    let length = (text.len() as u64).to_be_bytes();
    let length = &length[size_of::<u64>() - LENGTH_DIGITS / 2..];
    let mut head = [b' '; HEAD_BYTES];
    head[0] = SEPARATOR;
    put_digits(&mut head[1..=LENGTH_DIGITS], length);
    put_digits(
        &mut head[LENGTH_DIGITS + 2..HEAD_BYTES - 1],
        &crc32fast::hash(text).to_be_bytes(),
    );
    head
}

fn put_digits(digits: &mut [u8], bytes: &[u8]) {
    hex::encode_to_slice(bytes, digits).expect("two digits for a byte");
}

/// Applies to `table`, which a checkpoint was loaded into, the frames that are newer. `named` is the
/// journal that the checkpoint says has them. One that it does not name is another's if it has newer
/// frames; an older version's has no name.
///
/// A frame that is not whole is taken for torn by a power cut, and so for never acknowledged, only
/// if that is what it looks like: no whole frame follows, and it ends too early or has a whole
/// sector of zeros. Everything else is damage.
///
/// # Errors
/// [`ReplayError`]; what was applied before is in the table.
pub fn replay(
    mut reader: impl BufRead,
    table: &mut Table,
    named: Option<&JournalId>,
) -> Result<Replayed, ReplayError> {
    let mut offset = 0;
    let mut begun: Option<First> = None;
    let mut frame = Vec::new();
    loop {
        let damaged = |reason: &dyn fmt::Display| {
            let reason = reason.to_string();
            ReplayError::Journal(JournalError { reason, offset })
        };
        let Some(text) = next_frame(&mut reader, &mut frame).map_err(ReplayError::Io)? else {
            reader.read_to_end(&mut frame).map_err(ReplayError::Io)?;
            let Some(First { revision, id, .. }) = begun else {
                return Err(damaged(&"the first frame is not whole"));
            };
            if !frame.is_empty() && !is_torn(offset, &frame) {
                return Err(damaged(&"the frame is damaged"));
            }
            return Ok(Replayed {
                whole_bytes: offset,
                torn_bytes: frame.len() as u64,
                revision,
                id,
            });
        };
        match &mut begun {
            None => begun = Some(begin(text, table, named).map_err(|reason| damaged(&reason))?),
            Some(first) => {
                let is_strange = named.is_none() && first.id.is_some();
                first.revision = go_on(text, first.revision, table, is_strange)
                    .map_err(|reason| damaged(&reason))?;
            }
        }
        offset += frame.len() as u64;
    }
}

/// Reads the next frame into `frame` and returns its text. `None` if it is not whole; `frame` has
/// what was read of it then.
fn next_frame<'a>(
    reader: &mut impl BufRead,
    frame: &'a mut Vec<u8>,
) -> io::Result<Option<&'a [u8]>> {
    frame.clear();
    reader.take(HEAD_BYTES as u64).read_to_end(frame)?;
    let Some(length) = length_in(frame) else {
        return Ok(None);
    };
    reader.take(length + 1).read_to_end(frame)?;
    Ok(text_of(frame).filter(|text| text.len() as u64 == length))
}

/// The length that a frame's head tells.
fn length_in(frame: &[u8]) -> Option<u64> {
    let digits = frame.strip_prefix(&[SEPARATOR])?.get(..LENGTH_DIGITS)?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// The text of a whole frame at the beginning of `bytes`.
fn text_of(bytes: &[u8]) -> Option<&[u8]> {
    let length = usize::try_from(length_in(bytes)?).ok()?;
    let end = HEAD_BYTES.checked_add(length)?;
    let text = bytes.get(HEAD_BYTES..end)?;
    let is_whole = bytes.get(end) == Some(&END) && bytes.starts_with(&head(text));
    is_whole.then_some(text)
}

/// Whether what follows the last whole frame, from `offset` on, is what a torn write leaves.
fn is_torn(offset: u64, rest: &[u8]) -> bool {
    let begins_frame = |at: usize| rest[at] == SEPARATOR && text_of(&rest[at..]).is_some();
    if (0..rest.len()).any(begins_frame) {
        return false;
    }
    let ends_early = match length_in(rest) {
        Some(length) => (rest.len() as u64) <= HEAD_BYTES as u64 + length && !rest.contains(&END),
        None => {
            let digits = rest.strip_prefix(&[SEPARATOR]);
            digits.is_some_and(|digits| {
                digits.len() < LENGTH_DIGITS && digits.iter().all(u8::is_ascii_hexdigit)
            })
        }
    };
    ends_early || has_zero_sector(offset, rest)
}

/// Whether one of the sectors over which `rest` lies holds nothing of it.
fn has_zero_sector(offset: u64, rest: &[u8]) -> bool {
    let before = usize::try_from(offset % SECTOR_BYTES as u64).unwrap_or(0);
    let (first, others) = rest.split_at(rest.len().min(SECTOR_BYTES - before));
    let is_zero = |sector: &[u8]| !sector.is_empty() && sector.iter().all(|byte| *byte == 0);
    is_zero(first) || others.chunks(SECTOR_BYTES).any(is_zero)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct First {
    #[serde(rename = "format", deserialize_with = "known_format")]
    _format: u64,
    #[serde(deserialize_with = "store_revision")]
    revision: Revision,
    #[serde(default)]
    id: Option<JournalId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    #[serde(deserialize_with = "store_revision")]
    after: Revision,
    #[serde(deserialize_with = "store_revision")]
    revision: Revision,
    changes: Members<Option<StoredRecord>>,
}

/// Returns the revision from which the journal leads on, and its id.
fn begin(text: &[u8], table: &Table, named: Option<&JournalId>) -> Result<First, String> {
    let first: First = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if let Some(named) = named
        && first.id.as_ref() != Some(named)
    {
        return Err(format!(
            "it is not the journal {named}, which data.json names; put that one back or restore \
             both files from one backup"
        ));
    }
    // One that is not named may have been made for a data file that was never written.
    let is_strange = named.is_none() && first.id.is_some();
    if first.revision > table.revision() && !is_strange {
        return Err(format!(
            "the journal leads on from revision {}, but the data file is of revision {}",
            first.revision,
            table.revision(),
        ));
    }
    Ok(first)
}

/// Returns the revision to which the frame leads.
fn go_on(
    text: &[u8],
    before: Revision,
    table: &mut Table,
    is_strange: bool,
) -> Result<Revision, String> {
    let group: Group = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let (after, revision) = (group.after, group.revision);
    if after != before || revision <= after {
        return Err(format!(
            "the frame leads from revision {after} to {revision}, but the one before to {before}"
        ));
    }
    if revision <= table.revision() {
        // The data file has it already.
        return Ok(revision);
    }
    if is_strange {
        return Err(format!(
            "it belongs to another data.json: it has commits up to revision {revision} at least, \
             and the data file is of revision {} and names no journal; restore the data.json that \
             it belongs to, or move the journal away to start with the data file alone",
            table.revision(),
        ));
    }
    if after < table.revision() {
        return Err(format!(
            "the frame leads from revision {after} to {revision}, but the data file is of \
             revision {}",
            table.revision(),
        ));
    }
    let records = group
        .changes
        .0
        .iter()
        .filter_map(|(_, record)| record.as_ref());
    if let Some(alien) = records
        .map(StoredRecord::revision)
        .find(|of| *of <= after || *of > revision)
    {
        return Err(format!(
            "the frame leads from revision {after} to {revision}, but has a record of {alien}"
        ));
    }
    for (key, stored) in group.changes.0 {
        match stored {
            Some(stored) => {
                let record = stored.of(&key);
                table.insert(key, record);
            }
            None => table.remove(&key),
        }
    }
    table.skip_to(revision);
    Ok(revision)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Change, Expected, Key, Operation, Timestamp, Value};

    /// A put, or a delete where there is no value.
    fn staged(table: &Table, key: &str, value: Option<&str>) -> Staged {
        let change = Change {
            key: key.parse().unwrap(),
            expected: Expected::Any,
            operation: match value {
                Some(text) => Operation::Put(Value::from_json(text.as_bytes()).unwrap()),
                None => Operation::Delete,
            },
        };
        let mut staged = Staged::on(table);
        let moment = Timestamp::from_millis(1_763_805_600_120);
        staged.stage(table, change.into(), moment).unwrap();
        staged
    }

    /// A journal with the tables that its frames lead to; the first is the checkpoint's.
    struct Example {
        journal: Vec<u8>,
        ends: Vec<usize>,
        states: Vec<String>,
    }

    fn state(table: &Table) -> String {
        let snapshot = table.snapshot(&"".into());
        let entries: Vec<_> = snapshot.entries().collect();
        format!("{} {entries:?}", table.revision())
    }

    fn id() -> JournalId {
        JournalId::parse("9c56cc51b374c3ba").unwrap()
    }

    fn checkpoint() -> Table {
        let mut table = Table::default();
        let first = staged(&table, "first", Some("[1]"));
        first.apply_to(&mut table);
        table
    }

    fn example(values: &[(&str, Option<&str>)]) -> Example {
        let mut table = checkpoint();
        let mut journal = first_frame(table.revision(), &id());
        let (mut ends, mut states) = (vec![journal.len()], vec![state(&table)]);
        for (key, value) in values {
            let staged = staged(&table, key, *value);
            journal.extend(frame(&staged).unwrap());
            staged.apply_to(&mut table);
            ends.push(journal.len());
            states.push(state(&table));
        }
        Example {
            journal,
            ends,
            states,
        }
    }

    fn small() -> Example {
        let values = [
            ("username", Some("\"alice\"")),
            ("doc/a", Some(r#"{"n":1.50}"#)),
            ("username", None),
            ("doc/a", Some("null")),
        ];
        example(&values)
    }

    fn replayed(journal: &[u8]) -> Result<(Replayed, String), String> {
        let mut table = checkpoint();
        match replay(journal, &mut table, Some(&id())) {
            Ok(replayed) => Ok((replayed, state(&table))),
            Err(ReplayError::Journal(error)) => Err(error.to_string()),
            Err(ReplayError::Io(error)) => panic!("{error}"),
        }
    }

    #[test]
    fn a_frame_is_a_line_that_tells_its_length_and_checksum() {
        let table = checkpoint();
        let text = frame(&staged(&table, "doc/a", Some("1"))).unwrap();
        let text = String::from_utf8(text).unwrap();
        let json = "{\"after\":1,\"revision\":2,\"changes\":{\"doc/a\":{\"value\":1,\"version\":1,\
                    \"revision\":2,\"modified_at\":\"2025-11-22T10:00:00.120Z\"}}}";
        let checksum = crc32fast::hash(json.as_bytes());
        let length = json.len();
        assert_eq!(text, format!("\u{1e}{length:012x} {checksum:08x} {json}\n"));
    }

    #[test]
    fn what_was_written_is_replayed_with_its_tags() {
        let example = small();
        let (replayed, state) = replayed(&example.journal).unwrap();
        assert_eq!(&state, example.states.last().unwrap());
        assert_eq!(replayed.torn_bytes, 0);
        assert_eq!(replayed.whole_bytes, example.journal.len() as u64);
        assert_eq!(replayed.revision, 5);
    }

    #[test]
    fn every_prefix_is_the_state_of_its_whole_frames() {
        let example = small();
        for length in 0..example.journal.len() {
            let outcome = replayed(&example.journal[..length]);
            let Some(last) = example.ends.iter().rposition(|end| *end <= length) else {
                let refused = outcome.unwrap_err();
                assert!(refused.contains("at byte 0"), "{refused}");
                continue;
            };
            let (replayed, state) = outcome.unwrap();
            assert_eq!(state, example.states[last], "{length} bytes");
            assert_eq!(replayed.whole_bytes, example.ends[last] as u64);
            assert_eq!(replayed.torn_bytes, (length - example.ends[last]) as u64);
        }
    }

    #[test]
    fn every_flipped_bit_is_refused_with_its_place() {
        let example = small();
        for at in 0..example.journal.len() {
            for bit in 0..8 {
                let mut damaged = example.journal.clone();
                damaged[at] ^= 1 << bit;
                let refused = replayed(&damaged).unwrap_err();
                let frame = example.ends.iter().rposition(|end| *end <= at);
                let place = frame.map_or(0, |frame| example.ends[frame]);
                let place = format!("at byte {place}");
                assert!(
                    refused.ends_with(&place),
                    "bit {bit} of byte {at}: {refused}"
                );
            }
        }
    }

    #[test]
    fn a_last_frame_of_which_sectors_are_missing_is_torn_and_an_earlier_one_is_damaged() {
        let long = format!("\"{}\"", "x".repeat(3000));
        let example = example(&[("a", Some(&long)), ("b", Some(&long))]);
        for (frame, is_last) in [(0, false), (1, true)] {
            let (start, end) = (example.ends[frame], example.ends[frame + 1]);
            let mut sector = start / SECTOR_BYTES * SECTOR_BYTES;
            while sector < end {
                let mut torn = example.journal.clone();
                torn[sector.max(start)..(sector + SECTOR_BYTES).min(end)].fill(0);
                match replayed(&torn) {
                    Ok((replayed, state)) if is_last => {
                        assert_eq!(state, example.states[frame]);
                        assert_eq!(replayed.whole_bytes, start as u64);
                    }
                    Err(reason) if !is_last => {
                        assert!(reason.ends_with(&format!("at byte {start}")), "{reason}");
                    }
                    other => panic!("sector at {sector}: {other:?}"),
                }
                sector += SECTOR_BYTES;
            }
        }
    }

    #[test]
    fn frames_that_the_data_file_has_already_count_for_nothing() {
        let example = small();
        // The checkpoint was made after the second frame, the crash came before a new journal.
        let mut later = checkpoint();
        replay(&example.journal[..example.ends[2]], &mut later, Some(&id())).unwrap();
        replay(&example.journal[..], &mut later, Some(&id())).unwrap();
        assert_eq!(&state(&later), example.states.last().unwrap());
    }

    #[test]
    fn a_journal_of_another_state_is_refused() {
        let example = small();
        let mut too_old = Table::default();
        let outcome = replay(&example.journal[..], &mut too_old, Some(&id()));
        let Err(ReplayError::Journal(error)) = outcome else {
            panic!("it was replayed");
        };
        assert_eq!(
            error.to_string(),
            "the journal leads on from revision 1, but the data file is of revision 0, at byte 0"
        );
        let without_the_second = [
            &example.journal[..example.ends[1]],
            &example.journal[example.ends[2]..],
        ];
        let refused = replayed(&without_the_second.concat()).unwrap_err();
        assert!(refused.contains("leads from revision 3 to 4"), "{refused}");
        let twice = example.journal.repeat(2);
        assert!(replayed(&twice).is_err());
    }

    #[test]
    fn a_text_that_is_no_commit_is_refused_though_its_checksum_is_right() {
        let framed = |text: &str| {
            let mut frame = begin_frame();
            frame.extend_from_slice(text.as_bytes());
            end_frame(frame)
        };
        for (text, reason) in [
            ("", "EOF"),
            ("[]", "invalid length"),
            ("{\"after\":1,\"revision\":2}", "missing field `changes`"),
            (
                "{\"after\":1,\"revision\":1,\"changes\":{}}",
                "leads from revision 1 to 1",
            ),
            (
                "{\"after\":1,\"revision\":2,\"changes\":{\"\":null}}",
                "the key is empty",
            ),
            (
                "{\"after\":1,\"revision\":2,\"changes\":{\"a\":{\"value\":1,\"version\":1,\
                 \"revision\":3,\"modified_at\":\"2025-11-22T10:00:00.120Z\"}}}",
                "has a record of 3",
            ),
        ] {
            let refused = replayed(&[first_frame(1, &id()), framed(text)].concat()).unwrap_err();
            assert!(refused.contains(reason), "{text}: {refused}");
        }
        let newer = framed("{\"format\":2,\"revision\":1,\"id\":\"9c56cc51b374c3ba\"}");
        let refused = replayed(&newer).unwrap_err();
        assert!(refused.contains("newer than this program"), "{refused}");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_invent(
            at in 0_usize..600,
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60),
        ) {
            let example = small();
            let mut damaged = example.journal.clone();
            let at = at.min(damaged.len());
            let end = (at + bytes.len()).min(damaged.len());
            damaged.splice(at..end, bytes);
            if let Ok((_, state)) = replayed(&damaged) {
                proptest::prop_assert!(example.states.contains(&state), "{}", state);
            }
        }
    }

    #[test]
    fn a_key_may_hold_what_separates_frames_only_escaped() {
        // No control character can be in a key, and a value writes them as escapes.
        assert!("a\u{1e}".parse::<Key>().is_err());
        let example = example(&[("a", Some(r#""\u001e\n\u0000""#))]);
        let text = &example.journal[example.ends[0]..];
        assert_eq!(
            text.iter().filter(|byte| byte.is_ascii_control()).count(),
            2
        );
        assert_eq!(replayed(&example.journal).unwrap().1, example.states[1]);
    }
}
