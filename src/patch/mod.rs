//! Patch documents: JSON Merge Patch (RFC 7396) and JSON Patch (RFC 6902). Pure.
//!
//! A small document must not cost much, whatever it says. So a patch is applied to a tree of its
//! own, in which every operation costs about the same wherever it is done and however large what
//! it moves is (`node`, `sequence`, `object`). What is left that may cost a whole value, in
//! one operation, is taken from a budget (`work`).

mod apply;
mod node;
mod number;
mod object;
mod pointer;
mod read;
mod sequence;
mod work;

use serde_json::Value as Tree;
use thiserror::Error;

use crate::json::{self, MAX_DEPTH_LEVELS, SyntaxError};
use node::Node;
use pointer::Pointer;
use read::{Reading, read};
use work::Work;

/// In a JSON Patch a value stands in an operation, in the array of all.
const LEVELS_AROUND_VALUES: usize = 2;

/// A patch document that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Patch {
    document: Document,
    text_bytes: usize,
}

#[derive(Debug, Clone, PartialEq)]
enum Document {
    /// RFC 7396, as compact JSON text.
    Merge(Box<str>),
    /// RFC 6902.
    Operations(Vec<Operation>),
}

/// One operation of a JSON Patch. Values are compact JSON text.
#[derive(Debug, Clone, PartialEq)]
struct Operation {
    path: Pointer,
    kind: OperationKind,
}

#[derive(Debug, Clone, PartialEq)]
enum OperationKind {
    Add(Box<str>),
    Remove,
    Replace(Box<str>),
    Move(Pointer),
    Copy(Pointer),
    Test(Box<str>),
}

/// Why a text is not a patch document.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PatchError {
    /// It is not JSON.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// It is not an array of operations.
    #[error("a JSON Patch is an array of operations")]
    NotAnArray,
    /// One of its operations is not valid.
    #[error("operation {index}: {reason}")]
    Operation {
        /// Which, counted from 0.
        index: usize,
        /// What is wrong with it.
        reason: String,
    },
}

/// Why a patch cannot be applied to a value. The value is as it was.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ApplyError {
    /// An operation does not fit the value: a `test` failed, or a path is not there.
    #[error("operation {index} at {path:?}: {reason}")]
    Conflict {
        /// Which operation, counted from 0.
        index: usize,
        /// Its path.
        path: String,
        /// What does not fit.
        reason: String,
    },
    /// The result would be longer than a value may be.
    #[error("the patched value would be longer than {limit} bytes")]
    TooLarge {
        /// The limit in bytes of JSON text.
        limit: usize,
    },
    /// The budget of work is used up, which depends on the sizes of the patch and of the value.
    #[error(
        "the patch takes more work than a patch and a value of these sizes may; \
         send its operations in several patches, or the new value with PUT"
    )]
    TooMuchWork,
    /// Nobody waits for the result any more.
    #[error("the patch was stopped before its end")]
    Stopped,
    /// What is to be patched is not a value.
    #[error("what is to be patched is not a JSON value: {0}")]
    NotJson(SyntaxError),
}

impl Patch {
    /// Reads a merge patch, which is any JSON text.
    ///
    /// # Errors
    /// [`PatchError::Syntax`].
    pub fn merge(text: &[u8]) -> Result<Self, PatchError> {
        Ok(Self {
            document: Document::Merge(json::compact(text)?.into()),
            text_bytes: text.len(),
        })
    }

    /// Reads a JSON Patch.
    ///
    /// # Errors
    /// [`PatchError`].
    pub fn operations(text: &[u8]) -> Result<Self, PatchError> {
        let levels = MAX_DEPTH_LEVELS + LEVELS_AROUND_VALUES;
        let Node::Array(operations) = read_patch(text, levels, LEVELS_AROUND_VALUES)? else {
            return Err(PatchError::NotAnArray);
        };
        let read = |(index, operation)| {
            read_operation(operation).map_err(|reason| PatchError::Operation { index, reason })
        };
        let operations = operations.items.iter().enumerate().map(read);
        Ok(Self {
            document: Document::Operations(operations.collect::<Result<_, _>>()?),
            text_bytes: text.len(),
        })
    }

