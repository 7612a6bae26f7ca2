//! What others write to etcd: below the root of the store, and elsewhere.

use futures_util::{StreamExt as _, stream};
use ifmatch::model::{EventKind, Expected, ResumeToken};
use ifmatch::storage::etcd::{EtcdStore, OpenError, StoreSettings};
use ifmatch::storage::{CommitError, Start, Store as _, StoreError};

use super::{ROOT, commit, delete, key, list, open, put, read, take, until, value, watch, write};
use crate::support::cluster::EtcdCluster;

const STORED: &str = r#"{"modified_at":"2026-01-01T00:00:00.000Z","value":[1]}"#;

async fn put_by_hand(cluster: &EtcdCluster, name: &str, text: &str) {
    cluster
        .ctl(&["put", &format!("{ROOT}/k/{name}"), "--", text])
        .await;
}

#[tokio::test]
async fn an_entry_that_is_written_by_hand_is_shown_with_its_event() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let (store, other) = (open(&cluster).await, open(&cluster).await);
    write(&store, "a", "1").await;
    let mut watcher = watch(&store, None).await;
    put_by_hand(&cluster, "a", STORED).await;
    put_by_hand(&cluster, "b", STORED).await;
    cluster.ctl(&["del", &format!("{ROOT}/k/b")]).await;
    let events = take(&mut watcher, 3).await;
    let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::Put, EventKind::Put, EventKind::Delete]);
    assert_eq!(events[0].entry.record.version, 2);
    assert_eq!(value(&store, "a").await.as_deref(), Some("[1]"));
    // The other process, and one that starts now, say the same.
    let written = write(&other, "c", "1").await;
    let reopened = open(&cluster).await;
    for store in [&store, &other, &reopened] {
        assert_eq!(list(store).await, list(&reopened).await);
        let mut resumed = watch(store, Some(events[0].cursor)).await;
        assert_eq!(resumed.start, Start::Resumed);
        assert_eq!(take(&mut resumed, 2).await, events[1..]);
        assert_eq!(take(&mut resumed, 1).await[0].cursor.revision(), written);
    }
    let at = read(&store, "a").await.unwrap().revision;
    commit(&store, vec![put("a", Expected::At(at), "2")])
        .await
        .unwrap();
}

#[tokio::test]
async fn something_that_is_no_entry_is_told_and_not_left_out() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let store = open(&cluster).await;
    write(&store, "a", "1").await;
    write(&store, "b", "1").await;
    put_by_hand(&cluster, "a", "not JSON").await;
    until("it is noticed", async || !store.status().await.readable).await;
    let reopened = open_unready(&cluster).await;
    for store in [&*store, &reopened] {
        let status = store.status().await;
        assert!(!status.writable && !status.readable);
        let problem = status.problem.unwrap();
        assert!(problem.contains("/ifmatch/k/a"), "{problem}");
        let refused = store.get(&key("a")).await;
        assert!(
            matches!(refused, Err(StoreError::Unreadable(_))),
            "{refused:?}"
        );
        let refused = store.snapshot().await.map(drop);
        assert!(
            matches!(refused, Err(StoreError::Unreadable(_))),
            "{refused:?}"
        );
        let refused = commit(store, vec![put("a", Expected::Any, "1")]).await;
        let is_unreadable = matches!(refused, Err(CommitError::Store(StoreError::Unreadable(_))));
        assert!(is_unreadable, "{refused:?}");
        assert_eq!(value(store, "b").await.as_deref(), Some("1"));
    }
    cluster.ctl(&["del", &format!("{ROOT}/k/a")]).await;
    for store in [&*store, &reopened] {
        until("it is healed", async || store.status().await.readable).await;
        assert_eq!(value(store, "a").await, None);
        assert_eq!(list(store).await.1.len(), 1);
    }
    write(&store, "a", "2").await;
    assert_eq!(value(&reopened, "a").await.as_deref(), Some("2"));
}

async fn open_unready(cluster: &EtcdCluster) -> EtcdStore {
    let address = cluster.address(ROOT).parse().unwrap();
    EtcdStore::open(&address, StoreSettings::default())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_store_that_somebody_deletes_is_empty_and_goes_on() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let store = open(&cluster).await;
    write(&store, "a", "1").await;
    write(&store, "b", "1").await;
    let mut watcher = watch(&store, None).await;
    cluster.ctl(&["del", "--prefix", ROOT]).await;
    let events = take(&mut watcher, 2).await;
    assert!(events.iter().all(|event| event.kind == EventKind::Delete));
    assert_eq!(list(&store).await.1, []);
    let written = write(&store, "a", "2").await;
    assert_eq!(read(&store, "a").await.unwrap().version, 1);
    let reopened = open(&cluster).await;
    assert_eq!(list(&reopened).await, list(&store).await);
    assert_eq!(take(&mut watcher, 1).await[0].cursor.revision(), written);
}

