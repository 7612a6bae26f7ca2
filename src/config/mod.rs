//! Flags and environment variables, each with its default and its meaning.

#[cfg(feature = "etcd")]
mod etcd;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

#[cfg(feature = "etcd")]
pub use self::etcd::EtcdFlags;
use crate::access::{Action, Authority, Grants, Tokens};
use crate::api::{HeaderName, HostName, Limits, Network, Origin};
use crate::model::DEFAULT_MAX_VALUE_BYTES;
use crate::service::{self, DEFAULT_MAX_IN_FLIGHT_BYTES, Policy};
use crate::storage::DEFAULT_WATCH_BUFFER_BYTES;
#[cfg(feature = "etcd")]
use crate::storage::etcd::StoreSettings;
use crate::storage::file::{DEFAULT_HISTORY_MAX_BYTES, History, Journaling, Settings};

/// An HTTP key-value service in which nobody's update gets lost.
///
/// Every value has a version and an entity tag. A write that names an outdated tag in If-Match is
/// refused with 412 and the current entry. Every acknowledged write survives a power cut.
#[derive(Debug, Clone, Parser)]
#[command(version, max_term_width = 100)]
pub struct Config {
    /// Address to listen on; with port 0 the first line of output names the port
    #[arg(
        long,
        env = "IFMATCH_LISTEN",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:8080"
    )]
    pub listen: String,

    /// A host name or address that clients may use for this service, besides loopback and the listen
    /// address; repeat it, or separate several with commas. If the service listens beyond loopback, it
    /// answers for any host unless you name some here
    #[arg(
        long,
        env = "IFMATCH_ALLOWED_HOST",
        value_name = "HOST",
        value_delimiter = ','
    )]
    pub allowed_host: Vec<HostName>,

    /// The origin of a page elsewhere that may use this service, such as `https://app.example`; repeat it,
    /// or separate several with commas
    #[arg(
        long,
        env = "IFMATCH_CORS_ORIGIN",
        value_name = "ORIGIN",
        value_delimiter = ','
    )]
    pub cors_origin: Vec<Origin>,

    /// The file of tokens (TOML): who may do what. It is read again when it changes. Without it everyone may do
    /// everything, so the service then refuses to listen beyond loopback
    #[arg(long, env = "IFMATCH_TOKENS", value_name = "FILE")]
    pub tokens: Option<PathBuf>,

    /// A proxy in front of the service that is trusted to say who asks and from where, as an address or a
    /// network; repeat it, or separate several with commas
    #[arg(
        long,
        env = "IFMATCH_TRUSTED_PROXY",
        value_name = "NETWORK",
        value_delimiter = ','
    )]
    pub trusted_proxy: Vec<Network>,

    /// The header in which a trusted proxy names the user whom it has signed in. It must remove that header from
    /// what its clients send
    #[arg(
        long,
        env = "IFMATCH_TRUSTED_USER_HEADER",
        value_name = "NAME",
        requires = "trusted_proxy"
    )]
    pub trusted_user_header: Option<HeaderName>,

    /// What anybody may do, also without a token. A token adds to it
    #[arg(long, env = "IFMATCH_ANONYMOUS", value_name = "RIGHTS")]
    pub anonymous: Option<Anonymous>,

    /// A file with the service's certificate in PEM format, and after it those that lead to its authority. The
    /// service then speaks HTTPS only. The file is read again when it changes, and so are the next two
    #[arg(
        long,
        env = "IFMATCH_TLS_CERT",
        value_name = "FILE",
        requires = "tls_key"
    )]
    pub tls_cert: Option<PathBuf>,

    /// A file with the private key of --tls-cert, in PEM format and without a password
    #[arg(
        long,
        env = "IFMATCH_TLS_KEY",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    pub tls_key: Option<PathBuf>,

    /// A file with the certificates of authorities, in PEM format. A client may then identify itself by a
    /// certificate that one of them has issued; it may also have none
    #[arg(
        long,
        env = "IFMATCH_TLS_CLIENT_CA",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    pub tls_client_ca: Option<PathBuf>,

    /// The data file; the first write creates it
    #[arg(
        long,
        env = "IFMATCH_DATA",
        value_name = "FILE",
        default_value = "data.json"
    )]
    pub data: PathBuf,

    /// The size of the data file, in bytes, above which commits go to a journal beside it; `0` for
    /// always, or `never`
    #[arg(long, env = "IFMATCH_JOURNAL_ABOVE", value_name = "BYTES",
          default_value = "1048576", value_parser = journal_above)]
    pub journal_above: Journaling,

    /// For how long the past can be read, such as `12h` or `30d`; or `never`
    #[arg(long, env = "IFMATCH_HISTORY", value_name = "TIME",
          default_value = "30d", value_parser = history)]
    pub history: HistoryTime,

    /// How much of the past is kept at the most, in bytes; the oldest is dropped first
    #[arg(long, env = "IFMATCH_HISTORY_MAX_BYTES", value_name = "BYTES",
          default_value_t = DEFAULT_HISTORY_MAX_BYTES)]
    pub history_max_bytes: u64,

    /// For how long a request with an Idempotency-Key is remembered
    #[arg(long, env = "IFMATCH_IDEMPOTENCY_WINDOW", value_name = "TIME",
          default_value = "24h", value_parser = duration)]
    pub idempotency_window: Duration,

    /// Where the entries are if not in a data file.
    #[cfg(feature = "etcd")]
    #[command(flatten)]
    pub etcd: EtcdFlags,

    /// Memory for recent changes, in bytes, shared by all watchers
    #[arg(long, env = "IFMATCH_WATCH_BUFFER", value_name = "BYTES",
          default_value_t = DEFAULT_WATCH_BUFFER_BYTES)]
    pub watch_buffer: usize,

    /// The largest value accepted, in bytes of its JSON text
    #[arg(long, env = "IFMATCH_MAX_VALUE_BYTES", value_name = "BYTES",
          default_value_t = DEFAULT_MAX_VALUE_BYTES as u32, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_value_bytes: u32,

    /// How many bytes of requests may be in progress at once, in the whole process; further requests
    /// get 503. One request always fits, however low this is set
    #[arg(long, env = "IFMATCH_MAX_IN_FLIGHT_BYTES", value_name = "BYTES",
          default_value_t = DEFAULT_MAX_IN_FLIGHT_BYTES)]
    pub max_in_flight_bytes: usize,

    /// Refuse with 428 every write that could lose somebody's update: one that has neither an entity tag
    /// in If-Match nor If-None-Match: *
    #[arg(long, env = "IFMATCH_REQUIRE_PRECONDITIONS",
          value_parser = clap::builder::BoolishValueParser::new())]
    pub require_preconditions: bool,

    /// How long a client may take to send a request's header, and how long a connection may be idle
    #[arg(long, env = "IFMATCH_HEADER_TIMEOUT", value_name = "TIME", default_value = "30s",
          value_parser = duration)]
    pub header_timeout: Duration,

    /// How long a request may take, including its body; within the same time a client must read 64 KiB
    /// of the response
    #[arg(long, env = "IFMATCH_REQUEST_TIMEOUT", value_name = "TIME", default_value = "30s",
          value_parser = duration)]
    pub request_timeout: Duration,

    /// How many connections are served at once, if the limit on open files allows it, and how many
    /// requests of HTTP/2; more get 503
    #[arg(long, env = "IFMATCH_MAX_CONNECTIONS", value_name = "COUNT", default_value_t = 10_000,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: u32,

    /// The process ends within this time after SIGINT or SIGTERM; requests in progress get four fifths
    /// of it
    #[arg(long, env = "IFMATCH_SHUTDOWN_GRACE", value_name = "TIME", default_value = "10s",
          value_parser = duration)]
    pub shutdown_grace: Duration,

    /// The format of the log, on standard error; `RUST_LOG` sets its level (default: info)
    #[arg(
        long,
        env = "IFMATCH_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub log_format: LogFormat,
}

