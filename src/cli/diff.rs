//! `diff`: where two states of an entry, or two entries, differ.

use clap::{Args, ValueEnum};

use super::client::Client;
use super::comparison::{Comparison, Side};
use super::failure::Failure;
use super::format::Format;
use super::log;
use super::moment::{KeyAt, Moment};
use super::output::Output;
use super::text::printable;
use crate::model::Key;

/// Show what has changed in an entry.
#[derive(Debug, Args)]
#[command(
    override_usage = "ifmatch diff [OPTIONS] <KEY[@MOMENT]> [KEY[@MOMENT]]",
    after_help = super::moment::HELP
)]
pub struct Diff {
    /// What to compare: without a moment, the last change of the key; with one, what has changed since then
    #[arg(value_name = "KEY[@MOMENT]")]
    pub before: KeyAt,
    /// Compare it with this entry or moment
    #[arg(value_name = "KEY[@MOMENT]")]
    pub after: Option<KeyAt>,
    /// The form of the output; without it, text on a terminal and JSON anywhere else
    #[arg(long, short)]
    pub output: Option<DiffFormat>,
}

/// The forms of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DiffFormat {
    /// For people
    Text,
    /// For programs
    Json,
    /// A JSON Patch (RFC 6902) that makes the second of the first
    Patch,
}

/// `ifmatch diff`
pub async fn run(client: &Client, diff: &Diff, output: &Output) -> Result<(), Failure> {
    let comparison = compared(client, diff).await?;
    let format = diff
        .output
        .unwrap_or(match Format::or_default(None, output) {
            Format::Text => DiffFormat::Text,
            Format::Json => DiffFormat::Json,
        });
    match format {
        DiffFormat::Text => comparison.print_text(output),
        DiffFormat::Json => comparison.print_json(output),
        DiffFormat::Patch => match comparison.patch() {
            Some(patch) => output.json(&patch),
            None => Err(Failure::Input(
                "there is no patch, because the entry did not exist on one side; `-o text` shows both".to_owned(),
            )),
        },
    }
}

async fn compared(client: &Client, diff: &Diff) -> Result<Comparison, Failure> {
    let before = &diff.before;
    let (before, after) = match (&before.at, &diff.after) {
        (None, None) => return last_change(client, &before.key).await,
        (Some(_), None) => (
            before,
            &KeyAt {
                key: before.key.clone(),
                at: None,
            },
        ),
        (_, Some(after)) => (before, after),
    };
    let sides = [before, after];
    let [before, after] = [side(client, sides[0]).await, side(client, sides[1]).await];
    match (before, after) {
        (Err(failure), Err(_)) if is_not_found(&failure) => Err(failure),
        (before, after) => Ok(Comparison::new(
            or_absent(sides[0], before)?,
            or_absent(sides[1], after)?,
        )),
    }
}

async fn side(client: &Client, KeyAt { key, at }: &KeyAt) -> Result<Side, Failure> {
    let entry = client.entry_at(key, at.as_ref()).await?;
    Ok(Side::new(key, Some(entry)))
}

/// A side that did not exist is one that can be compared.
fn or_absent(KeyAt { key, .. }: &KeyAt, side: Result<Side, Failure>) -> Result<Side, Failure> {
    match side {
        Err(failure) if is_not_found(&failure) => Ok(Side::new(key, None)),
        side => side,
    }
}

fn is_not_found(failure: &Failure) -> bool {
    matches!(failure, Failure::Refused(refusal) if refusal.is_not_found())
}

/// The state of a key before its last change, and the one after it.
async fn last_change(client: &Client, key: &Key) -> Result<Comparison, Failure> {
    let query = [("limit", "1"), ("values", "false")];
    let page = log::page(client, Some(key), &query).await?;
    let Some(last) = page.items.first() else {
        // It fails if there is no such key.
        client.entry(key).await?;
        return Err(Failure::Input(format!(
            "{}: its last change is no longer kept, only what happened after revision {}",
            printable(key.as_str()),
            page.oldest_revision
        )));
    };
    let revision = log::event(client, last)?.revision;
    let at = |revision| KeyAt {
        key: key.clone(),
        at: Some(Moment::Revision(revision)),
    };
    let (before, after) = (at(revision.saturating_sub(1)), at(revision));
    Ok(Comparison::new(
        or_absent(&before, side(client, &before).await)?,
        or_absent(&after, side(client, &after).await)?,
    ))
}
