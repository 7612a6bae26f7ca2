//! Who asks.

use std::fmt;
use std::sync::LazyLock;

use tokio::sync::watch;

use super::grants::Grants;
use crate::model::{Name, Timestamp};

/// Who asks, and what that caller may do.
#[derive(Debug)]
pub struct Principal {
    name: Option<Name>,
    grants: Grants,
    expires_at: Option<Timestamp>,
    revoked: watch::Sender<bool>,
}

static UNRESTRICTED: LazyLock<Principal> =
    LazyLock::new(|| Principal::new(None, Grants::everything(), None));

impl Principal {
    /// A caller with these grants, until `expires_at`. Without a name it is an anonymous one.
    #[must_use]
    pub fn new(name: Option<Name>, grants: Grants, expires_at: Option<Timestamp>) -> Self {
        Self {
            name,
            grants,
            expires_at,
            revoked: watch::Sender::new(false),
        }
    }

    /// A caller without a name who may do everything, for a program that decides by itself who may do what.
    #[must_use]
    pub fn unrestricted() -> &'static Self {
        &UNRESTRICTED
    }

    /// What its writes are signed with.
    #[must_use]
    pub fn name(&self) -> Option<&Name> {
        self.name.as_ref()
    }

    /// What it may do.
    #[must_use]
    pub fn grants(&self) -> &Grants {
        &self.grants
    }

    /// When it may no longer do anything.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    /// Whether its time is over.
    #[must_use]
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }

    /// Whether `other` has the same name and may do the same, for as long.
    #[must_use]
    pub fn has_same_rights(&self, other: &Self) -> bool {
        self.name == other.name
            && self.grants == other.grants
            && self.expires_at == other.expires_at
    }

    /// Ends every stream that it reads: its rights have changed, or it has none any more.
    pub fn revoke(&self) {
        self.revoked.send_replace(true);
    }

    /// Ready as soon as it has been revoked.
    pub fn revoked(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut revoked = self.revoked.subscribe();
        async move {
            // One that nobody has kept is gone.
            let _ = revoked.wait_for(|revoked| *revoked).await;
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name.as_ref().map_or("anonymous", Name::as_str))
    }
}
