//! `get`, `put`, `patch` and `rm`. None of them overwrites what the user has not seen, unless a flag
//! says so:
//!
//! | command | without a flag |
//! | --- | --- |
//! | `put` | only creates |
//! | `patch` | changes the parts that it names; refuses to replace a whole value |
//! | `rm` | is refused as a command |

use std::fs;
use std::io::{self, IsTerminal as _, Read as _};
use std::path::Path;

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value as Tree;

use super::arguments::{Get, Input, Patch, Put, Rm};
use super::client::{Client, JSON, Precondition};
use super::entry::Entry;
use super::failure::Failure;
use super::output::{Output, note, warn};
use super::text::{quoted, shown};
use crate::json::{self, MAX_DEPTH_LEVELS};
use crate::model::{Key, Value};

const MERGE_PATCH: HeaderValue = HeaderValue::from_static("application/merge-patch+json");
const JSON_PATCH: HeaderValue = HeaderValue::from_static("application/json-patch+json");
/// How often a write on the current entry is tried again because that has changed meanwhile. Each
/// time somebody else has written, so more than a few need many writers of one key.
const TRIES: u32 = 100;
/// How deep a text may be nested: in a JSON Patch, values are two levels below the top. The service
/// knows the exact limit.
const INPUT_MAX_DEPTH_LEVELS: usize = MAX_DEPTH_LEVELS + 2;

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
    let (json, _) = read(put.input)?;
    let key = &put.key;
    let request = |precondition: &Precondition| {
        let request = client.on_entry(Method::PUT, key);
        let request = request.header(CONTENT_TYPE, JSON).body(json.clone());
        precondition.add_to(request)
    };
    let is_bare = put.if_match.is_none() && !put.create && !put.force;
    let answer = match put.if_match {
        Some(tag) => client.ask(request(&Precondition::Match(tag.0))).await,
        None if put.force => forced(client, key, request).await,
        None => client.ask(request(&Precondition::Absent)).await,
    };
    let response = match answer {
        Err(Failure::Refused(refusal)) if is_bare && refusal.is_stale() => {
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
    let entry = client.written(response).await?;
    warn_of_odd_key(&entry);
    output.done(what, &entry).map_err(written)
}

/// `ifmatch patch`
pub async fn patch(client: &Client, patch: Patch, output: &Output) -> Result<(), Failure> {
    let (json, tree) = read(patch.input)?;
    let key = &patch.key;
    let kind = if tree.is_array() {
        JSON_PATCH
    } else {
        MERGE_PATCH
    };
    let request = |precondition: &Precondition| {
        let request = client.on_entry(Method::PATCH, key);
        precondition.add_to(request.header(CONTENT_TYPE, &kind).body(json.clone()))
    };
    let response = match patch.if_match {
        Some(tag) => client.ask(request(&Precondition::Match(tag.0))).await?,
        None if tree.is_array() => forced(client, key, request).await?,
        None => merged(client, key, &tree, request).await?,
    };
    output
        .done("changed", &client.written(response).await?)
        .map_err(written)
}

/// `ifmatch rm`
pub async fn rm(client: &Client, rm: Rm, output: &Output) -> Result<(), Failure> {
    let request =
        |precondition: &Precondition| precondition.add_to(client.on_entry(Method::DELETE, &rm.key));
    let response = match rm.if_match {
        Some(tag) => client.ask(request(&Precondition::Match(tag.0))).await?,
        None => forced(client, &rm.key, request).await?,
    };
    output
        .done("deleted", &client.written(response).await?)
        .map_err(written)
}

/// A failure after the write.
pub fn written(failure: Failure) -> Failure {
    Failure::Written(failure.into())
}

/// Says that a new key is probably not the one that was meant. It cannot be seen in most outputs.
pub fn warn_of_odd_key(entry: &Entry) {
    let key = entry.key.as_str();
    let what = if entry.version != 1 {
        return;
    } else if key.starts_with(char::is_whitespace) {
        "begins with a space"
    } else if key.ends_with(char::is_whitespace) {
        "ends with a space"
    } else if key.ends_with('/') {
        "ends with a slash"
    } else {
        return;
    };
    warn(&format!("the new key {} {what}", quoted(&shown(key))));
}

/// Writes whatever is there: without a precondition, or, if the service demands one, with the tag of
/// what is current.
async fn forced(
    client: &Client,
    key: &Key,
    request: impl Fn(&Precondition) -> RequestBuilder,
) -> Result<Response, Failure> {
    match client.ask(request(&Precondition::None)).await {
        Err(Failure::Refused(refusal)) if refusal.needs_precondition() => {}
        answer => return answer,
    }
    let current = match client.entry(key).await {
        Ok(entry) => Some(entry),
        Err(Failure::Refused(refusal)) if refusal.is_not_found() => None,
        Err(failure) => return Err(failure),
    };
    on_current(client, current, request, |_| Ok(())).await
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
             written\nTo replace the value, pass --if-match TAG (`ifmatch get {}` shows the tag). To \
             change part of an array, use a JSON Patch",
            quoted(&shown(key.as_str()))
        ))
    };
    if !patch.is_object() {
        return Err(replaces("the patch"));
    }
    let current = client.entry(key).await?;
    on_current(client, Some(current), request, |current| {
        if is_object(&current.value) {
            Ok(())
        } else {
            let what = format!("the value of {}", shown(key.as_str()));
            Err(replaces(&what))
        }
    })
    .await
}

