//! What each call does.

use ifmatch::storage::internals::etcd::ClientError;
use ifmatch::storage::internals::etcd::messages::{
    AlarmMember, Operation, OperationResponse, PutRequest, RangeRequest,
};

use super::{
    all, all_if, bytes, client_of, delete, key, keys_of, next, prefix, put, read, revision, soon,
    value, watch_of, write,
};
use crate::support::cluster::EtcdCluster;

#[tokio::test]
async fn a_transaction_is_done_if_its_comparisons_hold_and_else_answers_the_other_operations() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let client = client_of(&cluster);
    let created = client
        .txn(&all_if("/a", 0, [put("/a", "1")]), soon())
        .await
        .unwrap();
    assert!(created.succeeded);
    let first = revision(&created);

    let mut stale = all_if("/a", 0, [put("/a", "2")]);
    let asked = RangeRequest {
        keys_only: true,
        ..key("/a")
    };
    stale.failure.push(Operation::Range(asked).into());
    let refused = client.txn(&stale, soon()).await.unwrap();
    assert!(!refused.succeeded);
    assert_eq!(revision(&refused), first);
    let Some(OperationResponse::Range(current)) = &refused.responses[0].response else {
        panic!("{refused:?}");
    };
    assert_eq!(current.kvs[0].mod_revision, first);
    assert!(current.kvs[0].value.is_empty(), "keys only");

    let again = client
        .txn(&all_if("/a", first, [put("/a", "3")]), soon())
        .await
        .unwrap();
    assert!(again.succeeded);
    let current = &read(&client, "/a").await.kvs[0];
    assert_eq!((current.version, current.create_revision), (2, first));
    assert_eq!(current.mod_revision, revision(&again));
    assert_eq!(current.value, "3");

    client.txn(&all([delete("/a")]), soon()).await.unwrap();
    assert_eq!(read(&client, "/a").await.kvs, []);
    write(&client, "/a", "4").await;
    assert_eq!(read(&client, "/a").await.kvs[0].version, 1);
}

#[tokio::test]
async fn a_range_is_read_in_pages_at_one_revision() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let client = client_of(&cluster);
    let keys: Vec<_> = (0..10).map(|number| format!("/p/{number}")).collect();
    let puts = keys.iter().map(|key| put(key, "x"));
    let at = revision(&client.txn(&all(puts), soon()).await.unwrap());
    write(&client, "/q", "x").await;
    client.txn(&all([delete("/p/7")]), soon()).await.unwrap();

    let mut found = Vec::new();
    let mut page = RangeRequest {
        limit: 4,
        revision: at,
        ..prefix("/p/")
    };
    loop {
        let response = client.range(&page, soon()).await.unwrap();
        assert_eq!(response.count, 10 - i64::try_from(found.len()).unwrap());
        let texts = response.kvs.iter();
        found.extend(texts.map(|kv| String::from_utf8(kv.key.to_vec()).unwrap()));
        if !response.more {
            break;
        }
        page.key = bytes(&format!("{}\0", found.last().unwrap()));
    }
    assert_eq!(found, keys);
}

#[tokio::test]
async fn a_watch_has_the_events_of_a_transaction_in_the_order_of_its_operations() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let client = client_of(&cluster);
    let before = write(&client, "/w/b", "1").await;
    let mut watch = client.watch(watch_of("/w/", 0)).await.unwrap();
    assert_eq!(watch.created().revision, before);
    write(&client, "/other", "1").await;
    let operations = [
        put("/w/z", "1"),
        delete("/w/b"),
        put("/w/a", "1"),
        put("/w/m", "1"),
    ];
    let at = revision(&client.txn(&all(operations), soon()).await.unwrap());

    let response = next(&mut watch).await.unwrap();
    assert!(response.events.iter().all(|event| {
        let kv = event.kv.as_ref().unwrap();
        kv.mod_revision == at
    }));
    assert_eq!(response.header.unwrap().revision, at);
    assert!(!response.fragment);
    let mut again = client.watch(watch_of("/w/", at)).await.unwrap();
    let keys = ["/w/z", "-/w/b", "/w/a", "/w/m"];
    assert_eq!(keys_of(&mut again, 4).await, keys);
    // And from the beginning.
    let mut all = client.watch(watch_of("/w/", before)).await.unwrap();
    assert_eq!(keys_of(&mut all, 5).await, [&["/w/b"][..], &keys].concat());
}

#[tokio::test]
async fn the_past_and_the_future_are_told_apart() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let client = client_of(&cluster);
    let first = write(&client, "/a", "1").await;
    let second = write(&client, "/a", "2").await;
    let third = write(&client, "/a", "3").await;
    let at = |revision| RangeRequest {
        revision,
        ..key("/a")
    };
    let past = client.range(&at(first), soon()).await.unwrap();
    assert_eq!(past.kvs[0].value, "1");
    let future = client.range(&at(third + 1), soon()).await;
    assert_eq!(future, Err(ClientError::Future));

    client.compact(second, soon()).await.unwrap();
    client.compact(second, soon()).await.unwrap();
    client.compact(first, soon()).await.unwrap();
    let compacted = client.range(&at(first), soon()).await;
    assert_eq!(compacted, Err(ClientError::Compacted { revision: 0 }));
    let kept = client.range(&at(second), soon()).await.unwrap();
    assert_eq!(kept.kvs[0].value, "2");
    let future = client.compact(third + 1, soon()).await;
    assert_eq!(future, Err(ClientError::Future));

    let mut watch = client.watch(watch_of("/", first)).await.unwrap();
    let compacted = next(&mut watch).await;
    assert_eq!(compacted, Err(ClientError::Compacted { revision: second }));
}

#[tokio::test]
async fn keys_go_with_their_lease() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let client = client_of(&cluster);
    let lease = client.lease_grant(600, soon()).await.unwrap();
    let leased = Operation::Put(PutRequest {
        key: bytes("/a"),
        value: bytes("1"),
        lease,
        ..PutRequest::default()
    });
    client.txn(&all([leased.into()]), soon()).await.unwrap();
    assert_eq!(read(&client, "/a").await.kvs[0].lease, lease);
    client.lease_revoke(lease, soon()).await.unwrap();
    assert_eq!(read(&client, "/a").await.kvs, []);
    client.lease_revoke(lease, soon()).await.unwrap();
}

#[tokio::test]
async fn the_status_says_who_answers_and_that_nothing_is_wrong() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let client = client_of(&cluster);
    write(&client, "/a", "1").await;
    let status = client.status(soon()).await.unwrap();
    assert_eq!(status.version, cluster.version());
    assert_eq!(status.leader, status.header.unwrap().member_id);
    assert!(status.db_size >= status.db_size_in_use && status.db_size_in_use > 0);
    assert_eq!(status.errors, Vec::<String>::new());
    assert_eq!(client.alarms(soon()).await, Ok(Vec::<AlarmMember>::new()));
}

#[tokio::test]
async fn what_was_saved_comes_back_with_its_revisions() {
    let Some(mut cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let client = client_of(&cluster);
    let saved = write(&client, "/a", "saved").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("snapshot");
    cluster.save(&file).await;
    write(&client, "/a", "lost").await;
    cluster.restore(&file).await;
    assert_eq!(value(&client, "/a").await, "saved");
    assert_eq!(read(&client, "/a").await.kvs[0].mod_revision, saved);
    assert_eq!(write(&client, "/a", "new").await, saved + 1);
}
