//! Texts for a terminal and a shell. Pure.

use std::borrow::Cow;

use console::measure_text_width;
use indicatif::HumanCount;

/// How wide a [`moment`] is, in columns.
pub const MOMENT_COLUMNS: usize = 19;

/// A word for the shell.
pub fn quoted(word: &str) -> String {
    let is_plain =
        |character: char| character.is_ascii_alphanumeric() || "-_./:".contains(character);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A text with spaces after it, so that it is `columns` wide.
pub fn padded(text: &str, columns: usize) -> String {
    let missing = columns.saturating_sub(measure_text_width(text));
    format!("{text}{}", " ".repeat(missing))
}

/// A text in which nothing speaks to the terminal: control characters as JSON escapes them.
pub fn shown(text: &str) -> Cow<'_, str> {
    escaped(text, char::is_control)
}

/// The same for a text of several lines.
pub fn shown_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |character| {
        character.is_control() && character != '\n'
    })
}

fn escaped(text: &str, speaks: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&speaks) {
        return text.into();
    }
    let escaped = text.chars().map(|character| {
        if speaks(character) {
            format!("\\u{:04x}", u32::from(character))
        } else {
            character.to_string()
        }
    });
    escaped.collect::<String>().into()
}

/// JSON for people.
pub fn pretty(tree: &serde_json::Value) -> String {
    // The alternate form is that; it cannot fail for a tree.
    format!("{tree:#}")
}

/// A moment to the second, shorter than RFC 3339 has it.
pub fn moment(rfc_3339: &str) -> String {
    let rfc_3339 = shown(rfc_3339);
    match rfc_3339.split_once('T') {
        Some((day, time)) => format!("{day} {}", time.get(..8).unwrap_or(time)),
        None => rfc_3339.into_owned(),
    }
}

/// A number of entries.
pub fn counted(entries: u64) -> String {
    match entries {
        1 => "1 entry".to_owned(),
        count => format!("{} entries", HumanCount(count)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_shown_speaks_to_the_terminal() {
        assert_eq!(
            shown("a\u{1b}[2J\u{9b}2J\u{7f}\nb"),
            "a\\u001b[2J\\u009b2J\\u007f\\u000ab"
        );
        assert_eq!(shown_lines("a\u{1b}\nb"), "a\\u001b\nb");
        assert_eq!(shown("é 🦀"), "é 🦀");
    }

    #[test]
    fn a_moment_is_told_to_the_second() {
        assert_eq!(moment("2026-11-22T10:00:02.123Z"), "2026-11-22 10:00:02");
        assert_eq!(moment("x"), "x");
    }
}
