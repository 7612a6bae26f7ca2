//! `data.json.journal`, which earlier versions wrote: it is read once and then replaced by the commit log. Pure.
//!
//! One frame per line, after RFC 7464: a record separator, the length of the JSON text in bytes and its
//! CRC-32 as hexadecimal digits, the text, a line feed. JSON text has neither a record separator nor a line
//! feed nor a zero byte, so each of these is unambiguous:
//! ```text
//! ␞000000000032 05b190de {"format":1,"revision":41,"id":"9c56cc51b374c3ba"}
//! ␞0000000000c5 96f3b1d0 {"after":41,"revision":42,"changes":{"doc/a":{"value":…},"doc/b":null}}
//! ```
//! The first frame names the revision after which the journal begins, and the id that the data
//! file has for it; journals that older versions left have none. Each further frame holds
//! what one group of commits changed, and the revisions before and after it.

//!
//! | file | has |
//! | --- | --- |
//! | `text` | the texts in the frames |
//! | `replay` | which frames are applied to a checkpoint, and which make a journal unusable |

mod replay;
mod text;

pub use self::replay::{ReplayError, Replayed, replay};

#[cfg(test)]
mod tests;
