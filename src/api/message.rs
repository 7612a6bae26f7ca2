//! What the service refused, in a sentence for a person. Nothing of the inside of the process is in it.

use crate::patch::ApplyError;
use crate::precondition::Mismatch;
use crate::service::Error;
use crate::storage::StoreError;

/// Why nothing came of a request whose time was over.
pub const TOO_SLOW: &str = "the request took too long; nothing was done, and nothing will be";
/// What to do when a proxy has made an entity tag weak (RFC 9110 §8.8.3.2, §13.1.1).
const WEAK_TAGS: &str = "If-Match takes no weak tag (W/\"…\"), and a proxy that compresses answers makes \
                         that of the ETag field weak: send the etag that the entry shows in the body, \
                         or keep the proxy from it with Cache-Control: no-transform";

/// Of a body or value that is longer than `limit` bytes.
pub fn too_large(limit: usize) -> String {
    format!("the body is longer than a value may be, {limit} bytes")
}

/// Of an error below the HTTP interface.
pub fn of_service(error: &Error) -> String {
    let message = match error {
        Error::NotFound => "key does not exist",
        Error::PreconditionFailed {
            reason: Mismatch::WeakTags,
            ..
        } => return format!("the precondition does not hold: {WEAK_TAGS}"),
        Error::PreconditionFailed {
            current: Some(_), ..
        } => "the precondition does not hold: merge with current and send its etag in If-Match",
        Error::PreconditionFailed { current: None, .. } => {
            "the precondition does not hold: what it names is not there"
        }
        Error::TransactionFailed(failed) => {
            let message = "some operations do not hold, so nothing was done; failed names them";
            if failed.iter().any(|one| one.reason == Mismatch::WeakTags) {
                return format!("{message}. {WEAK_TAGS}");
            }
            message
        }
        Error::PreconditionRequired => {
            "nothing was written, because the write could replace what you have not seen: send \
             If-Match with the etag that you have read, or If-None-Match: * to create"
        }
        Error::ValueTooLarge { limit } => return too_large(*limit),
        Error::RepeatedKey(_) => "a key may be in one operation of a transaction only",
        Error::Overloaded => "too much is under way; nothing was done, so try again soon",
        Error::Patch(ApplyError::Stopped) => TOO_SLOW,
        Error::Patch(error) => return error.to_string(),
        Error::Store(error) => of_store(error),
    };
    message.to_owned()
}

fn of_store(error: &StoreError) -> &'static str {
    match error {
        StoreError::Expired => TOO_SLOW,
        StoreError::OutcomeUnknown => {
            "the write was being made durable when its time was over; it may be applied, even \
             after a read that does not show it: read, and repeat it with the etag in If-Match"
        }
        StoreError::NotApplied(_) => "the write could not be made durable and was not applied",
        StoreError::Unknown(_) => {
            "it is not known whether the write was applied; read before you repeat it"
        }
        StoreError::Closed => "the service is shutting down; try again soon",
        StoreError::Revoked => "what was read has been replaced meanwhile; read it again",
    }
}
