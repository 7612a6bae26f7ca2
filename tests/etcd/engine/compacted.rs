//! What becomes of the past when etcd compacts it.

use std::time::Duration;

use futures_util::StreamExt as _;
use ifmatch::model::{ChangeSet, Expected, Range, ResumeToken};
use ifmatch::storage::etcd::{EtcdSettings, StoreSettings};
use ifmatch::storage::internals::etcd::messages::RangeRequest;
use ifmatch::storage::internals::etcd::{Client, ClientError};
use ifmatch::storage::{CommitError, PastError, Start, Store as _};
use tokio::time::timeout;

use super::{
    ROOT, SOON, delete, history, key, list, open, open_through, open_with, put, request, soon,
    take, until, value, watch, write, write_a_little,
};
use crate::support::cluster::EtcdCluster;
use crate::support::proxy::Proxy;

#[tokio::test]
async fn a_process_that_starts_after_a_compaction_knows_the_past_since_then() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let store = open(&cluster).await;
    let mut watcher = watch(&store, None).await;
    write_a_little(&store).await;
    let events = take(&mut watcher, 7).await;
    let compacted = events[4].cursor.revision();
    cluster.ctl(&["compact", &compacted.to_string()]).await;
    let reopened = open(&cluster).await;
    assert_eq!(list(&reopened).await, list(&store).await);
    for (index, event) in events.iter().enumerate() {
        let mut resumed = watch(&reopened, Some(event.cursor)).await;
        if event.cursor.revision() < compacted || !event.cursor.is_after_whole_commit() {
            assert_eq!(resumed.start, Start::Reset, "{}", event.cursor);
        } else {
            assert_eq!(resumed.start, Start::Resumed, "{}", event.cursor);
            assert_eq!(take(&mut resumed, 6 - index).await, events[index + 1..]);
        }
    }
    assert_eq!(history(&reopened).await.1, compacted);
    let first = events[0].cursor.revision();
    let gone = reopened.past().snapshot_at(first).await.map(drop);
    assert!(matches!(gone, Err(PastError::Compacted { oldest }) if oldest == compacted));
    let gone = reopened.past().record_at(&key("a"), first).await;
    assert!(matches!(gone, Err(PastError::Compacted { .. })), "{gone:?}");
    // The process that has seen it still knows it.
    let then = store.past().snapshot_at(first).await.unwrap();
    let page = then.page(&Range::default()).await.unwrap();
    assert_eq!(page.entries.len(), 1);
}

#[tokio::test]
async fn watchers_of_a_quiet_store_notice_nothing_of_others_and_of_a_compaction() {
    let Some(mut cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let store = open(&cluster).await;
    write(&store, "a", "1").await;
    let mut watcher = watch(&store, None).await;
    for number in 0..20 {
        let key = format!("/other/{number}");
        cluster.ctl(&["put", &key, "x"]).await;
    }
    let newest = cluster
        .ctl(&["get", "/other/19", "--write-out=fields"])
        .await;
    let newest = newest
        .lines()
        .find_map(|line| line.strip_prefix("\"Revision\" : "));
    cluster.ctl(&["compact", newest.unwrap()]).await;
    // The watch is begun anew, where everything before is compacted.
    cluster.kill(0).await;
    cluster.restart(0).await;
    assert_eq!(value(&store, "a").await.as_deref(), Some("1"));
    let written = write(&store, "b", "2").await;
    let events = take(&mut watcher, 1).await;
    assert_eq!(events[0].cursor.revision(), written);
    assert_eq!(store.counts().resyncs, 0);
}

#[tokio::test]
async fn what_was_written_after_a_compaction_is_not_missed_by_who_was_away() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let proxy = Proxy::of(cluster.endpoints().remove(0)).await;
    let (store, other) = (open_through(&proxy).await, open(&cluster).await);
    let last = write(&other, "a", "1").await;
    assert_eq!(value(&store, "a").await.as_deref(), Some("1"));
    let (position, _) = list(&store).await;
    let mut watcher = watch(&store, None).await;
    proxy.cut();
    for number in 0..20 {
        let key = format!("/other/{number}");
        cluster.ctl(&["put", &key, "x"]).await;
    }
    cluster.ctl(&["compact", &(last + 20).to_string()]).await;
    let written = write(&other, "b", "2").await;
    assert_eq!(written, last + 21);
    proxy.mend();
    let events = take(&mut watcher, 1).await;
    assert_eq!(events[0].cursor.revision(), written);
    assert_eq!(store.counts().resyncs, 0);
    // A process that starts now knows that nothing was written in between.
    let reopened = open(&cluster).await;
    let mut resumed = watch(&reopened, Some(ResumeToken::after(position))).await;
    assert_eq!(resumed.start, Start::Resumed);
    assert_eq!(take(&mut resumed, 1).await, events);
}

