//! `rm`: deletes an entry, whose tag or --force it requires.

use clap::Args;
use reqwest::Method;

use super::client::Client;
use super::failure::Failure;
use super::output::Output;
use super::overwrite;
use super::precondition::{Precondition, Tag};
use crate::model::Key;

/// The message if neither flag is given.
pub const NEEDS_A_FLAG: &str = "nothing was deleted, because rm needs --if-match TAG or --force: `ifmatch get KEY` \
     shows the value and its tag; --force deletes the entry whatever its value is";

/// Delete the version of an entry that you have seen.
#[derive(Debug, Args)]
#[command(
    override_usage = "ifmatch rm [OPTIONS] <--if-match <TAG>|--force> <KEY>",
    after_help = "It deletes one key. It does not delete all keys with a prefix."
)]
pub struct Rm {
    /// The key of the entry
    pub key: Key,
    /// Delete the entry only if it has this entity tag, which `get` shows
    #[arg(long, value_name = "TAG")]
    pub if_match: Option<Tag>,
    /// Delete the entry whatever its value is, even if you have not seen it
    #[arg(long, conflicts_with = "if_match")]
    pub force: bool,
}

impl Rm {
    /// Whether `--if-match` or `--force` is given.
    pub fn has_required_flag(&self) -> bool {
        self.if_match.is_some() || self.force
    }
}

/// `ifmatch rm`
pub async fn run(client: &Client, rm: Rm, output: &Output) -> Result<(), Failure> {
    let request = |precondition: &Precondition| {
        precondition.add_to(client.entry_request(Method::DELETE, &rm.key))
    };
    let response = match rm.if_match {
        Some(tag) => client.send(request(&Precondition::Match(tag.0))).await?,
        None => overwrite::whatever_is_current(client, &rm.key, request).await?,
    };
    match client.read_shown(&rm.key, response).await? {
        Some(entry) => output.wrote("deleted", &entry),
        None => output.wrote_unseen("deleted", &rm.key),
    }
}
