//! The command line, for people at a terminal and for scripts.
//!
//! | exit code | meaning |
//! | --- | --- |
//! | 0 | success |
//! | 1 | error; nothing was changed, unless the message says that something was or may have been |
//! | 2 | wrong usage |
//! | 3 | the key does not exist |
//! | 4 | conflict: somebody else's change was not overwritten |
//! | 5 | not allowed: the service needs a token, or another one |
//! | 128 + n | signal n ended `edit`, `import` or `login`; the first two report what they kept or wrote |
//!
//! Results go to standard output, as words on a terminal and as JSON anywhere else; errors go to
//! standard error. It uses [`crate::merge`] and [`crate::json`], and knows the service only by its
//! responses.

mod arguments;
mod ca_file;
mod caller;
mod cause;
mod client;
mod comparison;
mod connection;
mod diff;
mod draft;
mod draft_file;
mod edit;
mod entry;
mod export;
mod export_format;
mod failure;
mod format;
mod get;
mod import;
mod input;
mod interrupt;
mod json_diff;
mod listing;
mod log;
mod login;
mod logout;
mod ls;
mod moment;
mod output;
mod overwrite;
mod patch;
mod precondition;
mod profiles;
mod put;
mod refusal;
mod retry;
mod revert;
mod rm;
mod scheme;
mod server;
mod show;
mod text;
mod token;
mod token_text;
mod typed_flags;
mod watch;
mod whoami;
mod words;

use std::io::{self, Write as _};
use std::process::ExitCode;

pub use self::arguments::{Arguments, Request, Task};
pub use self::connection::Connection;
use self::failure::Failure;
use self::output::Output;
use self::text::printable_lines;
pub use self::token::TokenCommand;

/// Runs a command against a service.
pub async fn run(connection: &Connection, request: Request) -> ExitCode {
    let output = Output::stdout();
    let result = dispatch(connection, request, &output).await;
    end(result, &output)
}

/// Runs a command that makes or checks tokens.
pub async fn run_token(command: TokenCommand) -> ExitCode {
    let output = Output::stdout();
    let result = token::run(command, &output).await;
    end(result, &output)
}

fn end(result: Result<(), Failure>, output: &Output) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of the output, such as `head`, has closed it.
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            output.conflict(&failure);
            // If standard error fails too, only the exit code is left.
            let _ = writeln!(
                io::stderr(),
                "ifmatch: {}",
                printable_lines(&failure.to_string())
            );
            failure.exit_code()
        }
    }
}

async fn dispatch(
    connection: &Connection,
    request: Request,
    output: &Output,
) -> Result<(), Failure> {
    let client = match request {
        Request::Login(_) => return login::run(connection, output).await,
        Request::Logout(_) => return logout::run(connection),
        _ => connection.client()?,
    };
    match request {
        // Done above.
        Request::Login(_) | Request::Logout(_) => Ok(()),
        Request::Whoami => whoami::run(&client, output).await,
        Request::Get(get) => get::run(&client, &get, output).await,
        Request::Put(put) => put::run(&client, put, output).await,
        Request::Patch(patch) => patch::run(&client, patch, output).await,
        Request::Rm(rm) => rm::run(&client, rm, output).await,
        Request::Log(log) => log::run(&client, &log, output).await,
        Request::Show(show) => show::run(&client, &show, output).await,
        Request::Diff(diff) => diff::run(&client, &diff, output).await,
        Request::Revert(revert) => revert::run(&client, revert, output).await,
        Request::Ls(ls) => ls::run(&client, &ls, output).await,
        Request::Watch(watch) => watch::run(&client, &watch, output).await,
        Request::Edit(edit) => edit::run(&client, &edit, output).await,
        Request::Export(export) => export::run(&client, export, output).await,
        Request::Import(import) => import::run(&client, &import, output).await,
    }
}
