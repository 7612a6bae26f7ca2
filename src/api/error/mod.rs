//! Every failing answer: [`ApiError`] says why, `failure` has the table of what each error says, and
//! `answer` and `refused` write it.

mod answer;
mod failure;
mod kind;
mod refused;

pub use self::kind::{ApiError, BodyError, Logged};
pub use self::refused::{Refused, refused};
