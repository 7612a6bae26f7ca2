//! How a command reaches the service: the flags, the environment, and what `ifmatch login` has stored.
//!
//! | | first | then | then | then |
//! | --- | --- | --- | --- | --- |
//! | service | `--server` | `IFMATCH_SERVER` | the last login | [`DEFAULT_SERVER`] |
//! | token | `--token-file` | `IFMATCH_TOKEN` | the login to that service | none |
//! | authorities | `--ca` | `IFMATCH_CA` | the login to that service | none but those of the system |

use std::path::PathBuf;

use clap::Args;
use clap::builder::BoolishValueParser;

use super::ca_file::CaFile;
use super::client::{Client, Route};
use super::failure::Failure;
use super::profiles::Profiles;
use super::server::{DEFAULT_SERVER, Server};
use super::text::shell_quoted;
use super::token_text::{TokenSource, TokenText};
use super::typed_flags::TypedFlags;

/// The flags of all client commands.
#[derive(Debug, Args)]
pub struct ConnectionArgs {
    /// The URL of the service; without it, that of the last `ifmatch login`, or else `http://127.0.0.1:8080`
    #[arg(
        long,
        global = true,
        env = "IFMATCH_SERVER",
        value_name = "URL",
        hide_env_values = true
    )]
    server: Option<String>,

    /// The file with the token for the service; without it, the token is that of `IFMATCH_TOKEN`, or that of
    /// `ifmatch login`
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Certificates (PEM) of an authority that may vouch for an https service, besides those of the system;
    /// `ifmatch login` stores the file's name for later commands
    #[arg(long, global = true, env = "IFMATCH_CA", value_name = "FILE")]
    ca: Option<PathBuf>,

    /// Send the token unencrypted to an http service on another machine: only where you trust the whole
    /// network
    #[arg(long, global = true, env = "IFMATCH_ALLOW_PLAIN_HTTP", value_parser = BoolishValueParser::new())]
    allow_plain_http: bool,
}

impl ConnectionArgs {
    /// Whether this is the id of one of the flags, or of all of them.
    pub fn has(id: &str) -> bool {
        Self::is_flag(id) || id == "ConnectionArgs"
    }

    /// Whether this is the id of one of the flags.
    pub fn is_flag(id: &str) -> bool {
        ["server", "token_file", "ca", "allow_plain_http"].contains(&id)
    }
}

/// How to reach the service, as far as the flags and the environment say it.
#[derive(Debug)]
pub struct Connection {
    server: Option<Server>,
    /// What the environment names, if the command names another one.
    other_server: Option<Server>,
    token_file: Option<PathBuf>,
    ca: Option<PathBuf>,
    allow_plain_http: bool,
    typed: TypedFlags,
}

impl Connection {
    /// With `url`, it is for this service, whatever `--server` and the environment say. `is_typed` says of the id
    /// of a flag whether it stands on the command line.
    ///
    /// # Errors
    /// Why the URL is not valid.
    pub fn new(
        args: ConnectionArgs,
        url: Option<String>,
        is_typed: impl Fn(&str) -> bool,
    ) -> Result<Self, String> {
        let named = args.server.filter(|url| !url.is_empty());
        let (server, other) = match url {
            Some(url) => (Some(url), named),
            None => (named, None),
        };
        let mut connection = Self {
            server: server.map(|url| url.parse()).transpose()?,
            other_server: other.and_then(|url| url.parse().ok()),
            token_file: args.token_file,
            ca: args.ca.filter(|path| !path.as_os_str().is_empty()),
            allow_plain_http: args.allow_plain_http,
            typed: TypedFlags::default(),
        };
        let of_login = connection.flags_if(|id| is_typed(id) && id != "token_file");
        let named = connection.server.as_ref().filter(|_| is_typed("server"));
        let named = named.map(|server| format!(" --server {}", shell_quoted(&server.name())));
        let all = named.unwrap_or_default() + &connection.flags_if(is_typed);
        connection.typed = TypedFlags { all, of_login };
        Ok(connection)
    }

