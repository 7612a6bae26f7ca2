//! What an error of etcd means for the request that got it. The texts are in etcd's
//! `api/v3rpc/rpctypes/error.go`; some come with different codes in different versions.

use std::error::Error as _;

use tonic::{Code, Status};

use super::connection::{BrokenConnection, with_causes};
use crate::storage::etcd::error::ClientError;

/// What an error means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing was done, and another member may do it, or this one later.
    NotDone,
    /// It may have been done.
    Unknown,
    /// Nothing was done, because the token is missing, unknown or too old.
    Token,
    /// There is no point in asking again.
    Final(ClientError),
}

/// Why one member has not done it.
#[derive(Debug, Clone)]
pub struct Failure {
    pub verdict: Verdict,
    /// etcd's text, or that of the connection.
    pub text: String,
    /// It answered, so it is there.
    pub is_answer: bool,
}

impl Failure {
    /// What the member at `place` says.
    pub fn of(place: &str, status: &Status) -> Self {
        let verdict = verdict(place, status);
        Self {
            is_answer: matches!(verdict, Verdict::Final(_) | Verdict::Token),
            verdict,
            text: text(place, status),
        }
    }

    /// The member at `place` says nothing.
    pub fn late(place: &str, verdict: Verdict) -> Self {
        Self {
            verdict,
            text: format!("{place}: no answer in time"),
            is_answer: false,
        }
    }

    /// What it means for a request that is not sent again.
    pub fn into_error(self) -> ClientError {
        match self.verdict {
            Verdict::NotDone => ClientError::Unavailable(self.text),
            Verdict::Unknown => ClientError::Unknown(self.text),
            Verdict::Token => ClientError::Denied(self.text),
            Verdict::Final(error) => error,
        }
    }
}

/// etcd says these before the cluster agrees on a request, so nothing was done and nothing will be.
const NOT_DONE: [&str; 6] = [
    "etcdserver: no leader",
    "etcdserver: not capable",
    "etcdserver: too many requests",
    "etcdserver: rpc not supported for learner",
    "raft proposal dropped",
    "raft: proposal dropped",
];

/// The token does not fit any more: it is not known to this member, or users and roles have changed since.
const TOKEN: [&str; 4] = [
    "invalid auth token",
    "revision of auth store is old",
    "revision in header is old",
    "user name is empty",
];

/// What `status` means; `place` is the member that it is from.
pub fn verdict(place: &str, status: &Status) -> Verdict {
    if let Some(cause) = status.source() {
        return match cause.downcast_ref() {
            Some(BrokenConnection::NotSent(_)) => Verdict::NotDone,
            _ => Verdict::Unknown,
        };
    }
    let message = status.message();
    let says = |text: &str| message.contains(text);
    let own = || text(place, status);
    if NOT_DONE.iter().any(|text| says(text)) {
        return Verdict::NotDone;
    }
    if status.code() == Code::Unauthenticated || TOKEN.iter().any(|text| says(text)) {
        return Verdict::Token;
    }
    Verdict::Final(match status.code() {
        Code::InvalidArgument if says("too large") || says("too many operations") => {
            ClientError::TooLarge(own())
        }
        Code::InvalidArgument if says("authentication failed") => ClientError::Denied(own()),
        Code::PermissionDenied => ClientError::Denied(own()),
        Code::ResourceExhausted if says("space exceeded") => ClientError::NoSpace(own()),
        Code::ResourceExhausted if says("larger than max") => ClientError::TooLarge(own()),
        Code::OutOfRange if says("has been compacted") => ClientError::Compacted { revision: 0 },
        Code::OutOfRange if says("future revision") => ClientError::Future,
        // There is a response, because something was done.
        _ if is_too_long(status) => ClientError::Unknown(own()),
        Code::Internal => ClientError::Unknown(own()),
        Code::InvalidArgument
        | Code::ResourceExhausted
        | Code::OutOfRange
        | Code::FailedPrecondition
        | Code::NotFound
        | Code::AlreadyExists
        | Code::Unimplemented
        // The alarm of corruption: this member does nothing any more.
        | Code::DataLoss => ClientError::Rejected(own()),
        // Timeouts, a leader that has changed, a member that stops; and what etcd has no code for.
        _ => return Verdict::Unknown,
    })
}

