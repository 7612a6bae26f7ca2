//! A cluster without a majority.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::support::cluster::EtcdCluster;
use crate::support::service::{Answer, Caller, send, serve_two, until, until_ready};

/// Reads and writes are refused, but for who takes what is old.
async fn refuses_what_is_strict(caller: &Caller, written: &Answer) {
    until_ready(caller, false).await;
    let health = caller.get("/health").await.expect(503);
    assert_eq!(health.body["store"]["readable"], false);
    assert!(health.body["store"]["problem"].is_string(), "{health:?}");
    caller.get("/health/live").await.expect(200);
    let paths = ["/kv/a", "/kv/b", "/kv", "/history/a"];
    for refused in join_all(paths.map(|path| caller.get(path))).await {
        let refused = refused.expect_error(503, "unavailable");
        let retry: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&retry), "{refused:?}");
    }
    let refused = send(caller.put("/kv/a", 2)).await;
    assert!(matches!(refused.status, 503 | 504), "{refused:?}");
    let read = |path, limit| {
        let call = caller.call(Method::GET, path);
        send(call.header("cache-control", limit))
    };
    let (entry, list) = tokio::join!(read("/kv/a", "max-stale"), read("/kv", "max-stale"));
    for stale in [&entry, &list] {
        let age: u64 = stale.header("age").expect("it is old").parse().unwrap();
        assert!((1..600).contains(&age), "{stale:?}");
    }
    assert_eq!(entry.expect(200).body, written.body);
    assert_eq!(list.expect(200).body["items"], json!([written.body]));
    for path in ["/kv/a", "/kv"] {
        read(path, "max-stale=0")
            .await
            .expect_error(503, "unavailable");
    }
}

#[tokio::test]
async fn without_a_majority_it_is_not_ready_and_answers_only_who_takes_what_is_old() {
    let Some(mut cluster) = EtcdCluster::of(3).start().await else {
        return;
    };
    let processes = serve_two(&cluster).await;
    let callers = [0, 1].map(|index| Caller::of(&processes[index]));
    for caller in &callers {
        caller.get("/health/ready").await.expect(200);
    }
    let written = send(callers[0].put("/kv/a", 1)).await.expect(201);
    callers[1].get("/kv/a").await.expect(200);
    let leader = cluster.leader().await;
    cluster.kill(leader).await;
    cluster.kill((leader + 1) % 3).await;
    // Each waits for etcd for some seconds.
    let refusing = callers
        .iter()
        .map(|caller| refuses_what_is_strict(caller, &written));
    join_all(refusing).await;
    // The two had not agreed on anything, so whatever was sent in the meantime may have been done, or not.
    cluster.begin_restart(leader);
    for caller in &callers {
        until_ready(caller, true).await;
    }
    let read = callers[0].get("/kv/a").await.expect(200);
    assert_eq!(callers[1].get("/kv/a").await.body, read.body);
    let call = callers[0].call(Method::GET, "/kv/a");
    let fresh = send(call.header("cache-control", "max-stale")).await;
    assert_eq!(fresh.expect(200).header("age"), None);
    until("it writes", async || {
        send(callers[0].put("/kv/a", 3)).await.status == 200
    })
    .await;
    assert_eq!(callers[1].get("/kv/a").await.body["value"], 3);
}
