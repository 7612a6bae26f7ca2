//! The past: entries and lists as of then, what happened, and bringing a value back.

mod access;
mod events;
mod model;
mod restored;
mod revert;
mod states;
mod streams;

use std::sync::Arc;

use axum::http::Method;
use ifmatch::service::Policy;
use ifmatch::storage::memory::MemoryStore;
use serde_json::Value;

use crate::support::api::{Answer, Api, Call, LIMITS};

/// An API whose history has so many bytes.
fn with_history(bytes: usize) -> Api {
    let store = MemoryStore::new().with_history_limit(bytes);
    Api::with(Arc::new(store), Policy::AllWrites, LIMITS)
}

/// Asks to bring back the value that a key had at a revision.
fn revert<'a>(api: &'a Api, key: &str, revision: u64) -> Call<'a> {
    let body = format!("{{\"revision\":{revision}}}");
    api.call(Method::POST, &format!("/revert/{key}"))
        .json(&body)
}

/// The items of a list or a history.
#[track_caller]
fn items(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["items"].as_array().unwrap().clone()
}

/// Every event that a query matches, read in pages of so many.
async fn all_events(api: &Api, path: &str, limit: usize) -> Vec<Value> {
    let separator = if path.contains('?') { '&' } else { '?' };
    let mut events = Vec::new();
    let mut before = String::new();
    loop {
        let page = format!("{path}{separator}limit={limit}{before}");
        let answer = api.get(&page).send().await;
        let of_page = items(&answer);
        assert!(of_page.len() <= limit, "{page}");
        events.extend(of_page);
        match answer.json()["next"].as_str() {
            None => return events,
            Some(next) => before = format!("&before={next}"),
        }
    }
}
