//! The text of an edit: JSON that may have comments on lines of their own and a comma after the last
//! member, and conflict markers as in diff3 and git. Pure.

use serde_json::Value as Tree;
use thiserror::Error;

use super::text::pretty;
use crate::json;
use crate::merge::{Overlap, merge_with};
use crate::token::random_token;

const COMMENT: &str = "//";
const MINE: &str = "<<<<<<<";
const BASE: &str = "|||||||";
const BETWEEN: &str = "=======";
const THEIRS: &str = ">>>>>>>";

/// A text with a remark above it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    remark: Vec<String>,
    body: String,
}

/// Why a text is not a value. The line is counted in the text that has this error as its remark.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{what}, at line {line} column {column}")]
pub struct DraftError {
    what: String,
    line: u64,
    column: u64,
}

impl Draft {
    /// A text with a remark for the user above it.
    pub fn new(remark: &[String], body: String) -> Self {
        let lines = remark.iter().map(|line| {
            // A line break would end the comment.
            let line = line.replace(char::is_control, "\u{FFFD}");
            format!("{COMMENT} {line}\n")
        });
        Self {
            remark: lines.collect(),
            body,
        }
    }

    /// The draft with the text that the editor has saved: without the remark, but with the user's comments.
    pub fn edited(&self, text: &str) -> Self {
        let text = text.trim_start_matches('\u{FEFF}');
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        let lines = text.split_inclusive('\n');
        let remark = lines.take_while(|line| self.remark.iter().any(|said| said == line));
        Self {
            remark: Vec::new(),
            body: text[remark.map(str::len).sum()..].to_owned(),
        }
    }

    /// The same text with another remark.
    pub fn with_remark(self, remark: &[String]) -> Self {
        Self::new(remark, self.body)
    }

    /// The same text with a remark that says what is wrong with it.
    pub fn with_error(self, reason: &DraftError) -> Self {
        self.with_remark(&[format!("{reason}.")])
    }

    /// The text for the editor.
    pub fn text(&self) -> String {
        self.remark.concat() + &self.body
    }

    /// Whether it is the same text as `before`, apart from the remark.
    pub fn has_same_body(&self, before: &Self) -> bool {
        self.body == before.body
    }

    /// Whether there is nothing, not even a comment.
    pub fn is_blank(&self) -> bool {
        self.body.trim().is_empty()
    }

    /// Whether each of its lines was also in `before`.
    pub fn is_part_of(&self, before: &Self) -> bool {
        let mut lines = self.body.lines().filter(|line| !line.trim().is_empty());
        lines.all(|line| before.body.lines().any(|other| other == line))
    }

    /// The value, or `None` if there are only comments.
    ///
    /// # Errors
    /// If it is not JSON, has a duplicate member, or still has a conflict marker.
    pub fn value(&self) -> Result<Option<Tree>, DraftError> {
        for (line, number) in self.body.lines().zip(1..) {
            let marks = [MINE, BASE, BETWEEN, THEIRS];
            if let Some(mark) = marks.iter().find(|mark| line.starts_with(**mark)) {
                return Err(DraftError {
                    what: format!("{mark} marks an unresolved conflict"),
                    line: number + 1,
                    column: 1,
                });
            }
        }
        let plain = without_comments(&self.body);
        if plain.trim().is_empty() {
            return Ok(None);
        }
        let tree = json::parse_distinct(without_last_commas(plain).as_bytes());
        tree.map(Some).map_err(|error| DraftError {
            what: format!("This is not JSON: {}", error.reason),
            line: error.line + 1,
            column: error.column,
        })
    }
}

/// The text of a value for the editor.
pub fn to_text(tree: &Tree) -> String {
    pretty(tree) + "\n"
}

/// Both sides merged, with markers around each conflict, and the JSON pointers of the conflicts.
/// `versions` are the names of the base and of the other side.
pub fn with_conflict_markers(
    [base, mine, theirs]: [Option<&Tree>; 3],
    versions: [&str; 2],
) -> (String, Vec<String>) {
    // Each conflict is first a string that occurs nowhere else, and then replaced by both sides.
    let token = random_token();
    let mut overlaps: Vec<Overlap> = Vec::new();
    let merged = merge_with(base, mine, theirs, |overlap| {
        overlaps.push(overlap.clone());
        Some(Tree::from(&*token))
    });
    let place = format!("\"{token}\"");
    let mut in_order = overlaps.iter();
    let mut text = String::new();
    for line in merged.as_ref().map(pretty).unwrap_or_default().lines() {
        match line.split_once(&place) {
            Some((before, after)) => {
                let sides = in_order
                    .next()
                    .map(|overlap| choice(overlap, before, after, versions));
                text += &sides.unwrap_or_default();
            }
            None => text.extend([line, "\n"]),
        }
    }
    let pointers = overlaps.into_iter().map(|overlap| overlap.pointer);
    (text, pointers.collect())
}

