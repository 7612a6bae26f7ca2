//! `revert`: brings back the value of a moment, as a new version.

use std::io::{self, IsTerminal as _, Write as _};

use clap::Args;
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::json;
use tokio::task;

use super::client::{Client, JSON};
use super::comparison::{Comparison, Side};
use super::failure::Failure;
use super::listing::Listing;
use super::moment::{KeyAt, Moment};
use super::output::{Output, note};
use super::overwrite;
use super::precondition::{Precondition, Tag};
use super::text::printable;
use crate::model::Key;

/// Bring back the value of a moment, as a new version.
#[derive(Debug, Args)]
#[command(
    after_help = "On a terminal it shows what would change, and asks. Anywhere else it needs --if-match or --force, \
                  unless the entry is deleted. The last @ counts: to name a key with an @, write KEY@MOMENT all the \
                  same."
)]
pub struct Revert {
    /// The key, and a revision (41, see `ifmatch log KEY`), a time (2026-11-23T10:00:00Z) or a time ago (2h)
    #[arg(value_name = "KEY@MOMENT")]
    pub entry: KeyAt,
    /// Replace the entry only if it has this entity tag, which `get` shows
    #[arg(long, value_name = "TAG")]
    pub if_match: Option<Tag>,
    /// Replace the entry whatever its value is, even if you have not seen it
    #[arg(long, conflicts_with = "if_match")]
    pub force: bool,
}

/// `ifmatch revert`
pub async fn run(client: &Client, revert: Revert, output: &Output) -> Result<(), Failure> {
    let KeyAt { key, at } = revert.entry;
    let Some(at) = at else {
        let key = printable(key.as_str());
        return Err(Failure::Usage(format!(
            "{key}: nothing was written, because it does not say to when: `ifmatch log {key}` shows the revisions, \
             and `ifmatch revert {key}@REVISION` reverts to one"
        )));
    };
    let revision = revision_of(client, &key, at).await?;
    let request = |precondition: &Precondition| {
        let request = client.key_request(Method::POST, "/revert", &key);
        let request = request.header(CONTENT_TYPE, JSON);
        precondition.add_to(request.body(json!({ "revision": revision }).to_string()))
    };
    let answer = match revert.if_match {
        Some(tag) => client.send(request(&Precondition::Match(tag.0))).await,
        None if revert.force => overwrite::whatever_is_current(client, &key, request).await,
        None if output.is_terminal() && io::stdin().is_terminal() => {
            match confirmed(client, &key, revision, output).await? {
                Some(precondition) => client.send(request(&precondition)).await,
                None => return Ok(()),
            }
        }
        None => match client.send(request(&Precondition::Absent)).await {
            Err(Failure::Refused(refusal)) if refusal.is_precondition_failed() => {
                return Err(Failure::Unseen { key, refusal });
            }
            answer => answer,
        },
    };
    let entry = client.read_written(&key, answer?).await?;
    output.wrote(&format!("reverted to revision {revision}:"), &entry)
}

/// The revision of the state at a moment.
async fn revision_of(client: &Client, key: &Key, at: Moment) -> Result<u64, Failure> {
    if let Moment::Revision(revision) = at {
        return Ok(revision);
    }
    // A list says of which revision it is.
    Listing::revision_at(client, key, &at).await
}

/// Shows what would change, and asks. Returns what must be true of the entry then; `None` if there is nothing to
/// change.
async fn confirmed(
    client: &Client,
    key: &Key,
    revision: u64,
    output: &Output,
) -> Result<Option<Precondition>, Failure> {
    let then = client
        .entry_at(key, Some(&Moment::Revision(revision)))
        .await?;
    let current = match client.entry(key).await {
        Ok(entry) => Some(entry),
        Err(Failure::Refused(refusal)) if refusal.is_not_found() => None,
        Err(failure) => return Err(failure),
    };
    let precondition = match &current {
        Some(entry) => Precondition::unchanged(entry)?,
        None => Precondition::Absent,
    };
    let comparison = Comparison::new(Side::new(key, current), Side::new(key, Some(then)));
    if comparison.is_same() {
        note("Nothing was written: the current value is already the same.");
        return Ok(None);
    }
    comparison.print_text(output)?;
    let name = printable(key.as_str());
    if ask(format!("Revert {name} to revision {revision}? [y/N] ")).await? {
        Ok(Some(precondition))
    } else {
        Err(Failure::Input(
            "not confirmed; nothing was written".to_owned(),
        ))
    }
}

/// Asks a question on the terminal.
async fn ask(question: String) -> Result<bool, Failure> {
    let answer = task::spawn_blocking(move || {
        let mut answer = String::new();
        io::stderr().write_all(question.as_bytes())?;
        io::stdin().read_line(&mut answer)?;
        Ok(answer)
    });
    let answer = answer
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)));
    let answer = answer.map_err(|error| Failure::file("the terminal".as_ref(), error))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
