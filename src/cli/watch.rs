//! `watch`: changes as they happen, over as many connections as it takes.

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
use super::output::{Output, note};
use super::text::{MOMENT_COLUMNS, moment, padded, shown};
use crate::model::{Bookmark, BookmarkError, Key};

/// How long to wait before coming again, unless the service says otherwise.
const RETRY: Duration = Duration::from_secs(1);
/// The longest that the service may say.
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
    pub since: Option<Bookmark>,
}

/// Where a watch begins: an event's id, or the tag of a list, also as a proxy has weakened it.
fn since(text: &str) -> Result<Bookmark, BookmarkError> {
    text.trim_start_matches("W/").trim_matches('"').parse()
}

/// What is told of a change where JSON is read.
#[derive(Debug, Serialize)]
struct Told<'a> {
    event: &'a str,
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<&'a Entry>,
}

/// `ifmatch watch`. Ends only with an error, or if nobody reads the output.
pub async fn run(client: &Client, watch: &Watch, output: &Output) -> Result<(), Failure> {
    let mut follower = Follower {
        client,
        watch,
        output,
        last_id: watch.since.as_ref().map(ToString::to_string),
        retry: RETRY,
    };
    // Who cannot connect at all is told so; from then on it only comes again.
    let mut events = follower.connect().await?;
    note("Watching; press Ctrl-C to stop.");
    loop {
        follower.follow(events).await?;
        note("Connection lost; reconnecting.");
        events = loop {
            sleep(follower.retry).await;
            match follower.connect().await {
                Ok(events) => break events,
                Err(Failure::Unreachable { .. }) => {}
                // The service, or the proxy before it, may be starting.
                Err(Failure::Refused(refusal)) if refusal.status >= 500 => {}
                Err(failure) => return Err(failure),
            }
        };
        note("Reconnected.");
    }
}

struct Follower<'a> {
    client: &'a Client,
    watch: &'a Watch,
    output: &'a Output,
    /// What it goes on after.
    last_id: Option<String>,
    retry: Duration,
}

impl Follower<'_> {
    async fn connect(&self) -> Result<reqwest::Response, Failure> {
        let filter = match &self.watch.key {
            Some(key) => ("key", key.as_str()),
            None => ("prefix", self.watch.prefix.as_str()),
        };
        let mut request = self.client.get("/watch", &[filter]);
        // An id is printable ASCII, or is none of ifmatch; then it starts anew.
        if let Some(Ok(id)) = self.last_id.as_deref().map(HeaderValue::from_str) {
            request = request.header("Last-Event-ID", id);
        }
        let response = self.client.ask(request).await?;
        let kind = response.headers().get(CONTENT_TYPE);
        if kind.is_none_or(|kind| !kind.as_bytes().starts_with(EVENT_STREAM)) {
            return Err(self.client.not_ifmatch(&"it is not an event stream"));
        }
        Ok(response)
    }

    /// Tells what comes in until the connection ends.
    async fn follow(&mut self, response: reqwest::Response) -> Result<(), Failure> {
        let mut events = SseByteStream::new(Box::pin(response.bytes_stream()));
        while let Some(Ok(event)) = events.next().await {
            if let Some(millis) = event.retry {
                self.retry = Duration::from_millis(millis).min(RETRY_MAX);
            }
            self.tell(&event)?;
            // Only now, so that nothing is skipped that was not told.
            self.last_id = event.id.or(self.last_id.take());
        }
        Ok(())
    }

    fn tell(&self, sse: &Sse) -> Result<(), Failure> {
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
            // Of a service that knows more than this client.
            _ => return Ok(()),
        };
        if !self.output.is_terminal() {
            let (id, entry) = (sse.id.as_deref(), entry.as_ref());
            return self.output.json(&Told { event, id, entry });
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
        // Of a deletion the entry does not say when it was.
        let at = match event {
            "delete" => padded("", MOMENT_COLUMNS),
            _ => moment(&entry.modified_at),
        };
        let key = style(shown(entry.key.as_str())).bold();
        let value = shown(entry.value.as_json());
        self.output
            .row(&format!("{}  {what}  {key}  {value}", style(at).dim()))
    }
}
