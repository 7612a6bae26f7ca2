//! Prefixes that were probably meant as patterns.

use crate::cli::text::printable;

/// What is wrong with a prefix that has a `*`; `instead` stands before one without.
pub fn pattern_in_words(prefix: &str, instead: &str) -> String {
    let (literal, _) = prefix.split_once('*').unwrap_or((prefix, ""));
    let literal = match literal {
        "" => "the empty prefix, which covers every key".to_owned(),
        literal => format!(
            "{0}, which covers every key that begins with {0}",
            printable(literal)
        ),
    };
    format!(
        "a prefix is not a pattern, so {} covers only keys that have the * in them: {instead}{literal}",
        printable(prefix)
    )
}
