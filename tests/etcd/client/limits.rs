//! What is too large, and what there is no space for.

use bytes::Bytes;
use ifmatch::storage::internals::etcd::ClientError;
use ifmatch::storage::internals::etcd::messages::{AlarmType, WatchCreateRequest};

use super::{all, client_of, next, prefix, put, read, revision, soon, value, watch_of, write};
use crate::support::cluster::EtcdCluster;

const MEBIBYTE: usize = 1024 * 1024;

fn large(bytes: usize) -> Bytes {
    vec![b'x'; bytes].into()
}

#[tokio::test]
async fn twelve_mebibytes_are_watched_in_fragments_and_read_at_once() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let client = client_of(&cluster);
    let first = write(&client, "/l/first", "1").await;
    for number in 0..12 {
        let put = put(&format!("/l/{number:02}"), large(MEBIBYTE));
        client.txn(&all([put]), soon()).await.unwrap();
    }
    let request = WatchCreateRequest {
        fragment: true,
        ..watch_of("/l/", first + 1)
    };
    let mut watch = client.watch(request).await.unwrap();
    let mut keys = Vec::new();
    while keys.len() < 12 {
        let response = next(&mut watch).await.unwrap();
        for event in response.events {
            let kv = event.kv.unwrap();
            assert_eq!(kv.value.len(), MEBIBYTE);
            keys.push(kv.key);
        }
    }
    assert!(keys.is_sorted(), "{keys:?}");
    let found = client.range(&prefix("/l/"), soon()).await.unwrap();
    assert_eq!(found.kvs.len(), 13);
}

#[tokio::test]
async fn what_is_too_long_for_one_response_is_watched_in_fragments() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let client = client_of(&cluster);
    let first = write(&client, "/l/first", "1").await;
    for _ in 0..40 {
        client
            .txn(&all([put("/l/a", large(MEBIBYTE))]), soon())
            .await
            .unwrap();
    }
    let request = watch_of("/l/", first + 1);
    let mut watch = client.watch(request.clone()).await.unwrap();
    let refused = next(&mut watch).await;
    assert!(
        matches!(refused, Err(ClientError::TooLarge(_))),
        "{refused:?}"
    );
    let request = WatchCreateRequest {
        fragment: true,
        ..request
    };
    let mut watch = client.watch(request).await.unwrap();
    let mut count = 0;
    while count < 40 {
        count += next(&mut watch).await.unwrap().events.len();
    }
}

#[tokio::test]
async fn one_commit_of_twelve_mebibytes_is_one_response() {
    let plan = EtcdCluster::of(1).with("--max-request-bytes=20971520");
    let Some(cluster) = plan.start().await else {
        return;
    };
    let client = client_of(&cluster);
    let mut watch = client.watch(watch_of("/l/", 0)).await.unwrap();
    let puts = (0..12).map(|number| put(&format!("/l/{number:02}"), large(MEBIBYTE)));
    client.txn(&all(puts), soon()).await.unwrap();
    let response = next(&mut watch).await.unwrap();
    assert_eq!((response.events.len(), response.fragment), (12, false));
}

#[tokio::test]
async fn both_limits_of_bytes_and_that_of_operations_are_too_large() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let client = client_of(&cluster);
    let too_large = |result, text: &str| match result {
        Err(ClientError::TooLarge(message)) => assert!(message.contains(text), "{message}"),
        other => panic!("{text}: {other:?}"),
    };
    let some = [
        put("/a", large(MEBIBYTE)),
        put("/b", large(MEBIBYTE / 2 + 1)),
    ];
    too_large(client.txn(&all(some), soon()).await, "request is too large");
    let two = [put("/a", large(MEBIBYTE)), put("/b", large(MEBIBYTE))];
    too_large(client.txn(&all(two), soon()).await, "larger than max");
    let many = (0..129).map(|number| put(&format!("/{number}"), "x"));
    too_large(client.txn(&all(many), soon()).await, "too many operations");
    assert_eq!(client.range(&prefix("/"), soon()).await.unwrap().count, 0);

    let many = (0..128).map(|number| put(&format!("/{number}"), "x"));
    client.txn(&all(many), soon()).await.unwrap();
    // The connection is as good as before.
    assert_eq!(value(&client, "/7").await, "x");
}

#[tokio::test]
async fn a_key_twice_in_a_transaction_is_rejected() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let client = client_of(&cluster);
    let twice = all([put("/a", "1"), put("/a", "2")]);
    let rejected = client.txn(&twice, soon()).await;
    assert!(
        matches!(&rejected, Err(ClientError::Rejected(text)) if text.contains("duplicate key")),
        "{rejected:?}"
    );
}

#[tokio::test]
async fn without_space_reads_go_on_and_writes_do_once_there_is_some_again() {
    let plan = EtcdCluster::of(1).quota(16 * MEBIBYTE as u64);
    let Some(cluster) = plan.start().await else {
        return;
    };
    let client = client_of(&cluster);
    write(&client, "/small", "1").await;
    let error = loop {
        let put = put("/large", large(MEBIBYTE));
        match client.txn(&all([put]), soon()).await {
            Ok(response) => assert!(revision(&response) < 100, "there is no limit"),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(&error, ClientError::NoSpace(text) if text.contains("space exceeded")),
        "{error:?}"
    );
    let again = client.txn(&all([put("/small", "2")]), soon()).await;
    assert!(matches!(again, Err(ClientError::NoSpace(_))), "{again:?}");
    let alarms = client.alarms(soon()).await.unwrap();
    assert_eq!(alarms[0].alarm(), AlarmType::NoSpace);
    let status = client.status(soon()).await.unwrap();
    assert!(
        status.errors.iter().any(|text| text.contains("NOSPACE")),
        "{status:?}"
    );
    assert_eq!(value(&client, "/small").await, "1");

    let newest = read(&client, "/small").await.header.unwrap().revision;
    client.compact(newest, soon()).await.unwrap();
    cluster.ctl(&["defrag"]).await;
    cluster.ctl(&["alarm", "disarm"]).await;
    write(&client, "/small", "3").await;
    assert_eq!(value(&client, "/small").await, "3");
    assert_eq!(client.alarms(soon()).await, Ok(Vec::new()));
}
