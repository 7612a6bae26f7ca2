//! `token`: makes tokens, and checks the file that says who has which. It asks no service.

mod check;
mod new;
mod pattern;

use clap::Subcommand;

use self::check::Check;
use self::new::New;
use super::failure::Failure;
use super::output::Output;

/// A command about tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token, and the lines for the service's --tokens file
    New(New),
    /// Check a file for the service's --tokens
    Check(Check),
}

/// `ifmatch token`
pub async fn run(command: TokenCommand, output: &Output) -> Result<(), Failure> {
    match command {
        TokenCommand::New(new) => new::run(&new, output),
        TokenCommand::Check(check) => check::run(&check, output).await,
    }
}
