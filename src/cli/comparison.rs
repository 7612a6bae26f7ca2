//! Two states of entries side by side, for people and for programs.

use std::time::{Duration, Instant};

use console::{colors_enabled, style};
use serde::Serialize;
use serde_json::Value as Tree;

use super::entry::Entry;
use super::failure::Failure;
use super::json_diff::{self, Difference, Operation};
use super::output::Output;
use super::text::{pretty, printable, printable_lines, timestamp};
use super::words::{self, Part};
use crate::model::Key;

/// How long two values are compared closely. After that, more is shown as changed than has changed.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(2);
/// Longer strings are compared by words, as are those with a line break.
const SHORT_STRING_CHARS: usize = 60;
/// How many characters are shown on each side of changed words.
const CONTEXT_CHARS: usize = 40;

/// One of two states.
#[derive(Debug)]
pub struct Side {
    key: Key,
    /// `None` if it did not exist.
    entry: Option<Entry>,
    value: Option<Tree>,
}

impl Side {
    /// A key, and its entry if it existed.
    pub fn new(key: &Key, entry: Option<Entry>) -> Self {
        Self {
            key: key.clone(),
            value: entry.as_ref().map(|entry| entry.value.to_tree()),
            entry,
        }
    }

    fn in_words(&self) -> String {
        let about = match &self.entry {
            Some(entry) => format!(
                "version {}, revision {}, {}{}",
                entry.version,
                entry.revision,
                timestamp(&entry.modified_at),
                entry.by_in_words()
            ),
            None => "does not exist".to_owned(),
        };
        format!("{}  {about}", printable(self.key.as_str()))
    }
}

/// What JSON says of a side, besides the value.
#[derive(Debug, Serialize)]
struct About<'a> {
    key: &'a Key,
    version: u64,
    revision: u64,
    etag: &'a str,
    modified_at: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    modified_by: Option<&'a str>,
}

impl<'a> About<'a> {
    fn of(entry: &'a Entry) -> Self {
        Self {
            key: &entry.key,
            version: entry.version,
            revision: entry.revision,
            etag: &entry.etag,
            modified_at: &entry.modified_at,
            modified_by: entry.modified_by.as_deref(),
        }
    }
}

/// A comparison as JSON. A side that did not exist is null.
#[derive(Debug, Serialize)]
struct Compared<'a> {
    before: Option<About<'a>>,
    after: Option<About<'a>>,
    differences: Vec<Difference<'a>>,
}

/// The state before and the state after.
#[derive(Debug)]
pub struct Comparison {
    before: Side,
    after: Side,
    deadline: Instant,
}

impl Comparison {
    pub fn new(before: Side, after: Side) -> Self {
        let deadline = Instant::now() + CLOSE_TIME_MAX;
        Self {
            before,
            after,
            deadline,
        }
    }

    fn differences(&self) -> Vec<Difference<'_>> {
        match (&self.before.value, &self.after.value) {
            (Some(before), Some(after)) => json_diff::differences(before, after, self.deadline),
            (None, None) => Vec::new(),
            (before, after) => vec![Difference {
                pointer: String::new(),
                before: before.as_ref(),
                after: after.as_ref(),
            }],
        }
    }

    /// Whether the values are the same, also in the order of members.
    pub fn is_same(&self) -> bool {
        let [before, after] =
            [&self.before, &self.after].map(|side| side.entry.as_ref().map(|entry| &entry.value));
        before == after
    }

    /// The JSON Patch that makes the value after of the one before; `None` if one of them does not exist.
    pub fn patch(&self) -> Option<Vec<Operation<'_>>> {
        let (before, after) = (self.before.value.as_ref()?, self.after.value.as_ref()?);
        Some(json_diff::patch(before, after, self.deadline))
    }

    /// Prints it as one line of JSON.
    pub fn print_json(&self, output: &Output) -> Result<(), Failure> {
        output.json(&Compared {
            before: self.before.entry.as_ref().map(About::of),
            after: self.after.entry.as_ref().map(About::of),
            differences: self.differences(),
        })
    }

    /// Prints it for people: one block for each place that differs.
    pub fn print_text(&self, output: &Output) -> Result<(), Failure> {
        let differences = self.differences();
        output.line(
            &style(format!("- {}", self.before.in_words()))
                .red()
                .to_string(),
        )?;
        output.line(
            &style(format!("+ {}", self.after.in_words()))
                .green()
                .to_string(),
        )?;
        output.line("")?;
        if differences.is_empty() {
            return output.line(if self.is_same() {
                "no difference"
            } else {
                "no difference but in the order of members"
            });
        }
        for difference in &differences {
            self.print_block(difference, output)?;
        }
        Ok(())
    }

    fn print_block(&self, difference: &Difference, output: &Output) -> Result<(), Failure> {
        let Difference {
            pointer,
            before,
            after,
        } = difference;
        let place = match pointer.as_str() {
            "" => "the whole value".into(),
            pointer => printable(pointer),
        };
        output.line(&style(place).bold().to_string())?;
        if let (Some(Tree::String(before)), Some(Tree::String(after))) = (before, after)
            && [before, after].into_iter().any(|text| is_long(text))
            && let Some(parts) = words::compare(before, after, self.deadline)
        {
            return print_words(&parts, output);
        }
        if let Some(before) = before {
            print_value('-', before, output)?;
        }
        if let Some(after) = after {
            print_value('+', after, output)?;
        }
        Ok(())
    }
}

