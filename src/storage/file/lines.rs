//! The text of a small data file, kept from one time that it is written to the next: only the lines that changed are
//! formatted anew, and what lies between them is copied as a whole. With 1,000 entries the lines are what most of the
//! processor time of a commit would go to.

use std::io::{self, Write};
use std::mem;
use std::sync::Arc;

use super::format::{self, END, EntryWriter, start};
use super::identity::LogId;
use crate::model::{Key, Position, Record};
use crate::storage::snapshot::TableSnapshot;
use crate::storage::staged::Staged;

/// How much is kept at the most, in bytes of text.
const KEPT_MAX_BYTES: usize = 4 * 1024 * 1024;
/// What is between two lines.
const COMMA: u8 = b',';
const NEWLINE: u8 = b'\n';

/// The text that was written last.
#[derive(Debug, Default)]
pub struct Lines {
    kept: Option<Text>,
    /// The memory of the text before that.
    spare: Vec<u8>,
    /// Whether the last file was too large to be kept.
    is_large: bool,
}

/// A whole file.
#[derive(Debug)]
struct Text {
    /// The state that it has.
    position: Position,
    bytes: Vec<u8>,
    /// Where the first line begins.
    start: usize,
    /// Where the last line ends.
    end: usize,
    /// The keys of the lines, ascending.
    keys: Vec<Key>,
    /// The length of each line, with the newline before it and the separator after it.
    lengths: Vec<usize>,
}

impl Lines {
    /// Writes the `data.json` of a table as it will be with what is staged, as [`encode`](format::encode) does.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn encode(
        &mut self,
        writer: &mut dyn Write,
        table: &TableSnapshot,
        staged: &Staged,
        log: Option<&LogId>,
    ) -> io::Result<()> {
        let before = self.kept.take();
        let mut text = Text::begin(staged, log, mem::take(&mut self.spare));
        let is_small = match before {
            Some(before) if before.position == table.position() => {
                self.spare = text.continue_from(before, staged)?;
                text.bytes.len() <= KEPT_MAX_BYTES
            }
            _ if self.is_large => false,
            _ => text.fill(table, staged)?,
        };
        if !is_small {
            *self = Self {
                is_large: true,
                ..Self::default()
            };
            let entries = table.with(staged.changes());
            let records = entries.map(|(key, record)| (key, &**record));
            return format::encode(writer, staged.revision(), log, records);
        }
        text.close();
        writer.write_all(&text.bytes)?;
        self.kept = Some(text);
        Ok(())
    }

    /// Notes the size of the file that was written, in bytes.
    pub fn note_size(&mut self, bytes: u64) {
        self.is_large = bytes > KEPT_MAX_BYTES as u64;
    }
}

impl Text {
    /// The start of a file, in this memory.
    fn begin(staged: &Staged, log: Option<&LogId>, memory: Vec<u8>) -> Self {
        let mut bytes = memory;
        bytes.clear();
        bytes.extend_from_slice(&start(staged.revision(), log));
        Self {
            position: staged.position(),
            start: bytes.len(),
            end: bytes.len(),
            bytes,
            keys: Vec::new(),
            lengths: Vec::new(),
        }
    }

