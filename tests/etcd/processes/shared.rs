//! What one process does, the other shows, and holds its clients to.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::cluster::EtcdCluster;
use crate::support::service::{Caller, send, serve_two};

#[tokio::test]
async fn a_write_through_one_is_read_through_the_other_at_once() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let processes = serve_two(&cluster).await;
    let callers = [0, 1].map(|index| Caller::of(&processes[index]));
    for round in 0..60 {
        let (writer, reader) = (&callers[round % 2], &callers[(round + 1) % 2]);
        let written = send(writer.put("/kv/doc/a", round)).await;
        let read = reader.get("/kv/doc/a").await.expect(200);
        assert_eq!(read.body, written.body);
        assert_eq!(read.etag(), written.etag());
        let list = reader.get("/kv?prefix=doc/").await.expect(200);
        assert_eq!(list.body["items"], json!([written.body]));
        // The other process need not ask for what it has shown.
        let at_least = format!("/kv/doc/a?min_revision={}", written.revision());
        assert_eq!(reader.get(&at_least).await.body, written.body);
    }
    let delete = callers[0].call(Method::DELETE, "/kv/doc/a");
    send(delete).await.expect(200);
    callers[1]
        .get("/kv/doc/a")
        .await
        .expect_error(404, "not_found");
}

#[tokio::test]
async fn a_stale_write_through_the_other_is_refused_with_what_is_current() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let processes = serve_two(&cluster).await;
    let [one, other] = [0, 1].map(|index| Caller::of(&processes[index]));
    let first = send(one.put("/kv/a", json!({"title": 1, "text": 1}))).await;
    for round in 2..30 {
        let before = other.get("/kv/a").await.expect(200);
        let value = json!({"title": round, "text": 1});
        let current = send(one.put("/kv/a", value)).await.expect(200);
        let stale = other.put("/kv/a", 0).header("if-match", before.etag());
        let refused = send(stale).await.expect_error(412, "precondition_failed");
        assert_eq!(refused.body["current"], current.body);
        assert_eq!(refused.body["changed"], json!(["/title"]));
        assert_eq!(refused.etag(), current.etag());
    }
    let deleting = other.call(Method::DELETE, "/kv/a");
    let refused = send(deleting.header("if-match", first.etag())).await;
    refused.expect_error(412, "precondition_failed");
    // A tag of the other process is as good as one of its own, however new.
    for round in 0..30 {
        let written = send(one.put("/kv/a", round)).await;
        let next = other
            .put("/kv/a", "next")
            .header("if-match", written.etag());
        send(next).await.expect(200);
    }
}

#[tokio::test]
async fn of_creators_through_both_one_wins() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let processes = serve_two(&cluster).await;
    let callers = [0, 1].map(|index| Caller::of(&processes[index]));
    for round in 0..10 {
        let path = format!("/kv/new/{round}");
        let mut creators = JoinSet::new();
        for number in 0..8 {
            let call = callers[number % 2].put(&path, number);
            creators.spawn(send(call.header("if-none-match", "*")));
        }
        let answers = creators.join_all().await;
        let created: Vec<_> = answers
            .iter()
            .filter(|answer| answer.status == 201)
            .collect();
        assert_eq!(created.len(), 1, "{answers:?}");
        for refused in answers.iter().filter(|answer| answer.status != 201) {
            assert_eq!(refused.status, 412, "{refused:?}");
            assert_eq!(refused.body["current"], created[0].body);
        }
    }
}

#[tokio::test]
async fn a_counter_of_64_clients_of_two_processes_is_exact() {
    const CLIENTS: usize = 64;
    const EACH: usize = 2;
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let processes = serve_two(&cluster).await;
    let callers = [0, 1].map(|index| Caller::of(&processes[index]));
    send(callers[0].put("/kv/counter", 0)).await.expect(201);
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let caller = callers[client % 2].clone();
        clients.spawn(async move {
            for _ in 0..EACH {
                increment(&caller).await;
            }
        });
    }
    clients.join_all().await;
    for caller in callers {
        let counter = caller.get("/kv/counter").await;
        assert_eq!(counter.body["value"], CLIENTS * EACH);
        assert_eq!(counter.body["version"], CLIENTS * EACH + 1);
    }
}

async fn increment(caller: &Caller) {
    let mut current = caller.get("/kv/counter").await.body;
    loop {
        let next = current["value"].as_u64().unwrap() + 1;
        let tag = current["etag"].as_str().unwrap();
        let put = caller.put("/kv/counter", next).header("if-match", tag);
        let answer = send(put).await;
        match answer.status {
            200 => return,
            412 => current = answer.body["current"].clone(),
            _ => panic!("{answer:?}"),
        }
    }
}

#[tokio::test]
async fn a_request_that_is_sent_to_both_is_done_once() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let processes = serve_two(&cluster).await;
    let [one, other] = [0, 1].map(|index| Caller::of(&processes[index]));
    for round in 0..20 {
        let path = format!("/kv/job/{round}");
        let key = format!("\"request {round}\"");
        let attempt = |caller: &Caller, value| {
            let call = caller.put(&path, json!({"state": value}));
            send(call.header("idempotency-key", &key))
        };
        let (first, second) = tokio::join!(attempt(&one, "new"), attempt(&other, "new"));
        let is_replay = |answer: &crate::support::service::Answer| {
            answer.header("idempotency-replayed") == Some("true")
        };
        let replays = BTreeSet::from([is_replay(&first), is_replay(&second)]);
        assert_eq!(replays.len(), 2, "{first:?} {second:?}");
        // However often, and also after it was overwritten.
        send(one.put(&path, "else")).await.expect(200);
        for answer in [
            first,
            second,
            attempt(&one, "new").await,
            attempt(&other, "new").await,
        ] {
            assert_eq!(answer.status, 201, "{answer:?}");
            assert_eq!(answer.body["value"], json!({"state": "new"}));
            assert_eq!(answer.version(), 1);
        }
        let mismatch = attempt(&other, "other").await;
        mismatch.expect_error(422, "idempotency_mismatch");
        assert_eq!(other.get(&path).await.version(), 2);
    }
}

#[tokio::test]
async fn both_show_the_same_lists_with_the_same_tags() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let processes = serve_two(&cluster).await;
    let [one, other] = [0, 1].map(|index| Caller::of(&processes[index]));
    for round in 0..20 {
        let writer = if round % 2 == 0 { &one } else { &other };
        let operations = json!([
            {"op": "put", "key": format!("a/{round}"), "value": round},
            {"op": "put", "key": "b", "value": round},
        ]);
        let call = writer.call(Method::POST, "/transactions");
        send(call.json(&json!({"operations": operations})))
            .await
            .expect(200);
        for path in ["/kv", "/kv?prefix=a/", "/kv?limit=3"] {
            let (first, second) = (one.get(path).await, other.get(path).await);
            assert_eq!(first.expect(200).body, second.body);
            let tag = second.etag();
            let call = one.call(Method::GET, path).header("if-none-match", tag);
            let unchanged = send(call).await.expect(304);
            assert_eq!(unchanged.etag(), tag);
        }
    }
    // What waits at one process is woken by a write through the other.
    let before = one.get("/kv/b").await;
    let waiting = one.call(Method::GET, "/kv/b").header("prefer", "wait=30");
    let waiting = tokio::spawn(send(waiting.header("if-none-match", before.etag())));
    let written = send(other.put("/kv/b", "woken")).await;
    assert_eq!(waiting.await.unwrap().expect(200).body, written.body);
}
