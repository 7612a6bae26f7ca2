//! Randomness.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

/// A token that no other run of this program has: 64 random bits in hex.
#[must_use]
pub fn random_token() -> Arc<str> {
    // The keys of `RandomState` come from the system's random source, once per process.
    let bits = RandomState::new().hash_one(std::process::id());
    hex::encode(bits.to_be_bytes()).into()
}
