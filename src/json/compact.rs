//! JSON text → compact JSON text, without a tree and in little more memory than the text.

use std::hash::{BuildHasher as _, RandomState};
use std::ops::Range;

use serde_json::value::RawValue;

use super::{BYTE_ORDER_MARK, CheckError, MAX_DEPTH_LEVELS, SyntaxError, check_within, parse};

/// Up to this many members of an object are compared pairwise, without a table.
const MOST_COMPARED_ONE_BY_ONE: usize = 16;

/// The compact text that the tree of a text would be written as; [`parse`] says how numbers and repeated
/// members are handled.
///
/// # Errors
/// As [`parse`].
pub fn compact(text: &[u8]) -> Result<String, SyntaxError> {
    let json = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let value = serde_json::from_slice(json).ok();
    if let Some(compact) = value.and_then(compact_value) {
        return Ok(compact);
    }
    match check_within(text, MAX_DEPTH_LEVELS, &|| false) {
        Err(CheckError::Syntax(error)) => Err(error),
        // The slower way then says what is wrong, if anything.
        Ok(()) | Err(CheckError::Stopped) => parse(text).map(|tree| tree.to_string()),
    }
}

/// The same for a text whose grammar was checked. `None` if it is too deep or has an unpaired surrogate.
#[must_use]
pub fn compact_value(value: &RawValue) -> Option<String> {
    let text = value.get();
    let mut writer = Writer {
        text: String::with_capacity(text.len()),
        members: Vec::new(),
        open: Vec::new(),
    };
    let mut start = 0;
    while let Some(&first) = text.as_bytes().get(start) {
        let end = match first {
            b' ' | b'\t' | b'\n' | b'\r' => start + 1,
            b'"' => {
                let (end, is_compact) = end_of_string(text, start);
                writer.string(&text[start..end], is_compact)?;
                end
            }
            b'{' | b'[' | b'}' | b']' => {
                writer.bracket(first)?;
                start + 1
            }
            _ => {
                let end = end_of_scalar(text, start);
                writer.text.push_str(&text[start..end]);
                end
            }
        };
        start = end;
    }
    Some(writer.text)
}

/// The end of the string that opens at `start`, and whether it can be copied unchanged: a tree would write
/// some escapes in another way.
fn end_of_string(text: &str, start: usize) -> (usize, bool) {
    let bytes = text.as_bytes();
    let mut end = start + 1;
    let mut is_compact = true;
    while let Some(length) = bytes[end..]
        .iter()
        .position(|byte| matches!(byte, b'"' | b'\\'))
    {
        end += length + 1;
        if bytes[end - 1] == b'"' {
            return (end, is_compact);
        }
        // An escaped quote is not the end.
        is_compact &= bytes
            .get(end)
            .is_some_and(|byte| !matches!(byte, b'u' | b'/'));
        end += 1;
    }
    (bytes.len(), false)
}

/// The end of a run of numbers, constants, commas and colons.
fn end_of_scalar(text: &str, start: usize) -> usize {
    let ends = |byte: &u8| {
        matches!(
            byte,
            b' ' | b'\t' | b'\n' | b'\r' | b'"' | b'{' | b'[' | b'}' | b']'
        )
    };
    let length = text.as_bytes()[start..].iter().position(ends);
    length.map_or(text.len(), |length| start + length)
}

struct Writer {
    text: String,
    /// Where the names of all open objects are in the text.
    members: Vec<Range<usize>>,
    open: Vec<Open>,
}

/// An array or object whose end has not been read.
#[derive(Clone, Copy)]
enum Open {
    Array,
    /// Which of the members is its first.
    Object(usize),
}

impl Writer {
    fn bracket(&mut self, bracket: u8) -> Option<()> {
        match bracket {
            b'[' => self.open.push(Open::Array),
            b'{' => self.open.push(Open::Object(self.members.len())),
            _ => {
                if let Open::Object(first) = self.open.pop()? {
                    self.drop_repeated(first);
                    self.members.truncate(first);
                }
            }
        }
        self.text.push(bracket.into());
        (self.open.len() <= MAX_DEPTH_LEVELS).then_some(())
    }

    fn string(&mut self, quoted: &str, is_compact: bool) -> Option<()> {
        let is_name =
            matches!(self.open.last(), Some(Open::Object(_))) && self.text.ends_with(['{', ',']);
        let start = self.text.len();
        if is_compact {
            self.text.push_str(quoted);
        } else {
            let string: String = serde_json::from_str(quoted).ok()?;
            self.text.push_str(&serde_json::to_string(&string).ok()?);
        }
        if is_name {
            self.members.push(start..self.text.len());
        }
        Some(())
    }

