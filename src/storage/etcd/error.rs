//! How a cluster can fail.

use thiserror::Error;

use super::layout::FORMAT;

/// How a request to etcd can fail. The texts are etcd's own, for the operator, with the member that said it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ClientError {
    /// Nothing was done: it could not be sent, or etcd refused it before it did anything. A read that nobody
    /// answered is this too.
    #[error("etcd is not available: {0}")]
    Unavailable(String),
    /// It may have been done, or may still be.
    #[error("it is not known whether etcd did it: {0}")]
    Unknown(String),
    /// A limit of etcd's: of bytes, or of operations. Nothing was done.
    #[error("etcd refuses it as too large: {0}")]
    TooLarge(String),
    /// The quota is used up. A transaction that puts something may nevertheless have been done: etcd
    /// checks the quota also after the cluster has agreed on it, and then says this of what it has applied.
    #[error("etcd has no space left: {0}")]
    NoSpace(String),
    /// The requested revision is no longer there.
    #[error("the requested revision was compacted (up to {revision})")]
    Compacted {
        /// The newest revision that was compacted, as a watch learns it; 0 where etcd does not say it.
        revision: i64,
    },
    /// The requested revision is not there yet.
    #[error("the requested revision is yet to come")]
    Future,
    /// The user, the password, the certificate or the permission is wrong. Nothing was done.
    #[error("etcd denies it: {0}")]
    Denied(String),
    /// Something else. Nothing was done.
    #[error("etcd refuses it: {0}")]
    Rejected(String),
}

/// Why a cluster cannot be reached with these settings.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SetupError {
    /// There is no endpoint.
    #[error("no endpoint of etcd is named")]
    NoEndpoint,
    /// An endpoint is not `host:port`.
    #[error("{0:?} is not an endpoint of etcd; write HOST:PORT")]
    Endpoint(String),
    /// A user without a password, or the reverse.
    #[error("a user of etcd and a password need each other")]
    Login,
    /// A certificate without a key, or the reverse.
    #[error("a client certificate for etcd and its key need each other")]
    Identity,
    /// A client certificate without TLS.
    #[error("a client certificate for etcd needs the certificate of the authority too (ca)")]
    NoCa,
    /// What was given in PEM cannot be used.
    #[error("the {what} for etcd cannot be used: {reason}")]
    Pem {
        /// Which of them.
        what: &'static str,
        /// Why.
        reason: String,
    },
}

/// Why a store cannot be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The settings cannot be used.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The cluster cannot be reached, or refuses.
    #[error("etcd cannot be used: {0}")]
    Unavailable(String),
    /// A newer program has written what is there.
    #[error(
        "the data below {root} has the format {found}, which is newer than this program: it reads format {FORMAT}"
    )]
    Newer {
        /// The root of the store.
        root: String,
        /// The format.
        found: u64,
    },
    /// Something else is there.
    #[error("what is stored below {root} is not of this program: its format is {found:?}")]
    Foreign {
        /// The root of the store.
        root: String,
        /// What is there instead of a format.
        found: String,
    },
    /// The keys of this store would be entries of another one.
    #[error(
        "the root {root} lies among the entries of another store, whose root is {outer}: choose a root that is not \
         below {outer}/k"
    )]
    Within {
        /// The root of the store.
        root: String,
        /// That of the other one.
        outer: String,
    },
    /// The keys of another store are among the entries of this one.
    #[error(
        "another store, whose root is {inner}, lies among the entries of the root {root}: choose another root for one \
         of them"
    )]
    Around {
        /// The root of the store.
        root: String,
        /// That of the other one.
        inner: String,
    },
}

impl From<ClientError> for OpenError {
    fn from(error: ClientError) -> Self {
        Self::Unavailable(error.to_string())
    }
}
