//! `ls`: the entries, one a line.

use clap::Args;
use console::{measure_text_width, style, truncate_str};

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
/// The same of the column of names, which is left out if all of these entries are anonymous. Longer names are
/// cut.
const NAME_COLUMNS_MAX: usize = 20;

/// List the entries.
#[derive(Debug, Args)]
pub struct Ls {
    /// Only keys with this prefix
    #[arg(default_value = "")]
    pub prefix: String,
}

/// `ifmatch ls`
pub async fn run(client: &Client, ls: &Ls, output: &Output) -> Result<(), Failure> {
    let mut listing = Listing::of(client, &ls.prefix, None).await?;
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
    let widths = Widths::of(&first);
    let header = format!(
        "{}  VERSION  {}{}  VALUE",
        padded("KEY", widths.key),
        padded("MODIFIED", TIMESTAMP_COLUMNS),
        widths.name_column("BY"),
    );
    output.row(&style(header).dim().to_string())?;
    for entry in &first {
        row(entry, &widths, output)?;
    }
    while let Some(entry) = listing.next().await? {
        row(&entry, &widths, output)?;
    }
    Ok(())
}

/// The widths of columns, in columns of the terminal.
struct Widths {
    key: usize,
    /// `None` if there is no such column.
    name: Option<usize>,
}

impl Widths {
    fn of(entries: &[Entry]) -> Self {
        let width = |text: &str| measure_text_width(&printable(text));
        let keys = entries.iter().map(|entry| width(entry.key.as_str()));
        let names = entries
            .iter()
            .filter_map(|entry| entry.modified_by.as_deref());
        Self {
            key: keys.max().unwrap_or(0).clamp("KEY".len(), KEY_COLUMNS_MAX),
            name: names
                .map(width)
                .max()
                .map(|widest| widest.clamp("BY".len(), NAME_COLUMNS_MAX)),
        }
    }

    fn name_column(&self, name: &str) -> String {
        let name = printable(name);
        let column = |width| format!("  {}", padded(&truncate_str(&name, width, "…"), width));
        self.name.map_or_else(String::new, column)
    }
}

fn row(entry: &Entry, widths: &Widths, output: &Output) -> Result<(), Failure> {
    let key = padded(&printable(entry.key.as_str()), widths.key);
    let at = timestamp(&entry.modified_at);
    let by = widths.name_column(entry.modified_by.as_deref().unwrap_or_default());
    let value = printable(entry.value.as_json());
    let about = style(format!("{:>7}  {at}{by}", entry.version)).dim();
    output.row(&format!("{}  {about}  {value}", style(key).bold()))
}