    /// Of repeated members in the object whose members begin at `first`, keeps the last value in the place of
    /// the first.
    fn drop_repeated(&mut self, first: usize) {
        let members = &self.members[first..];
        let name = |member: usize| &self.text.as_bytes()[members[member].clone()];
        let has_before = |member| (0..member).any(|before| name(before) == name(member));
        if members.len() <= MOST_COMPARED_ONE_BY_ONE && !(0..members.len()).any(has_before) {
            return;
        }
        // The names come from clients, so the hashes must be unpredictable.
        let state = RandomState::new();
        let entry = |member| (state.hash_one(name(member)), member);
        let mut hashed: Vec<_> = (0..members.len()).map(entry).collect();
        hashed.sort_unstable_by(|(one_hash, one), (other_hash, other)| {
            let by_name = || name(*one).cmp(name(*other));
            one_hash
                .cmp(other_hash)
                .then_with(by_name)
                .then(one.cmp(other))
        });
        let is_same = |(one_hash, one): &(u64, usize), (next_hash, next): &(u64, usize)| {
            one_hash == next_hash && name(*one) == name(*next)
        };
        let mut left: Vec<_> = hashed
            .chunk_by(is_same)
            .filter_map(|same| Some((same.first()?.1, same.last()?.1)))
            .collect();
        if left.len() == members.len() {
            return;
        }
        left.sort_unstable();
        let start = members[0].start;
        let mut object = String::with_capacity(self.text.len() - start);
        for (_, last) in left {
            // A comma is between a member and the next.
            let end = members.get(last + 1).map(|next| next.start - 1);
            if !object.is_empty() {
                object.push(',');
            }
            object.push_str(&self.text[members[last].start..end.unwrap_or(self.text.len())]);
        }
        self.text.truncate(start);
        self.text.push_str(&object);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(text: &[u8]) -> Result<String, SyntaxError> {
        parse(text).map(|tree| tree.to_string())
    }

    /// Without the slower way by the tree.
    fn written_at_once(text: &[u8]) -> Option<String> {
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        serde_json::from_slice(text).ok().and_then(compact_value)
    }

    #[test]
    fn compact_text_is_what_the_tree_is_written_as() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        let member = |number: usize| format!("\"{}\": {{\"a\":{number}}}", number % 40);
        let many_members = (0..100).map(member).collect::<Vec<_>>().join(",");
        let many_members = format!("[{{{many_members}}},1]");
        for text in [
            "",
            " ",
            " 1 ",
            "-0.0",
            "1e0",
            "1E+2 ",
            "\"\"",
            "\"a b,:{[\"",
            "\u{FEFF}[ 1 ]",
            "[]",
            "{ }",
            "[ 1 , 2 ]",
            "[1 2]",
            "tru",
            "1 2",
            r#" { "a" : { "b" : [ true , null , "c" , { } ] } , "d" : "é" } "#,
            r#""\u0041\/\b\u0001\ud83e\udd80\"\\""#,
            r#""\\""#,
            r#""\\\"""#,
            r#"["\ud800"]"#,
            r#"["\ud800\u0041"]"#,
            "\"\u{7F}\"",
            "[\"a\nb\"]",
            r#"{"a":1,"b":2,"\u0061":3}"#,
            r#"{"b":1,"a":[{"c":1,"c":{"a":2,"a":3}}],"b":{"x":[1,2]},"b":"y,z"}"#,
            r#"{"":1,"":2}"#,
            r#"{"b":0,"a":",","a":"{"}"#,
            r#"{"a":["b","a"],"b":"a"}"#,
            &many_members,
            r#"{"$serde_json::private::Number":"7"}"#,
            r#"{"$serde_json::private::RawValue":"[7]"}"#,
            &nested(MAX_DEPTH_LEVELS),
            &nested(MAX_DEPTH_LEVELS + 1),
            &format!("{{\"a\":{}}}", nested(MAX_DEPTH_LEVELS)),
        ] {
            let text = text.as_bytes();
            assert_eq!(compact(text), written(text));
            assert_eq!(written_at_once(text), written(text).ok());
        }
        for text in [&b"\"\xff\""[..], b"\xff", b"\"\xed\xa0\x80\""] {
            assert_eq!(compact(text), written(text));
        }
    }

    proptest! {
        #[test]
        fn compact_text_is_what_the_tree_of_any_text_is_written_as(
            text in "[\\[\\]{}\",:0-9eE.+\\-a-z\\\\ \n]{0,40}\
                |\\{(\"(a|b|\\\\u0061|\\\\n)?\" ?:(0|\\[ \\]|\\{\"b\":0,\"a\":\"\\\\\"\",\"b\":\"1\"\\}),?){0,6}\\}",
        ) {
            prop_assert_eq!(compact(text.as_bytes()), written(text.as_bytes()));
            prop_assert_eq!(written_at_once(text.as_bytes()), written(text.as_bytes()).ok());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(compact(&bytes), written(&bytes));
        }
    }
}
