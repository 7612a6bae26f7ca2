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
        self.require_any(possible(conditions), key)?;
        Ok(PutRights {
            create: self.may(Action::Create, key),
            update: self.may(Action::Update, key),
        })
    }
}

impl PutRights {
    /// What the caller may not do and a put of a key in this state would do. To be checked before the preconditions:
    /// the answer to a caller who may not write this must not say whether they hold, or it would answer questions
    /// about an entry that is not read.
    pub(super) fn missing(
        self,
        conditions: &Preconditions,
        current: Option<&Record>,
    ) -> Option<&'static [Action]> {
        let (is_granted, action, needed): (_, _, &'static [Action]) = match current {
            Some(_) => (self.update, Action::Update, &[Action::Update]),
            None => (self.create, Action::Create, &[Action::Create]),
        };
        // What cannot come about is refused by the preconditions.
        (!is_granted && possible(conditions).contains(&action)).then_some(needed)
    }

    /// What a put must expect of its key, so that it does only what is granted, whatever comes before it.
    pub(super) fn narrow(self, expected: Expected, current: Option<&Record>) -> Expected {
        let has_both = self.create && self.update;
        match (expected, current) {
            (Expected::Any, Some(_)) if !has_both => Expected::Present,
            (Expected::Any, None) if !has_both => Expected::Absent,
            (expected, _) => expected,
        }
    }
}

/// What a put can do under these preconditions; the right to one of these suffices for one that may come about.
fn possible(conditions: &Preconditions) -> &'static [Action] {
    if conditions.if_match.is_some() || conditions.if_unmodified_since.is_some() {
        // Without a current entry they do not hold.
        &[Action::Update]
    } else if conditions.if_none_match == Some(Tags::Any) {
        &[Action::Create]
    } else {
        &[Action::Create, Action::Update]
    }
}
