//! Writes the entries of an export: many in one transaction, and in smaller ones what the service refuses.

use std::collections::HashMap;
use std::iter;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::{Deserialize, Deserializer, Serialize};
use tokio::time::sleep;

use crate::cli::client::{Client, JSON};
use crate::cli::entry::Entry;
use crate::cli::export_format::Item;
use crate::cli::failure::Failure;
use crate::cli::precondition::Precondition;
use crate::cli::refusal::Refusal;
use crate::cli::retry::{self, IDEMPOTENCY_KEY};
use crate::model::{Key, Value};

/// How many entries one transaction writes at the most. The service allows 128, and with etcd's own limit 127.
const BATCH_MAX_ENTRIES: usize = 100;
/// How many bytes of keys and values it has at the most, unless it has a single entry: far below every limit on
/// the size of requests.
const BATCH_MAX_BYTES: usize = 128 * 1024;
/// How often a write is repeated while the service is busy, and the pause before each repetition.
const TRIES: u32 = 10;
const BUSY: Duration = Duration::from_secs(1);
const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// An entry to be written.
pub struct Write {
    key: Key,
    value: Value,
    /// The entry that it replaces, if it has not changed since; without it, it is created.
    replaced: Option<Entry>,
}

/// What is written at once.
pub type Batch = Vec<Write>;

/// The result of importing one entry.
pub enum Imported {
    Created,
    Replaced,
    /// It exists with the same value.
    Unchanged(Key),
    /// It exists with another value.
    AlreadyExists(Key),
    /// It had another value, and changed again before that was replaced.
    Changed(Key),
}

/// What became of a batch.
#[derive(Default)]
pub struct Written {
    pub imported: Vec<Imported>,
    /// What is still to be written.
    pub rest: Vec<Batch>,
}

/// Why a batch could not be written, and the key that is the reason, if there is one.
pub type Failed = (Option<Key>, Failure);

/// The entries in batches that the service does not refuse for their size.
pub fn batches(items: Vec<Item>) -> impl Iterator<Item = Batch> {
    let mut items = items.into_iter().peekable();
    let size = |item: &Item| item.key.as_str().len() + item.value.as_json().len();
    iter::from_fn(move || {
        let mut left = BATCH_MAX_BYTES;
        let mut batch = Batch::new();
        while let Some(item) = items.next_if(|item| batch.is_empty() || size(item) <= left) {
            left = left.saturating_sub(size(&item));
            let Item { key, value } = item;
            batch.push(Write {
                key,
                value,
                replaced: None,
            });
            if batch.len() == BATCH_MAX_ENTRIES {
                break;
            }
        }
        Some(batch).filter(|batch| !batch.is_empty())
    })
}

/// Creates the entries of a batch. With `replace`, one that has another value is replaced if it is still the version
/// that the service showed.
pub async fn write(client: &Client, mut batch: Batch, replace: bool) -> Result<Written, Failed> {
    if batch.len() > 1 {
        let written = transact(client, batch, replace).await;
        return written.map_err(|failure| (None, failure));
    }
    let mut written = Written::default();
    if let Some(single) = batch.pop() {
        let key = single.key.clone();
        let imported = put(client, single, replace).await;
        let imported = imported.map_err(|failure| (Some(key), failure))?;
        written.imported.push(imported);
    }
    Ok(written)
}

/// Sends a request, again and again while the service is busy.
pub async fn ask_until_free(
    client: &Client,
    request: impl Fn() -> RequestBuilder,
) -> Result<Response, Failure> {
    let mut tries = 0;
    loop {
        match client.send_repeatable(request()).await {
            // Even if a proxy says so: a write that was applied after all fails its precondition when it is
            // repeated, and the current value shows that it is done.
            Err(Failure::Refused(refusal)) if refusal.status == 503 && tries < TRIES => {
                tries += 1;
                sleep(BUSY).await;
            }
            answer => return answer.map_err(|failure| client.with_unknown_outcome(failure)),
        }
    }
}

