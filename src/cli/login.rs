//! `login`: stores the token for a service, after the service has accepted it.

use std::env;
use std::io::{self, IsTerminal as _, Write as _};
use std::path;

use clap::Args;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::task;

use super::ca_file::CaFile;
use super::caller::Caller;
use super::connection::Connection;
use super::failure::Failure;
use super::interrupt::{Interrupt, Interrupts};
use super::output::{Output, note, warn};
use super::profiles::{self, Profiles};
use super::server::Server;
use super::text::{printable, shell_quoted};
use super::token_text::{TokenSource, TokenText, VARIABLE};

/// Store the token for a service, and use that service by default.
///
/// The token is read from the terminal, where it is not shown, or from standard input. It is stored in
/// `ifmatch/config.toml` below `$XDG_CONFIG_HOME` or `~/.config`, which only you may read. The path of the file
/// of --ca is stored with it.
#[derive(Debug, Args)]
pub struct Login {
    /// The URL of the service; without it, the one that other commands use
    pub url: Option<String>,
}

/// `ifmatch login`
pub async fn run(connection: &Connection, output: &Output) -> Result<(), Failure> {
    // Before the token is typed: a file that cannot be used is told now.
    let profiles = Profiles::load()?;
    let server = connection.server_or_default(&profiles)?;
    connection.check_token_may_go_to(&server)?;
    let (token, source) = match connection.token_of_file()? {
        Some(token) => token,
        None if io::stdin().is_terminal() => (ask(&server).await?, TokenSource::Input),
        None => (TokenText::from_stdin()?, TokenSource::Input),
    };
    let ca = connection.ca_file(&server, &profiles);
    let stored_ca = match &ca {
        Some(ca) if server.is_https() => Some(absolute(ca)?),
        _ => None,
    };
    let client = connection.client_of(server.clone(), Some((token.clone(), source)), ca)?;
    let caller = Caller::ask(&client)
        .await
        .map_err(|failure| Failure::NotSignedIn(failure.into()))?;
    let name = server.name();
    if caller.name.is_none() {
        // Every token has a name, so nobody has looked at this one.
        return Err(Failure::Usage(format!(
            "{name}: this service asks for no token, so it could not check this one, and nothing was stored\n\
             Commands need no login there. To use it without --server: export IFMATCH_SERVER={}",
            shell_quoted(&name)
        )));
    }
    let (path, ()) = Profiles::update(|profiles| {
        let ca = stored_ca.clone();
        let login = profiles::Login { token, ca };
        profiles.services.insert(server.clone(), login);
        profiles.default = Some(server.clone());
        Ok(())
    })?;
    note(&format!(
        "The token is stored in {}. Commands without --server now use {name}.",
        path.display()
    ));
    if let Some(ca) = stored_ca {
        note(&format!(
            "For this service they trust the certificates in {}.",
            printable(&ca)
        ));
    }
    if env::var_os(VARIABLE).is_some_and(|text| !text.is_empty()) {
        warn(&format!(
            "{VARIABLE} is set, and commands use it instead of the stored token"
        ));
    }
    if let Some(other) = connection.other_server()
        && *other != server
    {
        warn(&format!(
            "IFMATCH_SERVER is set, so commands without --server still use {}",
            other.name()
        ));
    }
    caller.print(&name, output)
}

/// The path of a file, as it can be stored.
fn absolute(ca: &CaFile) -> Result<String, Failure> {
    let path = path::absolute(&ca.path).map_err(|error| Failure::file(&ca.path, error))?;
    path.into_os_string().into_string().map_err(|path| {
        Failure::Input(format!(
            "{}: the path is not UTF-8, so it cannot be stored: give the file of --ca another name",
            path.display()
        ))
    })
}

/// Reads the token from the terminal, which does not show it.
async fn ask(server: &Server) -> Result<TokenText, Failure> {
    let failed = |error| Failure::file("the terminal".as_ref(), error);
    let mut interrupts =
        Interrupts::listen(&[Interrupt::CtrlC, Interrupt::Terminate, Interrupt::HangUp])?;
    let hidden = HiddenInput::begin().map_err(failed)?;
    let prompt = format!("Token for {}: ", server.name());
    io::stderr().write_all(prompt.as_bytes()).map_err(failed)?;
    let typed = task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().read_line(&mut line).map(|_| line)
    });
    let typed = tokio::select! {
        typed = typed => typed.unwrap_or_else(|error| Err(io::Error::other(error))),
        signal = interrupts.next() => {
            // What comes next is not part of the prompt.
            let _ = writeln!(io::stderr());
            return Err(Failure::Interrupted { signal });
        }
    };
    drop(hidden);
    TokenText::parse(typed.map_err(failed)?.as_bytes(), &"your input")
}

/// While this exists, the terminal does not show what is typed.
struct HiddenInput(Termios);

impl HiddenInput {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        // The end of the line is shown.
        hidden.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(io::stdin(), OptionalActions::Flush, &hidden)?;
        Ok(Self(before))
    }
}

impl Drop for HiddenInput {
    fn drop(&mut self) {
        // If this fails, the terminal is gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}
