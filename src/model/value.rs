//! JSON values.

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Error as _, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::json::{self, SyntaxError};

/// The largest value accepted unless a flag says otherwise, in bytes of its JSON text.
pub const DEFAULT_MAX_VALUE_BYTES: usize = 1024 * 1024;

/// A JSON value as its compact text. It was parsed when it arrived and is never parsed again.
#[derive(Debug, Clone)]
pub struct Value(Box<str>);

impl Value {
    /// Reads a value from JSON text (RFC 8259).
    ///
    /// # Errors
    /// As [`json::parse`].
    pub fn from_json(text: &[u8]) -> Result<Self, SyntaxError> {
        json::compact(text).map(Self::from_compact)
    }

    /// The value whose compact text this is, as [`json::compact`] and [`crate::patch::Patch::apply`] write it.
    #[must_use]
    pub(crate) fn from_compact(text: String) -> Self {
        Self(text.into())
    }

    /// The value as a tree.
    ///
    /// # Panics
    /// Never: the text was made from a tree.
    #[must_use]
    pub fn to_tree(&self) -> serde_json::Value {
        json::parse(self.as_json().as_bytes()).expect("it was read before")
    }

    /// The compact JSON text.
    #[must_use]
    pub fn as_json(&self) -> &str {
        &self.0
    }
}

impl Serialize for Value {
    /// Not for answers and files, which copy the text: `serde_json` keeps every digit only this way, and
    /// parses the text again for it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text: &RawValue = serde_json::from_str(&self.0).map_err(S::Error::custom)?;
        text.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        // Most values were written by us.
        if json::compact_value(&text).is_some_and(|compact| compact == text.get()) {
            return Ok(Self(text.into()));
        }
        Self::from_json(text.get().as_bytes())
            .map_err(|error| D::Error::custom(format_args!("not a JSON value: {}", error.reason)))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.as_json() == other.as_json()
    }
}

impl Eq for Value {}
