//! Patch documents: JSON Merge Patch (RFC 7396) and JSON Patch (RFC 6902). Pure.
//!
//! A small document must not cost much, whatever it says. So a patch is applied to a tree of its own, in
//! which every operation costs about the same wherever it is done and however large what it moves is (`node`,
//! `sequence`, `members`). What can still cost a whole value in one operation is charged to a budget
//! (`work`).

mod apply;
mod document;
mod error;
mod members;
mod node;
mod number;
mod pointer;
mod read;
mod sequence;
mod unfold;
mod work;

pub use self::document::Patch;
pub use self::error::{ApplyError, PatchError};

#[cfg(test)]
mod tests;
