//! The commit log: every commit, in segments beside the data file.
//!
//! It is the journal of a large data file, the history, the memory of the requests that were done, and the place
//! from which watchers resume that were away for long.
//!
//! A segment, `data.json.commits.00000001`, has one frame per line (see [`frame`](super::frame)): the first says
//! after which state it begins, and each further one has the commits of one group:
//! ```text
//! ␞0000000000a3 5a1c9f04 {"format":1,"log":"9c56cc51b374c3ba","journal":false,"revision":41,"state":"…","at":"…"}
//! ␞0000000000f1 96f3b1d0 {"after":41,"commits":[{"revision":42,"at":"…","changes":{"doc/a":{"value":…},"doc/b":null},"before":{"doc/b":{…}},"state":"…"}]}
//! ```
//! A segment is only appended to. Whatever has to be undone is made void by a new segment, which begins after an
//! earlier revision. So a segment that begins where no earlier one was begins another past.
//!
//! | file | has |
//! | --- | --- |
//! | `text` | the texts in the frames |
//! | `index` | where each version of a key is |
//! | `segment` | the segments as readers see them |
//! | `scan` | reading segments at the start: which commits count, and which damage stops it |
//! | `replay` | how a log and the data file beside it go together |
//! | `edits` | what somebody has changed in the data file by hand |
//! | `verify` | checking a log that nobody is writing to |
//! | `commit_log` | the writer's side: appending, beginning segments, dropping old ones |
//! | `past` | states of the past |
//! | `past_events` | events of the past |
//! | `past_snapshot` | all entries of a state of the past |
//! | `follow` | the changes after a point, for a watcher that was away for long |

mod commit_log;
mod edits;
mod follow;
mod index;
mod past;
mod past_events;
mod past_snapshot;
mod replay;
mod scan;
mod segment;
mod text;
#[cfg(test)]
mod tests;
mod verify;

pub use self::commit_log::{Appended, CommitLog};
pub use self::edits::Edits;
pub use self::follow::Follower;
pub use self::past::LogReader;
pub use self::past_snapshot::PastSnapshot;
pub use self::replay::{Led, check_is_new, check_not_needed, cut_to, replay};
pub use self::scan::{ScanError, Scanned, last_segment, read, unfinished};
pub use self::segment::Segments;
#[cfg(feature = "internals")]
pub use self::text::{Group, group_frame};
pub use self::verify::verify_states;
