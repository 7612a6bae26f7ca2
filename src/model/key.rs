//! What a key is.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};
use thiserror::Error;

/// The longest key, in bytes of UTF-8 after percent-decoding.
pub const KEY_MAX_BYTES: usize = 512;

/// The name of an entry: 1 to [`KEY_MAX_BYTES`] bytes of UTF-8 without control characters, no
/// segment of which is `.` or `..`. Ordered by bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Arc<str>);

/// Why a text cannot be a [`Key`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// There is no text.
    #[error("the key is empty; it must have 1 to {KEY_MAX_BYTES} bytes")]
    Empty,
    /// More than [`KEY_MAX_BYTES`].
    #[error("the key has {bytes} bytes; {KEY_MAX_BYTES} is the most")]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// U+0000–U+001F or U+007F.
    #[error("the key has a control character, U+{code_point:04X}, at byte {at}")]
    ControlCharacter {
        /// The character.
        code_point: u32,
        /// Its offset in bytes.
        at: usize,
    },
    /// A segment that URL libraries fold away.
    #[error("the key has a segment {segment:?}, which URL libraries fold away")]
    DotSegment {
        /// `.` or `..`
        segment: &'static str,
    },
}

impl Key {
    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        if text.is_empty() {
            return Err(KeyError::Empty);
        }
        if text.len() > KEY_MAX_BYTES {
            return Err(KeyError::TooLong { bytes: text.len() });
        }
        // In UTF-8 no byte of another character looks like a control character or a slash.
        if let Some(at) = text.bytes().position(|byte| byte.is_ascii_control()) {
            return Err(KeyError::ControlCharacter {
                code_point: text.as_bytes()[at].into(),
                at,
            });
        }
        for segment in text.as_bytes().split(|&byte| byte == b'/') {
            let segment = match segment {
                b"." => ".",
                b".." => "..",
                _ => continue,
            };
            return Err(KeyError::DotSegment { segment });
        }
        Ok(Self(text.into()))
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Key {
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
    fn a_key_is_what_the_contract_says() {
        for good in [
            "a",
            "a/b",
            "/",
            "a//b",
            "...",
            "a/.b",
            "ü",
            " ",
            &"k".repeat(512),
        ] {
            assert_eq!(good.parse::<Key>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            ".",
            "..",
            "a/.",
            "../a",
            "a/../b",
            "a\nb",
            "\u{7f}",
            "\0",
            &"k".repeat(513),
        ] {
            assert!(bad.parse::<Key>().is_err(), "{bad:?}");
        }
    }
}
