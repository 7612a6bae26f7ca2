//! The arguments of the process.

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args as _, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use super::connection::{Connection, ConnectionArgs};
use super::diff::Diff;
use super::edit::Edit;
use super::export::Export;
use super::get::Get;
use super::import::Import;
use super::log::Log;
use super::login::Login;
use super::logout::Logout;
use super::ls::Ls;
use super::patch::Patch;
use super::put::Put;
use super::revert::Revert;
use super::rm::{self, Rm};
use super::show::Show;
use super::token::TokenCommand;
use super::watch::Watch;
use crate::config::Config;
use crate::verify::Verify;

/// An HTTP key-value service in which nobody's update gets lost, and its command line.
///
/// Without a command it starts the service. The other commands are its clients: `ifmatch edit KEY`
/// opens an entry in your editor, merges your changes with those that others saved in the meantime, and
/// shows both sides of each conflict.
///
/// No command overwrites or deletes a value that you have not seen, unless you pass --force,
/// --if-match '*' or `import --replace`. A patch changes only the parts that it names.
///
/// If the service needs a token: `ifmatch login URL` asks for it once and stores it for later commands.
/// Scripts set `IFMATCH_TOKEN`, or name a file with --token-file.
///
/// Exit codes: 0 success, 1 error, 2 wrong usage, 3 the key does not exist, 4 conflict with somebody
/// else's change, 5 not allowed (the service needs a token, or another one), 128 + n ended by signal n.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    connection: ConnectionArgs,

    #[command(flatten, next_help_heading = "Options of `serve`")]
    config: Config,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the service; this is the default
    Serve(Box<Config>),
    #[command(flatten)]
    Client(Request),
    /// Make tokens for the service's --tokens file, and check that file
    #[command(subcommand)]
    Token(TokenCommand),
    /// Check a data file and its log while no service has them open
    Verify(Verify),
}

/// A command that talks to a service.
#[derive(Debug, Subcommand)]
pub enum Request {
    /// Show an entry
    Get(Get),
    /// Create an entry, or replace the version that you have seen
    Put(Put),
    /// Change part of an entry
    Patch(Patch),
    /// Delete the version of an entry that you have seen
    Rm(Rm),
    /// List the entries
    Ls(Ls),
    /// Show what happened to a key, the newest first
    Log(Log),
    /// Show an entry as it was at a moment
    Show(Show),
    /// Show what has changed in an entry
    Diff(Diff),
    /// Bring back the value of a moment, as a new version
    Revert(Revert),
    /// Show changes as they happen
    Watch(Watch),
    /// Edit an entry in $VISUAL or $EDITOR and merge it with what others save
    Edit(Edit),
    /// Write a consistent copy of the entries, which `import` can read
    Export(Export),
    /// Create the entries of an export
    Import(Import),
    /// Store the token for a service, and use that service by default
    Login(Login),
    /// Remove the stored token for a service
    Logout(Logout),
    /// Show who you are for the service, and what you may do
    Whoami,
}

/// What the process does.
#[derive(Debug)]
pub enum Task {
    /// Run the service.
    Serve(Box<Config>),
    /// Send a request to a service.
    Client(Box<Connection>, Request),
    /// Make or check tokens.
    Token(TokenCommand),
    /// Check the files of a store.
    Verify(Verify),
}

impl Arguments {
    /// Parses the arguments of this process. Ends the process with a message if they are not valid.
    #[must_use]
    pub fn parse_task() -> Task {
        // The environment variables of the service do not concern its clients: one with an invalid value
        // must not stop them. So the arguments are first parsed without them.
        let no_environment = command_line().mut_args(|arg| {
            if ConnectionArgs::has(arg.get_id().as_str()) {
                arg
            } else {
                arg.env(None::<&str>)
            }
        });
        let matches = match no_environment.try_get_matches() {
            Ok(matches)
                if matches
                    .subcommand_name()
                    .is_some_and(|name| name != "serve") =>
            {
                matches
            }
            _ => command_line().get_matches(),
        };
        Self::task(&matches).unwrap_or_else(|error| error.format(&mut command_line()).exit())
    }

    fn task(matches: &ArgMatches) -> Result<Task, clap::Error> {
        let is_typed = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
        let misplaced = |what: String| Err(clap::Error::raw(ErrorKind::ArgumentConflict, what));
        let Self {
            command,
            connection,
            config,
        } = Self::from_arg_matches(matches)?;
        let typed = || {
            matches
                .ids()
                .map(clap::Id::as_str)
                .filter(|id| is_typed(id))
        };
        let mut of_serve = typed().filter(|id| !ConnectionArgs::has(id) && *id != "Config");
        if command.is_some()
            && let Some(flag) = of_serve.next()
        {
            let flag = flag.replace('_', "-");
            return misplaced(format!(
                "--{flag} is an option of `serve`; put it after `serve`, or give no command"
            ));
        }
        let of_clients = typed().find(|id| ConnectionArgs::is_flag(id));
        match command {
            Some(Command::Client(Request::Rm(rm))) if !rm.has_required_flag() => Err(
                clap::Error::raw(ErrorKind::MissingRequiredArgument, rm::NEEDS_A_FLAG),
            ),
            Some(Command::Client(request)) => {
                let url = match &request {
                    Request::Login(Login { url }) | Request::Logout(Logout { url }) => url.clone(),
                    _ => None,
                };
                if url.is_some() && is_typed("server") {
                    return misplaced(
                        "the URL and --server both name the service: give one of them".to_owned(),
                    );
                }
                let name = if url.is_some() { "the URL" } else { "--server" };
                let connection = Connection::new(connection, url, is_typed).map_err(|why| {
                    // Not the text itself, which may have a password.
                    let what = format!("{name} is not valid: {why}");
                    clap::Error::raw(ErrorKind::ValueValidation, what)
                })?;
                Ok(Task::Client(connection.into(), request))
            }
            other => {
                if let Some(flag) = of_clients {
                    let flag = flag.replace('_', "-");
                    let command = match other {
                        Some(Command::Token(_)) => "token",
                        Some(Command::Verify(_)) => "verify",
                        _ => "serve",
                    };
                    return misplaced(format!(
                        "--{flag} is an option of the client commands, not of `{command}`"
                    ));
                }
                Ok(match other {
                    Some(Command::Token(command)) => Task::Token(command),
                    Some(Command::Verify(verify)) => Task::Verify(verify),
                    Some(Command::Serve(config)) => Task::Serve(config),
                    _ => Task::Serve(Box::new(config)),
                })
            }
        }
    }
}

/// The command line. The help of `serve` and `token`, which ask no service, does not list the flags of those that
/// do.
fn command_line() -> clap::Command {
    let hidden = |command: clap::Command| {
        let flags = ConnectionArgs::augment_args(clap::Command::new("flags"));
        let flags = flags.get_arguments().cloned();
        command.args(flags.map(|flag| flag.hide(true)))
    };
    Arguments::command()
        .mut_subcommand("serve", hidden)
        .mut_subcommand("token", hidden)
}
