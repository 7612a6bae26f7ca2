//! `watch`: changes as they happen. It reconnects when the connection is lost.

use std::time::Duration;

use clap::Args;
use console::style;
use futures_util::StreamExt as _;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use serde::Serialize;
use sse_stream::{Sse, SseByteStream};
use tokio::time::sleep;

use super::client::Client;
use super::entry::Entry;
use super::failure::Failure;
use super::output::{Output, note, say};
use super::text::{TIMESTAMP_COLUMNS, padded, printable, timestamp};
use crate::model::{Key, ResumeToken, ResumeTokenError};

/// How long to wait before reconnecting, unless the service sends another time.
const RETRY: Duration = Duration::from_secs(1);
/// The longest time that the service may ask for.
const RETRY_MAX: Duration = Duration::from_secs(30);

const EVENT_STREAM: &[u8] = b"text/event-stream";

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

/// Parses `--since`: an event's id, or the tag of a list, which a proxy may have made weak.
fn since(text: &str) -> Result<ResumeToken, ResumeTokenError> {
    text.trim_start_matches("W/").trim_matches('"').parse()
}

/// An event as a line of JSON.
#[derive(Debug, Serialize)]
struct EventLine<'a> {
    event: &'a str,
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<&'a Entry>,
}

/// `ifmatch watch`. Ends only if nobody reads the output, or with an error that does not pass by itself.
pub async fn run(client: &Client, watch: &Watch, output: &Output) -> Result<(), Failure> {
    let mut follower = Watcher {
        client,
        with_new_ca: None,
        watch,
        output,
        has_shown: false,
        last_id: watch.since.as_ref().map(ToString::to_string),
        retry: RETRY,
    };
    // If the first connection fails, the command fails; later ones are repeated.
    let mut events = follower.connect().await?;
    note("Watching; press Ctrl-C to stop.");
    loop {
        follower.follow(events).await?;
        say("Connection lost; reconnecting.");
        events = match follower.reconnect().await {
            Ok(events) => events,
            Err(failure) => return Err(follower.ended(failure)),
        };
        say("Reconnected.");
    }
}

struct Watcher<'a> {
    client: &'a Client,
    /// The same after the file of `--ca` was read again.
    with_new_ca: Option<Client>,
    watch: &'a Watch,
    output: &'a Output,
    /// Whether an event was printed.
    has_shown: bool,
    /// The last event that was printed, or the one after which the watch began.
    last_id: Option<String>,
    retry: Duration,
}

impl Watcher<'_> {
    fn client(&self) -> &Client {
        self.with_new_ca.as_ref().unwrap_or(self.client)
    }

    /// Connects again and again, until a failure does not pass by itself.
    async fn reconnect(&mut self) -> Result<reqwest::Response, Failure> {
        let mut has_read_ca = false;
        loop {
            sleep(self.retry).await;
            match self.connect().await {
                Err(Failure::Unreachable { .. }) => {}
                // The service, or a proxy in front of it, may be restarting.
                Err(Failure::Refused(refusal)) if refusal.status >= 500 => {}
                // The service may have a certificate of another authority, which the file already has.
                Err(Failure::Untrusted { .. }) if !has_read_ca => {
                    self.with_new_ca = Some(self.client.with_ca_read_again()?);
                    has_read_ca = true;
                }
                answer => return answer,
            }
        }
    }

    async fn connect(&self) -> Result<reqwest::Response, Failure> {
        let filter = match &self.watch.key {
            Some(key) => ("key", key.as_str()),
            None => ("prefix", self.watch.prefix.as_str()),
        };
        let mut request = self.client().get("/watch", &[filter]);
        // An id that is not printable ASCII is not from ifmatch; then the watch starts with the present.
        if let Some(Ok(id)) = self.last_id.as_deref().map(HeaderValue::from_str) {
            request = request.header("Last-Event-ID", id);
        }
        let response = self.client().send(request).await?;
        let kind = response.headers().get(CONTENT_TYPE);
        if kind.is_none_or(|kind| !kind.as_bytes().starts_with(EVENT_STREAM)) {
            return Err(self.client.not_ifmatch(&"it is not an event stream"));
        }
        Ok(response)
    }

    /// Why the watch ended, and how to continue it.
    fn ended(self, failure: Failure) -> Failure {
        match self.last_id {
            Some(last_id) => Failure::WatchEnded {
                failure: failure.into(),
                last_id: printable(&last_id).into_owned(),
                has_shown: self.has_shown,
            },
            None => failure,
        }
    }

    /// Prints the events until the connection ends.
    async fn follow(&mut self, response: reqwest::Response) -> Result<(), Failure> {
        let mut events = SseByteStream::new(Box::pin(response.bytes_stream()));
        while let Some(Ok(event)) = events.next().await {
            if let Some(millis) = event.retry {
                self.retry = Duration::from_millis(millis).min(RETRY_MAX);
            }
            self.print(&event)?;
            // Only now, so that no event is skipped that was not printed.
            self.last_id = event.id.or(self.last_id.take());
        }
        Ok(())
    }

    fn print(&mut self, sse: &Sse) -> Result<(), Failure> {
        let Some(event) = sse.event.as_deref() else {
            return Ok(());
        };
        let entry: Option<Entry> = match event {
            "put" | "delete" => {
                let data = sse.data.as_deref().unwrap_or_default();
                let entry = serde_json::from_str(data);
                Some(entry.map_err(|error| self.client.not_ifmatch(&error))?)
            }
            "reset" => None,
            // From a newer service.
            _ => return Ok(()),
        };
        self.has_shown = true;
        if !self.output.is_terminal() {
            let (id, entry) = (sse.id.as_deref(), entry.as_ref());
            return self.output.json(&EventLine { event, id, entry });
        }
        let Some(entry) = entry else {
            let missed = "reset: some changes were missed and are no longer available; list again";
            return self.output.line(&style(missed).yellow().to_string());
        };
        let what = match event {
            "put" if entry.version == 1 => style("created ").green(),
            "put" => style("replaced").cyan(),
            _ => style("deleted ").red(),
        };
        // The entry of a deletion has no time of deletion.
        let at = match event {
            "delete" => padded("", TIMESTAMP_COLUMNS),
            _ => timestamp(&entry.modified_at),
        };
        let key = style(printable(entry.key.as_str())).bold();
        let by = style(entry.by_in_words()).dim();
        let value = printable(entry.value.as_json());
        self.output
            .row(&format!("{}  {what}  {key}{by}  {value}", style(at).dim()))
    }
}
