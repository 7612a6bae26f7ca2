//! `log`: what happened to a key, or to all keys with a prefix, the newest first.

use std::num::NonZeroUsize;

use clap::Args;
use console::{measure_text_width, style, truncate_str};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::client::Client;
use super::failure::Failure;
use super::format::Format;
use super::output::{Output, note, say};
use super::text::{TIMESTAMP_COLUMNS, padded, printable, timestamp};
use crate::model::{HISTORY_MAX_LIMIT, Key, Value};

/// The largest widths of columns, in columns of the terminal. Longer names are cut.
const KEY_COLUMNS_MAX: usize = 40;
const NAME_COLUMNS_MAX: usize = 20;
const CHANGE_COLUMNS: usize = 7;
/// How many events are asked for at once with their values, all of which are held.
const VALUES_AT_ONCE: usize = 50;
/// The name of a writer without a token.
const ANONYMOUS: &str = "anonymous";

/// Show what happened to a key, the newest first.
#[derive(Debug, Args)]
pub struct Log {
    /// The key
    #[arg(required_unless_present = "prefix")]
    pub key: Option<Key>,
    /// All keys with this prefix
    #[arg(long, conflicts_with = "key")]
    pub prefix: Option<String>,
    /// At most so many changes; without it, all that are kept
    #[arg(long, short = 'n', value_name = "N")]
    pub limit: Option<NonZeroUsize>,
    /// Also show each value
    #[arg(long)]
    pub values: bool,
    /// The form of the output; without it, text on a terminal and JSON anywhere else
    #[arg(long, short)]
    pub output: Option<Format>,
}

/// A part of a history.
#[derive(Debug, Deserialize)]
pub struct Page {
    /// Each an [`Event`].
    pub items: Vec<Box<RawValue>>,
    /// Where the next part begins.
    next: Option<String>,
    /// The oldest state that is kept.
    pub oldest_revision: u64,
}

/// Something that happened to a key.
#[derive(Debug, Deserialize)]
pub struct Event {
    #[serde(rename = "event")]
    kind: String,
    key: Key,
    version: u64,
    /// Of the commit that did it.
    pub revision: u64,
    modified_at: String,
    modified_by: Option<String>,
    reverted_from: Option<u64>,
    merged: Option<IgnoredAny>,
    value: Option<Value>,
}

/// Asks for a part of the history of a key; without a key, of the keys with a prefix.
pub async fn page(
    client: &Client,
    key: Option<&Key>,
    query: &[(&str, &str)],
) -> Result<Page, Failure> {
    let request = match key {
        Some(key) => client.get_of_key("/history", key, query),
        None => client.get("/history", query),
    };
    let body = client.send(request).await?.bytes().await;
    let body = body.map_err(|error| client.unreachable(&error))?;
    serde_json::from_slice(&body).map_err(|error| client.not_ifmatch(&error))
}

/// An event of a page.
pub fn event(client: &Client, item: &RawValue) -> Result<Event, Failure> {
    serde_json::from_str(item.get()).map_err(|error| client.not_ifmatch(&error))
}

/// `ifmatch log`
pub async fn run(client: &Client, log: &Log, output: &Output) -> Result<(), Failure> {
    let format = Format::or_default(log.output, output);
    let at_once = if log.values {
        VALUES_AT_ONCE
    } else {
        HISTORY_MAX_LIMIT
    };
    let mut left = log.limit.map_or(usize::MAX, NonZeroUsize::get);
    let mut before = None;
    let mut table = Table {
        has_keys: log.key.is_none(),
        widths: None,
    };
    let mut is_empty = true;
    loop {
        let limit = left.min(at_once).to_string();
        let mut query = vec![
            ("limit", limit.as_str()),
            ("values", if log.values { "true" } else { "false" }),
        ];
        query.extend(log.prefix.as_deref().map(|prefix| ("prefix", prefix)));
        query.extend(before.as_deref().map(|before| ("before", before)));
        let page = page(client, log.key.as_ref(), &query).await?;
        is_empty &= page.items.is_empty();
        left = left.saturating_sub(page.items.len());
        match format {
            Format::Json => {
                for item in &page.items {
                    output.line(item.get())?;
                }
            }
            Format::Text => {
                let events = page.items.iter().map(|item| event(client, item));
                table.print(&events.collect::<Result<Vec<_>, _>>()?, output)?;
            }
        }
        before = page.next;
        if left == 0 {
            return Ok(());
        }
        if before.is_none() {
            return end(client, log, format, is_empty, page.oldest_revision).await;
        }
    }
}

