//! JSON text (RFC 8259) → tree, without losing what the text said.
//!
//! `serde_json` reads a tree too, but with arbitrary precision it takes an object whose member is called
//! `$serde_json::private::Number` for a number. Values come from clients, so the tree is built here from the
//! events of a plain parser.

mod compact;

use json_event_parser::{JsonEvent, LowLevelJsonParser};
use serde_json::{Map, Number, Value as Tree};
use thiserror::Error;

pub use self::compact::{compact, compact_value};

/// The byte order mark, with which a text may begin and which is ignored (RFC 8259 §8.1).
pub const BYTE_ORDER_MARK: &[u8] = "\u{FEFF}".as_bytes();
/// How deep arrays and objects may be nested, in levels.
pub const MAX_DEPTH_LEVELS: usize = 128;

/// Why a text is not a JSON text that ifmatch takes, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{reason}, at line {line} column {column}")]
pub struct SyntaxError {
    /// What is wrong, in words for a person.
    pub reason: String,
    /// Line, counted from 1.
    pub line: u64,
    /// Column in characters, counted from 1.
    pub column: u64,
}

/// Reads one JSON text. Numbers keep their digits, objects the order of their members; of a repeated member
/// the last value is kept, in the place of the first.
///
/// # Errors
/// [`SyntaxError`] if the text is empty, is not JSON, is not UTF-8, has an unpaired surrogate, or
/// is nested deeper than [`MAX_DEPTH_LEVELS`].
pub fn parse(text: &[u8]) -> Result<Tree, SyntaxError> {
    read(text, MAX_DEPTH_LEVELS, Repeated::LastWins)
}

/// The same for a text that a person has typed, in which a repeated member is a mistake.
///
/// # Errors
/// As [`parse`], and if an object has a member twice.
pub fn parse_distinct(text: &[u8]) -> Result<Tree, SyntaxError> {
    parse_distinct_within(text, MAX_DEPTH_LEVELS)
}

/// [`parse_distinct`] for a text in which values are some levels below the top.
///
/// # Errors
/// As [`parse_distinct`], but with another limit for nesting.
pub fn parse_distinct_within(text: &[u8], max_depth_levels: usize) -> Result<Tree, SyntaxError> {
    read(text, max_depth_levels, Repeated::Refused)
}

/// The same for a text in which values are some levels below the top.
///
/// # Errors
/// As [`parse`], but with another limit for nesting.
pub fn parse_within(text: &[u8], max_depth_levels: usize) -> Result<Tree, SyntaxError> {
    read(text, max_depth_levels, Repeated::LastWins)
}

/// Why a text was not checked to its end.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CheckError {
    /// It is not a JSON text that ifmatch takes.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// The result is no longer needed.
    #[error("the check was stopped before its end")]
    Stopped,
}

/// After how many bytes `stop` is checked: some 2 ms.
const CHECKED_BETWEEN_LOOKS_BYTES: usize = 64 * 1024;

/// Checks whether [`parse_within`] would accept a text, without building a tree. Now and then `stop` says
/// whether to give up.
///
/// # Errors
/// As [`parse_within`], and [`CheckError::Stopped`].
pub fn check_within(
    text: &[u8],
    max_depth_levels: usize,
    stop: &dyn Fn() -> bool,
) -> Result<(), CheckError> {
    let mut events = Events::new(text, max_depth_levels);
    let mut levels = 0;
    let mut next_look = 0;
    loop {
        if events.offset >= next_look {
            next_look = events.offset + CHECKED_BETWEEN_LOOKS_BYTES;
            if stop() {
                return Err(CheckError::Stopped);
            }
        }
        match events.next()? {
            JsonEvent::StartArray | JsonEvent::StartObject => {
                levels += 1;
                events.check_depth(levels)?;
                continue;
            }
            JsonEvent::EndArray | JsonEvent::EndObject if levels > 0 => levels -= 1,
            JsonEvent::EndArray | JsonEvent::EndObject => {
                return Err(events.error("nothing is open that could be closed").into());
            }
            JsonEvent::Eof => return Err(events.error("the text ends too early").into()),
            _ => {}
        }
        if levels == 0 {
            // Only white space may follow; the parser reports anything else.
            events.next()?;
            return Ok(());
        }
    }
}

