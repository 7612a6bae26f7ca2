//! The lines of a small data file, kept from one time that it is written to the next: only those that changed are
//! formatted anew. With 1,000 entries that is what most of the processor time of a commit went to.

use std::io::{self, Write};
use std::mem;
use std::sync::Arc;

use super::format::{END, EntryWriter, SEPARATOR, start};
use super::identity::LogId;
use crate::model::{Key, Record, Revision};

/// How much is kept at the most, in bytes of text.
const KEPT_MAX_BYTES: usize = 4 * 1024 * 1024;

/// The lines that were written last, ascending by key.
#[derive(Debug, Default)]
pub struct Lines(Vec<Line>);

/// A line, without what separates it from others.
#[derive(Debug)]
struct Line {
    key: Key,
    record: Arc<Record>,
    text: Box<[u8]>,
}

impl Lines {
    /// Writes a whole `data.json`, as [`encode`](super::format::encode) does.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn encode<'a>(
        &mut self,
        writer: &mut dyn Write,
        revision: Revision,
        log: Option<&LogId>,
        entries: impl Iterator<Item = (&'a Key, &'a Arc<Record>)>,
    ) -> io::Result<()> {
        let mut before = mem::take(&mut self.0).into_iter().peekable();
        let mut kept_bytes = 0;
        let mut entry_writer = EntryWriter::default();
        let mut separator = &b"\n"[..];
        writer.write_all(&start(revision, log))?;
        for (key, record) in entries {
            while before.next_if(|line| line.key < *key).is_some() {}
            let known = before.next_if(|line| line.key == *key);
            let line = match known.filter(|line| Arc::ptr_eq(&line.record, record)) {
                Some(line) => line,
                None => Line::new(key, record, &mut entry_writer)?,
            };
            writer.write_all(separator)?;
            writer.write_all(&line.text)?;
            separator = SEPARATOR;
            kept_bytes += line.text.len();
            if kept_bytes <= KEPT_MAX_BYTES {
                self.0.push(line);
            } else {
                // The first ones alone are of no use to a file that has outgrown this.
                self.0 = Vec::new();
            }
        }
        writer.write_all(b"\n")?;
        writer.write_all(END)
    }
}

impl Line {
    fn new(key: &Key, record: &Arc<Record>, writer: &mut EntryWriter) -> io::Result<Self> {
        let mut text = Vec::new();
        writer.write(&mut text, key, Some(record))?;
        Ok(Self {
            key: key.clone(),
            record: Arc::clone(record),
            text: text.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::model::{Stamp, Timestamp, Value};
    use crate::storage::file::format;

    fn record(key: &Key, value: &str, revision: Revision) -> Arc<Record> {
        let stamp = Stamp {
            version: 1,
            revision,
            modified_at: Timestamp::from_millis(revision),
            modified_by: None,
        };
        let value = Value::from_json(value.as_bytes()).unwrap();
        Arc::new(Record::new(key, value, stamp))
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_is_written_without_them(
            commits in prop::collection::vec(prop::collection::vec((0..12_u8, 0..4_u8), 0..5), 1..20),
        ) {
            let mut entries = BTreeMap::<Key, Arc<Record>>::new();
            let mut lines = Lines::default();
            for (revision, commit) in (1..).zip(commits) {
                for (key, action) in commit {
                    let key: Key = format!("k/{key}").parse().unwrap();
                    if action == 0 {
                        entries.remove(&key);
                    } else {
                        // The same value again, too.
                        let value = if action == 1 { "1".to_owned() } else { revision.to_string() };
                        let record = record(&key, &value, revision);
                        entries.insert(key, record);
                    }
                }
                let mut text = Vec::new();
                lines.encode(&mut text, revision, None, entries.iter()).unwrap();
                let mut expected = Vec::new();
                let records = entries.iter().map(|(key, record)| (key, &**record));
                format::encode(&mut expected, revision, None, records).unwrap();
                prop_assert_eq!(text, expected);
            }
        }
    }

    #[test]
    fn a_large_file_is_not_kept() {
        let mut lines = Lines::default();
        let text = format!("\"{}\"", "x".repeat(KEPT_MAX_BYTES / 2));
        let entries: BTreeMap<Key, _> = ["a", "b", "c"]
            .map(|key| {
                let key: Key = key.parse().unwrap();
                let record = record(&key, &text, 1);
                (key, record)
            })
            .into();
        let mut written = Vec::new();
        lines
            .encode(&mut written, 1, None, entries.iter().take(1))
            .unwrap();
        assert_eq!(lines.0.len(), 1);
        lines.encode(&mut written, 1, None, entries.iter()).unwrap();
        assert!(lines.0.iter().map(|line| line.text.len()).sum::<usize>() <= KEPT_MAX_BYTES);
    }
}
