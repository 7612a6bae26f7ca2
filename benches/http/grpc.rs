//! What etcd does by itself: reads, or puts that compare, over gRPC. What ifmatch on etcd is compared with.
//!
//! `grpc ENDPOINT LOAD TASKS CLIENTS SECONDS KEYS` does LOAD (`fill`, `get` or `cas`) with so many requests at once, over
//! so many connections, on keys drawn at random, and prints `measured REQUESTS/S P50_US P99_US`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ifmatch::storage::etcd::EtcdSettings;
use ifmatch::storage::internals::etcd::Client;
use ifmatch::storage::internals::etcd::messages::{
    Compare, CompareResult, RangeRequest, RequestOp, TxnRequest,
};
use tokio::task::JoinSet;
use tokio::time::Instant;

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
    let (tasks, clients, keys) = (number(tasks), number(clients), number(keys));
    let endpoints = [endpoint.clone()];
    let clients: Vec<_> = (0..clients)
        .map(|_| Client::new(&endpoints, &EtcdSettings::default()).expect("the endpoint"))
        .collect();
    if load == "fill" {
        for key in 0..keys {
            let done = clients[0].txn(&put(key), soon()).await;
            done.expect("a put");
        }
        return;
    }
    let revisions = Arc::new(revisions(&clients[0]).await);
    assert_eq!(revisions.len(), keys);
    let end = Instant::now() + Duration::from_secs(number(seconds) as u64);
    let turn = Arc::new(AtomicUsize::new(0));
    let mut running = JoinSet::new();
    for task in 0..tasks {
        let (client, turn) = (clients[task % clients.len()].clone(), Arc::clone(&turn));
        let is_get = load == "get";
        // A task writes to keys of its own, so that no comparison fails.
        let mut revisions = revisions.to_vec();
        running.spawn(async move {
            let mut took = Vec::new();
            while Instant::now() < end {
                // 7919 is prime, so that all keys have their turn in no order.
                let at = turn.fetch_add(1, Ordering::Relaxed) * 7919;
                let began = Instant::now();
                if is_get {
                    let read = client.range(&get(at % keys), soon()).await.expect("a read");
                    assert_eq!(read.kvs.len(), 1);
                } else {
                    let key = task + at % (keys / tasks) * tasks;
                    let put = compare_and_put(key, revisions[key]);
                    let done = client.txn(&put, soon()).await.expect("a put");
                    assert!(done.succeeded);
                    revisions[key] = done.header.expect("a header").revision;
                }
                took.push(began.elapsed());
            }
            took
        });
    }
    let mut took: Vec<_> = running.join_all().await.concat();
    took.sort_unstable();
    let percentile = |part: usize| took[(took.len() - 1) * part / 100].as_micros();
    let seconds = u32::try_from(number(seconds)).expect("a few");
    let rate = f64::from(u32::try_from(took.len()).expect("fewer")) / f64::from(seconds);
    println!("measured {rate:.1} {} {}", percentile(50), percentile(99));
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

fn name(key: usize) -> Bytes {
    format!("/raw/doc/{key:07}").into()
}

fn get(key: usize) -> RangeRequest {
    RangeRequest {
        key: name(key),
        ..RangeRequest::default()
    }
}

/// Of all keys, in their order.
async fn revisions(client: &Client) -> Vec<i64> {
    let all = RangeRequest {
        key: Bytes::from_static(b"/raw/doc/"),
        range_end: Bytes::from_static(b"/raw/doc0"),
        ..RangeRequest::default()
    };
    let read = client.range(&all, soon()).await.expect("a read");
    let revisions = read.kvs.iter().map(|stored| stored.mod_revision);
    revisions.collect()
}

fn value() -> Bytes {
    format!("\"{}\"", "x".repeat(VALUE_BYTES - 2)).into()
}

fn put(key: usize) -> TxnRequest {
    TxnRequest {
        success: vec![RequestOp::put(name(key), value())],
        ..TxnRequest::default()
    }
}

fn compare_and_put(key: usize, revision: i64) -> TxnRequest {
    let is_equal = Compare::mod_revision(name(key), CompareResult::Equal, revision);
    TxnRequest {
        compare: vec![is_equal],
        ..put(key)
    }
}
