//! What `export` writes and `import` reads: lines of JSON.
//!
//! ```text
//! {"export":{"format":1,"prefix":"doc/"}}
//! {"key":"doc/a","value":{"title":"x"},"version":3,"revision":42,"etag":"…","modified_at":"…"}
//! {"key":"doc/b","value":1,"version":1,"revision":41,"etag":"…","modified_at":"…","modified_by":"ann"}
//! {"end":{"entries":2,"revision":42}}
//! ```
//!
//! An export without its last line was cut off, and is refused. An import uses only the key and the value
//! of an entry: versions and tags are assigned by the service, and the writer is who imports.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::text::{entry_count, printable};
use crate::json::{self, MAX_DEPTH_LEVELS};
use crate::model::{Key, Value};

/// The format that is written, and the newest that can be read.
pub const FORMAT: u32 = 1;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
pub struct Head {
    pub export: About,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct About {
    pub format: u32,
    pub prefix: String,
}

/// The last line.
#[derive(Debug, Serialize, Deserialize)]
pub struct Tail {
    pub end: End,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct End {
    pub entries: u64,
    pub revision: u64,
}

/// What an import uses of the lines between.
#[derive(Debug, Deserialize)]
pub struct Item {
    pub key: Key,
    pub value: Value,
}

/// The entries of an export, or why it is not valid.
pub fn read(text: &str) -> Result<Vec<Item>, String> {
    let mut lines = text
        .trim_start_matches('\u{FEFF}')
        .lines()
        .zip(1..)
        .filter(|(line, _)| !line.trim().is_empty());
    let head = lines
        .next()
        .and_then(|(line, _)| serde_json::from_str::<Head>(line).ok());
    match head {
        Some(Head { export }) if export.format <= FORMAT => {}
        Some(Head { export }) => {
            return Err(format!(
                "it has format {}, and the newest format supported is {FORMAT}",
                export.format
            ));
        }
        None => return Err("it does not begin with the first line of an export".to_owned()),
    }
    let mut items: Vec<Item> = Vec::new();
    let mut keys = HashSet::new();
    for (line, number) in lines.by_ref() {
        match serde_json::from_str::<Item>(line) {
            Ok(item) if keys.insert(item.key.clone()) => {
                if let Some(reason) = duplicate_member(line) {
                    return Err(format!("line {number}: {reason}"));
                }
                items.push(item);
            }
            Ok(item) => {
                return Err(format!(
                    "line {number}: duplicate key {}",
                    printable(item.key.as_str())
                ));
            }
            Err(error) => match serde_json::from_str::<Tail>(line) {
                Ok(Tail { end }) if end.entries == items.len() as u64 => {
                    return match lines.next() {
                        None => Ok(items),
                        Some((_, number)) => {
                            Err(format!("line {number} comes after the end of the export"))
                        }
                    };
                }
                Ok(Tail { end }) => {
                    return Err(format!(
                        "it has {}, and its last line says {}",
                        entry_count(items.len() as u64),
                        end.entries
                    ));
                }
                Err(_) => return Err(format!("line {number} is not an entry: {error}")),
            },
        }
    }
    Err("it was cut off: its last line is missing".to_owned())
}

/// Why an entry is refused although it can be parsed: an object in it has a duplicate member, and one of
/// the two would be lost.
fn duplicate_member(line: &str) -> Option<String> {
    let error = json::parse_distinct_within(line.as_bytes(), MAX_DEPTH_LEVELS + 1).err()?;
    Some(error.reason)
}
