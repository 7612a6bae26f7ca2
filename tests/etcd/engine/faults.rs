//! Members that die or freeze, and what is lost on the way.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use ifmatch::model::Expected;
use ifmatch::storage::etcd::{EtcdStore, StoreSettings};
use ifmatch::storage::{CommitError, Start, Store as _, StoreError};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::{
    ROOT, commit, impatient, is_unavailable, key, list, open, open_through, open_with, put, read,
    take, until, value, watch, write,
};
use crate::support::cluster::EtcdCluster;
use crate::support::proxy::Proxy;

#[tokio::test]
async fn without_etcd_reads_and_writes_are_refused_in_time_and_then_nothing_is_lost() {
    let Some(mut cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let store = open_with(&cluster, impatient()).await;
    let last = write(&store, "a", "1").await;
    let mut watcher = watch(&store, None).await;
    cluster.kill(0).await;
    let begun = Instant::now();
    let mut readers = JoinSet::new();
    for _ in 0..200 {
        let store = Arc::clone(&store);
        readers.spawn(async move { store.get(&key("a")).await });
    }
    let refused = commit(&store, vec![put("a", Expected::Any, "2")]).await;
    assert!(
        matches!(
            refused,
            Err(CommitError::Store(
                StoreError::Unavailable(_) | StoreError::OutcomeUnknown
            ))
        ),
        "{refused:?}"
    );
    for read in readers.join_all().await {
        assert!(is_unavailable(&read), "{read:?}");
    }
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    until("it is told", async || !store.status().await.readable).await;
    let status = store.status().await;
    assert!(!status.writable && status.problem.is_some());
    // What is known is known.
    assert_eq!(store.known().record(&key("a")).unwrap().revision, last);
    assert!(store.known().age() >= Duration::from_secs(1));

    cluster.restart(0).await;
    until("it reads again", async || {
        !is_unavailable(&store.get(&key("a")).await)
    })
    .await;
    let written = write(&store, "b", "1").await;
    until("the new one comes", async || {
        take(&mut watcher, 1).await[0].cursor.revision() == written
    })
    .await;
    until("that is told too", async || store.status().await.writable).await;
    assert_eq!(store.status().await.problem, None);
    assert_eq!(store.counts().resyncs, 0);
}

#[tokio::test]
async fn a_commit_that_a_frozen_etcd_has_got_is_of_unknown_outcome() {
    let Some(mut cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let store = open_with(&cluster, impatient()).await;
    write(&store, "a", "1").await;
    cluster.freeze(0);
    let begun = Instant::now();
    let frozen = commit(&store, vec![put("a", Expected::Any, "2")]).await;
    assert!(
        matches!(frozen, Err(CommitError::Store(StoreError::OutcomeUnknown))),
        "{frozen:?}"
    );
    assert!(is_unavailable(&store.get(&key("a")).await));
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    cluster.thaw(0);
    until("it reads again", async || {
        !is_unavailable(&store.get(&key("a")).await)
    })
    .await;
    // Whether it was done or not, everybody sees the same, and the next write is on top of it.
    let other = open(&cluster).await;
    assert_eq!(list(&store).await, list(&other).await);
    let before = read(&store, "a").await.unwrap();
    let next = commit(&store, vec![put("a", Expected::At(before.revision), "3")]).await;
    assert_eq!(
        next.unwrap().records[0].as_ref().unwrap().version,
        before.version + 1
    );
}

#[tokio::test]
async fn commits_of_which_the_answer_is_lost_are_found_or_of_unknown_outcome() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let proxy = Proxy::of(cluster.endpoints().remove(0)).await;
    let store = open_through(&proxy).await;
    let witness = open(&cluster).await;
    write(&store, "counter", "0").await;
    let cutting = async {
        for _ in 0..20 {
            sleep(Duration::from_millis(37)).await;
            proxy.cut();
            sleep(Duration::from_millis(20)).await;
            proxy.mend();
        }
    };
    let writing = async {
        let (mut done, mut unknown) = (0, 0);
        for _ in 0..400 {
            let known = store.known().record(&key("counter")).unwrap();
            let next = (known.version + 1).to_string();
            let change = put("counter", Expected::At(known.revision), &next);
            match commit(&store, vec![change]).await {
                Ok(_) => done += 1,
                Err(CommitError::Store(StoreError::OutcomeUnknown)) => unknown += 1,
                Err(CommitError::Store(StoreError::Unavailable(_)) | CommitError::Conflict(_)) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        (done, unknown)
    };
    let ((), (done, unknown)) = tokio::join!(cutting, writing);
    println!("{done} were done, and of {unknown} the outcome is unknown");
    let counted = read(&witness, "counter").await.unwrap().version - 1;
    assert!(
        (done..=done + unknown).contains(&counted),
        "{done} + {unknown}: {counted}"
    );
    assert!(done > 0);
    until("it follows again", async || {
        store.get(&key("counter")).await.is_ok()
    })
    .await;
    assert_eq!(list(&store).await, list(&witness).await);
}

#[tokio::test]
async fn three_members_serve_without_any_one_of_them_and_watchers_miss_nothing() {
    let Some(mut cluster) = EtcdCluster::of(3).start().await else {
        return;
    };
    let stores = [
        open_with(&cluster, impatient()).await,
        open_with(&cluster, impatient()).await,
    ];
    let mut watcher = watch(&stores[0], None).await;
    let since = watcher.position;
    let mut written = Vec::new();
    for member in 0..3 {
        cluster.kill(member).await;
        for round in 0..20 {
            let value = format!("[{member},{round}]");
            let store = &stores[round % 2];
            until("it writes", async || {
                match commit(store, vec![put("a", Expected::Any, &value)]).await {
                    Ok(committed) => {
                        written.push(committed.revision);
                        true
                    }
                    Err(_) => false,
                }
            })
            .await;
            let reader = &stores[(round + 1) % 2];
            let read = reader.get(&key("a")).await;
            assert!(
                is_unavailable(&read)
                    || read.unwrap().unwrap().revision >= written[written.len() - 1]
            );
        }
        cluster.restart(member).await;
    }
    let mut seen = Vec::new();
    while seen.last() != written.last() {
        seen.push(take(&mut watcher, 1).await[0].cursor.revision());
    }
    assert!(seen.is_sorted_by(|one, next| one < next));
    assert!(written.iter().all(|revision| seen.contains(revision)));
    let mut resumed = watch(&stores[1], Some(since)).await;
    assert_eq!(resumed.start, Start::Resumed);
    let again = take(&mut resumed, seen.len()).await;
    let again = again.iter().map(|event| event.cursor.revision());
    assert_eq!(again.collect::<Vec<_>>(), seen);
}

#[tokio::test]
async fn an_entry_that_is_lost_in_memory_is_noticed_and_loaded_again() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let settings = StoreSettings {
        check_interval: Duration::from_millis(500),
        ..StoreSettings::default()
    };
    let store = open_with(&cluster, settings).await;
    for name in ["a", "b", "c"] {
        write(&store, name, "1").await;
    }
    until("it is compared", async || store.counts().checks > 1).await;
    assert_eq!(store.counts().mismatches, 0);
    store.lose(&key("b"));
    until("it is noticed", async || store.counts().mismatches > 0).await;
    until("it is loaded", async || store.counts().resyncs > 0).await;
    assert_eq!(value(&store, "b").await.as_deref(), Some("1"));
    let counts = store.counts();
    assert_eq!((counts.mismatches, counts.resyncs), (1, 1));
    // An event that does not follow is noticed at once.
    store.lose(&key("c"));
    let other = open(&cluster).await;
    write(&other, "c", "2").await;
    assert_eq!(value(&store, "c").await.as_deref(), Some("2"));
    assert_eq!(store.counts().resyncs, 2);
}

#[tokio::test]
async fn a_closed_store_does_not_answer_with_what_others_have_replaced() {
    let Some(mut cluster) = EtcdCluster::of(3).start().await else {
        return;
    };
    let follower = (cluster.leader().await + 1) % 3;
    let address = format!("etcd://{}{ROOT}", cluster.endpoints()[follower]);
    let address = address.parse().unwrap();
    let store = EtcdStore::open(&address, impatient()).await.unwrap();
    write(&store, "a", "1").await;
    let mut endpoints = cluster.endpoints();
    endpoints.remove(follower);
    let address = format!("etcd://{}{ROOT}", endpoints.join(","));
    let address = address.parse().unwrap();
    let other = EtcdStore::open(&address, impatient()).await.unwrap();
    cluster.freeze(follower);
    write(&other, "a", "2").await;
    let name = key("a");
    let closing = async {
        tokio::task::yield_now().await;
        store.close().await.unwrap();
    };
    let (under_way, ()) = tokio::join!(store.get(&name), closing);
    assert!(is_unavailable(&under_way), "{under_way:?}");
    let later = store.get(&name).await;
    assert!(is_unavailable(&later), "{later:?}");
    cluster.thaw(follower);
    until("it can be read again", async || {
        store.get(&name).await.is_ok()
    })
    .await;
    assert_eq!(value(&store, "a").await.as_deref(), Some("2"));
}

#[tokio::test]
async fn a_reader_that_nobody_polls_holds_up_no_other() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let store = open(&cluster).await;
    let key = key("a");
    let mut left_alone = store.get(&key);
    assert!((&mut left_alone).now_or_never().is_none());
    for _ in 0..3 {
        store.get(&key).await.unwrap();
    }
    drop(left_alone);
}

#[tokio::test]
async fn readers_of_the_past_that_nobody_polls_hold_up_no_other() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let store = open(&cluster).await;
    let long = format!("\"{}\"", "x".repeat(1024 * 1024 - 2));
    let mut written = Vec::new();
    for _ in 0..40 {
        written.push(write(&store, "a", &long).await);
    }
    // It does not have the oldest of them in memory, and together they are more than a member sends unread.
    let store = open(&cluster).await;
    let name = key("a");
    let mut left_alone: Vec<_> = written[..8]
        .iter()
        .map(|revision| store.past().record_at(&name, *revision))
        .collect();
    for reader in &mut left_alone {
        assert!(reader.now_or_never().is_none());
    }
    for _ in 0..200 {
        store.get(&name).await.unwrap();
    }
    for (reader, revision) in left_alone.into_iter().zip(&written) {
        let record = reader.await.unwrap().unwrap();
        assert_eq!(record.revision, *revision);
    }
}
