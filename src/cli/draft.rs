//! The text of an edit: JSON that may have comments on lines of their own and a comma after the last
//! member, and marks where both sides changed the same, as diff3 and git write them. Pure.

use serde_json::Value as Tree;

use super::output::pretty;
use crate::json::{self, SyntaxError};
use crate::merge::{Overlap, merge_with};
use crate::model::random_token;

const COMMENT: &str = "//";
const MINE: &str = "<<<<<<<";
const BASE: &str = "|||||||";
const BETWEEN: &str = "=======";
const THEIRS: &str = ">>>>>>>";

/// A text with comments above it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    above: Vec<String>,
    body: String,
}

impl Draft {
    /// `body` below a remark for whoever edits it.
    pub fn new(remark: &[String], body: String) -> Self {
        let above = remark.iter().map(|line| format!("{COMMENT} {line}\n"));
        Self {
            above: above.collect(),
            body,
        }
    }

    /// What was made of a draft.
    pub fn edited(text: &str) -> Self {
        let lines = text.split_inclusive('\n');
        let above = lines.take_while(|line| line.trim_start().starts_with(COMMENT));
        let above: Vec<_> = above.map(str::to_owned).collect();
        let body = text[above.iter().map(String::len).sum()..].to_owned();
        Self { above, body }
    }

    /// The same below another remark, which says what is wrong with it and where.
    pub fn refused(self, error: &SyntaxError) -> Self {
        let here = SyntaxError {
            // A remark of one line, instead of those that stand there now.
            line: error.line - self.above.len() as u64 + 1,
            ..error.clone()
        };
        // A line break would end the comment.
        let reason = here.to_string().replace(char::is_control, "\u{FFFD}");
        Self::new(&[format!("This is not JSON: {reason}.")], self.body)
    }

    /// The text as it is edited.
    pub fn text(&self) -> String {
        self.above.concat() + &self.body
    }

    /// The value that it stands for; nothing if it has been emptied.
    ///
    /// # Errors
    /// If it is no JSON or a mark is left; the place counts from the top of the comments.
    pub fn value(&self) -> Result<Option<Tree>, SyntaxError> {
        let text = self.text();
        for (line, number) in text.lines().zip(1..) {
            if let Some(mark) = [MINE, BASE, BETWEEN, THEIRS]
                .iter()
                .find(|mark| line.starts_with(**mark))
            {
                return Err(SyntaxError {
                    reason: format!("{mark} marks a place that is not settled"),
                    line: number,
                    column: 1,
                });
            }
        }
        let plain = without_comments(&text);
        if plain.trim().is_empty() {
            return Ok(None);
        }
        json::parse(without_last_commas(plain).as_bytes()).map(Some)
    }
}

/// A tree as it is edited.
pub fn written(tree: &Tree) -> String {
    pretty(tree) + "\n"
}

/// Both sides put together, with marks around what overlaps; and where that is. `versions` are what
/// the base and the other side are called.
pub fn marked(
    [base, mine, theirs]: [Option<&Tree>; 3],
    versions: [&str; 2],
) -> (String, Vec<String>) {
    // Where they overlap there is a string at first that stands nowhere else.
    let token = random_token();
    let mut overlaps: Vec<Overlap> = Vec::new();
    let merged = merge_with(base, mine, theirs, |overlap| {
        let place = format!("{token}.{}.", overlaps.len());
        overlaps.push(overlap.clone());
        Some(Tree::String(place))
    });
    let mut text = String::new();
    for line in merged.as_ref().map(pretty).unwrap_or_default().lines() {
        let place = overlaps.iter().enumerate().find_map(|(index, overlap)| {
            let (before, after) = line.split_once(&format!("\"{token}.{index}.\""))?;
            Some((overlap, before, after))
        });
        match place {
            Some((overlap, before, after)) => {
                text += &choice(overlap, before, after, versions);
            }
            None => text.extend([line, "\n"]),
        }
    }
    let pointers = overlaps.into_iter().map(|overlap| overlap.pointer);
    (text, pointers.collect())
}

/// The three sides of an overlap, each as it would stand there.
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

/// The text with a space for each comma after which an array or object ends. What is taken away in an
/// editor is often the last member.
fn without_last_commas(text: String) -> String {
    let mut last_commas = Vec::new();
    // The place of a comma that nothing has followed yet.
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
    let mut text = text.into_bytes();
    for place in last_commas {
        text[place] = b' ';
    }
    // A comma is one byte, as a space is.
    String::from_utf8(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn value(text: &str) -> Result<Option<Tree>, String> {
        let value = Draft::edited(text).value();
        value.map_err(|error| format!("{} {} {}", error.line, error.column, error.reason))
    }

    #[test]
    fn comments_and_last_commas_are_let_through() {
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
    fn nothing_but_comments_is_nothing() {
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
        let draft = Draft::edited("// a\n// b\n{\n  \"a\": tru\n}\n");
        let refused = draft.clone().refused(&draft.value().unwrap_err());
        let text = refused.text();
        let remark = text.lines().next().unwrap();
        assert!(remark.starts_with("// This is not JSON: "), "{text}");
        assert!(remark.ends_with("at line 3 column 8."), "{text}");
        assert_eq!(text.lines().nth(2), Some("  \"a\": tru"));
        // Nothing piles up.
        let again = Draft::edited(&text);
        assert_eq!(again.clone().refused(&again.value().unwrap_err()), again);
    }

    #[test]
    fn both_sides_of_an_overlap_are_marked_where_it_is() {
        let base = json!({"a": {"title": "x", "n": 1}, "last": [1]});
        let mine = json!({"a": {"title": "y", "n": 2}, "last": [1, 2]});
        let theirs = json!({"a": {"title": "z", "n": 1}, "new": 1});
        let (text, places) = marked(
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
            Err("3 1 <<<<<<< marks a place that is not settled".to_owned())
        );
    }

    #[test]
    fn whichever_side_is_taken_it_can_be_read() {
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
                    let (text, _) = marked(sides, ["", ""]);
                    for (taken, side) in [(MINE, mine), (THEIRS, theirs)] {
                        let settled = settled(&text, taken);
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

    /// The text with one side taken of each overlap.
    fn settled(text: &str, taken: &str) -> String {
        let mut settled = String::new();
        let mut within = None;
        for line in text.lines() {
            match [MINE, BASE, BETWEEN, THEIRS]
                .into_iter()
                .find(|mark| line.starts_with(mark))
            {
                Some(THEIRS) => within = None,
                // Theirs stand after the mark in the middle.
                Some(BETWEEN) => within = Some(THEIRS),
                Some(mark) => within = Some(mark),
                None if within.is_none_or(|side| side == taken) => settled.extend([line, "\n"]),
                None => {}
            }
        }
        settled
    }
}
