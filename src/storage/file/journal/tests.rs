//! Journals that are whole, torn and damaged.

use std::io::{self, Write as _};

use super::*;
use crate::model::{Change, ChangeSet, Expected, Key, Operation, Revision, Timestamp, Value};
use crate::storage::file::format::{EntryWriter, FORMAT};
use crate::storage::file::frame::{SECTOR_BYTES, begin_frame, end_frame};
use crate::storage::file::identity::LogId;
use crate::storage::staged::Staged;
use crate::storage::table::Table;

/// The frame that a journal begins with, if it begins after this revision.
fn first_frame(revision: Revision, id: &LogId) -> Vec<u8> {
    let mut frame = begin_frame();
    let text = format!("{{\"format\":{FORMAT},\"revision\":{revision},\"id\":\"{id}\"}}");
    frame.extend_from_slice(text.as_bytes());
    end_frame(frame)
}

/// The frame of a group of commits.
fn frame(staged: &Staged) -> io::Result<Vec<u8>> {
    let mut frame = begin_frame();
    let (after, revision) = (staged.after().revision, staged.revision());
    write!(
        frame,
        "{{\"after\":{after},\"revision\":{revision},\"changes\":{{"
    )?;
    let mut entry_writer = EntryWriter::default();
    let mut separator = &b""[..];
    for (key, record) in staged.changes() {
        frame.extend_from_slice(separator);
        entry_writer.write(&mut frame, key, record.map(|record| &**record))?;
        separator = b",";
    }
    frame.extend_from_slice(b"}}");
    Ok(end_frame(frame))
}

/// A put, or a delete where there is no value.
fn staged(table: &Table, key: &str, value: Option<&str>) -> Staged {
    staged_by(None, table, key, value)
}

fn staged_by(writer: Option<&str>, table: &Table, key: &str, value: Option<&str>) -> Staged {
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
    let changes = ChangeSet::from(change).by(writer.map(|name| name.parse().unwrap()));
    staged.stage(table, changes, moment).unwrap();
    staged
}

/// A journal with the tables that its frames lead to; the first is the checkpoint's.
struct Example {
    journal: Vec<u8>,
    ends: Vec<usize>,
    states: Vec<String>,
}

fn state(table: &Table) -> String {
    let snapshot = table.snapshot();
    let entries: Vec<_> = snapshot.entries().collect();
    format!("{} {entries:?}", table.revision())
}

fn id() -> LogId {
    LogId::parse("9c56cc51b374c3ba").unwrap()
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
fn a_frame_is_a_line_with_its_length_and_checksum() {
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
fn a_record_with_a_writer_has_the_name_last_and_is_replayed_with_it() {
    const NAME: &str = r#"ü "\" 🙂"#;
    let mut table = checkpoint();
    let mut journal = first_frame(table.revision(), &id());
    let staged = staged_by(Some(NAME), &table, "a", Some("1"));
    let framed = frame(&staged).unwrap();
    let end = format!(
        "\"2025-11-22T10:00:00.120Z\",\"modified_by\":{}}}}}}}\n",
        serde_json::to_string(NAME).unwrap()
    );
    assert!(String::from_utf8_lossy(&framed).ends_with(&end), "{end}");
    journal.extend(framed);
    staged.apply_to(&mut table);
    let replayed = replayed(&journal).unwrap();
    assert_eq!(replayed.1, state(&table));
    assert!(replayed.1.contains("modified_by: Some"), "{}", replayed.1);
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
fn frames_that_the_data_file_already_has_are_ignored() {
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
fn an_invalid_commit_is_refused_though_its_checksum_is_right() {
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
        (
            "{\"after\":1,\"revision\":2,\"changes\":{\"a\":{\"value\":1,\"version\":1,\"revision\":2,\
             \"modified_at\":\"2025-11-22T10:00:00.120Z\",\"modified_by\":\" ann\"}}}",
            "a name has",
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
