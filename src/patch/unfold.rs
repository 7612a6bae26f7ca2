//! Operations that parse arrays and objects kept as text until then.

use std::borrow::Cow;

use super::error::ApplyError;
use super::members::Members;
use super::node::{Kind, Node, Object};
use super::number;
use super::pointer::Token;
use super::read::{Reading, read};
use super::work::{BYTES_PER_UNIT, Work};

/// What is kept as its text was read before: no level of it is too deep.
const UNFOLDED: Reading = Reading {
    max_depth_levels: 1,
    unfolded_levels: 1,
};

impl<'a> Node<'a> {
    /// Makes nodes of a small array or object that is kept as its text.
    ///
    /// # Errors
    /// As [`Work::charge`].
    pub fn unfold(&mut self, work: &mut Work) -> Result<(), ApplyError> {
        // Only what was read is kept like this.
        if let &mut Self::Text(Cow::Borrowed(text)) = self
            && self.height() > 0
        {
            *self = read(text, UNFOLDED, work)?;
        }
        Ok(())
    }

    /// The node one step below.
    ///
    /// # Errors
    /// As [`Work::charge`].
    pub fn step(
        &mut self,
        token: Token,
        work: &mut Work,
    ) -> Result<Option<&mut Node<'a>>, ApplyError> {
        work.charge(1)?;
        self.unfold(work)?;
        Ok(match self {
            Self::Text(_) => None,
            Self::Array(array) => token
                .index()
                .and_then(|position| array.items.get_mut(position)),
            Self::Object(object) => object.members.get_mut(&token.name()),
        })
    }

    /// Equality as RFC 6902 §4.6 defines it: objects in any order, numbers by their value. It costs no more
    /// than the smaller one, but for numbers.
    ///
    /// # Errors
    /// As [`Work::charge`].
    pub fn same(&self, other: &Self, work: &mut Work) -> Result<bool, ApplyError> {
        work.charge(1)?;
        match (self, other) {
            (Self::Text(one), Self::Text(two)) if one == two => Ok(true),
            (Self::Text(one), Self::Text(two)) if self.kind() == Kind::Number => {
                if other.kind() != Kind::Number {
                    return Ok(false);
                }
                work.charge((one.len() + two.len()) / BYTES_PER_UNIT)?;
                Ok(number::same(one, two))
            }
            (Self::Array(one), Self::Array(two)) => {
                if one.items.len() != two.items.len() {
                    return Ok(false);
                }
                for (one, two) in one.items.iter().zip(two.items.iter()) {
                    if !one.same(two, work)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Self::Object(one), Self::Object(two)) => {
                if one.members.len() != two.members.len() {
                    return Ok(false);
                }
                for member in one.members.iter() {
                    let Some(two) = two.members.get(&member.name) else {
                        return Ok(false);
                    };
                    if !member.value.same(two, work)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            _ if self.kind() == other.kind() && self.height() > 0 => {
                // One is kept as its text, or both are and differ in it.
                let (mut one, mut two) = (Cow::Borrowed(self), Cow::Borrowed(other));
                for side in [&mut one, &mut two] {
                    if let Self::Text(_) = **side {
                        side.to_mut().unfold(work)?;
                    }
                }
                one.same(&two, work)
            }
            _ => Ok(false),
        }
    }

    /// Merges what is not null of a merge patch into it (RFC 7396 §2).
    ///
    /// # Errors
    /// As [`Work::charge`].
    pub fn merge(&mut self, mut patch: Node<'a>, work: &mut Work) -> Result<(), ApplyError> {
        work.charge(1)?;
        if patch.is_object() {
            patch.unfold(work)?;
        }
        let Self::Object(patch) = patch else {
            *self = patch;
            return Ok(());
        };
        self.unfold(work)?;
        if !self.is_object() {
            *self = Self::Object(Box::new(Object {
                members: Members::with_capacity(patch.members.len()),
                height: 1,
            }));
        }
        let Self::Object(object) = self else {
            return Ok(());
        };
        for member in patch.members.into_members() {
            if member.value.is_null() {
                work.charge(1)?;
                object.members.remove(&member.name);
                continue;
            }
            let height = match object.members.get_mut(&member.name) {
                Some(there) => {
                    there.merge(member.value, work)?;
                    there.height()
                }
                None => {
                    let mut new = Node::Text(Cow::Borrowed("null"));
                    new.merge(member.value, work)?;
                    let height = new.height();
                    object.members.insert(member.name, new);
                    height
                }
            };
            object.height = object.height.max(1 + height);
        }
        Ok(())
    }
}
