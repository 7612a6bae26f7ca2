//! Why a patch is not one, or cannot be applied.

use thiserror::Error;

use crate::json::SyntaxError;

/// Why a text is not a patch document.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
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

/// Why a patch cannot be applied to a value. The value is unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
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
    /// The result is no longer needed.
    #[error("the patch was stopped before its end")]
    Stopped,
    /// What is to be patched is not a value.
    #[error("what is to be patched is not a JSON value: {0}")]
    NotJson(SyntaxError),
}
