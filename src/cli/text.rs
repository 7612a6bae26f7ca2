//! Text for a terminal and a shell. Pure.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use console::measure_text_width;
use indicatif::{HumanCount, HumanDuration};

use crate::model::Timestamp;

/// The width of a [`timestamp`], in columns.
pub const TIMESTAMP_COLUMNS: usize = 19;
/// What is called just now is not longer ago than this.
const JUST_NOW: Duration = Duration::from_secs(10);

/// A word, quoted for the shell where necessary.
pub fn shell_quoted(word: &str) -> String {
    let is_plain =
        |character: char| character.is_ascii_alphanumeric() || "-_./:".contains(character);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The command that shows a key, with these flags.
pub fn get_command(flags: &str, key: &str) -> String {
    let end_of_flags = if key.starts_with('-') { "-- " } else { "" };
    format!(
        "ifmatch get{flags} {end_of_flags}{}",
        shell_quoted(&printable(key))
    )
}

/// A text as a TOML basic string. TOML has the escapes of JSON, and also escapes DEL.
pub fn toml_string(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    json.replace('\u{7f}', "\\u007f")
}

/// A text with spaces after it, so that it is `columns` wide.
pub fn padded(text: &str, columns: usize) -> String {
    let missing = columns.saturating_sub(measure_text_width(text));
    format!("{text}{}", " ".repeat(missing))
}

/// A text that cannot control the terminal: control characters are escaped as in JSON.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, char::is_control)
}

/// The same for a text of several lines.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |character| {
        character.is_control() && character != '\n'
    })
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_escaped) {
        return text.into();
    }
    let escaped = text.chars().map(|character| {
        if is_escaped(character) {
            format!("\\u{:04x}", u32::from(character))
        } else {
            character.to_string()
        }
    });
    escaped.collect::<String>().into()
}

/// Indented JSON.
pub fn pretty(tree: &serde_json::Value) -> String {
    // The alternate form is indented; it cannot fail for a tree.
    format!("{tree:#}")
}

/// A time in RFC 3339, shortened to seconds.
pub fn timestamp(rfc_3339: &str) -> String {
    let rfc_3339 = printable(rfc_3339);
    match rfc_3339.split_once('T') {
        Some((day, time)) => format!("{day} {}", time.get(..8).unwrap_or(time)),
        None => rfc_3339.into_owned(),
    }
}

/// How long ago a time in RFC 3339 was, or the time itself if it is no such time.
pub fn ago(rfc_3339: &str, now: SystemTime) -> String {
    let Ok(then) = rfc_3339.parse::<Timestamp>() else {
        return timestamp(rfc_3339);
    };
    // The clocks of the service and of its clients may differ.
    let elapsed = now.duration_since(then.into()).unwrap_or_default();
    if elapsed < JUST_NOW {
        return "just now".to_owned();
    }
    format!("{} ago", HumanDuration(elapsed))
}

/// A number of entries.
pub fn entry_count(entries: u64) -> String {
    match entries {
        1 => "1 entry".to_owned(),
        count => format!("{} entries", HumanCount(count)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn printable_text_cannot_control_the_terminal() {
        assert_eq!(
            printable("a\u{1b}[2J\u{9b}2J\u{7f}\nb"),
            "a\\u001b[2J\\u009b2J\\u007f\\u000ab"
        );
        assert_eq!(printable_lines("a\u{1b}\nb"), "a\\u001b\nb");
        assert_eq!(printable("é 🦀"), "é 🦀");
    }

    proptest! {
        #[test]
        fn a_toml_string_is_read_as_the_text(text in any::<String>()) {
            let line = format!("text = {}", toml_string(&text));
            let table: toml::Table = toml::from_str(&line).unwrap();
            prop_assert_eq!(table["text"].as_str(), Some(text.as_str()));
        }
    }

    #[test]
    fn every_character_that_toml_escapes_is_escaped() {
        let text: String = ('\0'..='\u{a0}').chain("\\\"é🦀\u{2028}".chars()).collect();
        let table: toml::Table = toml::from_str(&format!("text = {}", toml_string(&text))).unwrap();
        assert_eq!(table["text"].as_str(), Some(text.as_str()));
    }

    #[test]
    fn a_time_is_shown_by_how_long_ago_it_was() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(86_400 * 2);
        for (rfc_3339, words) in [
            ("1970-01-03T00:00:00.000Z", "just now"),
            ("1970-01-02T23:59:51.000Z", "just now"),
            ("1970-01-02T23:59:30.000Z", "30 seconds ago"),
            ("1970-01-02T23:58:00.000Z", "2 minutes ago"),
            ("1970-01-02T21:00:00.000Z", "3 hours ago"),
            ("1971-01-01T00:00:00.000Z", "just now"),
            ("then\u{1b}", "then\\u001b"),
        ] {
            assert_eq!(ago(rfc_3339, now), words);
        }
    }

    #[test]
    fn a_timestamp_is_shown_to_the_second() {
        assert_eq!(timestamp("2026-11-22T10:00:02.123Z"), "2026-11-22 10:00:02");
        assert_eq!(timestamp("x"), "x");
    }
}
