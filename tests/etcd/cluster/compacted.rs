//! A cluster that is compacted while a process is frozen.

use std::collections::BTreeMap;

use serde_json::Value;

use super::rounds;
use crate::support::binary::Process;
use crate::support::cluster::EtcdCluster;
use crate::support::proxy::Proxy;
use crate::support::service::{Caller, ROOT, command, freeze, send, serve, thaw, until};

/// What is written in each round, in bytes that no socket takes while nobody reads it.
const WRITES: usize = 48;
const LENGTH: usize = 400 * 1024;

/// The tags by key, as a list shows them.
async fn listed(caller: &Caller) -> BTreeMap<String, Value> {
    let list = caller.get("/kv").await.expect(200);
    let items = list.body["items"].as_array().unwrap().iter();
    let key = |item: &Value| item["key"].as_str().unwrap().to_owned();
    items
        .map(|item| (key(item), item["etag"].clone()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_was_frozen_meanwhile_loads_anew() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let proxy = Proxy::of(cluster.endpoints().remove(0)).await;
    let store = format!("etcd://{}{ROOT}", proxy.endpoint());
    let processes = [Process::spawn(command(&store)).await, serve(&cluster).await];
    let [one, other] = [0, 1].map(|index| Caller::of(&processes[index]));
    send(one.put("/kv/a", 0)).await.expect(201);
    let mut resets = 0;
    for round in 0..rounds() {
        let mut known = listed(&one).await;
        let mut stream = one.watch("/watch", None).await;
        let mut since = stream.block().await.unwrap().id.unwrap();
        freeze(&processes[0]);
        // What sockets hold is told all the same; after a cut there is nothing in them.
        if round % 2 == 0 {
            proxy.cut();
        }
        let mut newest = 0;
        for write in 0..WRITES {
            let text = format!("{round}.{write} {}", "x".repeat(LENGTH));
            let path = format!("/kv/k/{}", write % 8);
            newest = send(other.put(&path, text)).await.revision();
        }
        cluster.ctl(&["compact", &newest.to_string()]).await;
        proxy.mend();
        thaw(&processes[0]);
        // Reads are of now, at once.
        let current = listed(&other).await;
        let read = one.get("/kv/k/7").await.expect(200);
        assert_eq!(read.body["etag"], current["k/7"]);
        assert_eq!(listed(&one).await, current);
        // Who watches is told of everything, or that something is not told.
        while known != current {
            let Some(block) = stream.next().await else {
                let mut opened = None;
                until("it can be watched", async || {
                    opened = one.try_watch("/watch", Some(&since)).await;
                    opened.is_some()
                })
                .await;
                stream = opened.unwrap();
                continue;
            };
            since = block.id.clone().unwrap_or(since);
            match block.event.as_deref() {
                Some("put") => {
                    let entry = block.json();
                    let key = entry["key"].as_str().unwrap().to_owned();
                    known.insert(key, entry["etag"].clone());
                }
                Some("reset") => {
                    resets += 1;
                    known = listed(&one).await;
                }
                _ => panic!("{block:?}"),
            }
        }
        let last = send(one.put("/kv/a", round)).await.expect(200);
        assert_eq!(other.get("/kv/a").await.body, last.body);
        assert_eq!(stream.next().await.unwrap().json(), last.body);
    }
    println!("{} rounds, {resets} resets", rounds());
    assert!(resets > 0, "nothing was sent after a cut");
}