/// What becomes of a member that appears twice.
#[derive(Clone, Copy, PartialEq)]
enum Repeated {
    LastWins,
    Refused,
}

fn read(text: &[u8], max_depth_levels: usize, repeated: Repeated) -> Result<Tree, SyntaxError> {
    let mut events = Events::new(text, max_depth_levels);
    let mut open: Vec<Container> = Vec::new();
    loop {
        let complete = match events.next()? {
            JsonEvent::StartArray => {
                open.push(Container::Array(Vec::new()));
                events.check_depth(open.len())?;
                continue;
            }
            JsonEvent::StartObject => {
                open.push(Container::Object(Map::new(), String::new()));
                events.check_depth(open.len())?;
                continue;
            }
            JsonEvent::ObjectKey(name) => {
                if let Some(Container::Object(members, member)) = open.last_mut() {
                    if repeated == Repeated::Refused && members.contains_key(&*name) {
                        return Err(events.error(&format!("the member {name:?} appears twice")));
                    }
                    *member = name.into_owned();
                }
                continue;
            }
            JsonEvent::EndArray | JsonEvent::EndObject => match open.pop() {
                Some(Container::Array(items)) => Tree::Array(items),
                Some(Container::Object(members, _)) => Tree::Object(members),
                None => return Err(events.error("nothing is open that could be closed")),
            },
            JsonEvent::String(string) => Tree::String(string.into_owned()),
            // The parser has checked the grammar. `Number::from_str` would write the exponent its own way.
            JsonEvent::Number(digits) => {
                Tree::Number(Number::from_string_unchecked(digits.into_owned()))
            }
            JsonEvent::Boolean(boolean) => Tree::Bool(boolean),
            JsonEvent::Null => Tree::Null,
            JsonEvent::Eof => return Err(events.error("the text ends too early")),
        };
        match open.last_mut() {
            Some(Container::Array(items)) => items.push(complete),
            Some(Container::Object(members, member)) => {
                members.insert(std::mem::take(member), complete);
            }
            None => {
                // Only white space may follow; the parser reports anything else.
                events.next()?;
                return Ok(complete);
            }
        }
    }
}

/// An array or object whose end has not been read; an object with the name of the member that is
/// being read.
enum Container {
    Array(Vec<Tree>),
    Object(Map<String, Tree>, String),
}

/// The parser and its position, so that every error has a place.
pub(crate) struct Events<'a> {
    text: &'a [u8],
    offset: usize,
    max_depth_levels: usize,
    parser: LowLevelJsonParser,
}

impl<'a> Events<'a> {
    pub(crate) fn new(text: &'a [u8], max_depth_levels: usize) -> Self {
        Self {
            text,
            offset: 0,
            max_depth_levels,
            parser: LowLevelJsonParser::new(),
        }
    }