/// Whether tonic says that a response is longer than it may be.
pub fn is_too_long(status: &Status) -> bool {
    status.code() == Code::OutOfRange && status.message().contains("message length")
}

/// The text for the operator.
pub fn text(place: &str, status: &Status) -> String {
    match status.source() {
        Some(cause) => format!("{place}: {}", with_causes(cause)),
        None => format!("{place}: {}", status.message()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn of(code: Code, message: &str) -> Verdict {
        verdict("a:1", &Status::new(code, message))
    }

    #[test]
    fn only_what_etcd_refuses_first_is_certainly_not_done() {
        for (code, message, expected) in [
            (Code::Unavailable, "etcdserver: no leader", Verdict::NotDone),
            (
                Code::ResourceExhausted,
                "etcdserver: too many requests",
                Verdict::NotDone,
            ),
            (
                Code::Unavailable,
                "etcdserver: leader changed",
                Verdict::Unknown,
            ),
            (
                Code::Unavailable,
                "etcdserver: request timed out",
                Verdict::Unknown,
            ),
            (
                Code::Unavailable,
                "etcdserver: request timed out, possibly due to previous leader failure",
                Verdict::Unknown,
            ),
            (
                Code::Unavailable,
                "etcdserver: server stopped",
                Verdict::Unknown,
            ),
            (
                Code::DeadlineExceeded,
                "context deadline exceeded",
                Verdict::Unknown,
            ),
            (Code::Unknown, "context canceled", Verdict::Unknown),
            (
                Code::Unauthenticated,
                "etcdserver: invalid auth token",
                Verdict::Token,
            ),
            (
                Code::InvalidArgument,
                "etcdserver: revision of auth store is old",
                Verdict::Token,
            ),
            (
                Code::Unknown,
                "auth: revision in header is old",
                Verdict::Token,
            ),
        ] {
            assert_eq!(of(code, message), expected, "{message}");
        }
    }

    #[test]
    fn limits_and_refusals_are_told_apart() {
        let is = |code, message: &str, make: fn(String) -> ClientError| {
            let error = make(format!("a:1: {message}"));
            assert_eq!(of(code, message), Verdict::Final(error));
        };
        is(
            Code::InvalidArgument,
            "etcdserver: request is too large",
            ClientError::TooLarge,
        );
        is(
            Code::ResourceExhausted,
            "grpc: received message larger than max (2097186 vs. 2097152)",
            ClientError::TooLarge,
        );
        is(
            Code::InvalidArgument,
            "etcdserver: too many operations in txn request",
            ClientError::TooLarge,
        );
        is(
            Code::ResourceExhausted,
            "etcdserver: mvcc: database space exceeded",
            ClientError::NoSpace,
        );
        is(
            Code::InvalidArgument,
            "etcdserver: authentication failed, invalid user ID or password",
            ClientError::Denied,
        );
        is(
            Code::PermissionDenied,
            "etcdserver: permission denied",
            ClientError::Denied,
        );
        is(
            Code::InvalidArgument,
            "etcdserver: duplicate key given in txn request",
            ClientError::Rejected,
        );
        is(
            Code::OutOfRange,
            "Error, decoded message length too large: found 5, the limit is 4 bytes",
            ClientError::Unknown,
        );
    }

    #[test]
    fn a_connection_that_broke_says_whether_the_request_was_sent() {
        let broken = |cause: BrokenConnection| {
            let mut status = Status::unavailable("etcdserver: no leader");
            status.set_source(Arc::new(cause));
            verdict("a:1", &status)
        };
        let not_sent = broken(BrokenConnection::NotSent("closed".to_owned()));
        assert_eq!(not_sent, Verdict::NotDone);
        let lost = broken(BrokenConnection::Lost("reset".to_owned()));
        assert_eq!(lost, Verdict::Unknown);
    }
}