    /// Formats all lines. Returns whether the file is small enough to be kept; it is not whole if not.
    fn fill(&mut self, table: &TableSnapshot, staged: &Staged) -> io::Result<bool> {
        let mut entry_writer = EntryWriter::default();
        for (key, record) in table.with(staged.changes()) {
            self.push(key, record, &mut entry_writer)?;
            if self.bytes.len() > KEPT_MAX_BYTES {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes the lines of the table's text, `before`, but for those that are changed. Returns the memory of the bytes
    /// that were copied.
    fn continue_from(&mut self, mut before: Self, staged: &Staged) -> io::Result<Vec<u8>> {
        let mut entry_writer = EntryWriter::default();
        if !before.keys.is_empty() {
            // Other lines may follow what was the last one.
            before.bytes[before.end - 1] = COMMA;
        }
        let mut rest = &before.bytes[before.start..before.end];
        let mut keys = before.keys.into_iter();
        let mut lengths = before.lengths.into_iter();
        for (key, record) in staged.changes() {
            let found = keys.as_slice().binary_search(key);
            let (Ok(unchanged) | Err(unchanged)) = found;
            let bytes = lengths.as_slice()[..unchanged].iter().sum();
            self.bytes.extend_from_slice(take(&mut rest, bytes));
            self.keys.extend(keys.by_ref().take(unchanged));
            self.lengths.extend(lengths.by_ref().take(unchanged));
            if found.is_ok() {
                keys.next();
                take(&mut rest, lengths.next().unwrap_or_default());
            }
            if let Some(record) = record {
                self.push(key, record, &mut entry_writer)?;
            }
        }
        self.bytes.extend_from_slice(rest);
        self.keys.extend(keys);
        self.lengths.extend(lengths);
        Ok(before.bytes)
    }

    fn push(
        &mut self,
        key: &Key,
        record: &Arc<Record>,
        writer: &mut EntryWriter,
    ) -> io::Result<()> {
        let before = self.bytes.len();
        self.bytes.push(NEWLINE);
        writer.write(&mut self.bytes, key, Some(record))?;
        self.bytes.push(COMMA);
        self.keys.push(key.clone());
        self.lengths.push(self.bytes.len() - before);
        Ok(())
    }

    /// Writes the end of the file: nothing separates the last line from it.
    fn close(&mut self) {
        self.end = self.bytes.len();
        if !self.keys.is_empty() {
            self.bytes.pop();
        }
        self.bytes.push(NEWLINE);
        self.bytes.extend_from_slice(END);
    }
}

/// Takes the first bytes off a text.
fn take<'a>(text: &mut &'a [u8], bytes: usize) -> &'a [u8] {
    let (taken, rest) = text.split_at(bytes);
    *text = rest;
    taken
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Change, ChangeSet, Expected, Operation, Timestamp, Value};
    use crate::storage::table::Table;

    fn put(key: &str, value: &str) -> Change {
        Change {
            key: key.parse().unwrap(),
            expected: Expected::Any,
            operation: Operation::Put(Value::from_json(value.as_bytes()).unwrap()),
        }
    }

    fn delete(key: &str) -> Change {
        Change {
            operation: Operation::Delete,
            ..put(key, "0")
        }
    }

    fn stage(table: &Table, changes: impl IntoIterator<Item = Change>) -> Staged {
        let mut staged = Staged::on(table);
        for change in changes {
            // What cannot be deleted changes nothing.
            let _ = staged.stage(table, ChangeSet::from(change), Timestamp::from_millis(1));
        }
        staged
    }

    fn expected(table: &Table, staged: &Staged) -> Vec<u8> {
        let mut text = Vec::new();
        let table = table.snapshot();
        let entries = table.with(staged.changes());
        let records = entries.map(|(key, record)| (key, &**record));
        format::encode(&mut text, staged.revision(), None, records).unwrap();
        text
    }

    fn encode(lines: &mut Lines, table: &Table, staged: &Staged) -> Vec<u8> {
        let mut text = Vec::new();
        lines
            .encode(&mut text, &table.snapshot(), staged, None)
            .unwrap();
        lines.note_size(text.len() as u64);
        text
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_is_written_without_them(
            commits in prop::collection::vec(
                (prop::collection::vec((0..12_u8, 0..4_u8), 0..8), prop::bool::weighted(0.8)),
                1..20,
            ),
        ) {
            let mut table = Table::default();
            let mut lines = Lines::default();
            for (number, (changes, is_durable)) in commits.into_iter().enumerate() {
                let changes = changes.into_iter().map(|(key, action)| {
                    let key = format!("k/{key}");
                    match action {
                        0 => delete(&key),
                        // The same value again, too.
                        1 => put(&key, "1"),
                        _ => put(&key, &format!("\"{}\"", "x".repeat(number % 7))),
                    }
                });
                let staged = stage(&table, changes);
                prop_assert_eq!(encode(&mut lines, &table, &staged), expected(&table, &staged));
                if is_durable {
                    staged.apply_to(&mut table);
                }
            }
        }
    }

    #[test]
    fn a_large_file_is_not_kept() {
        let mut table = Table::default();
        let mut lines = Lines::default();
        let large = format!("\"{}\"", "x".repeat(KEPT_MAX_BYTES / 2));
        for (change, is_kept) in [
            (put("a", &large), true),
            (put("b", &large), false),
            (put("c", "1"), false),
            (delete("b"), false),
            (delete("c"), true),
            (put("d", &large), false),
        ] {
            let staged = stage(&table, [change]);
            assert_eq!(
                encode(&mut lines, &table, &staged),
                expected(&table, &staged)
            );
            staged.apply_to(&mut table);
            assert_eq!(lines.kept.is_some(), is_kept);
        }
    }
}
