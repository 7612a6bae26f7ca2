//! `ls`: the entries, one a line.

use clap::Args;
use console::{measure_text_width, style};

use super::client::Client;
use super::entry::Entry;
use super::failure::Failure;
use super::listing::Listing;
use super::output::Output;
use super::text::{TIMESTAMP_COLUMNS, padded, printable, timestamp};

/// How many entries are measured to choose the width of the columns.
const ROWS_MEASURED: usize = 200;
/// The largest width of the column of keys, in columns of the terminal.
const KEY_COLUMNS_MAX: usize = 40;

/// List the entries.
#[derive(Debug, Args)]
pub struct Ls {
    /// Only keys with this prefix
    #[arg(default_value = "")]
    pub prefix: String,
}

/// `ifmatch ls`
pub async fn run(client: &Client, ls: &Ls, output: &Output) -> Result<(), Failure> {
    let mut listing = Listing::of(client, &ls.prefix).await?;
    if !output.is_terminal() {
        while let Some(entry) = listing.next().await? {
            output.json(&entry)?;
        }
        return Ok(());
    }
    let mut first = Vec::new();
    while first.len() < ROWS_MEASURED
        && let Some(entry) = listing.next().await?
    {
        first.push(entry);
    }
    let widths = first
        .iter()
        .map(|entry| measure_text_width(&printable(entry.key.as_str())));
    let width = widths
        .max()
        .unwrap_or(0)
        .clamp("KEY".len(), KEY_COLUMNS_MAX);
    let header = format!(
        "{}  VERSION  {}  VALUE",
        padded("KEY", width),
        padded("MODIFIED", TIMESTAMP_COLUMNS)
    );
    output.row(&style(header).dim().to_string())?;
    for entry in &first {
        row(entry, width, output)?;
    }
    while let Some(entry) = listing.next().await? {
        row(&entry, width, output)?;
    }
    Ok(())
}

fn row(entry: &Entry, width: usize, output: &Output) -> Result<(), Failure> {
    let key = padded(&printable(entry.key.as_str()), width);
    let at = timestamp(&entry.modified_at);
    let value = printable(entry.value.as_json());
    let about = style(format!("{:>7}  {at}", entry.version)).dim();
    output.row(&format!("{}  {about}  {value}", style(key).bold()))
}