/// Writes all of a batch at once, or nothing of it.
async fn transact(client: &Client, mut batch: Batch, replace: bool) -> Result<Written, Failure> {
    let operations = batch.iter().map(Write::as_operation).collect();
    let body = serde_json::to_vec(&Transaction { operations });
    let body = Bytes::from(body.map_err(|error| Failure::Input(error.to_string()))?);
    let headers = headers()?;
    let request = || {
        let request = client.post("/transactions").headers(headers.clone());
        request.body(body.clone())
    };
    let refusal = match ask_until_free(client, request).await {
        Ok(response) if is_done(&response) => {
            return Ok(Written {
                imported: batch.iter().map(Write::done).collect(),
                rest: Vec::new(),
            });
        }
        Ok(_) => return Err(client.not_ifmatch(&"it is not one to a transaction")),
        // It refuses the request, so nothing of it was done.
        Err(Failure::Refused(refusal)) if refusal.status < 500 => refusal,
        Err(failure) => return Err(failure),
    };
    if let Some(conflicts) = conflicts(&refusal, &batch) {
        return Ok(sorted_out(batch, conflicts, replace));
    }
    // It may be too large; and if one entry is the reason, it is found in the end, and named.
    let second_half = batch.split_off(batch.len() / 2);
    Ok(Written {
        imported: Vec::new(),
        rest: vec![batch, second_half],
    })
}

fn is_done(response: &Response) -> bool {
    response.status() == StatusCode::NO_CONTENT
        && response.headers().contains_key(PREFERENCE_APPLIED)
}

/// What each write is sent with. The name is the same each time that it is sent.
fn headers() -> Result<HeaderMap, Failure> {
    Ok(HeaderMap::from_iter([
        (IDEMPOTENCY_KEY, retry::new_key()?),
        (CONTENT_TYPE, JSON),
        (PREFER, HeaderValue::from_static("return=minimal")),
    ]))
}

/// The body of a transaction.
#[derive(Serialize)]
struct Transaction<'a> {
    operations: Vec<Put<'a>>,
}

#[derive(Serialize)]
struct Put<'a> {
    op: &'static str,
    key: &'a Key,
    value: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    if_match: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    if_none_match: Option<&'static str>,
}

impl Write {
    fn as_operation(&self) -> Put<'_> {
        let tag = self.replaced.as_ref().map(|entry| entry.etag.as_str());
        Put {
            op: "put",
            key: &self.key,
            value: &self.value,
            if_match: tag,
            if_none_match: tag.is_none().then_some("*"),
        }
    }

    /// The result if a transaction with it was done.
    fn done(&self) -> Imported {
        match self.replaced {
            Some(_) => Imported::Replaced,
            None => Imported::Created,
        }
    }

    /// What follows after its precondition has failed because of this entry.
    fn after_conflict(self, current: Option<Entry>, replace: bool) -> AfterConflict {
        match (current, &self.replaced) {
            (Some(current), _) if current.value == self.value => {
                AfterConflict::End(Imported::Unchanged(self.key))
            }
            (_, None) if !replace => AfterConflict::End(Imported::AlreadyExists(self.key)),
            (Some(current), None) => AfterConflict::Again(Self {
                replaced: Some(current),
                ..self
            }),
            // Changed or deleted since then.
            _ => AfterConflict::End(Imported::Changed(self.key)),
        }
    }
}

enum AfterConflict {
    End(Imported),
    Again(Write),
}

/// The body of a 412 to a transaction.
#[derive(Deserialize)]
struct Conflicts {
    failed: Vec<Conflict>,
}

#[derive(Deserialize)]
struct Conflict {
    index: usize,
    key: Key,
    #[serde(default, deserialize_with = "shown")]
    current: Current,
}

/// What a conflict says of the current entry.
#[derive(Default)]
enum Current {
    /// Nothing, because the caller may not know it.
    #[default]
    Hidden,
    /// The current entry, or null if it does not exist.
    Shown(Option<Entry>),
}

fn shown<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Current, D::Error> {
    Option::deserialize(deserializer).map(Current::Shown)
}

/// The operations whose preconditions did not hold, if the response says which these are.
fn conflicts(refusal: &Refusal, batch: &Batch) -> Option<Vec<Conflict>> {
    if !refusal.is_precondition_failed() {
        return None;
    }
    let Conflicts { failed } = serde_json::from_str(&refusal.text).ok()?;
    let is_of_batch = |conflict: &Conflict| {
        let write = batch.get(conflict.index);
        write.is_some_and(|write| write.key == conflict.key)
    };
    (!failed.is_empty() && failed.iter().all(is_of_batch)).then_some(failed)
}

