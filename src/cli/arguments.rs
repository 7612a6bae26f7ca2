//! What can be asked for on the command line.

use std::path::PathBuf;
use std::str::FromStr;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use reqwest::Url;
use reqwest::header::HeaderValue;

use crate::config::Config;
use crate::model::{Key, ResumeToken, ResumeTokenError};

/// Where a service is unless something else is said.
const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";
/// Why `rm` with neither flag does nothing.
const RM_NEEDS: &str = "nothing was deleted, because rm needs --if-match TAG or --force: `ifmatch get KEY` \
     shows the value and its tag; --force deletes the entry whatever its value is";

/// An HTTP key-value service in which nobody's update gets lost, and its command line.
///
/// Without a command it starts the service. The other commands are its clients: `ifmatch edit KEY`
/// opens an entry in your editor, merges your changes with those that others saved in the meantime, and
/// shows both sides of each conflict.
///
/// No command overwrites or deletes a value that you have not seen, unless you pass --force,
/// --if-match '*' or `import --replace`.
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
    Serve(Config),
    #[command(flatten)]
    Ask(Request),
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

/// What a process is to do.
#[derive(Debug)]
pub enum Task {
    /// Serve.
    Serve(Box<Config>),
    /// Talk to a service.
    Ask(Server, Request),
}

impl Arguments {
    /// What the arguments of this process ask for. Ends the process if they cannot be understood.
    #[must_use]
    pub fn parse_task() -> Task {
        // What is set for the service is none of its clients' business: a wrong port must not keep
        // anybody from asking. So whether this is a client is found out without the environment.
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
            Some(Command::Ask(Request::Rm(rm))) if rm.if_match.is_none() && !rm.force => Err(
                clap::Error::raw(ErrorKind::MissingRequiredArgument, RM_NEEDS),
            ),
            Some(Command::Ask(request)) => {
                let is_no_server = |why| {
                    // Not the text itself, which may have a password.
                    let what = format!("--server is not valid: {why}");
                    clap::Error::raw(ErrorKind::ValueValidation, what)
                };
                Ok(Task::Ask(server.parse().map_err(is_no_server)?, request))
            }
            _ if is_typed("server") => {
                misplaced("--server is an option of the client commands, not of `serve`".to_owned())
            }
            Some(Command::Serve(config)) => Ok(Task::Serve(Box::new(config))),
            None => Ok(Task::Serve(Box::new(config))),
        }
    }
}

/// Where a service is, without a slash at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server(String);

impl Server {
    /// The URL of a path, which begins with a slash.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    /// How it is named in messages: never with a password.
    #[must_use]
    pub fn name(&self) -> String {
        match Url::parse(&self.0) {
            Ok(mut url) if !url.username().is_empty() || url.password().is_some() => {
                // Fails only for URLs that cannot have a name in them, and then there is none.
                let _ = url.set_username("");
                let _ = url.set_password(None);
                url.as_str().trim_end_matches('/').to_owned()
            }
            _ => self.0.clone(),
        }
    }
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = if text.is_empty() {
            DEFAULT_SERVER.to_owned()
        } else if text.contains("://") {
            text.to_owned()
        } else {
            format!("http://{text}")
        };
        let url = Url::parse(&text).map_err(|error| error.to_string())?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("it must be an http or https URL".to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("it must have neither a query nor a fragment".to_owned());
        }
        Ok(Self(url.as_str().trim_end_matches('/').to_owned()))
    }
}

/// The text of an If-Match header: quotes are added to a single tag that has none, because shells
/// take them off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag(pub HeaderValue);

impl FromStr for Tag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Err("it is empty; `ifmatch get KEY` shows the tag".to_owned());
        }
        if has_weak_tag(text) {
            return Err(
                "a weak tag (W/…) never matches. A proxy that compresses responses makes the tag in the \
                 ETag header weak; use the entry's own `etag`, which `ifmatch get KEY` shows"
                    .to_owned(),
            );
        }
        let is_header = text == "*" || text.contains('"');
        let text = if is_header {
            text.to_owned()
        } else {
            format!("\"{text}\"")
        };
        let header = HeaderValue::from_str(&text);
        header.map(Self).map_err(|error| error.to_string())
    }
}

/// Whether a tag in the text of an If-Match header is weak. A shell may have taken its quotes.
fn has_weak_tag(text: &str) -> bool {
    let outside_quotes = text.split('"').step_by(2);
    outside_quotes
        .flat_map(|part| part.split(','))
        .any(|part| part.trim_start().starts_with("W/"))
}

