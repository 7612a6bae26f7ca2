//! Connections that speak HTTP/2: many requests at once, each in a stream.
//!
//! | file | has |
//! | --- | --- |
//! | `connection` | the limits of a connection, and how it ends |
//! | `paced` | gives others their turn while a client floods |
//! | `streams` | the requests of a connection, and how many there are in the process |
//! | `answer` | the body of an answer, cut off if the client does not read it |

mod answer;
mod connection;
mod paced;
mod streams;

pub use self::connection::{Http2, is_preface};
pub use self::streams::{StreamCapacity, Streams};
