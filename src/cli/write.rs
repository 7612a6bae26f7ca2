//! `get`, `put`, `patch` and `rm`: one request each.

use std::fs;
use std::io::{self, IsTerminal as _, Read as _};
use std::path::Path;

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode};

use super::arguments::{Get, Input, Patch, Put, Rm, Tag};
use super::client::{Client, Precondition};
use super::failure::Failure;
use super::output::{Output, note};

const MERGE_PATCH: HeaderValue = HeaderValue::from_static("application/merge-patch+json");
const JSON_PATCH: HeaderValue = HeaderValue::from_static("application/json-patch+json");

/// `ifmatch get`
pub async fn get(client: &Client, get: &Get, output: &Output) -> Result<(), Failure> {
    let entry = client.entry(&get.key).await?;
    if get.value {
        output.value(&entry.value)
    } else {
        output.entry(&entry)
    }
}

/// `ifmatch put`
pub async fn put(client: &Client, put: Put, output: &Output) -> Result<(), Failure> {
    let precondition = match put.if_match {
        Some(tag) => Precondition::Match(tag.0),
        None if put.create => Precondition::Absent,
        None => Precondition::None,
    };
    let json = read(put.input)?;
    let response = client.put(&put.key, json, &precondition).await?;
    let what = if response.status() == StatusCode::CREATED {
        "created"
    } else {
        "replaced"
    };
    output
        .done(what, &client.written(response).await?)
        .map_err(written)
}

/// `ifmatch patch`
pub async fn patch(client: &Client, patch: Patch, output: &Output) -> Result<(), Failure> {
    let json = read(patch.input)?;
    let is_array = json.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let kind = if is_array { JSON_PATCH } else { MERGE_PATCH };
    let request = client.on_entry(Method::PATCH, &patch.key);
    let request = request.header(CONTENT_TYPE, kind).body(json);
    let response = client.ask(matching(patch.if_match).add_to(request)).await?;
    output
        .done("changed", &client.written(response).await?)
        .map_err(written)
}

/// `ifmatch rm`
pub async fn rm(client: &Client, rm: Rm, output: &Output) -> Result<(), Failure> {
    let request = client.on_entry(Method::DELETE, &rm.key);
    let response = client.ask(matching(rm.if_match).add_to(request)).await?;
    output
        .done("deleted", &client.written(response).await?)
        .map_err(written)
}

/// A failure after the write.
pub fn written(failure: Failure) -> Failure {
    Failure::Written(failure.into())
}

fn matching(tag: Option<Tag>) -> Precondition {
    tag.map_or(Precondition::None, |tag| Precondition::Match(tag.0))
}

fn read(input: Input) -> Result<Vec<u8>, Failure> {
    match (input.text, input.file) {
        (Some(text), _) => Ok(text.into_bytes()),
        (None, Some(file)) if file != Path::new("-") => {
            fs::read(&file).map_err(|error| Failure::file(&file, error))
        }
        (None, _) => {
            let mut text = Vec::new();
            if io::stdin().is_terminal() {
                note("Type the JSON; Ctrl-D ends it.");
            }
            let read = io::stdin().read_to_end(&mut text);
            read.map_err(|error| Failure::file(Path::new("standard input"), error))?;
            Ok(text)
        }
    }
}
