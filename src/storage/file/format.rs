//! `data.json` ↔ records. Pure.
//!
//! One entry per line, ascending by key, so that `diff`, `git` and `jq` are at home in it:
//! ```json
//! {"format":1,"revision":42,"entries":{
//! "doc/a":{"value":{"title":"x"},"version":3,"revision":42,"modified_at":"2026-11-22T10:00:00.000Z"},
//! "doc/b":{"value":1,"version":1,"revision":41,"modified_at":"2026-11-22T09:00:00.000Z","modified_by":"ann"}
//! }}
//! ```
//! An entry without `modified_by` was written anonymously.
//!
//! While a journal is in use, the first line says which, before the entries:
//! `"journal":"9c56cc51b374c3ba"`.

use std::collections::HashSet;
use std::fmt;
use std::io::{self, BufRead, Write};
use std::sync::Arc;

use serde::Deserialize as DeserializeDerive;
use serde::de::{Deserialize, Deserializer, Error as DeserializeError, MapAccess, Visitor};
use thiserror::Error;

use super::identity::LogId;
use crate::model::{Key, LAST_NUMBER, Name, Record, Revision, Stamp, Timestamp, Value, Version};
use crate::storage::table::Table;

/// The format that is written, and the only one that is read.
pub const FORMAT: u64 = 1;
/// What is between two entries.
pub const SEPARATOR: &[u8] = b",\n";
/// What follows the line of the last entry.
pub const END: &[u8] = b"}}\n";
/// What is before the id of a journal.
const JOURNAL: &str = "\"journal\":\"";

/// Why a text is not a `data.json`, and where.
#[derive(Debug, Error)]
#[error("{reason}, at line {line} column {column}")]
pub struct FormatError {
    reason: String,
    line: usize,
    column: usize,
}

/// What a `data.json` holds.
#[derive(Debug)]
pub struct Loaded {
    /// Its entries, at its revision.
    pub table: Table,
    /// The journal that has the commits since.
    pub journal: Option<LogId>,
}

/// What its first line says.
#[derive(Debug, PartialEq, Eq)]
pub struct FirstLine {
    /// The revision of the whole.
    pub revision: Revision,
    /// The journal that has the commits since.
    pub journal: Option<LogId>,
}

/// Writes a whole `data.json`, with the id of the journal that begins after it, if there is one.
///
/// # Errors
/// Those of the writer.
pub fn encode<'a>(
    mut writer: impl Write,
    revision: Revision,
    journal: Option<&LogId>,
    entries: impl Iterator<Item = (&'a Key, &'a Record)>,
) -> io::Result<()> {
    writer.write_all(&start(revision, journal))?;
    let mut line = Vec::new();
    let mut entry_writer = EntryWriter::default();
    let mut separator = &b"\n"[..];
    for (key, record) in entries {
        line.clear();
        line.extend_from_slice(separator);
        entry_writer.write(&mut line, key, Some(record))?;
        writer.write_all(&line)?;
        separator = SEPARATOR;
    }
    writer.write_all(b"\n")?;
    writer.write_all(END)
}

/// The first line, without its end.
pub fn start(revision: Revision, journal: Option<&LogId>) -> Vec<u8> {
    let journal = journal.map_or_else(String::new, |id| format!("{JOURNAL}{id}\","));
    format!("{{\"format\":{FORMAT},\"revision\":{revision},{journal}\"entries\":{{").into_bytes()
}

/// Writes entries as the files have them.
#[derive(Debug, Default)]
pub struct EntryWriter {
    /// The moment of the last record, and its text: those of a group of commits have the same one. Making it
    /// for each took 41 % of the time of a frame of 64 commits (5.5 against 3.3 µs).
    moment: Option<(Timestamp, String)>,
}

impl EntryWriter {
    /// Appends `"key":{…}`, or `"key":null` for a record that was deleted.
    ///
    /// # Errors
    /// Never: writing to memory does not fail.
    pub fn write(
        &mut self,
        line: &mut Vec<u8>,
        key: &Key,
        record: Option<&Record>,
    ) -> io::Result<()> {
        serde_json::to_writer(&mut *line, key)?;
        let Some(record) = record else {
            line.extend_from_slice(b":null");
            return Ok(());
        };
        line.extend_from_slice(b":{\"value\":");
        line.extend_from_slice(record.value.as_json().as_bytes());
        record.write_numbers(line);
        record.write_end(line, |line, moment| {
            line.extend_from_slice(self.text_of(moment).as_bytes());
        });
        Ok(())
    }

    /// The text of a moment.
    pub fn text_of(&mut self, moment: Timestamp) -> &str {
        let last = self.moment.take().filter(|(last, _)| *last == moment);
        let (_, text) = self
            .moment
            .insert(last.unwrap_or_else(|| (moment, moment.to_string())));
        text
    }
}

