//! The name of who writes.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};
use thiserror::Error;

/// The longest name, in bytes of UTF-8.
pub const NAME_MAX_BYTES: usize = 128;

/// The name of a person or a program, as entries show it: 1 to [`NAME_MAX_BYTES`] bytes of UTF-8, without
/// control characters and without white space at either end.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

/// Why a text cannot be a [`Name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "a name has 1 to {NAME_MAX_BYTES} bytes, no control characters, and no white space at either end"
)]
pub struct NameError;

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let has_valid_length = (1..=NAME_MAX_BYTES).contains(&text.len());
        if !has_valid_length || text.trim() != text || text.contains(char::is_control) {
            return Err(NameError);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_visible_text() {
        for name in ["ann", "Ann Öz", "build-7@ci", &"x".repeat(NAME_MAX_BYTES)] {
            assert_eq!(name.parse::<Name>().unwrap().as_str(), name);
        }
        for invalid in [
            "",
            " ann",
            "ann\n",
            "a\u{0}n",
            "a\u{85}n",
            &"x".repeat(NAME_MAX_BYTES + 1),
        ] {
            assert_eq!(invalid.parse::<Name>(), Err(NameError), "{invalid:?}");
        }
    }
}