#[tokio::test]
async fn what_is_old_enough_is_compacted_if_the_service_has_to() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let settings = StoreSettings {
        compact_after: Some(Duration::from_secs(1)),
        ..StoreSettings::default()
    };
    let (store, other) = (open_with(&cluster, settings).await, open(&cluster).await);
    let first = write(&other, "a", "1").await;
    let second = write(&other, "a", "2").await;
    let client = Client::new(&cluster.endpoints(), &EtcdSettings::default()).unwrap();
    let at = async |revision: u64| {
        let request = RangeRequest {
            key: format!("{ROOT}/k/a").into(),
            revision: revision.try_into().unwrap(),
            ..RangeRequest::default()
        };
        client.range(&request, soon()).await
    };
    until("the first version is compacted", async || {
        matches!(at(first).await, Err(ClientError::Compacted { .. }))
    })
    .await;
    assert_eq!(at(second).await.unwrap().kvs.len(), 1);
    assert_eq!(value(&store, "a").await.as_deref(), Some("2"));
    // And so on; nobody has to load anything anew.
    let third = write(&other, "a", "3").await;
    until("the second version is compacted", async || {
        matches!(at(second).await, Err(ClientError::Compacted { .. }))
    })
    .await;
    assert_eq!(at(third).await.unwrap().kvs.len(), 1);
    assert_eq!(store.counts().resyncs + other.counts().resyncs, 0);
    let reopened = open(&cluster).await;
    assert_eq!(value(&reopened, "a").await.as_deref(), Some("3"));
}

#[tokio::test]
async fn what_a_request_wrote_is_answered_again_as_long_as_it_is_kept() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let store = open(&cluster).await;
    write(&store, "deleted", "1").await;
    let once = async |name: &str, changes: Vec<_>| {
        let changes = ChangeSet::new(changes).unwrap();
        let changes = changes.for_request(Some(request(name, 1)));
        store.commit(changes, soon()).await.unwrap()
    };
    let kept = once("kept", vec![put("kept", Expected::Any, "1")]).await;
    once("replaced", vec![put("replaced", Expected::Any, "1")]).await;
    once("deleted", vec![delete("deleted")]).await;
    write(&store, "replaced", "2").await;
    let last = write(&store, "last", "1").await;
    let reopened = open(&cluster).await;
    let found = async |name: &str| {
        let found = reopened.past().committed_for(None, &request(name, 1)).await;
        found.map(|found| found.unwrap().changes.clone())
    };
    for name in ["kept", "replaced", "deleted"] {
        assert_eq!(found(name).await.unwrap()[0].key, key(name));
    }
    cluster.ctl(&["compact", &last.to_string()]).await;
    let compacted = open(&cluster).await;
    let found = async |name: &str| {
        let found = compacted
            .past()
            .committed_for(None, &request(name, 1))
            .await;
        found.map(|found| found.unwrap().changes.clone())
    };
    // Nothing is done again in any case.
    for name in ["kept", "replaced", "deleted"] {
        let changes = ChangeSet::from(put(name, Expected::Any, "9"));
        let changes = changes.for_request(Some(request(name, 1)));
        let again = compacted.commit(changes, soon()).await;
        assert!(matches!(again, Err(CommitError::Repeated(_))), "{again:?}");
    }
    let current = found("kept").await.unwrap();
    assert_eq!(current[0].after, kept.records[0]);
    for name in ["replaced", "deleted"] {
        let gone = found(name).await;
        assert!(
            matches!(&gone, Err(CommitError::AnswerCompacted { oldest, .. }) if *oldest == last),
            "{name}: {gone:?}"
        );
    }
}

#[tokio::test]
async fn a_process_that_was_away_during_a_compaction_loads_everything_anew() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let proxy = Proxy::of(cluster.endpoints().remove(0)).await;
    let (store, other) = (open_through(&proxy).await, open(&cluster).await);
    let mut watcher = watch(&store, None).await;
    write(&other, "a", "1").await;
    let seen = take(&mut watcher, 1).await;
    // Its watch breaks, and comes back too late: what was written meanwhile is compacted.
    proxy.cut();
    write(&other, "a", "2").await;
    let last = write(&other, "b", "3").await;
    cluster.ctl(&["compact", &last.to_string()]).await;
    proxy.mend();
    assert_eq!(value(&store, "b").await.as_deref(), Some("3"));
    assert_eq!(list(&store).await, list(&other).await);
    assert_eq!(store.counts().resyncs, 1);
    // The watcher ends, and what it has missed is not known any more.
    let ended = timeout(SOON, watcher.changes.next()).await;
    assert!(ended.unwrap().is_none());
    let resumed = watch(&store, Some(seen[0].cursor)).await;
    assert_eq!(resumed.start, Start::Reset);
}
