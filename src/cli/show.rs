//! `show`: an entry as it was.

use clap::Args;

use super::client::Client;
use super::failure::Failure;
use super::moment::KeyAt;
use super::output::Output;

/// Show an entry as it was at a moment.
#[derive(Debug, Args)]
#[command(after_help = super::moment::HELP)]
pub struct Show {
    /// The key, and a revision (41), a time (2026-11-23T10:00:00Z) or a time ago (2h)
    #[arg(value_name = "KEY@MOMENT")]
    pub entry: KeyAt,
    /// Show the value alone
    #[arg(long)]
    pub value: bool,
}

/// `ifmatch show`
pub async fn run(client: &Client, show: &Show, output: &Output) -> Result<(), Failure> {
    let KeyAt { key, at } = &show.entry;
    let entry = client.entry_at(key, at.as_ref()).await?;
    if show.value {
        output.value(&entry.value)
    } else {
        output.entry(&entry)
    }
}
