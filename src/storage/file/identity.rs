//! Which log belongs to which data file: both name the same id.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error as _};

use crate::token::random_token;

/// How many hexadecimal digits an id has.
const DIGITS: usize = 16;

/// The name that a log and its data file have for each other, for as long as there is a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogId(Arc<str>);

impl LogId {
    /// An id that no other log has.
    #[must_use]
    pub fn random() -> Self {
        Self(random_token())
    }

    /// Its digits.
    #[must_use]
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    /// The id that is written so.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (text.len() == DIGITS && text.bytes().all(is_digit)).then(|| Self(text.into()))
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for LogId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            D::Error::custom(format_args!(
                "the id of a log has {DIGITS} digits from 0 to f"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written_and_nothing_else_is_accepted() {
        let id = LogId::random();
        assert_eq!(LogId::parse(&id.to_string()), Some(id.clone()));
        assert_ne!(LogId::random(), id);
        for other in [
            "",
            "9c56cc51b374c3b",
            "9c56cc51b374c3bA",
            "9c56cc51b374c3ba0",
            "é56cc51b374c3ba",
        ] {
            assert_eq!(LogId::parse(other), None, "{other}");
        }
    }
}
