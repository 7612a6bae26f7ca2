//! `get`: an entry.

use clap::Args;

use super::client::Client;
use super::failure::Failure;
use super::output::Output;
use crate::model::Key;

/// Show an entry.
#[derive(Debug, Args)]
pub struct Get {
    /// The key of the entry
    pub key: Key,
    /// Show the value alone
    #[arg(long)]
    pub value: bool,
}

/// `ifmatch get`
pub async fn run(client: &Client, get: &Get, output: &Output) -> Result<(), Failure> {
    let entry = client.entry(&get.key).await?;
    if get.value {
        output.value(&entry.value)
    } else {
        output.entry(&entry)
    }
}