/// Reads a whole `data.json`, also one that was written or edited by hand.
///
/// # Errors
/// [`FormatError`] if it is not one, is of another format, or contradicts itself.
pub fn decode(reader: impl BufRead) -> Result<Loaded, FormatError> {
    let document: Document = serde_json::from_reader(reader).map_err(|error| {
        let full = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        FormatError {
            reason: full.strip_suffix(&place).unwrap_or(&full).to_owned(),
            line: error.line(),
            column: error.column(),
        }
    })?;
    let mut table = document.entries.0;
    if let Some((key, record)) = table.newer_than(document.revision) {
        return Err(FormatError {
            reason: format!(
                "the revision {} of {:?} is above the store's revision {}",
                record.revision,
                key.as_str(),
                document.revision,
            ),
            line: 1,
            column: 1,
        });
    }
    table.skip_to(document.revision);
    Ok(Loaded {
        table,
        journal: document.journal,
    })
}

/// A first line, with its end, if it is as [`encode`] writes it.
#[must_use]
pub fn first_line(line: &[u8]) -> Option<FirstLine> {
    let rest = std::str::from_utf8(line).ok()?;
    let rest = rest.strip_prefix("{\"format\":1,\"revision\":")?;
    let (digits, rest) = rest.split_once(',')?;
    let revision = digits
        .parse()
        .ok()
        .filter(|revision| *revision <= LAST_NUMBER)?;
    let journal = match rest.strip_prefix(JOURNAL) {
        Some(rest) => Some(LogId::parse(rest.split_once('"')?.0)?),
        None => None,
    };
    // Only what would be written so, not `+1` or `01`.
    let written = start(revision, journal.as_ref());
    (line.strip_suffix(b"\n") == Some(&written[..])).then_some(FirstLine { revision, journal })
}

/// Reads some of the lines between the first and the last of a `data.json`, as the members of an
/// object. What is not as [`encode`] writes it is refused without a reason: [`decode`] finds that.
#[must_use]
pub fn decode_part(object: &[u8]) -> Option<Vec<(Key, Arc<Record>)>> {
    let members: Members<StoredRecord> = serde_json::from_slice(object).ok()?;
    let mut names = Names::default();
    let entry = |(key, stored): (Key, StoredRecord)| {
        let record = stored.of(&key, &mut names);
        (key, record)
    };
    Some(members.0.into_iter().map(entry).collect())
}

#[derive(DeserializeDerive)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "format", deserialize_with = "known_format")]
    _format: u64,
    #[serde(deserialize_with = "store_revision")]
    revision: Revision,
    #[serde(default)]
    journal: Option<LogId>,
    entries: Entries,
}

/// A format that this program knows.
///
/// # Errors
/// Words for a person.
pub fn known_format<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    match u64::deserialize(deserializer)? {
        FORMAT => Ok(FORMAT),
        newer if newer > FORMAT => Err(D::Error::custom(format_args!(
            "format {newer} is newer than this program, which reads format {FORMAT}"
        ))),
        other => Err(D::Error::custom(format_args!("there is no format {other}"))),
    }
}

/// A record as it is stored, beside its key.
#[derive(DeserializeDerive)]
#[serde(deny_unknown_fields)]
pub struct StoredRecord {
    value: Value,
    #[serde(deserialize_with = "version")]
    version: Version,
    #[serde(deserialize_with = "revision")]
    revision: Revision,
    modified_at: Timestamp,
    #[serde(default)]
    modified_by: Option<Name>,
}

impl StoredRecord {
    /// The commit that wrote it.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The record of `key`, with its tag.
    #[must_use]
    pub fn of(self, key: &Key, names: &mut Names) -> Arc<Record> {
        let stamp = Stamp {
            version: self.version,
            revision: self.revision,
            modified_at: self.modified_at,
            modified_by: self.modified_by.map(|name| names.shared(name)),
        };
        Arc::new(Record::new(key, self.value, stamp))
    }
}

/// Names, each of which is in memory once: a million entries have a few writers.
#[derive(Debug, Default)]
pub struct Names(HashSet<Name>);

impl Names {
    fn shared(&mut self, name: Name) -> Name {
        if let Some(known) = self.0.get(&name) {
            return known.clone();
        }
        self.0.insert(name.clone());
        name
    }
}

fn version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Version, D::Error> {
    within("version", 1, u64::deserialize(deserializer)?)
}

fn revision<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Revision, D::Error> {
    within("revision", 1, u64::deserialize(deserializer)?)
}

/// The revision of a whole store, which is 0 before its first commit.
///
/// # Errors
/// Words for a person.
pub fn store_revision<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Revision, D::Error> {
    within("revision", 0, u64::deserialize(deserializer)?)
}