    pub(crate) fn next(&mut self) -> Result<JsonEvent<'a>, SyntaxError> {
        if self.text.is_empty() {
            return Err(self.error("the text is empty, and a JSON value is needed"));
        }
        loop {
            let step = self.parser.parse_next(&self.text[self.offset..], true);
            self.offset += step.consumed_bytes;
            match step.event {
                Some(Ok(event)) => return Ok(event),
                Some(Err(error)) => {
                    let place = error.location().start.offset;
                    let start = usize::try_from(place).unwrap_or(self.offset);
                    return Err(self.error_at(start, error.message()));
                }
                None => {}
            }
        }
    }

    /// How many bytes were read.
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    pub(crate) fn check_depth(&self, levels: usize) -> Result<(), SyntaxError> {
        if levels > self.max_depth_levels {
            let reason = format!("nested deeper than {} levels", self.max_depth_levels);
            return Err(self.error(&reason));
        }
        Ok(())
    }

    /// An error at the last character that was read.
    pub(crate) fn error(&self, reason: &str) -> SyntaxError {
        self.error_at(self.offset.saturating_sub(1), reason)
    }

    /// An error at the character that begins so many bytes from the start. (The parser counts
    /// columns in bytes.)
    fn error_at(&self, offset: usize, reason: &str) -> SyntaxError {
        let before = String::from_utf8_lossy(&self.text[..offset.min(self.text.len())]);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        SyntaxError {
            // The parser quotes the offending text, and reports every incomplete token, even one that is not
            // Unicode, as the end of the file.
            reason: reason
                .replace(
                    "Unexpected end of file",
                    "what begins here is not complete or not Unicode",
                )
                .replace(char::is_control, "\u{FFFD}"),
            line: before.matches('\n').count() as u64 + 1,
            column: before[line_start..].chars().count() as u64 + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn compact(text: &str) -> String {
        parse(text.as_bytes()).unwrap().to_string()
    }

    #[test]
    fn numbers_keep_every_digit_and_objects_their_order() {
        for text in [
            "12345678901234567890123.4500",
            "1e400",
            "1E+2",
            "1e-7",
            "-0.0",
            "-0",
            r#"{"b":1,"a":2}"#,
            r#"{"$serde_json::private::Number":"7"}"#,
            r#"{"$serde_json::private::RawValue":"[7]"}"#,
            r#"["\u0000é\"\\"]"#,
        ] {
            assert_eq!(compact(text), text);
        }
    }

    #[test]
    fn the_last_of_repeated_members_wins() {
        assert_eq!(compact(r#"{"a":1,"b":2,"\u0061":3}"#), r#"{"a":3,"b":2}"#);
    }

    #[test]
    fn a_repeated_member_is_refused_in_typed_text() {
        let text = "{\n  \"a\": {\"b\": 1},\n  \"\\u0061\": 2\n}";
        let error = parse_distinct(text.as_bytes()).unwrap_err();
        assert_eq!(error.reason, "the member \"a\" appears twice");
        assert_eq!(error.line, 3);
        for text in [r#"[{"a":1},{"a":1}]"#, r#"{"a":{"a":1},"b":{"a":1}}"#] {
            assert!(parse_distinct(text.as_bytes()).is_ok(), "{text}");
        }
    }

    #[test]
    fn white_space_between_tokens_goes() {
        assert_eq!(
            compact(" {\n\t\"a b\" : [ 1 , 2 ]\r\n} "),
            r#"{"a b":[1,2]}"#
        );
    }

    #[test]
    fn nesting_ends_at_the_limit() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert_eq!(compact(&nested(MAX_DEPTH_LEVELS)), nested(MAX_DEPTH_LEVELS));
        let error = parse(nested(MAX_DEPTH_LEVELS + 1).as_bytes()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "nested deeper than 128 levels, at line 1 column 129"
        );
    }

    #[test]
    fn errors_name_line_and_column() {
        for (text, line, column) in [
            ("", 1, 1),
            ("{\n  \"a\": tru\n}", 2, 8),
            ("[1,]", 1, 4),
            ("1 2", 1, 3),
            ("[1", 1, 3),
            ("[\"ü🦀\",\r\n\"ü🦀\" x]", 2, 6),
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert_eq!(
                (error.line, error.column),
                (line, column),
                "{text:?}: {error}"
            );
        }
    }

    proptest! {
        #[test]
        fn compact_text_is_read_back_exactly(text in "[\\[\\]{}\",:0-9eE.+\\-a-z\\\\ \n]{0,40}") {
            if let Ok(tree) = parse(text.as_bytes()) {
                let once = tree.to_string();
                prop_assert_eq!(compact(&once), once);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