fn is_long(text: &str) -> bool {
    text.contains('\n') || text.chars().nth(SHORT_STRING_CHARS).is_some()
}

fn print_value(sign: char, value: &Tree, output: &Output) -> Result<(), Failure> {
    for line in pretty(value).lines() {
        let line = style(format!("{sign} {}", printable(line)));
        let line = if sign == '-' {
            line.red()
        } else {
            line.green()
        };
        output.line(&line.to_string())?;
    }
    Ok(())
}

/// Prints a text of which words have changed. Without colors they are marked as `git diff --word-diff` marks them.
fn print_words(parts: &[Part], output: &Output) -> Result<(), Failure> {
    let has_colors = colors_enabled();
    let mut text = String::new();
    for (at, part) in parts.iter().enumerate() {
        let is_end = [at == 0, at + 1 == parts.len()];
        let marked = |marks: [&str; 2], text: &str, color: console::Color| {
            let text = printable_lines(text);
            let text = if has_colors {
                text.into_owned()
            } else {
                format!("{}{text}{}", marks[0], marks[1])
            };
            // A style ends with its line.
            let lines = text.split('\n').map(|line| match line {
                "" => String::new(),
                line => style(line).fg(color).to_string(),
            });
            lines.collect::<Vec<_>>().join("\n")
        };
        text += &match part {
            Part::Same(same) => shortened(&printable_lines(same), is_end),
            Part::Removed(removed) => marked(["[-", "-]"], removed, console::Color::Red),
            Part::Added(added) => marked(["{+", "+}"], added, console::Color::Green),
        };
    }
    for line in text.split('\n') {
        output.line(&format!("  {line}"))?;
    }
    Ok(())
}

/// The ends of a text that is not changed; at the beginning and at the end of the whole only that which is beside a
/// change.
fn shortened(text: &str, [is_first, is_last]: [bool; 2]) -> String {
    let count = text.chars().count();
    let head = if is_first { 0 } else { CONTEXT_CHARS };
    let tail = if is_last { 0 } else { CONTEXT_CHARS };
    // Leaving out a few characters would not make it easier to read.
    if count <= head + tail + CONTEXT_CHARS {
        return text.to_owned();
    }
    let after = |characters: usize| {
        text.char_indices()
            .nth(characters)
            .map_or(text.len(), |at| at.0)
    };
    format!("{}…{}", &text[..after(head)], &text[after(count - tail)..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_far_from_a_change_is_left_out() {
        let text = "é".repeat(300);
        let side = "é".repeat(CONTEXT_CHARS);
        for (ends, expected) in [
            ([true, false], format!("…{side}")),
            ([false, true], format!("{side}…")),
            ([false, false], format!("{side}…{side}")),
        ] {
            assert_eq!(shortened(&text, ends), expected);
        }
        let text = "x".repeat(3 * CONTEXT_CHARS);
        assert_eq!(shortened(&text, [false, false]), text);
    }
}