/// What a client without a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Anonymous {
    /// Read everything.
    Read,
    /// Read and write everything.
    Write,
}

impl Anonymous {
    fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }

    fn grants(self) -> Grants {
        match self {
            Self::Read => Grants::everywhere(&[Action::Read]),
            Self::Write => Grants::everything(),
        }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl Config {
    /// The limits that protect the process from its clients.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            header_timeout: self.header_timeout,
            request_timeout: self.request_timeout,
            max_connections: self.max_connections as usize,
            shutdown_grace: self.shutdown_grace,
        }
    }

    /// Who may do what; `tokens` are those of the file, if there is one.
    #[must_use]
    pub fn authority(&self, tokens: Option<Tokens>) -> Authority {
        match (tokens, self.anonymous) {
            (None, None | Some(Anonymous::Write)) => Authority::open(),
            (tokens, anonymous) => {
                Authority::new(tokens.unwrap_or_default(), anonymous.map(Anonymous::grants))
            }
        }
    }

    /// What a client without a token may do, in a word.
    #[must_use]
    pub fn rights_of_anonymous(&self) -> &'static str {
        match (&self.tokens, self.anonymous) {
            (_, Some(anonymous)) => anonymous.as_str(),
            (Some(_), None) => "nothing",
            (None, None) => Anonymous::Write.as_str(),
        }
    }

    /// Whether somebody has decided who may do what. A service beyond loopback needs that.
    #[must_use]
    pub fn says_who_may_ask(&self) -> bool {
        self.tokens.is_some() || self.anonymous.is_some()
    }

    /// How the store works.
    #[must_use]
    pub fn store_settings(&self) -> Settings {
        Settings {
            journaling: self.journal_above,
            history: match self.history.0 {
                None => History::Never,
                Some(time) => History::For {
                    time,
                    max_bytes: self.history_max_bytes,
                },
            },
            idempotency_window: self.idempotency_window,
            watch_buffer_bytes: self.watch_buffer,
        }
    }

    /// How a store on etcd works, with the files that the flags name.
    ///
    /// # Errors
    /// Why a file cannot be read.
    #[cfg(feature = "etcd")]
    pub async fn etcd_settings(&self) -> Result<StoreSettings, String> {
        let settings = self
            .etcd
            .settings(self.idempotency_window, self.watch_buffer);
        settings.await
    }

    /// How the service works.
    #[must_use]
    pub fn service_settings(&self) -> service::Settings {
        service::Settings {
            policy: if self.require_preconditions {
                Policy::ConditionalWrites
            } else {
                Policy::AllWrites
            },
            max_value_bytes: self.max_value_bytes as usize,
            max_in_flight_bytes: self.max_in_flight_bytes,
        }
    }
}