    /// A client of the service, with the token for it.
    pub fn client(&self) -> Result<Client, Failure> {
        let given = self.given_token()?;
        let profiles = match Profiles::load() {
            // The command can do without.
            Err(_) if self.server.is_some() && given.is_some() => Profiles::default(),
            loaded => loaded?,
        };
        let server = self.server_or_default(&profiles)?;
        let token = match given {
            Some(given) => Some(given),
            // Then the service, or a proxy before it, has another way to know who asks.
            None if server.has_credentials() => None,
            None => profiles
                .services
                .get(&server)
                .map(|login| (login.token.clone(), TokenSource::Stored(profiles.path()))),
        };
        let ca = self.ca_file(&server, &profiles);
        self.client_of(server, token, ca)
    }

    /// The authorities that may vouch for this service.
    #[must_use]
    pub fn ca_file(&self, server: &Server, profiles: &Profiles) -> Option<CaFile> {
        if let Some(path) = &self.ca {
            return Some(CaFile {
                path: path.clone(),
                stored_in: None,
            });
        }
        let path = profiles.services.get(server)?.ca.as_ref()?;
        Some(CaFile {
            path: path.into(),
            stored_in: Some(profiles.path()),
        })
    }

    /// A client of this service with this token, if it may be sent there.
    pub fn client_of(
        &self,
        server: Server,
        token: Option<(TokenText, TokenSource)>,
        ca: Option<CaFile>,
    ) -> Result<Client, Failure> {
        if token.is_some() {
            self.check_token_may_go_to(&server)?;
        }
        Client::new(Route {
            server,
            token,
            ca,
            flags: self.flags_if(|_| true),
            typed: self.typed.clone(),
        })
    }

    /// The service that the command is for.
    pub fn server_or_default(&self, profiles: &Profiles) -> Result<Server, Failure> {
        match self.server.as_ref().or(profiles.default.as_ref()) {
            Some(server) => Ok(server.clone()),
            None => DEFAULT_SERVER.parse().map_err(Failure::Input),
        }
    }

    /// Whether the command or the environment names a service.
    #[must_use]
    pub fn names_server(&self) -> bool {
        self.server.is_some()
    }

    /// The service that the environment names, although this command is for another one.
    #[must_use]
    pub fn other_server(&self) -> Option<&Server> {
        self.other_server.as_ref()
    }

    /// The token in the file of `--token-file`.
    pub fn token_of_file(&self) -> Result<Option<(TokenText, TokenSource)>, Failure> {
        let Some(path) = &self.token_file else {
            return Ok(None);
        };
        let token = TokenText::from_file(path)?;
        Ok(Some((token, TokenSource::File(path.clone()))))
    }

    fn given_token(&self) -> Result<Option<(TokenText, TokenSource)>, Failure> {
        if let Some(token) = self.token_of_file()? {
            return Ok(Some(token));
        }
        let token = TokenText::from_environment()?;
        Ok(token.map(|token| (token, TokenSource::Environment)))
    }

    /// A token is only sent where nobody else can read it.
    ///
    /// # Errors
    /// What to do instead.
    pub fn check_token_may_go_to(&self, server: &Server) -> Result<(), Failure> {
        let name = server.name();
        if server.has_credentials() {
            return Err(Failure::Input(format!(
                "{name}: a request has room for either the password of the URL or the token, and nothing was \
                 sent: remove one of them"
            )));
        }
        if server.is_https() || server.is_loopback() || self.allow_plain_http {
            return Ok(());
        }
        Err(Failure::Input(format!(
            "{name}: the token was not sent, because http is not encrypted and everyone on the way could read it\n\
             Use the https URL of the service, or a tunnel: ssh -L 8080:localhost:8080 HOST, and then --server \
             {DEFAULT_SERVER}. Only where you trust the whole network: --allow-plain-http"
        )))
    }

    /// The flags but `--server`, each after a space.
    fn flags_if(&self, is_wanted: impl Fn(&str) -> bool) -> String {
        let files = [
            ("token_file", "--token-file", &self.token_file),
            ("ca", "--ca", &self.ca),
        ];
        let files = files.iter().filter_map(|(id, flag, path)| {
            let path = path.as_ref().filter(|_| is_wanted(id))?;
            Some(format!(" {flag} {}", shell_quoted(&path.to_string_lossy())))
        });
        let plain = self.allow_plain_http && is_wanted("allow_plain_http");
        let plain = plain.then(|| " --allow-plain-http".to_owned());
        files.chain(plain).collect()
    }
}
