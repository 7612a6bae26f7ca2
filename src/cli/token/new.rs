//! `token new`: a token, and the lines that make it known to a service.
//!
//! The lines are the output, to be appended to the file: they have only the hash. The token goes elsewhere, to
//! standard error or to a file of its own, so that it cannot get among them.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use clap::Args;
use itertools::Itertools as _;
use toml::value::Datetime;

use super::pattern::pattern_in_words;
use crate::access::{Action, Grant, Tokens, TokensError, hash_of, new_token};
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::text::toml_string;
use crate::model::{Name, Timestamp};

/// Make a token, and the lines for the service's --tokens file.
///
/// The lines go to standard output: append them to the file with `>> tokens.toml`. They have a hash of the
/// token, not the token itself, which is shown once, on standard error, or written to the file of
/// --save-token.
#[derive(Debug, Args)]
pub struct New {
    /// Who will have the token: a person or a program, as entries will show it
    #[arg(long)]
    pub name: Name,
    /// What the token allows: some of read, create, update, delete, on the keys that begin with PREFIX;
    /// `=read` is for all keys. Repeat it for more prefixes
    #[arg(long, required = true, value_name = "PREFIX=ACTION,…")]
    pub allow: Vec<Allowed>,
    /// When the token expires: after a time such as 90d, or at the beginning of a day (UTC) such as
    /// 2027-01-01; without it, never
    #[arg(long, value_name = "TIME")]
    pub expires: Option<Expiry>,
    /// Write the token to this new file, which only you may read, instead of standard error
    #[arg(long, value_name = "FILE")]
    pub save_token: Option<PathBuf>,
}

/// `doc/=read,update`
#[derive(Debug, Clone)]
pub struct Allowed(Grant);

impl FromStr for Allowed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORM: &str = "give PREFIX=ACTION,…, such as doc/=read,update, or =read for all keys";
        // A prefix can have the character, too.
        let (prefix, actions) = text.rsplit_once('=').ok_or(FORM)?;
        if prefix.contains('*') {
            return Err(format!(
                "{}; no token was made",
                pattern_in_words(prefix, "give ")
            ));
        }
        let action = |name: &str| {
            let known = Action::ALL
                .into_iter()
                .find(|action| action.as_str() == name);
            known.ok_or_else(|| {
                let all = Action::ALL.iter().join(", ");
                format!("{name:?} is none of {all}; {FORM}")
            })
        };
        let actions = actions
            .split(',')
            .map(action)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self(Grant {
            prefix: prefix.to_owned(),
            actions: actions.into_iter().unique().collect(),
        }))
    }
}

/// `90d` or `2027-01-01`
#[derive(Debug, Clone)]
pub enum Expiry {
    After(Duration),
    At(Datetime),
}

impl FromStr for Expiry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(moment) = text.parse() {
            return Ok(Self::At(moment));
        }
        match humantime::parse_duration(text) {
            Ok(time) if !time.is_zero() => Ok(Self::After(time)),
            _ => Err("give a time such as 90d, or a day such as 2027-01-01".to_owned()),
        }
    }
}

impl Expiry {
    /// As the file has it.
    fn to_toml(&self, now: SystemTime) -> String {
        match self {
            Self::At(moment) => moment.to_string(),
            Self::After(time) => {
                // What no clock can show is the last moment that the file can have.
                let end = now.checked_add(*time).map(Timestamp::from);
                end.unwrap_or(Timestamp::from_millis(u64::MAX)).to_string()
            }
        }
    }
}

/// `ifmatch token new`
pub fn run(new: &New, output: &Output) -> Result<(), Failure> {
    let token = new_token()
        .map_err(|error| Failure::Input(format!("the system has no random numbers: {error}")))?;
    let now = SystemTime::now();
    let lines = lines(new, &token, now);
    check(&lines, &token, now.into())?;
    // First, because lines without their token are of no use.
    match &new.save_token {
        Some(path) => save(path, &token)?,
        None => show(&new.name, &token).map_err(|error| not_printed(&error))?,
    }
    let printed = output.line(&lines);
    if printed.is_err()
        && let Some(path) = &new.save_token
    {
        // A token that no service will know; if it stays, it does no harm.
        let _ = fs::remove_file(path);
    }
    printed.map_err(|failure| match failure {
        // Also if the reader has closed it.
        Failure::Output(error) => not_printed(&error),
        failure => failure,
    })
}

/// The lines for the file. They begin with an empty one, in case that the file does not end with a line break.
fn lines(new: &New, token: &str, now: SystemTime) -> String {
    let hash = hex::encode(hash_of(token.as_bytes()));
    let name = toml_string(new.name.as_str());
    let mut lines = format!("\n[[token]]\nname = {name}\nsha256 = \"{hash}\"\n");
    // Writing to a string cannot fail.
    if let Some(expires) = &new.expires {
        let _ = writeln!(lines, "expires = {}", expires.to_toml(now));
    }
    let grants = new.allow.iter().map(|Allowed(grant)| {
        let prefix = toml_string(&grant.prefix);
        let actions = grant
            .actions
            .iter()
            .map(|action| format!("\"{action}\""))
            .join(", ");
        format!("{{ prefix = {prefix}, actions = [{actions}] }}")
    });
    let _ = match grants.collect::<Vec<_>>().as_slice() {
        [one] => write!(lines, "allow = [{one}]"),
        several => write!(lines, "allow = [\n    {},\n]", several.join(",\n    ")),
    };
    lines
}

/// Makes sure that the service will read the lines, and that the token is good for something.
fn check(lines: &str, token: &str, now: Timestamp) -> Result<(), Failure> {
    let tokens = Tokens::parse(lines).map_err(|error| {
        Failure::Input(match error {
            TokensError::Invalid { reason, .. } => reason.to_owned(),
            error => error.to_string(),
        })
    })?;
    let principal = tokens.find(&hash_of(token.as_bytes()));
    if principal.is_some_and(|principal| principal.has_expired(now)) {
        return Err(Failure::Input(
            "--expires is in the past, so the token would be of no use".to_owned(),
        ));
    }
    Ok(())
}

fn save(path: &Path, token: &str) -> Result<(), Failure> {
    let mut new = File::options();
    new.write(true).create_new(true).mode(0o600);
    let failed = |error| Failure::file(path, error);
    let mut file = new.open(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::Input(format!(
            "{}: this file exists and may hold somebody's token, so it was left unchanged and no token was made\n\
             Give --save-token another name, or remove the file if nobody uses its token any more",
            path.display()
        )),
        _ => failed(error),
    })?;
    file.write_all(format!("{token}\n").as_bytes())
        .map_err(failed)?;
    file.sync_all().map_err(failed)
}

fn show(name: &Name, token: &str) -> io::Result<()> {
    writeln!(
        io::stderr(),
        "The token for {name}, which is shown only now:\n{token}"
    )
}

fn not_printed(error: &io::Error) -> Failure {
    Failure::Input(format!(
        "cannot write the output: {error}; the token is not to be used, so make another"
    ))
}
