//! A cluster that has no room left.

use crate::support::cluster::EtcdCluster;
use crate::support::service::{Caller, send, serve, serve_two, until, until_ready};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_are_refused_reads_go_on_and_writes_come_back() {
    let plan = EtcdCluster::of(1).quota(16 * 1024 * 1024);
    let Some(cluster) = plan.start().await else {
        return;
    };
    let processes = serve_two(&cluster).await;
    let callers = [0, 1].map(|index| Caller::of(&processes[index]));
    let small = send(callers[0].put("/kv/small", 1)).await.expect(201);
    let long = "x".repeat(900 * 1024);
    let mut writes = 0;
    let refused = loop {
        let answer = send(callers[writes % 2].put("/kv/long", long.clone())).await;
        if !matches!(answer.status, 200 | 201) {
            break answer;
        }
        writes += 1;
        assert!(writes < 100, "the quota holds");
    };
    let refused = refused.expect_error(503, "unavailable");
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    for caller in &callers {
        let refused = send(caller.put("/kv/small", 2)).await;
        refused.expect_error(503, "unavailable");
        assert_eq!(caller.get("/kv/small").await.expect(200).body, small.body);
        // What was refused is not there.
        let list = caller.get("/kv").await.expect(200);
        assert_eq!(list.body["items"][0]["version"], writes);
        until_ready(caller, false).await;
        let health = caller.get("/health").await.expect(503);
        let store = &health.body["store"];
        assert_eq!(
            (&store["readable"], &store["writable"]),
            (&true.into(), &false.into())
        );
        assert!(
            store["problem"].to_string().contains("NOSPACE"),
            "{health:?}"
        );
    }
    // One that starts now serves reads too.
    let third = serve(&cluster).await;
    assert_eq!(
        Caller::of(&third).get("/kv/small").await.expect(200).body,
        small.body
    );

    let newest = callers[0].get("/kv").await.expect(200).revision();
    cluster.ctl(&["compact", &newest.to_string()]).await;
    cluster.ctl(&["defrag"]).await;
    cluster.ctl(&["alarm", "disarm"]).await;
    for caller in &callers {
        until("it writes again", async || {
            matches!(send(caller.put("/kv/back", 1)).await.status, 200 | 201)
        })
        .await;
        until_ready(caller, true).await;
    }
    let next = callers[1]
        .put("/kv/small", 2)
        .header("if-match", small.etag());
    let next = send(next).await.expect(200);
    assert_eq!(callers[0].get("/kv/small").await.body, next.body);
}
