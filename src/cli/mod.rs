//! The command line, for people at a terminal and for scripts.
//!
//! | exit code | meaning |
//! | --- | --- |
//! | 0 | success |
//! | 1 | error; nothing was changed, unless the message says that something was or may have been |
//! | 2 | wrong usage |
//! | 3 | the key does not exist |
//! | 4 | conflict: somebody else's change was not overwritten |
//! | 128 + n | signal n ended `edit` or `import`, which reports what it kept or wrote |
//!
//! Results go to standard output, as words on a terminal and as JSON anywhere else; errors go to
//! standard error. It uses [`crate::merge`] and [`crate::json`], and knows the service only by its
//! responses.

mod arguments;
mod client;
mod draft;
mod draft_file;
mod edit;
mod entry;
mod export;
mod export_format;
mod failure;
mod get;
mod import;
mod input;
mod interrupt;
mod listing;
mod ls;
mod output;
mod overwrite;
mod patch;
mod precondition;
mod put;
mod rm;
mod text;
mod watch;

use std::io::{self, Write as _};
use std::process::ExitCode;

pub use self::arguments::{Arguments, Request, Task};
use self::client::Client;
pub use self::client::Server;
use self::failure::Failure;
use self::output::Output;
use self::text::printable_lines;

/// Runs a command against `server`.
pub async fn run(server: Server, request: Request) -> ExitCode {
    let output = Output::stdout();
    match dispatch(server, request, &output).await {
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

async fn dispatch(server: Server, request: Request, output: &Output) -> Result<(), Failure> {
    let client = Client::new(server)?;
    match request {
        Request::Get(get) => get::run(&client, &get, output).await,
        Request::Put(put) => put::run(&client, put, output).await,
        Request::Patch(patch) => patch::run(&client, patch, output).await,
        Request::Rm(rm) => rm::run(&client, rm, output).await,
        Request::Ls(ls) => ls::run(&client, &ls, output).await,
        Request::Watch(watch) => watch::run(&client, &watch, output).await,
        Request::Edit(edit) => edit::run(&client, &edit, output).await,
        Request::Export(export) => export::run(&client, export, output).await,
        Request::Import(import) => import::run(&client, &import, output).await,
    }
}
