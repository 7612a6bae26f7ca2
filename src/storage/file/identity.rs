//! Which journal belongs to which data file: both name the same id.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error as _};

use crate::token::random_token;

/// How many hexadecimal digits an id has.
const DIGITS: usize = 16;

/// The name that a journal and its data file have for each other. It stays the same from the
/// journal's beginning to its end, over the checkpoints in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalId(Arc<str>);

impl JournalId {
    /// An id that no other journal has.
    #[must_use]
    pub fn random() -> Self {
        Self(random_token())
    }

    /// The id that is written so.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (text.len() == DIGITS && text.bytes().all(is_digit)).then(|| Self(text.into()))
    }
}

impl fmt::Display for JournalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for JournalId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            D::Error::custom(format_args!(
                "the id of a journal has {DIGITS} digits from 0 to f"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written_and_nothing_else_is_accepted() {
        let id = JournalId::random();
        assert_eq!(JournalId::parse(&id.to_string()), Some(id.clone()));
        assert_ne!(JournalId::random(), id);
        for other in [
            "",
            "9c56cc51b374c3b",
            "9c56cc51b374c3bA",
            "9c56cc51b374c3ba0",
            "é56cc51b374c3ba",
        ] {
            assert_eq!(JournalId::parse(other), None, "{other}");
        }
    }
}
