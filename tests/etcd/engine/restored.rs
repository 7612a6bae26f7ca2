//! A cluster that is restored from a snapshot under running processes.

use ifmatch::model::Expected;
use ifmatch::storage::{CommitError, Start, Store as _};

use super::{
    commit, impatient, is_unavailable, key, list, open, open_with, put, take, until, value, watch,
    write,
};
use crate::support::cluster::EtcdCluster;

/// After the restoration `behind` the store has so many revisions less than the processes have seen, or more.
async fn restored_while(written_after: usize) {
    let Some(mut cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("saved");
    let store = open_with(&cluster, impatient()).await;
    let mut watcher = watch(&store, None).await;
    write(&store, "a", "1").await;
    write(&store, "b", "1").await;
    let shared = take(&mut watcher, 2).await;
    cluster.save(&saved).await;
    for round in 0..5 {
        write(&store, "a", &format!("\"lost {round}\"")).await;
    }
    let lost = take(&mut watcher, 5).await;
    let stale = super::read(&store, "a").await.unwrap().revision;
    cluster.restore(&saved).await;
    let other = open(&cluster).await;
    for round in 0..written_after {
        write(&other, "b", &format!("\"new {round}\"")).await;
    }
    // Whatever is read now is of what was restored.
    until("it reads again", async || {
        !is_unavailable(&store.get(&key("a")).await)
    })
    .await;
    assert_eq!(value(&store, "a").await.as_deref(), Some("1"));
    assert_eq!(list(&store).await, list(&other).await);
    let refused = commit(&store, vec![put("a", Expected::At(stale), "0")]).await;
    assert!(
        matches!(refused, Err(CommitError::Conflict(_))),
        "{refused:?}"
    );
    // Who was after the snapshot lists again; who was before goes on.
    for store in [&store, &other] {
        assert_eq!(watch(store, Some(lost[4].cursor)).await.start, Start::Reset);
        assert_eq!(watch(store, Some(lost[0].cursor)).await.start, Start::Reset);
        let mut resumed = watch(store, Some(shared[0].cursor)).await;
        assert_eq!(resumed.start, Start::Resumed);
        let events = take(&mut resumed, 1 + written_after).await;
        assert_eq!(events[0], shared[1]);
    }
    let written = write(&store, "c", "1").await;
    assert_eq!(super::read(&other, "c").await.unwrap().revision, written);
    assert_eq!(list(&store).await, list(&other).await);
}

#[tokio::test]
async fn a_restored_snapshot_is_another_past_before_anything_is_written() {
    restored_while(0).await;
}

#[tokio::test]
async fn a_restored_snapshot_is_another_past_when_it_has_fewer_commits() {
    restored_while(3).await;
}

#[tokio::test]
async fn a_restored_snapshot_is_another_past_when_it_has_as_many_commits() {
    restored_while(5).await;
}

#[tokio::test]
async fn a_restored_snapshot_is_another_past_when_it_has_more_commits() {
    restored_while(9).await;
}
