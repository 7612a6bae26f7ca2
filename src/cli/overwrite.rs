//! Writing whatever the current value is.

use reqwest::{RequestBuilder, Response};

use super::client::Client;
use super::entry::Entry;
use super::failure::Failure;
use super::precondition::Precondition;
use crate::model::Key;

/// How often a write on the current entry is tried again because that has changed meanwhile. Each
/// time somebody else has written, so more than a few need many writers of one key.
const TRIES: u32 = 100;

/// Writes whatever is there: without a precondition, or, if the service demands one, with the tag of
/// what is current.
pub async fn forced(
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

/// Writes with the tag of `current`, and of what is current then if that has changed meanwhile.
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
        match client.ask(request(&precondition)).await {
            Err(Failure::Refused(refusal)) if refusal.is_stale() && tries < TRIES => {
                tries += 1;
                current = refusal.body.and_then(|body| body.current);
            }
            answer => return answer,
        }
    }
}