fn within<E: DeserializeError>(name: &str, first: u64, number: u64) -> Result<u64, E> {
    if (first..=LAST_NUMBER).contains(&number) {
        return Ok(number);
    }
    Err(E::custom(format_args!(
        "the {name} {number} is not from {first} to {LAST_NUMBER}"
    )))
}

/// An object's members in the order of the text.
#[derive(Debug)]
pub struct Members<T>(pub Vec<(Key, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Members<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor(Vec::new()))
    }
}

/// Members are pushed onto what it holds.
struct MembersVisitor<T>(Vec<(Key, T)>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for MembersVisitor<T> {
    type Value = Members<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ENTRIES)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Members<T>, A::Error> {
        while let Some(member) = map.next_entry()? {
            self.0.push(member);
        }
        Ok(Members(self.0))
    }
}

/// What a visitor of entries expects.
const ENTRIES: &str = "an object of entries by key";

/// The entries, each turned into a record as soon as it is read.
struct Entries(Table);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ENTRIES)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let mut table = Table::default();
        let mut names = Names::default();
        while let Some(key) = map.next_key::<Key>()? {
            if table.get(&key).is_some() {
                let key = key.as_str();
                return Err(A::Error::custom(format_args!("{key:?} appears twice")));
            }
            let record = map.next_value::<StoredRecord>()?.of(&key, &mut names);
            table.insert(key, record);
        }
        Ok(Entries(table))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Change, ChangeSet, Expected, Operation};
    use crate::storage::staged::Staged;

    fn saved(table: &Table) -> String {
        let nothing = Staged::on(table);
        let mut text = Vec::new();
        let snapshot = table.snapshot();
        let entries = snapshot.with(nothing.changes());
        let entries = entries.map(|(key, record)| (key, &**record));
        encode(&mut text, table.revision(), None, entries).unwrap();
        String::from_utf8(text).unwrap()
    }

    fn put(table: &mut Table, key: &str, value: &str, writer: Option<&str>) {
        let mut staged = Staged::on(table);
        let change = Change {
            key: key.parse().unwrap(),
            expected: Expected::Any,
            operation: Operation::Put(Value::from_json(value.as_bytes()).unwrap()),
        };
        let changes = ChangeSet::from(change).by(writer.map(|name| name.parse().unwrap()));
        let moment = Timestamp::from_millis(1_763_805_600_120);
        staged.stage(table, changes, moment).unwrap();
        staged.apply_to(table);
    }

    fn example() -> Table {
        let mut table = Table::default();
        put(&mut table, "username", "\"alice\"", None);
        put(&mut table, "doc/a", "{\"n\": 1.50}", None);
        table
    }

    #[test]
    fn one_entry_per_line_ascending_by_key() {
        assert_eq!(
            saved(&example()),
            "{\"format\":1,\"revision\":2,\"entries\":{\n\
             \"doc/a\":{\"value\":{\"n\":1.50},\"version\":1,\"revision\":2,\"modified_at\":\"2025-11-22T10:00:00.120Z\"},\n\
             \"username\":{\"value\":\"alice\",\"version\":1,\"revision\":1,\"modified_at\":\"2025-11-22T10:00:00.120Z\"}\n\
             }}\n"
        );
    }

    #[test]
    fn what_was_saved_is_loaded_with_its_tags() {
        let table = example();
        let loaded = decode(saved(&table).as_bytes()).unwrap().table;
        assert_eq!(loaded.revision(), 2);
        assert_eq!(loaded.count(), 2);
        for key in ["username", "doc/a"] {
            let key = key.parse().unwrap();
            assert_eq!(loaded.get(&key), table.get(&key));
            assert_eq!(
                loaded.get(&key).unwrap().etag(),
                table.get(&key).unwrap().etag()
            );
        }
        let empty = Table::default();
        assert_eq!(decode(saved(&empty).as_bytes()).unwrap().table.count(), 0);
    }

    #[test]
    fn a_name_is_written_after_the_time_and_loaded_by_both_readers() {
        let mut table = example();
        let names = ["ann", r#"ü "\" 🙂"#, &"n".repeat(128)];
        for name in names {
            put(&mut table, name, "1", Some(name));
        }
        let text = saved(&table);
        let line = "\"ann\":{\"value\":1,\"version\":1,\"revision\":3,\
                    \"modified_at\":\"2025-11-22T10:00:00.120Z\",\"modified_by\":\"ann\"},\n";
        assert!(text.contains(line), "{text}");
        let loaded = decode(text.as_bytes()).unwrap().table;
        let entries = text.split_once('\n').unwrap().1;
        let entries = format!("{{{}}}", entries.strip_suffix("}}\n").unwrap());
        let part = decode_part(entries.as_bytes()).unwrap();
        assert_eq!(part.len(), 5);
        for (key, record) in part {
            assert_eq!(Some(&record), table.get(&key));
            assert_eq!(Some(&record), loaded.get(&key));
            let name = names.iter().find(|name| **name == key.as_str());
            let writer = record.modified_by.as_ref().map(Name::as_str);
            assert_eq!(writer, name.copied());
        }
        assert_eq!(saved(&loaded), text);
    }

    #[test]
    fn the_first_line_says_which_journal_leads_on_and_both_readers_know_it() {
        let id = LogId::parse("9c56cc51b374c3ba").unwrap();
        let line = "{\"format\":1,\"revision\":42,\"journal\":\"9c56cc51b374c3ba\",\"entries\":{\n";
        let mut text = Vec::new();
        encode(&mut text, 42, Some(&id), std::iter::empty()).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), format!("{line}}}}}\n"));
        let said = |line: &str| first_line(line.as_bytes());
        let (revision, journal) = (42, Some(id.clone()));
        assert_eq!(said(line), Some(FirstLine { revision, journal }));
        let plain = "{\"format\":1,\"revision\":42,\"entries\":{\n";
        let journal = None;
        assert_eq!(said(plain), Some(FirstLine { revision, journal }));
        // By hand, in any order and with white space.
        let edited =
            "{\"journal\": \"9c56cc51b374c3ba\", \"entries\": {}, \"revision\": 42, \"format\": 1}";
        assert_eq!(decode(edited.as_bytes()).unwrap().journal, Some(id));
        assert_eq!(said(&format!("{edited}\n")), None);
        let nothing = edited.replace("\"9c56cc51b374c3ba\"", "null");
        assert_eq!(decode(nothing.as_bytes()).unwrap().journal, None);
        for damaged in [
            edited.replace("9c56cc51b374c3ba", "9C56CC51B374C3BA"),
            edited.replace("9c56cc51b374c3ba", ""),
            edited.replace("\"9c56cc51b374c3ba\"", "1"),
            edited.replace("\"revision\"", "\"journal\": null, \"revision\""),
        ] {
            assert!(decode(damaged.as_bytes()).is_err(), "{damaged}");
        }
    }

    #[test]
    fn white_space_from_an_editor_does_no_harm() {
        let text = saved(&example());
        let tree: serde_json::Value = serde_json::from_str(&text).unwrap();
        let pretty = serde_json::to_string_pretty(&tree).unwrap();
        assert_eq!(saved(&decode(pretty.as_bytes()).unwrap().table), text);
    }

    #[test]
    fn what_contradicts_itself_is_refused_with_its_place() {
        let text = saved(&example());
        let cases = [
            (
                text.replace("\"format\":1", "\"format\":2"),
                "newer than this program",
                1,
            ),
            (
                text.replace("\"format\":1,", ""),
                "missing field `format`",
                4,
            ),
            (
                text.replace("username", "doc/a"),
                "\"doc/a\" appears twice",
                3,
            ),
            (text.replace("username", "a/../b"), "segment \"..\"", 3),
            (
                text.replace("\"version\":1", "\"version\":0"),
                "the version 0 is not from 1",
                2,
            ),
            (
                text.replace("\"revision\":2,\"mod", "\"revision\":3,\"mod"),
                "above the store's",
                1,
            ),
            (
                text.replace("\"version\":1", "\"version\":1,\"x\":1"),
                "unknown field `x`",
                2,
            ),
            (text.replace("2025-", "25-"), "timestamp", 2),
            (
                text.replace("0Z\"", "0Z\",\"modified_by\":\"\""),
                "a name",
                2,
            ),
            (
                text.replace("0Z\"", "0Z\",\"modified_by\":7"),
                "a string",
                2,
            ),
            (text.replace("alice\"", "alice"), "expected `,`", 3),
            (
                text.replace("\"alice\"", r#""\ud800""#),
                "not a JSON value",
                3,
            ),
            (text[..text.len() / 2].to_owned(), "EOF", 2),
            (String::new(), "EOF", 1),
            (
                "{\"username\":\"alice\"}".to_owned(),
                "unknown field `username`",
                1,
            ),
        ];
        for (damaged, reason, line) in cases {
            let error = decode(damaged.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(reason), "{error} / {reason}");
            assert_eq!(error.line, line, "{error}");
        }
    }

    #[test]
    fn every_truncation_is_refused_and_every_flipped_byte_is_refused_or_still_a_table() {
        let text = saved(&example());
        for end in 0..text.trim_end().len() {
            assert!(decode(&text.as_bytes()[..end]).is_err(), "{end} bytes");
        }
        for at in 0..text.len() {
            let mut damaged = text.clone().into_bytes();
            damaged[at] ^= 1;
            let _ = decode(&damaged[..]);
        }
    }
}