/// A size, or `never`.
fn journal_above(text: &str) -> Result<Journaling, String> {
    if text == "never" {
        return Ok(Journaling::Never);
    }
    match text.parse() {
        Ok(bytes) => Ok(Journaling::Above { bytes }),
        Err(error) => Err(format!("{error}; give a number of bytes, or never")),
    }
}

/// For how long the history is kept; `None` for `never`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryTime(Option<Duration>);

fn history(text: &str) -> Result<HistoryTime, String> {
    if text == "never" {
        return Ok(HistoryTime(None));
    }
    duration(text)
        .map(|time| HistoryTime(Some(time)))
        .map_err(|error| format!("{error}; or never"))
}

/// `30s`, `1m 30s`, `500ms`; never nothing, which would refuse everything.
fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|error| format!("{error}; give a time such as 30s or 500ms"))?;
    if duration.is_zero() {
        return Err("it must be longer than zero".to_owned());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_flags_are_consistent() {
        Config::command().debug_assert();
    }

    #[test]
    fn a_library_user_gets_the_defaults_of_the_command_line() {
        let config = Config::try_parse_from(["ifmatch"]).unwrap();
        assert_eq!(config.limits(), Limits::default());
        assert_eq!(config.service_settings(), service::Settings::default());
        assert_eq!(config.store_settings(), Settings::default());
    }

    #[test]
    fn a_journal_begins_at_a_size_or_never() {
        let config =
            |arguments: &[&str]| Config::try_parse_from([&["ifmatch"], arguments].concat());
        assert_eq!(config(&[]).unwrap().journal_above, Journaling::default());
        for (text, journaling) in [
            ("0", Journaling::Above { bytes: 0 }),
            ("4096", Journaling::Above { bytes: 4096 }),
            ("never", Journaling::Never),
        ] {
            let parsed = config(&["--journal-above", text]).unwrap();
            assert_eq!(parsed.journal_above, journaling);
        }
        for bad in ["-1", "1MB", "always", ""] {
            assert!(config(&["--journal-above", bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_time_needs_a_unit_and_a_length() {
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        for bad in ["30", "0s", "-1s", "soon", ""] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