fn is_object(value: &Value) -> bool {
    value.as_json().starts_with('{')
}

/// Writes with the tag of `current`, and of what is current then if that has changed meanwhile.
async fn on_current(
    client: &Client,
    mut current: Option<Entry>,
    request: impl Fn(&Precondition) -> RequestBuilder,
    check: impl Fn(&Entry) -> Result<(), Failure>,
) -> Result<Response, Failure> {
    let mut tries = 0;
    loop {
        let precondition = match &current {
            Some(entry) => {
                check(entry)?;
                Precondition::unchanged(entry)?
            }
            None => Precondition::Absent,
        };
        match client.ask(request(&precondition)).await {
            Err(Failure::Refused(refusal)) if refusal.is_stale() && tries < TRIES => {
                tries += 1;
                current = refusal.body.and_then(|body| body.current);
            }
            answer => return answer,
        }
    }
}

/// The JSON that is to be sent, as it is and as a tree. What a slip or a broken pipe leaves is
/// refused here: nothing at all, and a member that is there twice, of which the service would drop
/// one.
fn read(input: Input) -> Result<(Vec<u8>, Tree), Failure> {
    let file = input.file.filter(|file| file != Path::new("-"));
    let text = input.text.filter(|text| text != "-");
    let (source, json) = match (text, file) {
        (Some(text), _) => ("the JSON".to_owned(), text.into_bytes()),
        (None, Some(file)) => from_file(&file)?,
        (None, None) => from_stdin()?,
    };
    if json.iter().all(u8::is_ascii_whitespace) {
        let empty = format!("{source}: it is empty; nothing was written");
        return Err(Failure::Input(empty));
    }
    let tree = json::parse_distinct_within(&json, INPUT_MAX_DEPTH_LEVELS)
        .map_err(|error| Failure::Input(format!("{source}: {error}; nothing was written")))?;
    Ok((json, tree))
}

fn from_file(path: &Path) -> Result<(String, Vec<u8>), Failure> {
    let json = fs::read(path).map_err(|error| Failure::file(path, error))?;
    Ok((path.display().to_string(), json))
}

fn from_stdin() -> Result<(String, Vec<u8>), Failure> {
    let name = "standard input";
    let mut json = Vec::new();
    if io::stdin().is_terminal() {
        note("Type the JSON, then press Ctrl-D.");
    }
    let read = io::stdin().read_to_end(&mut json);
    read.map_err(|error| Failure::file(Path::new(name), error))?;
    Ok((name.to_owned(), json))
}
