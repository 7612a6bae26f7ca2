//! The form of what a command prints.

use clap::ValueEnum;

use super::output::Output;

/// The forms of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

impl Format {
    /// The one that was asked for, or else text on a terminal and JSON anywhere else.
    pub fn or_default(asked: Option<Self>, output: &Output) -> Self {
        match asked {
            Some(format) => format,
            None if output.is_terminal() => Self::Text,
            None => Self::Json,
        }
    }
}