/// Where a watch begins: an event's id, or the tag of a list, also as a proxy has weakened it.
fn since(text: &str) -> Result<ResumeToken, ResumeTokenError> {
    text.trim_start_matches("W/").trim_matches('"').parse()
}

/// Show an entry.
#[derive(Debug, Args)]
pub struct Get {
    /// The key of the entry
    pub key: Key,
    /// Show the value alone
    #[arg(long)]
    pub value: bool,
}

/// JSON that comes from an argument, a file or standard input.
#[derive(Debug, Args)]
pub struct Input {
    /// The JSON itself; without it and without --file, or as `-`, it is read from standard input
    #[arg(value_name = "JSON", allow_negative_numbers = true)]
    pub text: Option<String>,
    /// Read the JSON from a file; `-` is standard input
    #[arg(long, short, value_name = "FILE", conflicts_with = "text")]
    pub file: Option<PathBuf>,
}

/// Create an entry, or replace the version that you have seen.
#[derive(Debug, Args)]
#[command(
    after_help = "Without --if-match and --force it only creates, and refuses a key that exists. It refuses \
                  JSON that is empty or has a duplicate member."
)]
pub struct Put {
    /// The key of the entry
    pub key: Key,
    #[command(flatten)]
    pub input: Input,
    /// Replace the entry only if it has this entity tag, which `get` shows; `*` is any existing entry
    #[arg(long, value_name = "TAG")]
    pub if_match: Option<Tag>,
    /// Only create, never replace
    #[arg(long, conflicts_with = "if_match")]
    pub create: bool,
    /// Create the entry, or replace it whatever its value is, even if you have not seen it
    #[arg(long, conflicts_with_all = ["if_match", "create"])]
    pub force: bool,
}

/// Change part of an entry.
#[derive(Debug, Args)]
#[command(
    after_help = "An array is a JSON Patch (RFC 6902), anything else is a merge patch (RFC 7396). If the \
                  merge patch or the current value is not an object, the patch would replace the whole \
                  value, and needs --if-match."
)]
pub struct Patch {
    /// The key of the entry
    pub key: Key,
    #[command(flatten)]
    pub input: Input,
    /// Change the entry only if it has this entity tag, which `get` shows
    #[arg(long, value_name = "TAG")]
    pub if_match: Option<Tag>,
}

/// Delete the version of an entry that you have seen.
#[derive(Debug, Args)]
#[command(
    override_usage = "ifmatch rm [OPTIONS] <--if-match <TAG>|--force> <KEY>",
    after_help = "It deletes one key. It does not delete all keys with a prefix."
)]
pub struct Rm {
    /// The key of the entry
    pub key: Key,
    /// Delete the entry only if it has this entity tag, which `get` shows
    #[arg(long, value_name = "TAG")]
    pub if_match: Option<Tag>,
    /// Delete the entry whatever its value is, even if you have not seen it
    #[arg(long, conflicts_with = "if_match")]
    pub force: bool,
}

/// List the entries.
#[derive(Debug, Args)]
pub struct Ls {
    /// Only keys with this prefix
    #[arg(default_value = "")]
    pub prefix: String,
}

/// Show changes as they happen.
#[derive(Debug, Args)]
pub struct Watch {
    /// Only keys with this prefix
    #[arg(default_value = "")]
    pub prefix: String,
    /// Only this key
    #[arg(long, conflicts_with = "prefix")]
    pub key: Option<Key>,
    /// Start after this event: its `id`, or the `ETag` header of a list
    #[arg(long, value_name = "ID", value_parser = since)]
    pub since: Option<ResumeToken>,
}

/// Edit an entry.
#[derive(Debug, Args)]
pub struct Edit {
    /// The key of the entry
    pub key: Key,
    /// Create the entry if it does not exist
    #[arg(long)]
    pub create: bool,
    /// Continue with the text that an earlier edit kept in this file
    #[arg(long, value_name = "FILE", conflicts_with = "create")]
    pub resume: Option<PathBuf>,
}

/// Write a consistent copy of the entries, which `import` can read.
#[derive(Debug, Args)]
pub struct Export {
    /// Only keys with this prefix
    #[arg(default_value = "")]
    pub prefix: String,
    /// The file to write; without it, or as `-`, standard output. The file appears only when it is
    /// complete. An existing file is replaced only if it is an export with the same prefix
    #[arg(long, short, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Replace the file whatever it contains, even if there is no entry to export
    #[arg(long, requires = "file")]
    pub force: bool,
}

/// Create the entries of an export.
#[derive(Debug, Args)]
pub struct Import {
    /// The export; without it, or as `-`, standard input
    pub file: Option<PathBuf>,
    /// Also replace entries that have another value, except those that change during the import
    #[arg(long)]
    pub replace: bool,
}
