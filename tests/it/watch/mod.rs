//! Subscribing to changes, and reads that wait for them.

mod events;
mod restarts;
mod resume;
mod slow;
mod waiting;

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};

use crate::support::api::{Answer, Api};
use crate::support::events::Events;

/// How often there is a comment.
const HEARTBEAT: Duration = Duration::from_secs(15);

pub async fn begin(api: &Api, path: &str, headers: &[(&str, &str)]) -> Response<Body> {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    api.begin(request.body(Body::empty()).unwrap()).await
}

async fn watch(api: &Api, query: &str) -> Events {
    let response = begin(api, &format!("/watch{query}"), &[]).await;
    assert_eq!(response.status(), 200);
    Events::of(response.into_body())
}

async fn resume(api: &Api, query: &str, last_event_id: &str) -> Events {
    let headers = [("last-event-id", last_event_id)];
    let response = begin(api, &format!("/watch{query}"), &headers).await;
    Events::of(response.into_body())
}

async fn put(api: &Api, key: &str, value: &str) -> Answer {
    let answer = api.put(&format!("/kv/{key}"), value).send().await;
    assert!(answer.status.is_success(), "{answer:?}");
    answer
}

/// The tag of the list without its quotes.
async fn list_position(api: &Api) -> String {
    let list = api.get("/kv?limit=1").send().await;
    list.etag().trim_matches('"').to_owned()
}

fn put_of(key: &str, revision: u64) -> (String, String, u64) {
    ("put".to_owned(), key.to_owned(), revision)
}

fn delete_of(key: &str, revision: u64) -> (String, String, u64) {
    ("delete".to_owned(), key.to_owned(), revision)
}
