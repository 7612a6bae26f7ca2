//! The engine that several processes share over an etcd cluster.
//!
//! Each process has everything in memory: one watch of etcd fills its mirror. Reads are answered from that, after a
//! barrier that makes them strict; commits are decided on it and made by one transaction.
//!
//! | file | has |
//! | --- | --- |
//! | `address`, `settings`, `credentials` | which cluster, and how it is reached |
//! | `client`, `messages`, `error` | etcd's API |
//! | `store`, `open`, `nested`, `engine` | the store: its operations, how it is opened and when not, what they share |
//! | `layout`, `text`, `query` | the keys, the text of what is stored, and the questions about it |
//! | `format` | whether this program may still write it |
//! | `mirror` | what is in memory |
//! | `load`, `follow` | what fills it: everything at the start, then what is written |
//! | `gather`, `decoded`, `lineage` | the parts of that without I/O: events to commits, and whether it is still the same past |
//! | `barrier` | what makes reads strict |
//! | `commit`, `draft`, `requests` | how a commit is made, and once for each request |
//! | `past`, `older` | what was |
//! | `check` | compares what is in memory with etcd now and then |
//! | `space`, `compact` | whether etcd has room, and how it gets some |

mod address;
mod barrier;
mod check;
#[cfg_attr(
    not(feature = "internals"),
    allow(
        dead_code,
        unused_imports,
        reason = "the tests of the client use all of it"
    )
)]
pub(super) mod client;
mod commit;
mod compact;
mod credentials;
mod decoded;
mod draft;
mod engine;
pub(super) mod error;
mod follow;
mod format;
mod gather;
mod layout;
mod lineage;
mod load;
#[cfg_attr(
    not(feature = "internals"),
    allow(
        dead_code,
        unused_imports,
        reason = "the tests of the client use all of it"
    )
)]
pub(super) mod messages;
mod mirror;
mod nested;
mod older;
mod open;
mod past;
mod query;
mod requests;
mod settings;
mod space;
mod store;
mod text;

pub use self::address::{Address, AddressError};
pub use self::credentials::{CredentialFiles, Password};
pub use self::error::{OpenError, SetupError};
pub use self::open::{DEFAULT_QUOTA_BYTES, StoreSettings};
pub use self::settings::EtcdSettings;
pub use self::store::{Counts, EtcdStore};
