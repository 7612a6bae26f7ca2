//! What was, asked of the process that did not do it.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::cluster::EtcdCluster;
use crate::support::service::{Answer, Caller, send, serve, serve_two};

#[tokio::test]
async fn history_and_states_are_the_same_through_each_process() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let processes = serve_two(&cluster).await;
    let [one, other] = [0, 1].map(|index| Caller::of(&processes[index]));
    let mut versions: Vec<Value> = Vec::new();
    for round in 0..10 {
        let writer = if round % 2 == 0 { &one } else { &other };
        let written = send(writer.put("/kv/doc", json!({ "n": round }))).await;
        versions.push(written.body);
    }
    let third = serve(&cluster).await;
    let started = Caller::of(&third);
    for caller in [&one, &other, &started] {
        let history = caller.get("/history/doc").await.expect(200);
        assert_eq!(history.body, one.get("/history/doc").await.body);
        let told = history.body["items"].as_array().unwrap();
        let revisions = told.iter().map(|item| item["revision"].clone());
        let written = versions.iter().rev().map(|entry| entry["revision"].clone());
        assert_eq!(revisions.collect::<Vec<_>>(), written.collect::<Vec<_>>());
        for (index, entry) in versions.iter().enumerate() {
            let revision = entry["revision"].as_u64().unwrap();
            let then = caller.get(&format!("/kv/doc?revision={revision}")).await;
            assert_eq!(then.expect(200).body, *entry);
            let list = caller.get(&format!("/kv?revision={revision}")).await;
            assert_eq!(list.expect(200).body["items"], json!([entry]));
            if index == 0 {
                let before = format!("/kv/doc?revision={}", revision - 1);
                let before = caller.get(&before).await;
                before.expect_error(404, "not_found");
            }
        }
        let future = caller.get("/kv/doc?revision=1000000").await;
        assert_eq!(future.status, 400, "{future:?}");
    }
    // What was deleted through one comes back through the other.
    send(one.call(Method::DELETE, "/kv/doc")).await.expect(200);
    let revision = &versions[3]["revision"];
    let call = other.call(Method::GET, &format!("/kv/doc?revision={revision}"));
    assert_eq!(send(call).await.expect(200).body, versions[3]);
}

#[tokio::test]
async fn a_repeated_write_whose_answer_is_compacted_is_told_that_it_was_done() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let process = serve(&cluster).await;
    let caller = Caller::of(&process);
    let first = send(caller.put("/kv/a", 0)).await.expect(201);
    let body = json!({ "revision": first.revision() });
    let writes: [&dyn Fn(&Caller) -> RequestBuilder; 4] = [
        &|to| to.put("/kv/a", 1),
        &|to| to.call(Method::POST, "/revert/a").json(&body),
        &|to| {
            let operations = json!([{ "op": "put", "key": "a", "value": 2 }]);
            let transaction = json!({ "operations": operations });
            to.call(Method::POST, "/transactions").json(&transaction)
        },
        &|to| to.call(Method::DELETE, "/kv/a"),
    ];
    let once = async |to: &Caller, index: usize| -> Answer {
        let named = writes[index](to).header("idempotency-key", format!("k{index}"));
        send(named).await
    };
    for index in 0..writes.len() {
        once(&caller, index).await.expect(200);
    }
    let last = send(caller.put("/kv/last", 1)).await.expect(201).revision();
    cluster.ctl(&["compact", &last.to_string()]).await;
    let started = serve(&cluster).await;
    let started = Caller::of(&started);
    for index in 0..writes.len() {
        let again = once(&started, index).await.expect_error(410, "compacted");
        assert_eq!(again.body["oldest_revision"], last, "{again:?}");
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        let message = again.body["message"].as_str().unwrap();
        assert!(message.contains("was done already"), "{message}");
    }
    started.get("/kv/a").await.expect_error(404, "not_found");
    // What asks for the past itself was not done.
    let other = started.call(Method::POST, "/revert/a").json(&body);
    let other = send(other.header("idempotency-key", "other")).await;
    let other = other.expect_error(410, "compacted");
    assert_eq!(other.header("idempotency-replayed"), None);
}
