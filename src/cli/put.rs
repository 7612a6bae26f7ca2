//! `put`: creates an entry. It replaces one only if a flag says so.

use clap::Args;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, StatusCode};

use super::client::{Client, JSON};
use super::failure::Failure;
use super::input::{self, Input};
use super::output::{Output, warn_of_odd_key};
use super::overwrite;
use super::precondition::{Precondition, Tag};
use crate::model::Key;

/// Create an entry, or replace the version that you have seen.
#[derive(Debug, Args)]
#[command(
    after_help = "Without --if-match and --force it only creates, and refuses a key that exists. It refuses \
                  JSON that is empty or has a duplicate member."
)]
pub struct Put {
    /// The key of the entry
    pub key: Key,
    #[command(flatten)]
    pub input: Input,
    /// Replace the entry only if it has this entity tag, which `get` shows; `*` is any existing entry
    #[arg(long, value_name = "TAG")]
    pub if_match: Option<Tag>,
    /// Only create, never replace
    #[arg(long, conflicts_with = "if_match")]
    pub create: bool,
    /// Create the entry, or replace it whatever its value is, even if you have not seen it
    #[arg(long, conflicts_with_all = ["if_match", "create"])]
    pub force: bool,
}

/// `ifmatch put`
pub async fn run(client: &Client, put: Put, output: &Output) -> Result<(), Failure> {
    let (json, _) = input::read(put.input)?;
    let key = &put.key;
    let request = |precondition: &Precondition| {
        let request = client.entry_request(Method::PUT, key);
        let request = request.header(CONTENT_TYPE, JSON).body(json.clone());
        precondition.add_to(request)
    };
    let is_bare = put.if_match.is_none() && !put.create && !put.force;
    let answer = match put.if_match {
        Some(tag) => client.send(request(&Precondition::Match(tag.0))).await,
        None if put.force => overwrite::whatever_is_current(client, key, request).await,
        None => client.send(request(&Precondition::Absent)).await,
    };
    let response = match answer {
        Err(Failure::Refused(refusal)) if is_bare && refusal.is_precondition_failed() => {
            return Err(Failure::Unseen {
                key: put.key,
                refusal,
            });
        }
        answer => answer?,
    };
    let what = if response.status() == StatusCode::CREATED {
        "created"
    } else {
        "replaced"
    };
    let entry = client.read_written(key, response).await?;
    warn_of_odd_key(&entry);
    output.wrote(what, &entry)
}
