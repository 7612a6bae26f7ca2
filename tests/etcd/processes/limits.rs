//! What etcd limits, as clients are told.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::binary::{BINARY, Process, bare_command, run};
use crate::support::cluster::EtcdCluster;
use crate::support::service::{Answer, Caller, ROOT, command, send, serve, until};

async fn put_all(caller: &Caller, count: usize, value: &Value) -> Answer {
    let puts =
        (0..count).map(|number| json!({"op": "put", "key": format!("k/{number}"), "value": value}));
    let operations: Vec<_> = puts.collect();
    let call = caller.call(Method::POST, "/transactions");
    send(call.json(&json!({ "operations": operations }))).await
}

#[tokio::test]
async fn what_is_too_large_for_one_commit_is_refused_with_the_words_of_etcd() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let process = serve(&cluster).await;
    let caller = Caller::of(&process);
    let almost = json!("x".repeat(1024 * 1024 - 64));
    send(caller.put("/kv/one", almost.clone()))
        .await
        .expect(201);
    let sent = send(caller.put("/kv/one", almost.clone()))
        .await
        .expect(200);
    for (count, value, words) in [
        (2, &almost, "larger than max"),
        (
            2,
            &json!("x".repeat(800 * 1024)),
            "etcdserver: request is too large",
        ),
        (
            128,
            &json!(1),
            "etcdserver: too many operations in txn request",
        ),
    ] {
        let refused = put_all(&caller, count, value).await;
        let refused = refused.expect_error(413, "request_too_large");
        let message = refused.body["message"].as_str().unwrap();
        assert!(message.contains(words), "{message}");
        assert!(message.contains("nothing was done"), "{message}");
    }
    let list = caller.get("/kv?limit=1").await;
    assert_eq!(list.body["items"], json!([sent.body]));
    put_all(&caller, 127, &json!(1)).await.expect(200);
    // Nothing of this is a failure of the service.
    caller.get("/health/ready").await.expect(200);
}

#[tokio::test]
async fn an_import_is_written_in_transactions_that_etcd_allows() {
    for (arguments, commits_max) in [(&[][..], 10), (&["--max-txn-ops=20"], 60)] {
        let mut cluster = EtcdCluster::of(1);
        for argument in arguments {
            cluster = cluster.with(*argument);
        }
        let Some(cluster) = cluster.start().await else {
            return;
        };
        let process = serve(&cluster).await;
        let caller = Caller::of(&process);
        let before = caller.get("/kv?limit=1").await.revision();
        let entries = (0..250).map(|n| format!("{{\"key\":\"i/{n}\",\"value\":{n}}}\n"));
        let export = format!(
            "{{\"export\":{{\"format\":1,\"prefix\":\"\"}}}}\n{}{{\"end\":{{\"entries\":250,\"revision\":1}}}}\n",
            entries.collect::<String>()
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), export).unwrap();
        let mut import = bare_command(BINARY);
        import.arg("import").arg(file.path());
        import.env("IFMATCH_SERVER", process.url(""));
        let imported = run(import).await;
        let report: Value = serde_json::from_slice(&imported.stdout).unwrap();
        assert_eq!(report["created"], 250, "{imported:?}");
        let list = caller.get("/kv").await;
        assert_eq!(list.body["items"].as_array().unwrap().len(), 250);
        let commits = list.revision() - before;
        assert!(commits <= commits_max, "{commits}");
    }
}

#[tokio::test]
async fn what_is_no_entry_is_left_out_of_no_read_however_old_it_may_be() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let process = serve(&cluster).await;
    let caller = Caller::of(&process);
    let written = send(caller.put("/kv/a", 1)).await.expect(201);
    cluster
        .ctl(&["put", &format!("{ROOT}/k/a"), "not JSON"])
        .await;
    until("it is noticed", async || {
        caller.get("/kv/a").await.status == 500
    })
    .await;
    let revision = written.revision();
    for path in ["/kv/a", "/kv"] {
        caller.get(path).await.expect(500);
        caller
            .get(&format!("{path}?min_revision={revision}"))
            .await
            .expect(500);
        let stale = caller.call(Method::GET, path);
        send(stale.header("cache-control", "max-stale"))
            .await
            .expect(500);
    }
}

#[tokio::test]
async fn a_request_can_be_remembered_for_longer_than_etcd_grants_a_lease() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let mut command = command(&cluster.address(ROOT));
    command.args(["--idempotency-window", "500y"]);
    let process = Process::spawn(command).await;
    let put = Caller::of(&process).put("/kv/a", 1);
    send(put.header("idempotency-key", "a")).await.expect(201);
}
