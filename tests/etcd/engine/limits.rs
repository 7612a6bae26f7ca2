//! What etcd limits.

use ifmatch::model::{Change, ChangeSet, Expected, Operation};
use ifmatch::storage::{CommitError, Committed, Store as _, StoreError};

use super::{commit, key, list, open, put, request, soon, take, until, value, watch, write};
use crate::support::cluster::EtcdCluster;

fn puts(count: usize, value: &str) -> Vec<Change> {
    let names = (0..count).map(|number| format!("k{number}"));
    names.map(|name| put(&name, Expected::Any, value)).collect()
}

fn too_large(refused: Result<Committed, CommitError>) -> String {
    match refused {
        Err(CommitError::Store(StoreError::TooLarge(text))) => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_commit_has_at_most_127_operations_and_one_less_with_a_request() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let store = open(&cluster).await;
    let once = |changes| {
        let changes = ChangeSet::new(changes).unwrap();
        changes.for_request(Some(request("once", 1)))
    };
    let all = commit(&store, puts(127, "1")).await.unwrap();
    assert_eq!(all.records.len(), 127);
    let text = too_large(commit(&store, puts(128, "2")).await);
    assert_eq!(text, "etcdserver: too many operations in txn request");
    too_large(store.commit(once(puts(127, "2")), soon()).await);
    store.commit(once(puts(126, "2")), soon()).await.unwrap();
    // Checks are compared, and so is the format: that is counted apart.
    let check = |name: &str| Change {
        key: key(name),
        expected: Expected::Present,
        operation: Operation::Check,
    };
    let checks = (0..127).map(|number| check(&format!("k{number}")));
    let checks: Vec<_> = checks.collect();
    let both = |checks: &[Change]| [checks, &[put("x", Expected::Absent, "1")]].concat();
    too_large(commit(&store, both(&checks)).await);
    commit(&store, both(&checks[..126])).await.unwrap();
    let (position, entries) = list(&store).await;
    let checked = commit(&store, checks).await.unwrap();
    assert_eq!(checked.revision, position.revision);
    assert_eq!(checked.records.len(), 127);
    assert_eq!(entries.len(), 128);
}

#[tokio::test]
async fn a_commit_that_is_too_long_is_refused_in_the_words_of_etcd() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let store = open(&cluster).await;
    let long = |bytes: usize| format!("\"{}\"", "x".repeat(bytes));
    let mebibyte = long(1024 * 1024);
    write(&store, "a", &mebibyte).await;
    let refused = commit(&store, vec![put("a", Expected::Any, &long(1600 * 1024))]).await;
    assert_eq!(too_large(refused), "etcdserver: request is too large");
    let refused = commit(&store, puts(2, &mebibyte)).await;
    let text = too_large(refused);
    assert!(
        text.starts_with("grpc: received message larger than max"),
        "{text}"
    );
    assert_eq!(list(&store).await.1.len(), 1);
    // Watchers and other processes get long values too.
    let mut watcher = watch(&store, None).await;
    let other = open(&cluster).await;
    for round in 0..12 {
        write(&other, &format!("b{round}"), &mebibyte).await;
    }
    let events = take(&mut watcher, 12).await;
    assert!(
        events
            .iter()
            .all(|event| event.entry.record.value.as_json() == mebibyte)
    );
}

#[tokio::test]
async fn an_etcd_without_room_refuses_writes_serves_reads_and_comes_back() {
    let plan = EtcdCluster::of(1).quota(16 * 1024 * 1024);
    let Some(cluster) = plan.start().await else {
        return;
    };
    let store = open(&cluster).await;
    write(&store, "small", "1").await;
    let long = format!("\"{}\"", "x".repeat(1024 * 1024));
    let mut round = 0;
    let refused = loop {
        let written = commit(&store, vec![put("a", Expected::Any, &long)]).await;
        match written {
            Ok(_) => round += 1,
            Err(error) => break error,
        }
        assert!(round < 100, "the quota holds");
    };
    assert!(
        matches!(&refused, CommitError::Store(StoreError::Unavailable(text)) if text.contains("space")),
        "{refused:?}"
    );
    assert_eq!(value(&store, "small").await.as_deref(), Some("1"));
    // What was refused is not there.
    assert_eq!(super::read(&store, "a").await.unwrap().version, round);
    until("the alarm is told", async || !store.status().await.writable).await;
    let status = store.status().await;
    assert!(status.readable);
    assert!(status.problem.unwrap().contains("NOSPACE"));

    let newest = list(&store).await.0.revision;
    cluster.ctl(&["compact", &newest.to_string()]).await;
    cluster.ctl(&["defrag"]).await;
    cluster.ctl(&["alarm", "disarm"]).await;
    until("it writes again", async || {
        commit(&store, vec![put("b", Expected::Any, "1")])
            .await
            .is_ok()
    })
    .await;
    until("that is told too", async || store.status().await.writable).await;
    assert_eq!(store.status().await.problem, None);
}
