//! Which words of a text were changed. Pure.

use std::ops::Range;
use std::time::Instant;

use similar::{Algorithm, DiffTag, capture_diff_slices_deadline};

/// Part of two texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// In both.
    Same(&'a str),
    /// Only in the text before.
    Removed(&'a str),
    /// Only in the text after.
    Added(&'a str),
}

/// At least this part of the longer text is in both, or they are not compared by words: one in so many bytes.
const SAME_MIN: usize = 3;

/// Both texts by the words that they have in common, or `None` if there are too few of them. After `deadline`
/// they are compared less closely.
pub fn compare<'a>(before: &'a str, after: &'a str, deadline: Instant) -> Option<Vec<Part<'a>>> {
    let sides = [before, after].map(words);
    let texts = [texts_of(before, &sides[0]), texts_of(after, &sides[1])];
    let operations =
        capture_diff_slices_deadline(Algorithm::Myers, &texts[0], &texts[1], Some(deadline));
    let mut parts = Vec::new();
    let mut same_bytes = 0;
    for operation in operations {
        let (tag, old, new) = operation.as_tag_tuple();
        let removed = part_of(before, &sides[0], old);
        let added = part_of(after, &sides[1], new);
        if tag == DiffTag::Equal {
            same_bytes += removed.len();
            parts.push(Part::Same(removed));
            continue;
        }
        parts.extend((!removed.is_empty()).then_some(Part::Removed(removed)));
        parts.extend((!added.is_empty()).then_some(Part::Added(added)));
    }
    let is_alike = same_bytes * SAME_MIN >= before.len().max(after.len());
    is_alike.then_some(parts)
}

/// The words of a text, the spaces between them, and every other character.
fn words(text: &str) -> Vec<Range<usize>> {
    let kind = |character: char| match character {
        letter if letter.is_alphanumeric() || letter == '_' => Some(true),
        space if space.is_whitespace() => Some(false),
        _ => None,
    };
    let mut words: Vec<Range<usize>> = Vec::new();
    let mut before = None;
    for (at, character) in text.char_indices() {
        let end = at + character.len_utf8();
        match words.last_mut() {
            Some(word) if kind(character).is_some() && before == kind(character) => word.end = end,
            _ => words.push(at..end),
        }
        before = kind(character);
    }
    words
}

fn texts_of<'a>(text: &'a str, words: &[Range<usize>]) -> Vec<&'a str> {
    words.iter().map(|word| &text[word.clone()]).collect()
}

/// The text of some words that follow one another.
fn part_of<'a>(text: &'a str, words: &[Range<usize>], which: Range<usize>) -> &'a str {
    match words.get(which) {
        Some([first, .., last]) => &text[first.start..last.end],
        Some([only]) => &text[only.clone()],
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::Part::{Added, Removed, Same};
    use super::*;

    fn parts<'a>(before: &'a str, after: &'a str) -> Option<Vec<Part<'a>>> {
        compare(before, after, Instant::now() + Duration::from_secs(5))
    }

    #[test]
    fn words_are_compared_and_not_letters() {
        assert_eq!(
            parts("The quick brown fox, again", "The quick red fox again"),
            Some(vec![
                Same("The quick "),
                Removed("brown"),
                Added("red"),
                Same(" fox"),
                Removed(","),
                Same(" again"),
            ])
        );
        assert_eq!(parts("one", "other"), None);
        assert_eq!(parts("", ""), Some(vec![]));
    }

    proptest! {
        #[test]
        fn both_texts_can_be_read_from_the_parts(before in "[ab é,\n]{0,12}", after in "[ab é,\n]{0,12}") {
            if let Some(parts) = parts(&before, &after) {
                let mut sides = [String::new(), String::new()];
                for part in parts {
                    match part {
                        Same(text) => sides.iter_mut().for_each(|side| side.push_str(text)),
                        Removed(text) => sides[0].push_str(text),
                        Added(text) => sides[1].push_str(text),
                    }
                }
                prop_assert_eq!(sides, [before.clone(), after.clone()]);
            }
        }
    }
}
