//! What a put needs: the right to create, the right to update, or whichever the store's state asks for.

use super::error::Error;
use super::operations::Operations;
use crate::access::Action;
use crate::model::{Expected, Key, Record};
use crate::precondition::{Preconditions, Tags};

/// What a caller may do to a key with a put.
#[derive(Debug, Clone, Copy)]
pub(super) struct PutRights {
    create: bool,
    update: bool,
}

impl Operations<'_> {
    /// The caller's rights to put `key`.
    ///
    /// # Errors
    /// [`Error::Forbidden`] if they do not suffice, whatever the state of the key is: so who may do neither learns
    /// nothing of it.
    pub(super) fn put_rights(
        &self,
        key: &Key,
        conditions: &Preconditions,
    ) -> Result<PutRights, Error> {
        self.require_any(needed(conditions), key)?;
        Ok(PutRights {
            create: self.may(Action::Create, key),
            update: self.may(Action::Update, key),
        })
    }

    /// What a put must expect of its key, so that it does only what is granted, whatever comes before it.
    ///
    /// # Errors
    /// [`Error::Forbidden`] if it would do what is not granted to `current`.
    pub(super) fn within_rights(
        &self,
        rights: PutRights,
        key: &Key,
        current: Option<&Record>,
        expected: Expected,
    ) -> Result<Expected, Error> {
        let (is_granted, needed, at_least): (_, &'static [Action], _) = match current {
            Some(_) => (rights.update, &[Action::Update], Expected::Present),
            None => (rights.create, &[Action::Create], Expected::Absent),
        };
        if !is_granted {
            return Err(self.forbidden(needed, key).into());
        }
        let has_both = rights.create && rights.update;
        Ok(match expected {
            Expected::Any if !has_both => at_least,
            expected => expected,
        })
    }
}

/// Of these actions, one suffices for a put that may come about.
fn needed(conditions: &Preconditions) -> &'static [Action] {
    if conditions.if_match.is_some() {
        // Without a current entry it does not hold.
        &[Action::Update]
    } else if conditions.if_none_match == Some(Tags::Any) {
        &[Action::Create]
    } else {
        &[Action::Create, Action::Update]
    }
}
