//! Recent changes, kept so that watchers can resume from them, and dispatched to all subscribers.
//!
//! A writer only adds to the log of events. A separate task finds the subscribers of an event, so that a
//! thousand watchers cost a writer no more than one. It delivers in rounds and rests between them: each
//! watcher that is woken, and each byte that it writes, takes processor time that the writers need.
//!
//! The log alone keeps events, and it is bounded. A watcher has a cursor and a few ranges of event
//! numbers, and reads from the log; one whose next event was dropped from the log is cut off.
//!
//! | file | has |
//! | --- | --- |
//! | `publish` | the engine's side: publishing, subscribing, closing |
//! | `event_log` | the events |
//! | `dispatch` | the task that routes and delivers them |
//! | `subscribers`, `queue`, `ranges` | who subscribes to what, and the numbers of what each has still to see |
//! | `watcher` | the subscriber's side: a stream |

mod dispatch;
mod event_log;
mod publish;
mod queue;
mod ranges;
mod subscribers;
mod watcher;

pub use self::publish::{DEFAULT_WATCH_BUFFER_BYTES, Feed};