    /// How long its text was, in bytes. With the length of a value it says what applying it to that
    /// value may cost.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    /// The value that comes of `value`, all operations applied, both as compact JSON text. Members
    /// that the patch does not touch keep their order, new ones come last. Neither the result nor
    /// what stands in between is ever deeper than [`MAX_DEPTH_LEVELS`]; the result is not longer
    /// than `max_bytes`, and what stands in between is longer at most by the text of the patch and
    /// by `max_bytes` of copies.
    ///
    /// All of it costs at most some 100 ms of one core if both texts have 1 MiB, less if they are
    /// shorter. At the start and at least every millisecond, `stop` says whether to give up.
    ///
    /// # Errors
    /// [`ApplyError`].
    ///
    /// # Example
    /// ```
    /// use ifmatch::patch::Patch;
    ///
    /// let patch = Patch::merge(br#"{"b": null, "c": 2.50}"#)?;
    /// let patched = patch.apply(r#"{"b":1,"a":[]}"#, 1024, || false)?;
    /// assert_eq!(patched, r#"{"a":[],"c":2.50}"#);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn apply(
        &self,
        value: &str,
        max_bytes: usize,
        stop: impl Fn() -> bool,
    ) -> Result<String, ApplyError> {
        let mut work = Work::on(value.len() + self.text_bytes, &stop);
        let mut node = read(value, VALUE, &mut work)?;
        match &self.document {
            Document::Merge(patch) => {
                // Both are no deeper than the limit, so what comes of them is not either.
                let patch = read(patch, VALUE, &mut work)?;
                node.merge(patch, &mut work)?;
            }
            Document::Operations(operations) => {
                apply::apply(operations, &mut node, max_bytes, &mut work)?;
            }
        }
        let mut bytes = 0;
        node.count(&mut bytes, max_bytes, &mut work)?;
        let mut text = String::with_capacity(bytes);
        node.write(&mut text, &mut work)?;
        Ok(text)
    }
}

/// How a value is read that will be looked into.
const VALUE: Reading = Reading {
    max_depth_levels: MAX_DEPTH_LEVELS,
    unfolded_levels: 1,
};

fn read_patch(
    text: &[u8],
    max_depth_levels: usize,
    unfolded_levels: usize,
) -> Result<Node<'_>, PatchError> {
    let how = Reading {
        max_depth_levels,
        unfolded_levels,
    };
    match str::from_utf8(text) {
        Ok(text) => Ok(read(text, how, &mut Work::unbounded())?),
        // The parser says where it is not Unicode.
        Err(error) => match json::parse_within(text, max_depth_levels) {
            Err(syntax) => Err(PatchError::Syntax(syntax)),
            Ok(_) => Err(PatchError::Syntax(SyntaxError {
                reason: error.to_string(),
                line: 1,
                column: 1,
            })),
        },
    }
}

/// Reads one operation, or says what is wrong with it. What else stands there is ignored
/// (RFC 6902 §4).
fn read_operation(operation: &Node) -> Result<Operation, String> {
    let Node::Object(members) = operation else {
        return Err("it is not an object".to_owned());
    };
    let member = |name: &str| {
        let member = members.get(name);
        member.ok_or_else(|| format!("the member {name:?} is missing"))
    };
    let text = |name: &str| {
        let tree = serde_json::from_str(&compact(member(name)?));
        match tree {
            Ok(Tree::String(text)) => Ok(text),
            _ => Err(format!("the member {name:?} is not a string")),
        }
    };
    let pointer = |name: &str| {
        Pointer::read(text(name)?).map_err(|reason| format!("the member {name:?} {reason}"))
    };
    let value = || member("value").map(compact);
    let name = text("op")?;
    let path = pointer("path");
    let kind = match name.as_str() {
        "add" => OperationKind::Add(value()?),
        "remove" => OperationKind::Remove,
        "replace" => OperationKind::Replace(value()?),
        "move" => OperationKind::Move(pointer("from")?),
        "copy" => OperationKind::Copy(pointer("from")?),
        "test" => OperationKind::Test(value()?),
        _ => {
            return Err(format!(
                "{name:?} is not one of add, remove, replace, move, copy and test"
            ));
        }
    };
    let path = path?;
    Ok(Operation { path, kind })
}

fn compact(node: &Node) -> Box<str> {
    let mut text = String::new();
    // Without a bound on the work it does not fail.
    let _ = node.write(&mut text, &mut Work::unbounded());
    text.into()
}

#[cfg(test)]
mod tests;
