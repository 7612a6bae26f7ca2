//! The tree that a patch changes.

use std::borrow::Cow;

use super::error::ApplyError;
use super::members::Members;
use super::sequence::Sequence;
use super::work::Work;

/// A JSON value. Where it is cloned, the copy shares nothing with it but the text it was read from.
#[derive(Debug, Clone)]
pub enum Node<'a> {
    /// A value as compact JSON text: a scalar, or a small array or object without others in it, which was not
    /// parsed yet.
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

/// The members of an object.
#[derive(Debug, Clone)]
pub struct Object<'a> {
    pub members: Members<'a, Node<'a>>,
    /// See [`Node::height`].
    pub height: usize,
}

/// Which of the seven kinds of JSON value a node is, as far as it matters to a patch.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Array,
    Object,
    Number,
    Other,
}

impl<'a> Node<'a> {
    pub fn kind(&self) -> Kind {
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

    pub fn is_object(&self) -> bool {
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

    /// Notes that something in it reaches so many levels down.
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
                let mut members = object.members.iter_mut();
                members.try_for_each(|member| each(&mut member.value))?;
                object.height = 1 + below;
            }
        }
        Ok(self.height())
    }

    /// Adds the length of its text to `bytes`, until that exceeds `limit`.
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
            Self::Object(object) => "{}".len() + commas(object.members.len()),
        };
        match self {
            Self::Text(_) => {}
            Self::Array(array) => {
                for item in array.items.iter() {
                    item.count(bytes, limit, work)?;
                }
            }
            Self::Object(object) => {
                for member in object.members.iter() {
                    *bytes += member.name.len() + "\"\":".len();
                    member.value.count(bytes, limit, work)?;
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
                for member in object.members.iter() {
                    text.push(before);
                    text.push('"');
                    text.push_str(&member.name);
                    text.push_str("\":");
                    member.value.write(text, work)?;
                    before = ',';
                }
                text.push_str(if before == '{' { "{}" } else { "}" });
            }
        }
        Ok(())
    }
}
