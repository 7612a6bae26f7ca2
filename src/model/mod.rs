//! The terms of ifmatch as types that cannot be invalid, and every limit. Pure: no I/O, no clock, no
//! randomness.
//!
//! | file | has |
//! | --- | --- |
//! | `key`, `value`, `timestamp`, `name` | the parts of an entry, each parsed once |
//! | `entry` | a record, and a key with its record |
//! | `etag` | the entity tags of entries and lists |
//! | `position` | revisions, and the points between changes at which a watcher resumes |
//! | `change_set` | what a commit is to change, and what it requires before |
//! | `commit` | what a commit has changed |
//! | `request` | requests that can be repeated without being done again |
//! | `past` | questions about the past, and the answers |
//! | `event` | what was changed, and which changes a watcher wants |
//! | `range` | which entries a list asks for, and a page of them |

mod change_set;
mod commit;
mod entry;
mod etag;
mod event;
mod key;
mod name;
mod past;
mod position;
mod range;
mod request;
mod timestamp;
mod value;

pub use self::change_set::{
    Change, ChangeSet, Expected, Operation, RepeatedKey, TRANSACTION_MAX_OPERATIONS,
};
pub use self::commit::{Commit, Done, Origin};
pub use self::entry::{Entry, Record, Stamp};
pub use self::etag::EntityTag;
pub use self::event::{Event, EventKind, Filter};
pub use self::key::{KEY_MAX_BYTES, Key, KeyError};
pub use self::name::{NAME_MAX_BYTES, Name, NameError};
pub use self::past::{
    HISTORY_MAX_LIMIT, HistoryPage, HistoryPoint, HistoryPointError, HistoryQuery, PastEvent,
};
pub use self::position::{
    LAST_NUMBER, Position, ResumeToken, ResumeTokenError, Revision, StateDigest, Version,
};
pub use self::range::{LIST_MAX_LIMIT, Page, Range};
pub use self::request::{
    Fingerprint, IDEMPOTENCY_KEY_MAX_BYTES, IdempotencyKey, IdempotencyKeyError, Request,
};
pub use self::timestamp::Timestamp;
pub use self::value::{DEFAULT_MAX_VALUE_BYTES, Value};