/// What is left of a batch of which some operations failed. Each time it is less, or more of it is to be replaced.
fn sorted_out(batch: Batch, conflicts: Vec<Conflict>, replace: bool) -> Written {
    let conflicts = conflicts.into_iter();
    let mut conflicts: HashMap<_, _> = conflicts
        .map(|conflict| (conflict.index, conflict.current))
        .collect();
    let mut written = Written::default();
    let mut rest = Batch::new();
    for (index, write) in batch.into_iter().enumerate() {
        let current = match conflicts.remove(&index) {
            None => {
                rest.push(write);
                continue;
            }
            // Alone, it is refused with what the user can do about it.
            Some(Current::Hidden) if replace => {
                written.rest.push(vec![write]);
                continue;
            }
            Some(Current::Hidden) => None,
            Some(Current::Shown(current)) => current,
        };
        match write.after_conflict(current, replace) {
            AfterConflict::End(imported) => written.imported.push(imported),
            AfterConflict::Again(write) => rest.push(write),
        }
    }
    written.rest.push(rest);
    written
}

/// Writes an entry on its own.
async fn put(client: &Client, mut write: Write, replace: bool) -> Result<Imported, Failure> {
    loop {
        let precondition = match &write.replaced {
            Some(entry) => Precondition::unchanged(entry)?,
            None => Precondition::Absent,
        };
        let headers = headers()?;
        let request = || {
            let request = client.entry_request(Method::PUT, &write.key);
            let request = request.headers(headers.clone());
            precondition.add_to(request.body(write.value.as_json().to_owned()))
        };
        let refusal = match ask_until_free(client, request).await {
            Ok(response) if !response.headers().contains_key(ETAG) => {
                return Err(client.not_ifmatch(&"it has no entity tag"));
            }
            Ok(response) if response.headers().contains_key(LOCATION) => {
                return Ok(Imported::Created);
            }
            Ok(_) => return Ok(Imported::Replaced),
            Err(Failure::Refused(refusal)) if refusal.is_precondition_failed() => refusal,
            Err(failure) => return Err(failure),
        };
        if replace && refusal.hides_current() {
            return Err(Failure::Refused(refusal));
        }
        let current = refusal.body.and_then(|body| body.current);
        match write.after_conflict(current, replace) {
            AfterConflict::End(imported) => return Ok(imported),
            AfterConflict::Again(again) => write = again,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(number: usize, bytes: usize) -> Item {
        let text = format!("\"{}\"", "x".repeat(bytes));
        Item {
            key: format!("{number}").parse().unwrap(),
            value: Value::from_json(text.as_bytes()).unwrap(),
        }
    }

    #[test]
    fn batches_have_all_entries_in_their_order_and_stay_below_the_limits() {
        let large = BATCH_MAX_BYTES;
        for sizes in [
            vec![],
            vec![1; 250],
            vec![large / 3; 7],
            vec![large * 2, 1, large * 2, large * 2, 1, 1],
        ] {
            let items = sizes.iter().enumerate();
            let items = items.map(|(number, bytes)| item(number, *bytes)).collect();
            let batches: Vec<_> = batches(items).collect();
            for batch in &batches {
                let texts = batch.iter().map(|write| write.value.as_json().len());
                let bytes: usize = texts.sum();
                assert!(batch.len() == 1 || bytes <= BATCH_MAX_BYTES, "{sizes:?}");
                assert!((1..=BATCH_MAX_ENTRIES).contains(&batch.len()));
            }
            let written = batches
                .iter()
                .flatten()
                .map(|write| write.key.as_str().to_owned());
            let all = (0..sizes.len()).map(|number| number.to_string());
            assert!(written.eq(all), "{sizes:?}");
        }
        let items = (0..250).map(|number| item(number, 1)).collect();
        let lengths: Vec<_> = batches(items).map(|batch| batch.len()).collect();
        assert_eq!(lengths, [100, 100, 50]);
    }
}