/// The three sides of a conflict, each as it would be in the text.
fn choice(overlap: &Overlap, before: &str, after: &str, [base, theirs]: [&str; 2]) -> String {
    let side = |tree: &Option<Tree>| side(tree.as_ref(), before, after);
    format!(
        "{MINE} mine\n{}{BASE} before: {base}\n{}{BETWEEN}\n{}{THEIRS} theirs: {theirs}\n",
        side(&overlap.mine),
        side(&overlap.base),
        side(&overlap.theirs),
    )
}

fn side(tree: Option<&Tree>, before: &str, after: &str) -> String {
    let indent = &before[..before.len() - before.trim_start().len()];
    match tree {
        Some(tree) => {
            let value = pretty(tree).replace('\n', &format!("\n{indent}"));
            format!("{before}{value}{after}\n")
        }
        None => format!("{indent}{COMMENT} nothing\n"),
    }
}

/// The text with empty lines where comments were.
fn without_comments(text: &str) -> String {
    let lines = text.split('\n').map(|line| {
        let is_comment = line.trim_start().starts_with(COMMENT);
        if is_comment { "" } else { line }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The text with a space for each comma before the end of an array or object: people often delete the last
/// member.
fn without_last_commas(mut text: String) -> String {
    let mut last_commas = Vec::new();
    // The position of a comma that no other token has followed yet.
    let mut comma = None;
    let mut before = ' ';
    let mut in_string = false;
    let mut is_escaped = false;
    for (place, character) in text.char_indices() {
        if in_string {
            in_string = is_escaped || character != '"';
            is_escaped = !is_escaped && character == '\\';
            continue;
        }
        match character {
            ' ' | '\t' | '\r' | '\n' => continue,
            ',' if !matches!(before, '[' | '{' | ',' | ' ') => comma = Some(place),
            ']' | '}' => last_commas.extend(comma.take()),
            _ => comma = None,
        }
        in_string = character == '"';
        before = character;
    }
    for place in last_commas {
        text.replace_range(place..=place, " ");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn value(text: &str) -> Result<Option<Tree>, String> {
        let draft = Draft::new(&[], String::new()).edited(text);
        draft.value().map_err(|error| error.to_string())
    }

    #[test]
    fn comments_and_trailing_commas_are_accepted() {
        for (text, tree) in [
            ("// a\n  // b\n{\"a\": 1} // c", None),
            (
                "// a\n{\n  // b\n  \"//\": \"// ,}\",\n}\n",
                Some(json!({"//": "// ,}"})),
            ),
            ("[1, 2 , ]", Some(json!([1, 2]))),
            (
                "[\"\\\",]\", {\"a\": [1,],}\n,\n]",
                Some(json!(["\",]", {"a": [1]}])),
            ),
            ("1", Some(json!(1))),
        ] {
            match tree {
                Some(tree) => assert_eq!(value(text), Ok(Some(tree)), "{text}"),
                None => assert!(value(text).is_err(), "{text}"),
            }
        }
        for text in ["[,]", "{,}", "[1,,]", "[1],", "{\"a\":,}", ",", "[1 2]"] {
            assert!(value(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_text_of_only_comments_has_no_value() {
        for text in ["", "\n \n", "// a", "// a\n\n// b\n"] {
            assert_eq!(value(text), Ok(None), "{text:?}");
        }
    }

    #[test]
    fn every_digit_is_kept() {
        let text = "{\"a\": 1.10, \"b\": 12345678901234567890123,}";
        let tree = value(text).unwrap().unwrap();
        assert_eq!(
            tree.to_string(),
            r#"{"a":1.10,"b":12345678901234567890123}"#
        );
    }

    #[test]
    fn a_reason_names_the_line_where_it_will_be_read() {
        let first = Draft::new(&["a".to_owned(), "b".to_owned()], "{}\n".to_owned());
        let edited = first.edited("// a\n// b\n// my own\n{\n  \"a\": tru\n}\n");
        let refused = edited.clone().with_error(&edited.value().unwrap_err());
        let text = refused.text();
        let remark = text.lines().next().unwrap();
        assert!(remark.starts_with("// This is not JSON: "), "{text}");
        assert!(remark.ends_with("at line 4 column 8."), "{text}");
        let others: Vec<_> = text.lines().skip(1).collect();
        assert_eq!(others, ["// my own", "{", "  \"a\": tru", "}"]);
        // Nothing piles up.
        let again = refused.edited(&text);
        assert!(again.has_same_body(&refused));
        assert_eq!(
            again.clone().with_error(&again.value().unwrap_err()),
            refused
        );
    }

    #[test]
    fn a_remark_is_a_comment_whatever_is_in_it() {
        let draft = Draft::new(&["a\nb\r".to_owned()], "1".to_owned());
        assert_eq!(draft.edited(&draft.text()).value(), Ok(Some(json!(1))));
    }

    #[test]
    fn line_ends_and_byte_order_marks_of_other_systems_are_accepted() {
        let draft = Draft::new(&["a".to_owned()], String::new());
        for text in [
            "\u{FEFF}// a\r\n{\r\n\"b\": 1\r\n}\r\n",
            "// a\r{\r\"b\": 1\r}\r",
        ] {
            assert_eq!(
                draft.edited(text).value(),
                Ok(Some(json!({"b": 1}))),
                "{text:?}"
            );
        }
    }

    #[test]
    fn removing_the_marks_without_a_choice_leaves_a_duplicate_member() {
        let (base, mine, theirs) = (json!({"a": 1}), json!({"a": 2}), json!({"a": 3}));
        let (text, _) = with_conflict_markers([Some(&base), Some(&mine), Some(&theirs)], ["", ""]);
        let lines = text
            .lines()
            .filter(|line| line.starts_with(['{', ' ', '}']));
        let text = lines.map(|line| line.replace('1', "1,").replace('2', "2,") + "\n");
        let error = value(&text.collect::<String>()).unwrap_err();
        assert!(error.contains("\"a\" appears twice"), "{error}");
    }

    #[test]
    fn both_sides_of_an_overlap_are_marked_where_it_is() {
        let base = json!({"a": {"title": "x", "n": 1}, "last": [1]});
        let mine = json!({"a": {"title": "y", "n": 2}, "last": [1, 2]});
        let theirs = json!({"a": {"title": "z", "n": 1}, "new": 1});
        let (text, places) = with_conflict_markers(
            [Some(&base), Some(&mine), Some(&theirs)],
            ["version 1", "version 2"],
        );
        assert_eq!(places, ["/a/title", "/last"]);
        let expected = r#"{
  "a": {
<<<<<<< mine
    "title": "y",
||||||| before: version 1
    "title": "x",
=======
    "title": "z",
>>>>>>> theirs: version 2
    "n": 2
  },
  "new": 1,
<<<<<<< mine
  "last": [
    1,
    2
  ]
||||||| before: version 1
  "last": [
    1
  ]
=======
  // nothing
>>>>>>> theirs: version 2
}
"#;
        assert_eq!(text, expected);
        assert_eq!(
            value(&text),
            Err("<<<<<<< marks an unresolved conflict, at line 4 column 1".to_owned())
        );
    }

    #[test]
    fn the_text_is_valid_whichever_side_is_taken() {
        let values = [
            Some(json!({"a": 1, "b": {"c": [1]}, "d": 1})),
            Some(json!({"a": 2, "b": {"c": [2, {}]}, "d": 2})),
            Some(json!({"a": "3", "b": 7})),
            Some(json!([1])),
            None,
        ];
        for base in &values {
            for mine in &values {
                for theirs in &values {
                    let sides = [base.as_ref(), mine.as_ref(), theirs.as_ref()];
                    let (text, _) = with_conflict_markers(sides, ["", ""]);
                    for (taken, side) in [(MINE, mine), (THEIRS, theirs)] {
                        let settled = resolved(&text, taken);
                        let tree =
                            value(&settled).unwrap_or_else(|error| panic!("{error}: {text}"));
                        let chosen = merge_with(sides[0], sides[1], sides[2], |overlap| {
                            if taken == MINE {
                                overlap.mine.clone()
                            } else {
                                overlap.theirs.clone()
                            }
                        });
                        assert_eq!(tree, chosen, "{side:?}: {text}");
                    }
                }
            }
        }
    }

    /// The text with one side of each overlap taken.
    fn resolved(text: &str, taken: &str) -> String {
        let mut settled = String::new();
        let mut within = None;
        for line in text.lines() {
            match [MINE, BASE, BETWEEN, THEIRS]
                .into_iter()
                .find(|mark| line.starts_with(mark))
            {
                Some(THEIRS) => within = None,
                // Theirs come after the mark in the middle.
                Some(BETWEEN) => within = Some(THEIRS),
                Some(mark) => within = Some(mark),
                None if within.is_none_or(|side| side == taken) => settled.extend([line, "\n"]),
                None => {}
            }
        }
        settled
    }
}
