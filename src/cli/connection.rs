//! How a command reaches the service: the flags, the environment, and what `ifmatch login` has stored.
//!
//! | | first | then | then | then |
//! | --- | --- | --- | --- | --- |
//! | service | `--server` | `IFMATCH_SERVER` | the last login | [`DEFAULT_SERVER`] |
//! | token | `--token-file` | `IFMATCH_TOKEN` | the login to that service | none |

use std::fs;
use std::path::PathBuf;

use clap::Args;
use clap::builder::BoolishValueParser;
use reqwest::Certificate;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::client::{Client, Route};
use super::failure::Failure;
use super::profiles::Profiles;
use super::server::{DEFAULT_SERVER, Server};
use super::text::shell_quoted;
use super::token_text::{TokenSource, TokenText};

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

    /// Certificates (PEM) of an authority that may vouch for an https service, besides those of the system
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
}

impl Connection {
    /// With `url`, it is for this service, whatever `--server` and the environment say.
    ///
    /// # Errors
    /// Why the URL is not valid.
    pub fn new(args: ConnectionArgs, url: Option<String>) -> Result<Self, String> {
        let named = args.server.filter(|url| !url.is_empty());
        let (server, other) = match url {
            Some(url) => (Some(url), named),
            None => (named, None),
        };
        Ok(Self {
            server: server.map(|url| url.parse()).transpose()?,
            other_server: other.and_then(|url| url.parse().ok()),
            token_file: args.token_file,
            ca: args.ca.filter(|path| !path.as_os_str().is_empty()),
            allow_plain_http: args.allow_plain_http,
        })
    }

    /// A client of the service, with the token for it.
    pub fn client(&self) -> Result<Client, Failure> {
        let given = self.given_token()?;
        let profiles = if self.server.is_some() && given.is_some() {
            Profiles::default()
        } else {
            Profiles::load()?
        };
        let server = self.server_or_default(&profiles)?;
        let token = match given {
            Some(given) => Some(given),
            // Then the service, or a proxy before it, has another way to know who asks.
            None if server.has_credentials() => None,
            None => profiles
                .tokens
                .get(&server)
                .map(|token| (token.clone(), TokenSource::Stored(profiles.path()))),
        };
        self.client_of(server, token)
    }

    /// A client of this service with this token, if it may be sent there.
    pub fn client_of(
        &self,
        server: Server,
        token: Option<(TokenText, TokenSource)>,
    ) -> Result<Client, Failure> {
        if token.is_some() {
            self.check_token_may_go_to(&server)?;
        }
        Client::new(Route {
            server,
            token,
            roots: self.roots()?,
            flags: self.flags(),
        })
    }

    /// The service that the command is for.
    pub fn server_or_default(&self, profiles: &Profiles) -> Result<Server, Failure> {
        match self.server.as_ref().or(profiles.default.as_ref()) {
            Some(server) => Ok(server.clone()),
            None => DEFAULT_SERVER.parse().map_err(Failure::Input),
        }
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

    fn roots(&self) -> Result<Vec<Certificate>, Failure> {
        let Some(path) = &self.ca else {
            return Ok(Vec::new());
        };
        let invalid = |reason: &str| {
            Failure::Input(format!(
                "{}: {reason}; --ca needs certificates in PEM, which begin with -----BEGIN CERTIFICATE-----",
                path.display()
            ))
        };
        let pem = fs::read(path).map_err(|error| Failure::file(path, error))?;
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let found = found.map_err(|error| invalid(&error.to_string()))?;
        if found.is_empty() {
            return Err(invalid("there is no certificate in it"));
        }
        let root = |certificate: CertificateDer| {
            let root = Certificate::from_der(&certificate);
            // reqwest would look at it only later, and then does not say which file it is in.
            let added = RootCertStore::empty().add(certificate);
            added
                .map_err(|error| invalid(&format!("a certificate in it is not valid: {error}")))?;
            root.map_err(|error| invalid(&error.to_string()))
        };
        found.into_iter().map(root).collect()
    }

    fn flags(&self) -> String {
        let files = [("--token-file", &self.token_file), ("--ca", &self.ca)];
        let files = files.iter().filter_map(|(flag, path)| {
            let path = path.as_ref()?.to_string_lossy();
            Some(format!(" {flag} {}", shell_quoted(&path)))
        });
        let plain = self
            .allow_plain_http
            .then(|| " --allow-plain-http".to_owned());
        files.chain(plain).collect()
    }
}
