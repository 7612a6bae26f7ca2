//! A client of etcd's API v3 over gRPC, for the few calls that the engine needs.
//!
//! | module | has |
//! | --- | --- |
//! | `calls` | [`Client`]: the calls that there are |
//! | `watch` | [`WatchStream`]: a watch, on a connection of its own |
//! | `cluster` | how a request goes to one member after another |
//! | `members` | which member is asked first, and which is left alone for a while |
//! | `connection` | one HTTP/2 connection, and whether a request was sent on it |
//! | `joint` | work that is done once for all who need it |
//! | `tls` | what connections trust |
//! | `login` | the token of a user, and when it is renewed |
//! | `rpc` | one call on one connection |
//! | `verdict` | what an error of etcd means |

mod calls;
mod cluster;
mod connection;
mod joint;
mod login;
mod members;
mod rpc;
mod tls;
mod verdict;
mod watch;

pub use self::calls::Client;
pub use self::watch::WatchStream;
