//! Why a request failed.

use std::sync::Arc;

use crate::access::Unauthorized;
use crate::json::SyntaxError;
use crate::model::KeyError;
use crate::patch::PatchError;
use crate::service::Unserved;
use crate::storage::StoreError;

/// Why a request failed.
#[derive(Debug)]
pub enum ApiError {
    /// The request has no `Host`, several, or one that is not a host (RFC 9112 §3.2).
    InvalidHost,
    /// The body comes in a transfer coding that is not known.
    UnknownTransferCoding,
    /// The body is a part of something (RFC 9110 §14.5).
    PartialContent,
    /// The host is not one that the service answers for.
    Misdirected,
    /// A page of another site would write.
    CrossSite,
    /// It is not known who asks.
    Unauthorized(Unauthorized),
    /// The system has no randomness.
    NoRandomness(String),
    /// No route has this path.
    NoSuchPath,
    /// The path has a route, but not for this method. The router adds `Allow`.
    MethodNotAllowed,
    /// The path is not percent-encoded UTF-8.
    InvalidKeyEncoding,
    /// The text is not a valid key.
    InvalidKey(KeyError),
    /// A query parameter is unknown, repeated or out of range.
    InvalidQuery(String),
    /// A precondition cannot be read.
    InvalidPrecondition {
        /// The header field.
        field: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// `Idempotency-Key` cannot be read, for this reason.
    InvalidIdempotencyKey(String),
    /// The body is not what the route takes.
    Body(BodyError),
    /// More connections than are served at once.
    TooManyConnections,
    /// The deadline of the request came before anything was done.
    TimedOut,
    /// The service has too much to do, or its store failed. What else it refuses is answered by
    /// [`refused`](super::refused), which shows the entries that a merge needs.
    Unserved(Unserved),
}

/// What is wrong with a body.
#[derive(Debug)]
pub enum BodyError {
    /// It did not come to its end.
    Incomplete,
    /// It is longer than a value may be.
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// It is not JSON.
    InvalidJson(SyntaxError),
    /// It is JSON, but not a patch document.
    InvalidPatch(PatchError),
    /// It is an array that is not said to be a JSON Patch.
    UntypedPatch,
    /// It is JSON, but not a transaction.
    InvalidTransaction(String),
    /// It is JSON, but not a request to sign in.
    InvalidSignIn,
    /// It does not say which revision to revert to.
    InvalidRevert,
    /// Its media type is not JSON.
    NotJsonType,
    /// Its media type is not that of a patch document.
    NotPatchType,
    /// It has a content coding.
    Compressed,
}

/// What is logged of a failing answer; no client sees it.
#[derive(Debug, Clone)]
pub enum Logged {
    /// Why a request was refused although nothing is wrong with it or with the service. These are counted.
    Refused(&'static str),
    /// The cause of a failure of the service.
    Failed(Arc<str>),
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::Unserved(error.into())
    }
}

impl From<Unserved> for ApiError {
    fn from(error: Unserved) -> Self {
        Self::Unserved(error)
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        Self::Body(error)
    }
}

impl From<PatchError> for BodyError {
    fn from(error: PatchError) -> Self {
        match error {
            PatchError::Syntax(error) => Self::InvalidJson(error),
            error @ (PatchError::NotAnArray | PatchError::Operation { .. }) => {
                Self::InvalidPatch(error)
            }
        }
    }
}
