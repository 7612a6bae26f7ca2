//! From the token of a request to who asks.

use std::mem;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use parking_lot::{RwLock, RwLockUpgradableReadGuard};
use thiserror::Error;

use super::attempts::Attempts;
use super::grants::Grants;
use super::principal::Principal;
use super::secret::{TokenHash, hash_of, is_well_formed};
use super::sessions::Sessions;
use super::tokens::{Identity, Tokens};
use crate::model::{Name, Timestamp};

/// Decides who asks. Copies share what they know.
#[derive(Debug, Clone)]
pub struct Authority(Arc<Known>);

#[derive(Debug)]
struct Known {
    anonymous: Option<Caller>,
    /// Every change of it is for requests that come later.
    tokens: RwLock<Arc<Tokens>>,
    sessions: Sessions,
    attempts: Attempts,
}

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) enum Caller {
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
pub(crate) enum Unauthorized {
    /// There is no token, and nobody may ask without one.
    Missing,
    /// No such token is known.
    Unknown,
    /// The token's time is over.
    Expired,
    /// No such session is known, or its time is over.
    SessionEnded,
    /// The certificate, or the name that a trusted proxy has sent, is not known.
    UnknownIdentity,
    /// Too many tokens from this address were not valid. It is not said whether this one is.
    TooManyAttempts,
}

/// Why somebody could not sign in.
#[derive(Debug, Error)]
pub(crate) enum SignInError {
    /// The token is not valid.
    #[error("the token is not valid")]
    Unauthorized(Unauthorized),
    /// The system has no randomness for the id of a session.
    #[error(transparent)]
    Random(#[from] getrandom::Error),
}

impl Authority {
    /// Everybody may do everything.
    #[must_use]
    pub fn open() -> Self {
        Self::of(Some(Caller::Anyone), Tokens::default())
    }

    /// Who has one of `tokens` may do what it grants, and everybody may do what `anonymous` grants, with a token or
    /// without. Without `anonymous`, a token is needed.
    #[must_use]
    pub fn new(mut tokens: Tokens, anonymous: Option<Grants>) -> Self {
        if let Some(everyone) = &anonymous {
            tokens.add_grants(everyone);
        }
        let anonymous =
            anonymous.map(|grants| Caller::Known(Arc::new(Principal::anonymous(grants))));
        Self::of(anonymous, tokens)
    }

    fn of(anonymous: Option<Caller>, tokens: Tokens) -> Self {
        Self(Arc::new(Known {
            anonymous,
            tokens: RwLock::new(Arc::new(tokens)),
            sessions: Sessions::default(),
            attempts: Attempts::default(),
        }))
    }

    /// Whether everybody may do everything.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.0.anonymous, Some(Caller::Anyone))
    }

    /// Replaces the tokens. Who has the same rights in both goes on; streams of every other one end.
    pub fn replace(&self, mut tokens: Tokens) {
        if let Some(everyone) = &self.0.anonymous {
            tokens.add_grants(everyone.grants());
        }
        // While ten thousand tokens are compared, and freed, requests go on; another replacement waits.
        let current = self.0.tokens.upgradable_read();
        tokens.take_over(&current);
        let mut current = RwLockUpgradableReadGuard::upgrade(current);
        let before = mem::replace(&mut *current, Arc::new(tokens));
        drop(current);
        drop(before);
    }

    /// Ends the streams of those whose time is over.
    pub(crate) fn revoke_expired(&self, now: Timestamp) {
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
    pub(crate) fn anonymous(&self) -> Result<Caller, Unauthorized> {
        self.0.anonymous.clone().ok_or(Unauthorized::Missing)
    }

    /// Who has a token, which came from `address`. It costs one hash, whatever the token is.
    ///
    /// After many wrong tokens of an address, one that could be guessed is no longer tried: a token of
    /// [`new_token`](super::new_token) cannot, so it goes on to work for its neighbours.
    ///
    /// # Errors
    /// [`Unauthorized::Unknown`], [`Unauthorized::Expired`], [`Unauthorized::TooManyAttempts`].
    pub(crate) fn caller_of(
        &self,
        token: &[u8],
        address: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Caller, Unauthorized> {
        let found = self.check(&hash_of(token), token, address, now);
        found.map(Caller::Known)
    }

    fn check(
        &self,
        hash: &TokenHash,
        token: &[u8],
        address: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Arc<Principal>, Unauthorized> {
        let Known {
            tokens, attempts, ..
        } = &*self.0;
        let found = with_hash(&tokens.read(), hash, now);
        let Some(address) = address else {
            return found;
        };
        match &found {
            Ok(_) if attempts.are_exhausted(address) => {
                let text = std::str::from_utf8(token).unwrap_or_default();
                if is_well_formed(text) {
                    return found;
                }
                Err(Unauthorized::TooManyAttempts)
            }
            Err(Unauthorized::Unknown) if attempts.fail(address) => {
                Err(Unauthorized::TooManyAttempts)
            }
            _ => found,
        }
    }

    /// Who has a client certificate or, as a trusted proxy says, is a `user`. If nobody is known by them, who may
    /// ask without a token may ask so too: under the name of the user, if there is one.
    ///
    /// # Errors
    /// [`Unauthorized::UnknownIdentity`], [`Unauthorized::Expired`].
    pub(crate) fn caller_identified(
        &self,
        identities: &[Identity],
        user: Option<&str>,
        now: Timestamp,
    ) -> Result<Caller, Unauthorized> {
        let found = {
            let tokens = self.0.tokens.read();
            let found = identities
                .iter()
                .find_map(|identity| tokens.identified(identity));
            found.cloned()
        };
        if let Some(principal) = found {
            return if principal.has_expired(now) {
                Err(Unauthorized::Expired)
            } else {
                Ok(Caller::Known(principal))
            };
        }
        let unknown = Unauthorized::UnknownIdentity;
        let anonymous = self.anonymous().map_err(|_| unknown)?;
        let Some(user) = user else {
            return Ok(anonymous);
        };
        let name: Name = user.parse().map_err(|_| unknown)?;
        let grants = anonymous.grants().clone();
        Ok(Caller::Known(Arc::new(
            Principal::anonymous(grants).named(name),
        )))
    }

    /// The id of a new session for a token.
    ///
    /// # Errors
    /// [`SignInError`].
    pub(crate) fn sign_in(
        &self,
        token: &[u8],
        address: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<String, SignInError> {
        let hash = hash_of(token);
        self.check(&hash, token, address, now)
            .map_err(SignInError::Unauthorized)?;
        Ok(self.0.sessions.begin(hash, now)?)
    }

    /// Who has a session. It is worth as much as its token is now.
    ///
    /// # Errors
    /// [`Unauthorized::SessionEnded`].
    pub(crate) fn caller_in_session(
        &self,
        id: &[u8],
        now: Timestamp,
    ) -> Result<Caller, Unauthorized> {
        let token = self.0.sessions.token_of(id, now);
        let (token, ended) = token.ok_or(Unauthorized::SessionEnded)?;
        let found = with_hash(&self.0.tokens.read(), &token, now);
        let principal = found.map_err(|_| Unauthorized::SessionEnded)?;
        Ok(Caller::Known(Arc::new(principal.in_session(ended))))
    }

    /// Ends a session, and every stream that it reads.
    pub(crate) fn sign_out(&self, id: &[u8]) {
        self.0.sessions.end(id);
    }
}

fn with_hash(
    tokens: &Tokens,
    hash: &TokenHash,
    now: Timestamp,
) -> Result<Arc<Principal>, Unauthorized> {
    let principal = tokens.find(hash).ok_or(Unauthorized::Unknown)?;
    if principal.has_expired(now) {
        return Err(Unauthorized::Expired);
    }
    Ok(Arc::clone(principal))
}
