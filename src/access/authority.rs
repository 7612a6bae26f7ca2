//! From the token of a request to who asks.

use std::ops::Deref;
use std::sync::Arc;

use parking_lot::RwLock;

use super::grants::Grants;
use super::principal::Principal;
use super::secret::{TokenHash, hash_of};
use super::tokens::Tokens;
use crate::model::Timestamp;

/// Decides who asks. Copies share what they know.
#[derive(Debug, Clone)]
pub struct Authority(Arc<Known>);

#[derive(Debug)]
struct Known {
    anonymous: Option<Caller>,
    /// Every change of it is for requests that come later.
    tokens: RwLock<Arc<Tokens>>,
}

/// Who asks.
#[derive(Debug, Clone)]
pub enum Caller {
    /// Somebody who may do everything, because the service asks nobody for a token. It is not counted who
    /// holds it: all processors would count together.
    Anyone,
    /// One with rights of its own.
    Known(Arc<Principal>),
}

impl Deref for Caller {
    type Target = Principal;

    fn deref(&self) -> &Principal {
        match self {
            Self::Anyone => Principal::unrestricted(),
            Self::Known(principal) => principal,
        }
    }
}

/// Why it is not known who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unauthorized {
    /// There is no token, and nobody may ask without one.
    Missing,
    /// No such token is known.
    Unknown,
    /// The token's time is over.
    Expired,
}

impl Authority {
    /// Everybody may do everything.
    #[must_use]
    pub fn open() -> Self {
        Self::of(Some(Caller::Anyone), Tokens::default())
    }

    /// Who has one of `tokens` may do what it grants; who has none, what `anonymous` grants. Without that,
    /// a token is needed.
    #[must_use]
    pub fn new(tokens: Tokens, anonymous: Option<Grants>) -> Self {
        let anonymous = anonymous.map(|grants| {
            let principal = Principal::new(None, grants, None);
            Caller::Known(Arc::new(principal))
        });
        Self::of(anonymous, tokens)
    }

    fn of(anonymous: Option<Caller>, tokens: Tokens) -> Self {
        Self(Arc::new(Known {
            anonymous,
            tokens: RwLock::new(Arc::new(tokens)),
        }))
    }

    /// Replaces the tokens. Who has the same rights in both goes on; streams of every other one end.
    pub fn replace(&self, mut tokens: Tokens) {
        let mut current = self.0.tokens.write();
        tokens.take_over(&current);
        *current = Arc::new(tokens);
    }

    /// Ends the streams of those whose time is over.
    pub fn revoke_expired(&self, now: Timestamp) {
        let tokens = Arc::clone(&self.0.tokens.read());
        for principal in tokens.principals() {
            if principal.has_expired(now) {
                principal.revoke();
            }
        }
    }

    /// Who asks without a token.
    ///
    /// # Errors
    /// [`Unauthorized::Missing`].
    pub fn anonymous(&self) -> Result<Caller, Unauthorized> {
        self.0.anonymous.clone().ok_or(Unauthorized::Missing)
    }

    /// Who has a token. It costs one hash, whatever the token is.
    ///
    /// # Errors
    /// [`Unauthorized::Unknown`], [`Unauthorized::Expired`].
    pub fn caller_of(&self, token: &[u8], now: Timestamp) -> Result<Caller, Unauthorized> {
        self.caller_with_hash(&hash_of(token), now)
    }

    /// Who has the token with this hash.
    ///
    /// # Errors
    /// [`Unauthorized::Unknown`], [`Unauthorized::Expired`].
    pub fn caller_with_hash(
        &self,
        hash: &TokenHash,
        now: Timestamp,
    ) -> Result<Caller, Unauthorized> {
        let tokens = self.0.tokens.read();
        let principal = tokens.find(hash).ok_or(Unauthorized::Unknown)?;
        if principal.has_expired(now) {
            return Err(Unauthorized::Expired);
        }
        Ok(Caller::Known(Arc::clone(principal)))
    }
}