/// Says what the history does not have.
async fn end(
    client: &Client,
    log: &Log,
    format: Format,
    is_empty: bool,
    oldest: u64,
) -> Result<(), Failure> {
    if let Some(key) = log.key.as_ref().filter(|_| is_empty) {
        // It fails if there is no such key.
        client.entry(key).await?;
    }
    if oldest > 0 {
        let gone = format!("What happened up to revision {oldest} is no longer kept.");
        match format {
            Format::Text => say(&gone),
            Format::Json => note(&gone),
        }
    }
    Ok(())
}

struct Table {
    /// Whether there is a column of keys.
    has_keys: bool,
    /// Of the columns of names and keys, once the first events are known.
    widths: Option<[usize; 2]>,
}

impl Table {
    fn print(&mut self, events: &[Event], output: &Output) -> Result<(), Failure> {
        if events.is_empty() {
            return Ok(());
        }
        let [name, key] = match self.widths {
            Some(widths) => widths,
            None => {
                let widths = widths_for(events);
                let header = self.row(
                    [&format!("{:>8}", "REVISION"), "WHEN", "WHO", "WHAT", "KEY"],
                    widths,
                );
                output.row(&style(header.trim_end()).dim().to_string())?;
                *self.widths.insert(widths)
            }
        };
        for event in events {
            let who = printable(event.who());
            let row = self.row(
                [
                    &format!("{:>8}", event.revision),
                    &timestamp(&event.modified_at),
                    &truncate_str(&who, name, "…"),
                    &event.what(),
                    &printable(event.key.as_str()),
                ],
                [name, key],
            );
            let value = event.value.as_ref().map(|value| printable(value.as_json()));
            let row = match value {
                Some(value) => format!("{row}  {value}"),
                None => row.trim_end().to_owned(),
            };
            output.row(&row)?;
        }
        Ok(())
    }

    fn row(&self, [revision, when, who, what, key]: [&str; 5], widths: [usize; 2]) -> String {
        let when = padded(when, TIMESTAMP_COLUMNS);
        let who = padded(who, widths[0]);
        let what = padded(what, CHANGE_COLUMNS);
        let key = if self.has_keys {
            format!("  {}", padded(key, widths[1]))
        } else {
            String::new()
        };
        format!("{revision}  {when}  {who}{key}  {what}")
    }
}

fn widths_for(events: &[Event]) -> [usize; 2] {
    let width = |text: &str| measure_text_width(&printable(text));
    let names = events.iter().map(|event| width(event.who()));
    let keys = events.iter().map(|event| width(event.key.as_str()));
    [
        names
            .max()
            .unwrap_or(0)
            .clamp("WHO".len(), NAME_COLUMNS_MAX),
        keys.max().unwrap_or(0).clamp("KEY".len(), KEY_COLUMNS_MAX),
    ]
}

impl Event {
    fn who(&self) -> &str {
        self.modified_by.as_deref().unwrap_or(ANONYMOUS)
    }

    fn what(&self) -> String {
        match (self.kind.as_str(), self.reverted_from, &self.merged) {
            ("delete", _, _) => "deleted".to_owned(),
            (_, Some(revision), _) => format!("reverted to {revision}"),
            (_, _, Some(_)) => "merged".to_owned(),
            _ if self.version == 1 => "created".to_owned(),
            _ => "changed".to_owned(),
        }
    }
}
