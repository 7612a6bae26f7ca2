//! `import`: creates the entries of an export.

mod write;

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::Value as Tree;

use self::write::{Failed, Imported, Written, ask_until_free, batches, write};
use super::client::Client;
use super::export_format::{self, Item};
use super::failure::Failure;
use super::interrupt::{Interrupt, Interrupts};
use super::output::{Output, progress_style};
use super::text::{entry_count, printable};
use crate::model::Key;

/// How many requests are sent at once: the service makes those that arrive together durable with one fsync.
const REQUESTS_AT_ONCE: usize = 16;

/// Create the entries of an export.
#[derive(Debug, Args)]
pub struct Import {
    /// The export; without it, or as `-`, standard input
    pub file: Option<PathBuf>,
    /// Also replace entries that have another value, except those that change during the import
    #[arg(long)]
    pub replace: bool,
}

/// `ifmatch import`. Nothing is written before the whole of the export has been read.
pub async fn run(client: &Client, import: &Import, output: &Output) -> Result<(), Failure> {
    let (name, text) = match import.file.as_deref() {
        Some(path) if path != Path::new("-") => (path, fs::read_to_string(path)),
        _ => (Path::new("standard input"), io::read_to_string(io::stdin())),
    };
    let text = text.map_err(|error| Failure::file(name, error))?;
    let items = export_format::read(&text).map_err(|reason| {
        Failure::Input(format!("{}: {reason}; nothing was written", name.display()))
    })?;
    drop(text);
    let all = items.len() as u64;
    check_server(client)
        .await
        .map_err(|failure| match failure {
            Failure::Refused(refusal) if refusal.is_not_allowed() => Failure::ImportStopped {
                key: None,
                failure: Failure::Refused(refusal).into(),
                signal: None,
                done: 0,
                all,
            },
            failure => failure,
        })?;
    let progress = ProgressBar::new(all).with_style(progress_style(
        "{bar:40} {human_pos} of {human_len}, {rate}, {eta} left",
    ));
    let mut report = Report {
        changed: import.replace.then(Vec::new),
        ..Report::default()
    };
    let stop = write_all(client, items, import.replace, &progress, &mut report).await?;
    progress.finish_and_clear();
    report.sort();
    let printed = print_report(&report, output);
    // A second signal leaves the outcome unknown, which is an error of its own.
    let signal = stop.signal.filter(|_| stop.again.is_none());
    if let Some((key, failure)) = stop.reason(client) {
        return Err(Failure::ImportStopped {
            key,
            failure: failure.into(),
            signal,
            done: report.created + report.replaced,
            all,
        });
    }
    match (&report.changed, report.different.len()) {
        (Some(changed), _) if !changed.is_empty() => Err(Failure::Changed {
            count: changed.len(),
        }),
        // Nothing else fails because nobody reads the report.
        (_, 0) => printed.map_err(|failure| Failure::OutputAfterWrite(failure.into())),
        (_, count) => Err(Failure::AlreadyExists { count }),
    }
}

/// Makes sure that the server's URL is that of the service: below it, each entry would get another key.
async fn check_server(client: &Client) -> Result<(), Failure> {
    let list = || client.get("/kv", &[("limit", "1")]);
    let answer = ask_until_free(client, list).await;
    let response = answer.map_err(|failure| match failure {
        // Below the URL of the service, `kv` is the end of a key, and reading an entry takes no `limit`.
        Failure::Refused(refusal) if matches!(refusal.status, 400 | 404) => {
            client.not_the_service("there is no list of entries; nothing was written")
        }
        failure => failure,
    })?;
    let body = response.bytes().await;
    let body = body.map_err(|error| client.unreachable(&error))?;
    let list: Tree = serde_json::from_slice(&body).map_err(|error| client.not_ifmatch(&error))?;
    if list.get("items").is_some() {
        Ok(())
    } else {
        Err(client.not_the_service("the response is not a list of entries; nothing was written"))
    }
}

