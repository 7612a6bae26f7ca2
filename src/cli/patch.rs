//! `patch`: changes the parts of an entry that it names, and refuses to replace a whole value.

use clap::Args;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value as Tree;

use super::client::Client;
use super::failure::Failure;
use super::input::{self, Input};
use super::output::Output;
use super::overwrite;
use super::precondition::{Precondition, Tag};
use super::text::printable;
use crate::model::{Key, Value};

const MERGE_PATCH: HeaderValue = HeaderValue::from_static("application/merge-patch+json");
const JSON_PATCH: HeaderValue = HeaderValue::from_static("application/json-patch+json");

/// Change part of an entry.
#[derive(Debug, Args)]
#[command(
    after_help = "An array is a JSON Patch (RFC 6902), anything else is a merge patch (RFC 7396). A patch \
                  that would replace the whole value needs --if-match: a merge patch if it or the current \
                  value is not an object, a JSON Patch if it writes at path \"\" and does not begin \
                  with a `test` of that path."
)]
pub struct Patch {
    /// The key of the entry
    pub key: Key,
    #[command(flatten)]
    pub input: Input,
    /// Change the entry only if it has this entity tag, which `get` shows
    #[arg(long, value_name = "TAG")]
    pub if_match: Option<Tag>,
}

/// `ifmatch patch`
pub async fn run(client: &Client, patch: Patch, output: &Output) -> Result<(), Failure> {
    let (json, tree) = input::read(patch.input)?;
    let key = &patch.key;
    let kind = if tree.is_array() {
        JSON_PATCH
    } else {
        MERGE_PATCH
    };
    let request = |precondition: &Precondition| {
        let request = client.entry_request(Method::PATCH, key);
        precondition.add_to(request.header(CONTENT_TYPE, &kind).body(json.clone()))
    };
    let response = match patch.if_match {
        Some(tag) => client.send(request(&Precondition::Match(tag.0))).await?,
        None => match &tree {
            Tree::Array(operations) => {
                refuse_replacing(client, key, operations)?;
                overwrite::whatever_is_current(client, key, request).await?
            }
            _ => merged(client, key, &tree, request).await?,
        },
    };
    match client.read_shown(key, response).await? {
        Some(entry) => output.wrote("changed", &entry),
        None => output.wrote_unseen("changed", key),
    }
}

/// Refuses a JSON Patch that would replace a whole value, unless it first tests that value.
fn refuse_replacing(client: &Client, key: &Key, operations: &[Tree]) -> Result<(), Failure> {
    for (index, operation) in operations.iter().enumerate() {
        if operation["path"] != "" {
            continue;
        }
        match operation["op"].as_str() {
            Some("test") => return Ok(()),
            Some("add" | "replace" | "move" | "copy") => {
                return Err(Failure::Input(format!(
                    "operation {index} writes at path \"\", so this patch would replace the whole value; \
                     nothing was written\nTo replace the value, pass --if-match TAG (`{}` shows the tag), or \
                     begin the patch with a `test` of path \"\"",
                    client.get_command(key)
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Sends a merge patch, but never one that would replace a whole value: RFC 7396 does so if the patch
/// or the value is not an object.
async fn merged(
    client: &Client,
    key: &Key,
    patch: &Tree,
    request: impl Fn(&Precondition) -> RequestBuilder,
) -> Result<Response, Failure> {
    let replaces = |what: &str| {
        Failure::Input(format!(
            "{what} is not an object, so this merge patch would replace the whole value; nothing was \
             written\nTo replace the value, pass --if-match TAG (`{}` shows the tag). To change part of an \
             array, use a JSON Patch",
            client.get_command(key)
        ))
    };
    if !patch.is_object() {
        return Err(replaces("the patch"));
    }
    let current = client.entry(key).await?;
    overwrite::on_current(client, Some(current), request, |current| {
        if is_object(&current.value) {
            Ok(())
        } else {
            let what = format!("the value of {}", printable(key.as_str()));
            Err(replaces(&what))
        }
    })
    .await
}

fn is_object(value: &Value) -> bool {
    value.as_json().starts_with('{')
}
