//! What can be asked for on the command line.

use std::path::PathBuf;
use std::str::FromStr;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use reqwest::Url;
use reqwest::header::HeaderValue;

use crate::config::Config;
use crate::model::{Bookmark, BookmarkError, Key};

/// Where a service is unless something else is said.
const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";
/// Why `rm` with neither flag does nothing.
const RM_NEEDS: &str = "rm deletes only what you have seen, and nothing was deleted: use --if-match TAG \
     (`ifmatch get KEY` shows the value and its tag), or --force to delete whatever is there";

/// An HTTP key-value service in which nobody's update gets lost, and its command line.
///
/// Without a command it serves. The commands talk to a service: `ifmatch edit KEY` opens an entry in
/// your editor, merges what others have saved meanwhile, and shows both sides of what overlaps.
///
/// No command overwrites or deletes a value that you have not seen, unless --force says so.
///
/// Exit codes: 0 done, 1 an error, 2 the command was not understood, 3 the key is not there, 4 a
/// conflict with somebody else's change, 128 and its number if a signal ended it.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    /// The service that a command talks to
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
    /// Serve, which is also what happens without a command
    Serve(Config),
    #[command(flatten)]
    Ask(Request),
}

/// A command that talks to a service.
#[derive(Debug, Subcommand)]
pub enum Request {
    /// Show an entry
    Get(Get),
    /// Create an entry, or replace the one that you have seen
    Put(Put),
    /// Change a part of an entry
    Patch(Patch),
    /// Delete the entry that you have seen
    Rm(Rm),
    /// List the entries
    Ls(Ls),
    /// Show changes as they happen
    Watch(Watch),
    /// Edit an entry in $VISUAL or $EDITOR, together with others
    Edit(Edit),
    /// Write the entries, as they stand at one moment, to a file that `import` takes
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
                "--{flag} is of `serve`: it stands after that, or without a command"
            ));
        }
        match command {
            Some(Command::Ask(Request::Rm(rm))) if rm.if_match.is_none() && !rm.force => Err(
                clap::Error::raw(ErrorKind::MissingRequiredArgument, RM_NEEDS),
            ),
            Some(Command::Ask(request)) => {
                let is_no_server = |why| {
                    // Not the text itself, which may have a password.
                    let what = format!("--server cannot be used: {why}");
                    clap::Error::raw(ErrorKind::ValueValidation, what)
                };
                Ok(Task::Ask(server.parse().map_err(is_no_server)?, request))
            }
            _ if is_typed("server") => {
                misplaced("--server is for the commands that talk to a service".to_owned())
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
                "it is a weak tag (W/), and a weak tag never matches. A proxy that compresses answers \
                 makes them weak in the ETag header; use the tag that `ifmatch get KEY` shows, which is \
                 the entry's `etag`"
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
fn since(text: &str) -> Result<Bookmark, BookmarkError> {
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
    /// The JSON itself; without it, or as `-`, and without --file it is read from standard input
    #[arg(value_name = "JSON", allow_negative_numbers = true)]
    pub text: Option<String>,
    /// Read it from a file; `-` is standard input
    #[arg(long, short, value_name = "FILE", conflicts_with = "text")]
    pub file: Option<PathBuf>,
}

/// Create an entry, or replace the one that you have seen.
#[derive(Debug, Args)]
#[command(
    after_help = "Without --if-match and --force it only creates, and refuses a key that exists. JSON that \
                  has a member twice, or nothing in it, is refused."
)]
pub struct Put {
    /// The key of the entry
    pub key: Key,
    #[command(flatten)]
    pub input: Input,
    /// Only replace the entry that has this entity tag, which `get` shows; `*` is whatever is there
    #[arg(long, value_name = "TAG")]
    pub if_match: Option<Tag>,
    /// Only create: replace nothing
    #[arg(long, conflicts_with = "if_match")]
    pub create: bool,
    /// Create, or replace whatever is there, seen or not
    #[arg(long, conflicts_with_all = ["if_match", "create"])]
    pub force: bool,
}

/// Change a part of an entry.
#[derive(Debug, Args)]
#[command(
    after_help = "An array is a JSON Patch (RFC 6902), anything else a merge patch (RFC 7396). A merge \
                  patch that would replace the whole value, because one of the two is not an object, \
                  needs --if-match."
)]
pub struct Patch {
    /// The key of the entry
    pub key: Key,
    #[command(flatten)]
    pub input: Input,
    /// Only change the entry that has this entity tag
    #[arg(long, value_name = "TAG")]
    pub if_match: Option<Tag>,
}

/// Delete the entry that you have seen.
#[derive(Debug, Args)]
#[command(
    override_usage = "ifmatch rm [OPTIONS] <--if-match <TAG>|--force> <KEY>",
    after_help = "It deletes one key. A prefix is not one."
)]
pub struct Rm {
    /// The key of the entry
    pub key: Key,
    /// Only delete the entry that has this entity tag, which `get` shows
    #[arg(long, value_name = "TAG")]
    pub if_match: Option<Tag>,
    /// Delete whatever is there, seen or not
    #[arg(long, conflicts_with = "if_match")]
    pub force: bool,
}

/// List the entries.
#[derive(Debug, Args)]
pub struct Ls {
    /// Only keys that begin so
    #[arg(default_value = "")]
    pub prefix: String,
}

/// Show changes as they happen.
#[derive(Debug, Args)]
pub struct Watch {
    /// Only keys that begin so
    #[arg(default_value = "")]
    pub prefix: String,
    /// Only this key
    #[arg(long, conflicts_with = "prefix")]
    pub key: Option<Key>,
    /// From after an event: its `id`, or the `etag` header of a list
    #[arg(long, value_name = "ID", value_parser = since)]
    pub since: Option<Bookmark>,
}

/// Edit an entry.
#[derive(Debug, Args)]
pub struct Edit {
    /// The key of the entry
    pub key: Key,
    /// Create the entry if it is not there
    #[arg(long)]
    pub create: bool,
    /// Go on with the text that an earlier edit has kept in this file
    #[arg(long, value_name = "FILE", conflicts_with = "create")]
    pub resume: Option<PathBuf>,
}

/// Write the entries to a file.
#[derive(Debug, Args)]
pub struct Export {
    /// Only keys that begin so
    #[arg(default_value = "")]
    pub prefix: String,
    /// Where to; without it, or as `-`, standard output. The file is there only when it is whole. One
    /// that exists is replaced only if it is an export with the same prefix
    #[arg(long, short, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Replace the file whatever it is, also if there is no entry to export
    #[arg(long, requires = "file")]
    pub force: bool,
}

/// Create the entries of an export.
#[derive(Debug, Args)]
pub struct Import {
    /// The export; without it, or as `-`, standard input
    pub file: Option<PathBuf>,
    /// Replace entries that have another value, too; what changes while it is at work is left alone
    #[arg(long)]
    pub replace: bool,
}
