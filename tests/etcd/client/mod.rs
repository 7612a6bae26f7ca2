//! The client of etcd.

mod basics;
mod failover;
mod frozen;
mod limits;
mod login;
mod tls;
mod watching;

use std::time::Duration;

use bytes::Bytes;
use ifmatch::storage::etcd::EtcdSettings;
use ifmatch::storage::internals::etcd::messages::{
    Compare, CompareResult, RangeRequest, RangeResponse, RequestOp, TxnRequest, TxnResponse,
    WatchCreateRequest, WatchResponse,
};
use ifmatch::storage::internals::etcd::{Client, ClientError, WatchStream};
use tokio::time::{Instant, timeout};

use crate::support::cluster::EtcdCluster;

/// How long anything may take before a test calls it hung.
const DEADLINE: Duration = Duration::from_secs(60);

/// A client with the default settings.
fn client_of(cluster: &EtcdCluster) -> Client {
    Client::new(&cluster.endpoints(), &EtcdSettings::default()).unwrap()
}

fn soon() -> Instant {
    Instant::now() + DEADLINE
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// One key.
fn key(key: &str) -> RangeRequest {
    RangeRequest {
        key: bytes(key),
        ..RangeRequest::default()
    }
}

/// All keys that begin with `prefix`, whose last byte is not the highest.
fn end_of(prefix: &str) -> Bytes {
    let mut end = prefix.as_bytes().to_vec();
    *end.last_mut().unwrap() += 1;
    end.into()
}

fn prefix(prefix: &str) -> RangeRequest {
    RangeRequest {
        range_end: end_of(prefix),
        ..key(prefix)
    }
}

fn watch_of(prefix: &str, start_revision: i64) -> WatchCreateRequest {
    WatchCreateRequest {
        key: bytes(prefix),
        range_end: end_of(prefix),
        start_revision,
        ..WatchCreateRequest::default()
    }
}

/// A transaction that is done in any case.
fn all(operations: impl IntoIterator<Item = RequestOp>) -> TxnRequest {
    TxnRequest {
        success: operations.into_iter().collect(),
        ..TxnRequest::default()
    }
}

/// The same if the key was last written in this revision.
fn all_if(key: &str, revision: i64, operations: impl IntoIterator<Item = RequestOp>) -> TxnRequest {
    TxnRequest {
        compare: vec![Compare::mod_revision(
            bytes(key),
            CompareResult::Equal,
            revision,
        )],
        ..all(operations)
    }
}

fn put(key: &str, value: impl Into<Bytes>) -> RequestOp {
    RequestOp::put(bytes(key), value.into())
}

fn delete(key: &str) -> RequestOp {
    RequestOp::delete(bytes(key))
}

/// Puts one key; returns the revision.
async fn write(client: &Client, key: &str, value: &'static str) -> i64 {
    revision(&client.txn(&all([put(key, value)]), soon()).await.unwrap())
}

fn revision(response: &TxnResponse) -> i64 {
    response.header.unwrap().revision
}

async fn read(client: &Client, name: &str) -> RangeResponse {
    client.range(&key(name), soon()).await.unwrap()
}

/// Reads a key of one value.
async fn value(client: &Client, name: &str) -> Bytes {
    read(client, name).await.kvs[0].value.clone()
}

/// The next response of a watch.
async fn next(watch: &mut WatchStream) -> Result<WatchResponse, ClientError> {
    timeout(DEADLINE, watch.next()).await.expect("in time")
}

/// The keys of the next events, with a minus before those of deletions, until there are `count`.
async fn keys_of(watch: &mut WatchStream, count: usize) -> Vec<String> {
    use ifmatch::storage::internals::etcd::messages::EventType;
    let mut keys = Vec::new();
    while keys.len() < count {
        for event in next(watch).await.unwrap().events {
            let kind = event.r#type();
            let sign = if kind == EventType::Delete { "-" } else { "" };
            let key = event.kv.unwrap().key;
            keys.push(format!("{sign}{}", String::from_utf8_lossy(&key)));
        }
    }
    keys
}