/// The result of an import.
#[derive(Debug, Default, Serialize)]
struct Report {
    created: u64,
    replaced: u64,
    /// The keys that exist with the same value.
    unchanged: Vec<Key>,
    /// Those that exist with another value.
    different: Vec<Key>,
    /// Only with `--replace`.
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<Vec<Key>>,
}

impl Report {
    fn add(&mut self, imported: Imported) {
        match imported {
            Imported::Created => self.created += 1,
            Imported::Replaced => self.replaced += 1,
            Imported::Unchanged(key) => self.unchanged.push(key),
            Imported::AlreadyExists(key) => self.different.push(key),
            Imported::Changed(key) => self.changed.get_or_insert_default().push(key),
        }
    }

    fn sort(&mut self) {
        self.unchanged.sort_unstable();
        self.different.sort_unstable();
        self.changed
            .iter_mut()
            .for_each(|keys| keys.sort_unstable());
    }
}

/// What stopped an import.
#[derive(Default)]
struct Stop {
    /// The first request that failed.
    failed: Option<Failed>,
    signal: Option<Interrupt>,
    /// A second signal.
    again: Option<Interrupt>,
}

impl Stop {
    /// Whether no more writes are to be sent.
    fn is_due(&self) -> bool {
        self.failed.is_some() || self.signal.is_some()
    }

    /// Why it stopped, if it did, and the key that could not be written, if that was the reason.
    fn reason(self, client: &Client) -> Option<(Option<Key>, Failure)> {
        if let Some(signal) = self.again {
            let server = client.server_name();
            let reason = format!("interrupted again, by {signal}, before the last responses came");
            return Some((None, Failure::OutcomeUnknown { server, reason }));
        }
        match self.failed {
            Some(failed) => Some(failed),
            None => self
                .signal
                .map(|signal| (None, Failure::Interrupted { signal })),
        }
    }
}

/// Writes all `items`, until an entry fails or a signal comes. Then it waits for the responses to writes
/// already sent, so that it can report what was written; a second signal ends that.
async fn write_all(
    client: &Client,
    items: Vec<Item>,
    replace: bool,
    progress: &ProgressBar,
    report: &mut Report,
) -> Result<Stop, Failure> {
    // Only now: until here Ctrl-C ends the process at once.
    let mut interrupts =
        Interrupts::listen(&[Interrupt::CtrlC, Interrupt::Terminate, Interrupt::HangUp])?;
    let mut stop = Stop::default();
    let mut waiting: VecDeque<_> = batches(items).collect();
    let mut sent = FuturesUnordered::new();
    loop {
        while !stop.is_due() && sent.len() < REQUESTS_AT_ONCE {
            let Some(batch) = waiting.pop_front() else {
                break;
            };
            sent.push(write(client, batch, replace));
        }
        let written = tokio::select! {
            biased;
            signal = interrupts.next() => {
                if stop.signal.is_some() {
                    stop.again = Some(signal);
                    return Ok(stop);
                }
                stop.signal = Some(signal);
                continue;
            }
            written = sent.next() => written,
        };
        match written {
            None => return Ok(stop),
            Some(Ok(Written { imported, rest })) => {
                progress.inc(imported.len() as u64);
                for one in imported {
                    report.add(one);
                }
                for batch in rest.into_iter().rev() {
                    waiting.push_front(batch);
                }
            }
            Some(Err(failed)) => {
                stop.failed.get_or_insert(failed);
            }
        }
    }
}

fn print_report(report: &Report, output: &Output) -> Result<(), Failure> {
    if !output.is_terminal() {
        return output.json(report);
    }
    for key in &report.unchanged {
        output.line(&format!("unchanged: {}", printable(key.as_str())))?;
    }
    for key in &report.different {
        output.line(&format!(
            "exists with another value, left unchanged: {}",
            printable(key.as_str())
        ))?;
    }
    for key in report.changed.iter().flatten() {
        output.line(&format!(
            "changed during the import, left unchanged: {}",
            printable(key.as_str())
        ))?;
    }
    let replaced = match report.replaced {
        0 => String::new(),
        count => format!(", {count} replaced"),
    };
    output.line(&format!(
        "{} created{replaced}",
        entry_count(report.created)
    ))
}
