//! The tree that a patch changes.

use std::borrow::Cow;

use super::object::Object;
use super::pointer::Token;
use super::read::{Reading, read};
use super::sequence::Sequence;
use super::work::{BYTES_PER_UNIT, Work};
use super::{ApplyError, number};

/// A JSON value. Where it is cloned, the copy shares nothing with it but the text it was read from.
#[derive(Debug, Clone)]
pub enum Node<'a> {
    /// A value as compact JSON text: a scalar, or a small array or object without others in it,
    /// which nobody has looked into yet.
    Text(Cow<'a, str>),
    /// An array.
    Array(Box<Array<'a>>),
    /// An object.
    Object(Box<Object<'a>>),
}

/// The elements of an array.
#[derive(Debug, Clone)]
pub struct Array<'a> {
    pub items: Sequence<Node<'a>>,
    /// See [`Node::height`].
    pub height: usize,
}

/// Which of the seven kinds of JSON value a node is, as far as it matters to a patch.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Array,
    Object,
    Number,
    Other,
}

impl<'a> Node<'a> {
    fn kind(&self) -> Kind {
        match self {
            Self::Array(_) => Kind::Array,
            Self::Object(_) => Kind::Object,
            Self::Text(text) => match text.as_bytes().first() {
                Some(b'[') => Kind::Array,
                Some(b'{') => Kind::Object,
                Some(b'-' | b'0'..=b'9') => Kind::Number,
                _ => Kind::Other,
            },
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Self::Text(text) if text == "null")
    }

    fn is_object(&self) -> bool {
        self.kind() == Kind::Object
    }

    /// How many levels of arrays and objects it has at most. It has fewer if what was deepest in it
    /// has been removed; [`Node::measure`] finds out.
    pub fn height(&self) -> usize {
        match self {
            Self::Text(_) => usize::from(matches!(self.kind(), Kind::Array | Kind::Object)),
            Self::Array(array) => array.height,
            Self::Object(object) => object.height,
        }
    }

    /// Takes note that something in it reaches so many levels down.
    pub fn raise(&mut self, height: usize) {
        match self {
            Self::Text(_) => {}
            Self::Array(array) => array.height = array.height.max(height),
            Self::Object(object) => object.height = object.height.max(height),
        }
    }

    /// How many levels it has. Walks through all of it.
    ///
    /// # Errors
    /// As [`Work::charge`].
    pub fn measure(&mut self, work: &mut Work) -> Result<usize, ApplyError> {
        work.charge(1)?;
        let mut below = 0;
        let mut each = |node: &mut Node<'a>| {
            below = below.max(node.measure(work)?);
            Ok::<_, ApplyError>(())
        };
        match self {
            Self::Text(_) => return Ok(self.height()),
            Self::Array(array) => {
                array.items.try_for_each_mut(&mut each)?;
                array.height = 1 + below;
            }
            Self::Object(object) => {
                object
                    .iter_mut()
                    .try_for_each(|member| each(&mut member.node))?;
                object.height = 1 + below;
            }
        }
        Ok(self.height())
    }

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

    /// What stands one step below.
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
            Self::Object(object) => object.get_mut(&token.name()),
        })
    }

    /// Adds to the length so many bytes as it would be written in, until that is past `limit`.
    ///
    /// # Errors
    /// [`ApplyError::TooLarge`], and as [`Work::charge`].
    pub fn count(
        &self,
        bytes: &mut usize,
        limit: usize,
        work: &mut Work,
    ) -> Result<(), ApplyError> {
        work.charge(1)?;
        let commas = |length: usize| length.saturating_sub(1);
        *bytes += match self {
            Self::Text(text) => text.len(),
            Self::Array(array) => "[]".len() + commas(array.items.len()),
            Self::Object(object) => "{}".len() + commas(object.len()),
        };
        match self {
            Self::Text(_) => {}
            Self::Array(array) => {
                for item in array.items.iter() {
                    item.count(bytes, limit, work)?;
                }
            }
            Self::Object(object) => {
                for member in object.iter() {
                    *bytes += member.name.len() + "\"\":".len();
                    member.node.count(bytes, limit, work)?;
                }
            }
        }
        if *bytes > limit {
            return Err(ApplyError::TooLarge { limit });
        }
        Ok(())
    }

    /// Appends the compact JSON text.
    ///
    /// # Errors
    /// As [`Work::charge`].
    pub fn write(&self, text: &mut String, work: &mut Work) -> Result<(), ApplyError> {
        work.charge(1)?;
        match self {
            Self::Text(scalar) => text.push_str(scalar),
            Self::Array(array) => {
                let mut before = '[';
                for item in array.items.iter() {
                    text.push(before);
                    item.write(text, work)?;
                    before = ',';
                }
                text.push_str(if before == '[' { "[]" } else { "]" });
            }
            Self::Object(object) => {
                let mut before = '{';
                for member in object.iter() {
                    text.push(before);
                    text.push('"');
                    text.push_str(&member.name);
                    text.push_str("\":");
                    member.node.write(text, work)?;
                    before = ',';
                }
                text.push_str(if before == '{' { "{}" } else { "}" });
            }
        }
        Ok(())
    }

    /// Equality as RFC 6902 §4.6 has it: objects whatever their order, numbers by their value. It
    /// costs no more than the smaller one, but for numbers.
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
                if one.len() != two.len() {
                    return Ok(false);
                }
                for member in one.iter() {
                    let Some(two) = two.get(&member.name) else {
                        return Ok(false);
                    };
                    if !member.node.same(two, work)? {
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
            *self = Self::Object(Box::new(Object::with_capacity(patch.len())));
        }
        let Self::Object(object) = self else {
            return Ok(());
        };
        for member in patch.into_members() {
            if member.node.is_null() {
                work.charge(1)?;
                object.remove(&member.name);
                continue;
            }
            let height = match object.get_mut(&member.name) {
                Some(there) => {
                    there.merge(member.node, work)?;
                    there.height()
                }
                None => {
                    let mut new = Node::Text(Cow::Borrowed("null"));
                    new.merge(member.node, work)?;
                    let height = new.height();
                    object.insert(member.name, new);
                    height
                }
            };
            object.height = object.height.max(1 + height);
        }
        Ok(())
    }
}

/// What is kept as its text was read before: no level of it is too deep.
const UNFOLDED: Reading = Reading {
    max_depth_levels: 1,
    unfolded_levels: 1,
};