#[tokio::test]
async fn another_format_stops_the_start() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    drop(open(&cluster).await);
    let format = cluster
        .ctl(&["get", "--print-value-only", "/ifmatch/format"])
        .await;
    assert_eq!(format, "1\n");
    cluster.ctl(&["put", "/ifmatch/format", "2"]).await;
    let address = cluster.address(ROOT).parse().unwrap();
    let refused = EtcdStore::open(&address, StoreSettings::default()).await;
    assert!(
        matches!(refused, Err(OpenError::Newer { found: 2, .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_newer_format_stops_the_writes_of_processes_that_run() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let (store, idle) = (open(&cluster).await, open(&cluster).await);
    write(&store, "a", "1").await;
    cluster.ctl(&["put", "/ifmatch/format", "2"]).await;
    for changes in [
        vec![put("a", Expected::Any, "2")],
        vec![put("b", Expected::Absent, "2"), delete("a")],
    ] {
        let refused = commit(&store, changes).await;
        assert!(
            matches!(&refused, Err(CommitError::Store(StoreError::Unavailable(text))) if text.contains("format 2")),
            "{refused:?}"
        );
    }
    // Those that nobody writes to say so, too.
    for store in [&store, &idle] {
        until("it is noticed", async || !store.status().await.writable).await;
        let status = store.status().await;
        assert!(status.readable);
        let problem = status.problem.unwrap();
        assert!(problem.contains("newer than this program"), "{problem}");
        assert_eq!(value(store, "a").await.as_deref(), Some("1"));
    }
    // The newer program is given up.
    cluster.ctl(&["put", "/ifmatch/format", "1"]).await;
    write(&store, "a", "3").await;
    let status = store.status().await;
    assert!(status.writable && status.problem.is_none(), "{status:?}");
}

#[tokio::test]
async fn stores_with_other_roots_do_not_disturb_each_other() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let store = open(&cluster).await;
    let other = cluster.address("/ifmatch2").parse().unwrap();
    let other = EtcdStore::open(&other, StoreSettings::default())
        .await
        .unwrap();
    let first = write(&store, "a", "1").await;
    let mut watcher = watch(&store, None).await;
    for round in 0..10 {
        write(&other, "a", &round.to_string()).await;
    }
    // Revisions are left out, and what is known of them is the state before.
    let second = write(&store, "a", "2").await;
    assert!(second > first + 10);
    let state = store.past().state_at(first).await.unwrap();
    assert_eq!(store.past().state_at(first + 5).await.unwrap(), state);
    let left_out = ResumeToken::after(ifmatch::model::Position {
        revision: first + 5,
        state: state.unwrap(),
    });
    assert_eq!(watch(&store, Some(left_out)).await.start, Start::Resumed);
    assert_eq!(take(&mut watcher, 1).await[0].cursor.revision(), second);
    assert_eq!(read(&other, "a").await.unwrap().version, 10);
    commit(&other, vec![delete("a")]).await.unwrap();
    assert_eq!(value(&store, "a").await.as_deref(), Some("2"));
}

#[tokio::test]
async fn a_neighbour_who_deletes_very_many_entries_at_once_stops_nobody() {
    const COMMITS: usize = 1000;
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let store = open(&cluster).await;
    let commits = (0..COMMITS).map(|number| {
        let puts = (0..100).map(|index| put(&format!("d/{number}-{index}"), Expected::Any, "1"));
        commit(&store, puts.collect())
    });
    let mut commits = stream::iter(commits).buffer_unordered(8);
    while let Some(committed) = commits.next().await {
        committed.unwrap();
    }
    cluster
        .ctl(&["del", "--prefix", &format!("{ROOT}/k/d/")])
        .await;
    // It is the newest of the past, too, that a process reads at its start.
    for store in [&store, &open(&cluster).await] {
        until("it can commit", async || {
            commit(store, vec![put("a", Expected::Any, "1")])
                .await
                .is_ok()
        })
        .await;
        assert_eq!(list(store).await.1.len(), 1);
    }
}
