//! The command line: the service from a client's side, for people at a terminal and for scripts.
//!
//! | exit code | meaning |
//! | --- | --- |
//! | 0 | success |
//! | 1 | error; nothing was changed, unless the message says that something was or may have been |
//! | 2 | wrong usage |
//! | 3 | the key does not exist |
//! | 4 | conflict: somebody else's change was left unchanged |
//! | 128 + n | `edit` or `import` was ended by signal n and says what it kept or wrote |
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
use self::text::shown_lines;

/// Does what `request` asks for at `server`.
pub async fn run(server: Server, request: Request) -> ExitCode {
    let output = Output::of_stdout();
    match ask(server, request, &output).await {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has seen enough of it.
        Err(failure) if failure.is_of_a_closed_output() => ExitCode::SUCCESS,
        Err(failure) => {
            output.conflict(&failure);
            // Nobody is left to be told that nobody can be told.
            let _ = writeln!(
                io::stderr(),
                "ifmatch: {}",
                shown_lines(&failure.to_string())
            );
            failure.exit_code()
        }
    }
}

async fn ask(server: Server, request: Request, output: &Output) -> Result<(), Failure> {
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
