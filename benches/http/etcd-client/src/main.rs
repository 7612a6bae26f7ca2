//! The same loads as `benches/http/grpc.rs`, by the crate `etcd-client`: etcd as a Rust program has it.
//!
//! `etcd-client-load ENDPOINT LOAD TASKS CLIENTS SECONDS KEYS` does LOAD (`get` or `cas`) with so many requests at once,
//! over so many connections, on the keys that `grpc … fill` wrote, and prints `measured REQUESTS/S P50_US P99_US`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use etcd_client::{Client, Compare, CompareOp, GetOptions, Txn, TxnOp};
use tokio::task::JoinSet;

/// What a value is, in bytes, with its quotes.
const VALUE_BYTES: usize = 150;

#[tokio::main]
async fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [endpoint, load, tasks, clients, seconds, keys] = &arguments[..] else {
        println!("benches/http/etcd starts this with a member of etcd, a load and its size");
        return;
    };
    let number = |text: &str| text.parse::<usize>().expect("a number");
    let (tasks, keys) = (number(tasks), number(keys));
    let mut connected = Vec::new();
    for _ in 0..number(clients) {
        connected.push(Client::connect([endpoint], None).await.expect("etcd"));
    }
    let all = GetOptions::new().with_prefix();
    let read = connected[0].get("/raw/doc/", Some(all)).await;
    let read = read.expect("a read");
    let revisions: Vec<_> = read
        .kvs()
        .iter()
        .map(|stored| stored.mod_revision())
        .collect();
    assert_eq!(revisions.len(), keys);
    let end = Instant::now() + Duration::from_secs(number(seconds) as u64);
    let turn = Arc::new(AtomicUsize::new(0));
    let value = format!("\"{}\"", "x".repeat(VALUE_BYTES - 2));
    let mut running = JoinSet::new();
    for task in 0..tasks {
        let (mut client, turn) = (connected[task % connected.len()].clone(), Arc::clone(&turn));
        let is_get = load == "get";
        // A task writes to keys of its own, so that no comparison fails.
        let (mut revisions, value) = (revisions.clone(), value.clone());
        running.spawn(async move {
            let mut took = Vec::new();
            while Instant::now() < end {
                // 7919 is prime, so that all keys have their turn in no order.
                let at = turn.fetch_add(1, Ordering::Relaxed) * 7919;
                let began = Instant::now();
                if is_get {
                    let read = client.get(name(at % keys), None).await.expect("a read");
                    assert_eq!(read.kvs().len(), 1);
                } else {
                    let key = task + at % (keys / tasks) * tasks;
                    let put = Txn::new()
                        .when([Compare::mod_revision(
                            name(key),
                            CompareOp::Equal,
                            revisions[key],
                        )])
                        .and_then([TxnOp::put(name(key), value.clone(), None)]);
                    let done = client.txn(put).await.expect("a put");
                    assert!(done.succeeded());
                    revisions[key] = done.header().expect("a header").revision();
                }
                took.push(began.elapsed());
            }
            took
        });
    }
    let mut took = running.join_all().await.concat();
    took.sort_unstable();
    let percentile = |part: usize| took[(took.len() - 1) * part / 100].as_micros();
    let seconds = u32::try_from(number(seconds)).expect("a few");
    let rate = f64::from(u32::try_from(took.len()).expect("fewer")) / f64::from(seconds);
    println!("measured {rate:.1} {} {}", percentile(50), percentile(99));
}

fn name(key: usize) -> String {
    format!("/raw/doc/{key:07}")
}
