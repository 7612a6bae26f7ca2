//! Who asks.

use std::fmt;
use std::future;
use std::sync::{Arc, LazyLock};

use tokio::sync::watch;

use super::grants::Grants;
use crate::model::{Name, Timestamp};

/// Who asks, and what that caller may do.
#[derive(Debug)]
pub struct Principal {
    name: Option<Name>,
    grants: Arc<Grants>,
    expires_at: Option<Timestamp>,
    /// Nothing for one whose rights never change.
    revoked: Option<Arc<watch::Sender<bool>>>,
    /// Its sender is dropped when the session ends in which it asks, if it is in one.
    session: Option<watch::Receiver<()>>,
}

static UNRESTRICTED: LazyLock<Principal> =
    LazyLock::new(|| Principal::anonymous(Grants::everything()));

impl Principal {
    /// A caller with these grants, until `expires_at`.
    #[must_use]
    pub fn new(name: Name, grants: Grants, expires_at: Option<Timestamp>) -> Self {
        Self {
            name: Some(name),
            grants: Arc::new(grants),
            expires_at,
            revoked: Some(Arc::new(watch::Sender::new(false))),
            session: None,
        }
    }

    /// Every caller without a name. What they may do does not change.
    #[must_use]
    pub fn anonymous(grants: Grants) -> Self {
        Self {
            name: None,
            grants: Arc::new(grants),
            expires_at: None,
            revoked: None,
            session: None,
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

    /// One with the same name, for as long, who may do what `more` allows too.
    #[cfg(feature = "server")]
    pub(super) fn with_grants(&self, more: &Grants) -> Self {
        Self {
            name: self.name.clone(),
            grants: Arc::new(self.grants.with(more)),
            expires_at: self.expires_at,
            revoked: Some(Arc::new(watch::Sender::new(false))),
            session: None,
        }
    }

    /// The same, who is revoked with this one or when the sender of `session` is dropped.
    #[cfg(feature = "server")]
    pub(super) fn in_session(&self, session: watch::Receiver<()>) -> Self {
        Self {
            name: self.name.clone(),
            grants: Arc::clone(&self.grants),
            expires_at: self.expires_at,
            revoked: self.revoked.clone(),
            session: Some(session),
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

    /// Ready as soon as it has been revoked, or its session has ended; nothing for one that cannot be revoked.
    #[must_use]
    pub fn revoked(&self) -> Option<impl Future<Output = ()> + Send + use<>> {
        let mut revoked = self.revoked.as_ref()?.subscribe();
        let session = self.session.clone();
        let ended = async {
            match session {
                // Nothing is ever sent.
                Some(mut session) => drop(session.changed().await),
                None => future::pending().await,
            }
        };
        Some(async move {
            tokio::select! {
                // One that nobody has kept is gone.
                _ = revoked.wait_for(|revoked| *revoked) => {}
                () = ended => {}
            }
        })
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name.as_ref().map_or("anonymous", Name::as_str))
    }
}
