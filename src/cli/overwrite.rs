//! Writing whatever the current value is.

use reqwest::{RequestBuilder, Response};

use super::client::Client;
use super::entry::Entry;
use super::failure::Failure;
use super::precondition::Precondition;
use crate::model::Key;

/// How often a write is repeated because the entry has changed in the meantime. Each time somebody else has
/// written, so only many writers of one key can cause more than a few repetitions.
const TRIES: u32 = 100;

/// Writes whatever the current value is: without a precondition, or, if the service requires one, with the
/// current tag.
pub async fn whatever_is_current(
    client: &Client,
    key: &Key,
    request: impl Fn(&Precondition) -> RequestBuilder,
) -> Result<Response, Failure> {
    match client.send(request(&Precondition::None)).await {
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

/// Writes with the tag of `current`, and again with the new tag if the entry has changed in the meantime.
pub async fn on_current(
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
        match client.send(request(&precondition)).await {
            Err(Failure::Refused(refusal))
                if refusal.is_precondition_failed()
                    && !refusal.hides_current()
                    && tries < TRIES =>
            {
                tries += 1;
                current = refusal.body.and_then(|body| body.current);
            }
            answer => return answer,
        }
    }
}
