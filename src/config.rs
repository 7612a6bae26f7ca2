//! Flags and environment variables, each with its default and its meaning.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::admission::DEFAULT_MAX_IN_FLIGHT_BYTES;
use crate::api::{HostName, Limits};
use crate::model::DEFAULT_MAX_VALUE_BYTES;
use crate::service::{self, Policy};
use crate::storage::feed::DEFAULT_WATCH_BUFFER_BYTES;
use crate::storage::file::{Journaling, Settings};

/// An HTTP key-value service in which nobody's update gets lost.
///
/// Every value has a version and an entity tag; a write that names a stale one in If-Match gets
/// 412 with the entry as it stands. Everything acknowledged is in one data file that survives a
/// power cut.
#[derive(Debug, Clone, Parser)]
#[command(version, max_term_width = 100)]
pub struct Config {
    /// Where to listen; port 0 takes a free one, which the first line printed names
    #[arg(
        long,
        env = "IFMATCH_LISTEN",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:8080"
    )]
    pub listen: String,

    /// A host name or address by which clients may ask for this service, besides loopback and where it
    /// listens; repeat it, or separate several by commas. Beyond loopback every host is answered unless
    /// some are named here
    #[arg(
        long,
        env = "IFMATCH_ALLOWED_HOST",
        value_name = "HOST",
        value_delimiter = ','
    )]
    pub allowed_host: Vec<HostName>,

    /// The data file; it is created by the first write
    #[arg(
        long,
        env = "IFMATCH_DATA",
        value_name = "FILE",
        default_value = "data.json"
    )]
    pub data: PathBuf,

    /// How large the data file is when commits begin to go to a journal beside it: a number of
    /// bytes, or `never`
    #[arg(long, env = "IFMATCH_JOURNAL_ABOVE", value_name = "BYTES",
          default_value = "1048576", value_parser = journal_above)]
    pub journal_above: Journaling,

    /// How many bytes of recent changes all watchers together keep in memory
    #[arg(long, env = "IFMATCH_WATCH_BUFFER", value_name = "BYTES",
          default_value_t = DEFAULT_WATCH_BUFFER_BYTES)]
    pub watch_buffer: usize,

    /// The largest value taken, in bytes of its JSON text
    #[arg(long, env = "IFMATCH_MAX_VALUE_BYTES", value_name = "BYTES",
          default_value_t = DEFAULT_MAX_VALUE_BYTES as u32, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_value_bytes: u32,

    /// How many bytes of requests may be under way at once, in the whole process; past that a request is
    /// told 503. One request always has room
    #[arg(long, env = "IFMATCH_MAX_IN_FLIGHT_BYTES", value_name = "BYTES",
          default_value_t = DEFAULT_MAX_IN_FLIGHT_BYTES)]
    pub max_in_flight_bytes: usize,

    /// Answer 428 to a write that does not rule out a lost update: one without an entity tag in If-Match
    /// and without If-None-Match: *
    #[arg(long, env = "IFMATCH_REQUIRE_PRECONDITIONS",
          value_parser = clap::builder::BoolishValueParser::new())]
    pub require_preconditions: bool,

    /// How long a client may take to send the header of a request, or leave a connection idle
    #[arg(long, env = "IFMATCH_HEADER_TIMEOUT", value_name = "TIME", default_value = "30s",
          value_parser = duration)]
    pub header_timeout: Duration,

    /// How long a request may take, its body included; in the same time a reader must take 64 KiB of its
    /// answer
    #[arg(long, env = "IFMATCH_REQUEST_TIMEOUT", value_name = "TIME", default_value = "30s",
          value_parser = duration)]
    pub request_timeout: Duration,

    /// How many connections are served at once, if the limit of open files allows it; more are told 503
    #[arg(long, env = "IFMATCH_MAX_CONNECTIONS", value_name = "COUNT", default_value_t = 10_000,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: u32,

    /// Within what time the process ends after SIGINT or SIGTERM; requests under way have four fifths of it
    #[arg(long, env = "IFMATCH_SHUTDOWN_GRACE", value_name = "TIME", default_value = "10s",
          value_parser = duration)]
    pub shutdown_grace: Duration,

    /// How log lines look, which go to standard error; `RUST_LOG` says which (default: info)
    #[arg(
        long,
        env = "IFMATCH_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub log_format: LogFormat,
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

    /// How the store works.
    #[must_use]
    pub fn store_settings(&self) -> Settings {
        Settings {
            journaling: self.journal_above,
            watch_buffer_bytes: self.watch_buffer,
        }
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
        Err(error) => Err(format!("{error}; write a number of bytes, or never")),
    }
}

/// `30s`, `1m 30s`, `500ms`; never nothing, which would refuse everything.
fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write for instance 30s or 500ms"))?;
    if duration.is_zero() {
        return Err("it must be longer than nothing".to_owned());
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
