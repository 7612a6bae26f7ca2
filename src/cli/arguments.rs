//! The arguments of the process.

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use super::client::{DEFAULT_SERVER, Server};
use super::edit::Edit;
use super::export::Export;
use super::get::Get;
use super::import::Import;
use super::ls::Ls;
use super::patch::Patch;
use super::put::Put;
use super::rm::{self, Rm};
use super::watch::Watch;
use crate::config::Config;

/// An HTTP key-value service in which nobody's update gets lost, and its command line.
///
/// Without a command it starts the service. The other commands are its clients: `ifmatch edit KEY`
/// opens an entry in your editor, merges your changes with those that others saved in the meantime, and
/// shows both sides of each conflict.
///
/// No command overwrites or deletes a value that you have not seen, unless you pass --force,
/// --if-match '*' or `import --replace`. A patch changes only the parts that it names.
///
/// Exit codes: 0 success, 1 error, 2 wrong usage, 3 the key does not exist, 4 conflict with somebody
/// else's change, 128 + n ended by signal n.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    /// The URL of the service
    #[arg(
        long,
        global = true,
        env = "IFMATCH_SERVER",
        value_name = "URL",
        hide_env_values = true,
        default_value = DEFAULT_SERVER
    )]
    server: String,

    #[command(flatten, next_help_heading = "Options of `serve`")]
    config: Config,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the service; this is the default
    Serve(Box<Config>),
    #[command(flatten)]
    Client(Request),
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
    /// Show changes as they happen
    Watch(Watch),
    /// Edit an entry in $VISUAL or $EDITOR and merge it with what others save
    Edit(Edit),
    /// Write a consistent copy of the entries, which `import` can read
    Export(Export),
    /// Create the entries of an export
    Import(Import),
}

/// What the process does.
#[derive(Debug)]
pub enum Task {
    /// Run the service.
    Serve(Box<Config>),
    /// Send a request to a service.
    Client(Server, Request),
}

impl Arguments {
    /// Parses the arguments of this process. Ends the process with a message if they are not valid.
    #[must_use]
    pub fn parse_task() -> Task {
        // The environment variables of the service do not concern its clients: one with an invalid value
        // must not stop them. So the arguments are first parsed without them.
        let no_environment = Self::command().mut_args(|arg| {
            if arg.get_id() == "server" {
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
            _ => Self::command().get_matches(),
        };
        Self::task(&matches).unwrap_or_else(|error| error.format(&mut Self::command()).exit())
    }

    fn task(matches: &ArgMatches) -> Result<Task, clap::Error> {
        let is_typed = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
        let misplaced = |what: String| Err(clap::Error::raw(ErrorKind::ArgumentConflict, what));
        let Self {
            command,
            server,
            config,
        } = Self::from_arg_matches(matches)?;
        let has_command = command.is_some();
        if has_command
            && let Some(flag) = matches
                .ids()
                .find(|id| is_typed(id.as_str()) && *id != "server" && *id != "Config")
        {
            let flag = flag.as_str().replace('_', "-");
            return misplaced(format!(
                "--{flag} is an option of `serve`; put it after `serve`, or give no command"
            ));
        }
        match command {
            Some(Command::Client(Request::Rm(rm))) if !rm.has_required_flag() => Err(
                clap::Error::raw(ErrorKind::MissingRequiredArgument, rm::NEEDS_A_FLAG),
            ),
            Some(Command::Client(request)) => {
                let is_no_server = |why| {
                    // Not the text itself, which may have a password.
                    let what = format!("--server is not valid: {why}");
                    clap::Error::raw(ErrorKind::ValueValidation, what)
                };
                Ok(Task::Client(server.parse().map_err(is_no_server)?, request))
            }
            _ if is_typed("server") => {
                misplaced("--server is an option of the client commands, not of `serve`".to_owned())
            }
            Some(Command::Serve(config)) => Ok(Task::Serve(config)),
            None => Ok(Task::Serve(Box::new(config))),
        }
    }
}
