//! Requests that can be repeated without being done again.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// The longest idempotency key, in bytes.
pub const IDEMPOTENCY_KEY_MAX_BYTES: usize = 255;

/// The name that a client gives to a request, so that it can send it again when the answer was lost
/// (draft-ietf-httpapi-idempotency-key-header): 1 to [`IDEMPOTENCY_KEY_MAX_BYTES`] visible ASCII characters
/// or spaces.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdempotencyKey(Arc<str>);

/// Why a text is not an [`IdempotencyKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum IdempotencyKeyError {
    /// It is empty.
    #[error("an idempotency key must not be empty")]
    Empty,
    /// It is too long.
    #[error("an idempotency key has at most {IDEMPOTENCY_KEY_MAX_BYTES} bytes")]
    TooLong,
    /// It has other characters.
    #[error("an idempotency key has only visible ASCII characters and spaces")]
    Characters,
}

impl IdempotencyKey {
    /// The key with this text.
    ///
    /// # Errors
    /// [`IdempotencyKeyError`].
    pub fn new(text: &str) -> Result<Self, IdempotencyKeyError> {
        let is_allowed = |byte: u8| (b' '..=b'~').contains(&byte);
        if text.is_empty() {
            return Err(IdempotencyKeyError::Empty);
        }
        if text.len() > IDEMPOTENCY_KEY_MAX_BYTES {
            return Err(IdempotencyKeyError::TooLong);
        }
        if !text.bytes().all(is_allowed) {
            return Err(IdempotencyKeyError::Characters);
        }
        Ok(Self(text.into()))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What stands for the content of a request: 128 bits of a hash of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; Fingerprint::BYTES]);

impl Fingerprint {
    /// How many bytes it has.
    pub const BYTES: usize = 16;

    /// From its bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// From the digits that it is written with.
    #[must_use]
    pub fn parse(digits: &str) -> Option<Self> {
        let mut bytes = [0; Self::BYTES];
        hex::decode_to_slice(digits, &mut bytes).ok()?;
        Some(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// A request that can be repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its name; a writer uses each for one request.
    pub key: IdempotencyKey,
    /// Its content.
    pub fingerprint: Fingerprint,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_short_printable_ascii() {
        for (text, error) in [
            ("", IdempotencyKeyError::Empty),
            (&"x".repeat(256), IdempotencyKeyError::TooLong),
            ("a\n", IdempotencyKeyError::Characters),
            ("ä", IdempotencyKeyError::Characters),
        ] {
            assert_eq!(IdempotencyKey::new(text), Err(error), "{text}");
        }
        for text in ["a", " 8e03978e-40d5 ~", &"x".repeat(255)] {
            assert_eq!(IdempotencyKey::new(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn a_fingerprint_is_read_as_it_is_written() {
        let fingerprint = Fingerprint::from_bytes([0x1f; 16]);
        assert_eq!(
            Fingerprint::parse(&fingerprint.to_string()),
            Some(fingerprint)
        );
        for text in ["", "1f", "1f1f1f1f1f1f1f1f1f1f1f1f1f1f1fxx"] {
            assert_eq!(Fingerprint::parse(text), None);
        }
    }
}
