//! The operations as one caller may do them.

use std::net::IpAddr;

use super::Service;
use super::error::{Current, Error, Forbidden, Place};
use super::scope::{Points, Scope};
use crate::access::{Action, Principal, Readable};
use crate::model::{Entry, Key, Request};
use crate::storage::Store;

/// The operations of a [`Service`], as one caller may do them: there is no other way to its entries, so none
/// of them can forget to ask.
///
/// Writes of a caller who may not read the key answer without the entry, unless it is the value that they sent.
#[derive(Debug, Clone, Copy)]
pub struct Operations<'a> {
    pub(super) service: &'a Service,
    pub(super) principal: &'a Principal,
    pub(super) request_id: Option<&'a str>,
    pub(super) address: Option<IpAddr>,
    pub(super) request: Option<&'a Request>,
}

impl Service {
    /// The operations, as `principal` may do them.
    #[must_use]
    pub fn acting_as<'a>(&'a self, principal: &'a Principal) -> Operations<'a> {
        Operations {
            service: self,
            principal,
            request_id: None,
            address: None,
            request: None,
        }
    }
}

impl<'a> Operations<'a> {
    /// The same for the request with this id, which audit lines show.
    #[must_use]
    pub fn in_request(self, id: Option<&'a str>) -> Self {
        Self {
            request_id: id,
            ..self
        }
    }

    /// The same for a client at this address, which audit lines show.
    #[must_use]
    pub fn from_address(self, address: Option<IpAddr>) -> Self {
        Self { address, ..self }
    }

    /// The same, where each write is done once, however often this request is sent. What was committed for it is
    /// answered again, as it was then; what was refused may be tried again.
    #[must_use]
    pub fn for_request(self, request: Option<&'a Request>) -> Self {
        Self { request, ..self }
    }

    pub(super) fn store(&self) -> &'a dyn Store {
        &*self.service.store
    }

    pub(super) fn may(&self, action: Action, key: &Key) -> bool {
        self.principal.grants().allow(action, key)
    }

    /// # Errors
    /// [`Error::Forbidden`] if `action` is not granted.
    pub(super) fn require(&self, action: Action, key: &Key) -> Result<(), Error> {
        let needed = match action {
            Action::Read => &[Action::Read],
            Action::Create => &[Action::Create],
            Action::Update => &[Action::Update],
            Action::Delete => &[Action::Delete],
        };
        self.require_any(needed, key)
    }

    /// # Errors
    /// [`Error::Forbidden`] if none of `needed` is granted.
    pub(super) fn require_any(&self, needed: &'static [Action], key: &Key) -> Result<(), Error> {
        if needed.iter().any(|action| self.may(*action, key)) {
            return Ok(());
        }
        Err(self.forbidden(needed, key).into())
    }

    /// The refusal, which is audited if it is that of a write.
    pub(super) fn forbidden(&self, needed: &'static [Action], key: &Key) -> Forbidden {
        if needed != [Action::Read] {
            self.audit_refused(needed, key);
        }
        Forbidden::of_key(needed, key)
    }

    /// The refusal of a write, which is audited if it is for lack of rights.
    pub(super) fn audited(&self, refused: Error) -> Error {
        match refused {
            Error::Forbidden(Forbidden {
                needed,
                place: Place::Key(key),
            }) => self.forbidden(needed, &key).into(),
            refused => refused,
        }
    }

    /// What the caller sees of the keys with `prefix`.
    ///
    /// # Errors
    /// [`Error::Forbidden`] if that is none, whatever keys there are.
    pub(super) fn scope_of(&self, prefix: &str) -> Result<Scope, Error> {
        match self.principal.grants().readable_with_prefix(prefix) {
            Readable::Everything => Ok(Scope::Everything),
            Readable::Prefixes(prefixes) => Ok(Scope::Prefixes(prefixes.into())),
            Readable::Nothing => Err(Error::Forbidden(Forbidden {
                needed: &[Action::Read],
                place: Place::Prefix(prefix.to_owned()),
            })),
        }
    }

    /// How the points of the store are shown to a caller who sees `scope`.
    pub(super) fn points_of(&self, scope: &Scope) -> Points {
        Points::of(scope, || self.store().past().secret())
    }

    /// An entry as far as the caller may know it.
    pub(super) fn current(&self, key: &Key, entry: Option<Entry>) -> Current {
        if self.may(Action::Read, key) {
            entry.into()
        } else {
            Current::Hidden
        }
    }
}
