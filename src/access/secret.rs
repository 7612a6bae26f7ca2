//! The text of a token, and the hash by which it is known.
//!
//! `ifm_`, 30 random characters, 6 characters of checksum, all of base62. The beginning lets scanners find
//! tokens that got into a repository; the checksum tells a token that was not copied whole from one that is not
//! known.

use sha2::{Digest as _, Sha256};

/// What tokens begin with.
const BEGINNING: &str = "ifm_";
/// How many random characters follow: 178 bits.
const RANDOM_CHARS: usize = 30;
/// How many characters the checksum takes: six of base62 have room for its 32 bits.
const CHECKSUM_CHARS: usize = 6;
/// The digits of base62.
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The SHA-256 of a token's text.
pub type TokenHash = [u8; 32];

/// The hash by which a token is known.
#[must_use]
pub fn hash_of(token: &[u8]) -> TokenHash {
    Sha256::digest(token).into()
}

/// A new token.
///
/// # Errors
/// If the system has no randomness.
pub fn new_token() -> Result<String, getrandom::Error> {
    let mut token = BEGINNING.to_owned();
    while token.len() < BEGINNING.len() + RANDOM_CHARS {
        let mut bytes = [0; RANDOM_CHARS];
        getrandom::fill(&mut bytes)?;
        // The highest multiple of 62 in a byte: above it some digits would come more often.
        let even = bytes.into_iter().filter(|byte| *byte < 248);
        let rest = BEGINNING.len() + RANDOM_CHARS - token.len();
        token.extend(even.map(|byte| digit(u32::from(byte))).take(rest));
    }
    let checksum = checksum(&token);
    token.push_str(&checksum);
    Ok(token)
}

/// Whether a text has the form of [`new_token`], with a checksum that fits.
#[must_use]
pub fn is_well_formed(text: &str) -> bool {
    let length = BEGINNING.len() + RANDOM_CHARS + CHECKSUM_CHARS;
    text.len() == length
        && text.starts_with(BEGINNING)
        && text
            .split_at_checked(length - CHECKSUM_CHARS)
            .is_some_and(|(token, end)| checksum(token) == end)
}

fn checksum(text: &str) -> String {
    let mut rest = crc32fast::hash(text.as_bytes());
    let mut digits = ['0'; CHECKSUM_CHARS];
    for place in digits.iter_mut().rev() {
        *place = digit(rest);
        rest /= 62;
    }
    digits.into_iter().collect()
}

fn digit(number: u32) -> char {
    DIGITS[(number % 62) as usize].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_token_is_well_formed_and_no_other_text_is() {
        let (one, other) = (new_token().unwrap(), new_token().unwrap());
        assert_ne!(one, other);
        for token in [&one, &other] {
            assert!(is_well_formed(token), "{token}");
            assert_eq!(token.len(), 40);
        }
        for at in 0..one.len() {
            let mut text = one.clone().into_bytes();
            text[at] = if text[at] == b'x' { b'y' } else { b'x' };
            assert!(!is_well_formed(std::str::from_utf8(&text).unwrap()), "{at}");
        }
        for text in ["", "ifm_", &one[..39], &format!("{one}x"), &"ü".repeat(20)] {
            assert!(!is_well_formed(text), "{text}");
        }
    }
}
