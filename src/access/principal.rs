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
    /// Nothing for one whose rights never change.
    revoked: Option<watch::Sender<bool>>,
}

static UNRESTRICTED: LazyLock<Principal> =
    LazyLock::new(|| Principal::anonymous(Grants::everything()));

impl Principal {
    /// A caller with these grants, until `expires_at`.
    #[must_use]
    pub fn new(name: Name, grants: Grants, expires_at: Option<Timestamp>) -> Self {
        Self {
            name: Some(name),
            grants,
            expires_at,
            revoked: Some(watch::Sender::new(false)),
        }
    }

    /// Every caller without a name. What they may do does not change.
    #[must_use]
    pub fn anonymous(grants: Grants) -> Self {
        Self {
            name: None,
            grants,
            expires_at: None,
            revoked: None,
        }
    }

    /// The same under a name.
    #[must_use]
    pub fn named(self, name: Name) -> Self {
        Self {
            name: Some(name),
            ..self
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
        if let Some(revoked) = &self.revoked {
            revoked.send_replace(true);
        }
    }

    /// Ready as soon as it has been revoked; nothing for one that cannot be.
    #[must_use]
    pub fn revoked(&self) -> Option<impl Future<Output = ()> + Send + use<>> {
        let mut revoked = self.revoked.as_ref()?.subscribe();
        Some(async move {
            // One that nobody has kept is gone.
            let _ = revoked.wait_for(|revoked| *revoked).await;
        })
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name.as_ref().map_or("anonymous", Name::as_str))
    }
}
