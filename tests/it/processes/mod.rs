//! Several processes on one store: a write is decided on what one of them knows, which may be out of date.

mod fresh;
mod once;
mod refusals;
mod unreachable;

use axum::http::Method;
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::api::{Answer, Api, Call};
use crate::support::shared::Process;

const MERGE_PATCH: &str = "application/merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";

fn patch<'a>(api: &'a Api, path: &str, content_type: &str, body: &str) -> Call<'a> {
    let call = api.call(Method::PATCH, path);
    call.header("content-type", content_type)
        .body(body.to_owned())
}

async fn transact(api: &Api, operations: &serde_json::Value) -> Answer {
    let body = json!({ "operations": operations }).to_string();
    let call = api.call(Method::POST, "/transactions").json(&body);
    call.send().await
}

/// Counts up by reading and replacing, by patching and by a transaction.
async fn add_one(api: &Api, way: usize) {
    loop {
        let read = api.get("/kv/counter").send().await;
        let (tag, number) = (read.etag(), read.json()["value"].as_u64().unwrap());
        let next = (number + 1).to_string();
        let answer = match way % 3 {
            0 => api.put("/kv/counter", &next).if_match(&tag).send().await,
            1 => {
                let operations = json!([
                    {"op": "test", "path": "", "value": number},
                    {"op": "replace", "path": "", "value": number + 1},
                ]);
                let patch = patch(api, "/kv/counter", JSON_PATCH, &operations.to_string());
                patch.send().await
            }
            _ => {
                let put =
                    json!({"op": "put", "key": "counter", "value": number + 1, "if_match": tag});
                transact(api, &json!([put])).await
            }
        };
        match answer.status.as_u16() {
            200 => return,
            409 | 412 => {}
            other => panic!("{other}: {answer:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_update_of_many_clients_of_two_processes_is_lost() {
    const CLIENTS: usize = 12;
    const EACH: usize = 20;
    let [(_, one), (_, other)] = Process::two();
    let apis = [one.unchecked(), other.unchecked()];
    apis[0].put("/kv/counter", "0").send().await;
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let api = apis[client % 2].clone();
        clients.spawn(async move {
            for _ in 0..EACH {
                add_one(&api, client / 2).await;
            }
        });
    }
    clients.join_all().await;
    for api in apis {
        let counter = api.get("/kv/counter").send().await.json();
        assert_eq!(counter["value"], CLIENTS * EACH);
        assert_eq!(counter["version"], CLIENTS * EACH + 1);
    }
}
