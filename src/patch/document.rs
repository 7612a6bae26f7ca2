//! Patch documents, read.

use serde_json::Value as Tree;

use super::error::PatchError;
use super::node::Node;
use super::pointer::Pointer;
use super::read::{Reading, read};
use super::work::Work;
use crate::json::{self, MAX_DEPTH_LEVELS, SyntaxError};

/// In a JSON Patch a value is in an operation, in the array of operations.
const LEVELS_AROUND_VALUES: usize = 2;

/// A patch document that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Patch {
    pub(super) document: Document,
    pub(super) text_bytes: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Document {
    /// RFC 7396, as compact JSON text.
    Merge(Box<str>),
    /// RFC 6902.
    Operations(Vec<Operation>),
}

/// One operation of a JSON Patch. Values are compact JSON text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Operation {
    pub(super) path: Pointer,
    pub(super) kind: OperationKind,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum OperationKind {
    Add(Box<str>),
    Remove,
    Replace(Box<str>),
    Move(Pointer),
    Copy(Pointer),
    Test(Box<str>),
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

    /// Whether it can ask what a value is, so that who sends it learns that: a JSON Patch does with `test`, and
    /// with every place that must exist. A merge patch fits every value.
    #[must_use]
    pub fn reads_value(&self) -> bool {
        matches!(self.document, Document::Operations(_))
    }

    /// How long its text was, in bytes. With the length of a value it says what applying it to that
    /// value may cost.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        self.text_bytes
    }
}

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

/// Reads one operation, or says what is wrong with it. Other members are ignored
/// (RFC 6902 §4).
fn read_operation(operation: &Node) -> Result<Operation, String> {
    let Node::Object(object) = operation else {
        return Err("it is not an object".to_owned());
    };
    let member = |name: &str| {
        let member = object.members.get(name);
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
