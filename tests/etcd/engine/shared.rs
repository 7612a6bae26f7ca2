//! Two processes on one etcd.

use std::collections::BTreeMap;
use std::sync::Arc;

use ifmatch::model::{ChangeSet, Expected, Name, Origin};
use ifmatch::storage::etcd::EtcdStore;
use ifmatch::storage::{CommitError, Conflict, Start, Store as _};
use tokio::task::JoinSet;

use super::{
    all, commit, delete, described, key, list, open, put, read, request, soon, take, value, watch,
    write, write_a_little,
};
use crate::support::cluster::EtcdCluster;

#[tokio::test]
async fn a_write_through_one_process_is_read_through_the_other_at_once() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let (one, other) = (open(&cluster).await, open(&cluster).await);
    for round in 0..200 {
        let text = round.to_string();
        let (writer, reader) = if round % 2 == 0 {
            (&one, &other)
        } else {
            (&other, &one)
        };
        let revision = write(writer, "a", &text).await;
        match round % 3 {
            0 => assert_eq!(read(reader, "a").await.unwrap().revision, revision),
            1 => {
                let (position, entries) = list(reader).await;
                assert_eq!(position.revision, revision);
                assert_eq!(entries[0].record.value.as_json(), text);
            }
            _ => {
                let record = reader.past().record_at(&key("a"), revision).await;
                assert_eq!(record.unwrap().unwrap().value.as_json(), text);
            }
        }
    }
    commit(&one, vec![delete("a")]).await.unwrap();
    assert_eq!(value(&other, "a").await, None);
}

#[tokio::test]
async fn a_stale_write_through_the_other_process_conflicts_with_the_current_record() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let (one, other) = (open(&cluster).await, open(&cluster).await);
    let first = write(&one, "a", "1").await;
    for round in 0..50 {
        let at = read(&other, "a").await.unwrap().revision;
        write(&one, "a", &format!("[{round}]")).await;
        let stale = commit(&other, vec![put("a", Expected::At(at), "0")]).await;
        let current = read(&one, "a").await;
        let conflict = Conflict { index: 0, current };
        assert!(
            matches!(&stale, Err(CommitError::Conflict(of)) if of[..] == [conflict]),
            "{stale:?}"
        );
    }
    let both = vec![
        put("b", Expected::Absent, "1"),
        put("a", Expected::At(first), "0"),
    ];
    assert!(matches!(commit(&other, both).await, Err(CommitError::Conflict(of)) if of.len() == 1));
    assert_eq!(value(&one, "b").await, None);
    // A tag that is newer than what the other process knows is good there.
    let newest = write(&one, "a", "1").await;
    let good = commit(&other, vec![put("a", Expected::At(newest), "2")]).await;
    assert_eq!(
        read(&one, "a").await.unwrap().revision,
        good.unwrap().revision
    );
}

/// Nobody is refused because of what a process does not know yet: the tag comes from the other one.
#[tokio::test]
async fn a_tag_of_the_other_process_is_good_at_once() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let stores = [open(&cluster).await, open(&cluster).await];
    let mut newest = write(&stores[0], "a", "0").await;
    for round in 1..500 {
        let store = &stores[round % 2];
        let change = match round % 5 {
            4 => delete("a"),
            0 => put("a", Expected::Absent, "0"),
            _ => put("a", Expected::At(newest), "1"),
        };
        newest = commit(store, vec![change]).await.unwrap().revision;
    }
}

#[tokio::test]
async fn writers_through_both_processes_lose_nothing() {
    const WRITERS: usize = 8;
    const ROUNDS: usize = 25;
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let stores = [open(&cluster).await, open(&cluster).await];
    let first = write(&stores[0], "counter", "0").await;
    assert_eq!(read(&stores[1], "counter").await.unwrap().revision, first);
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = Arc::clone(&stores[writer % 2]);
        writers.spawn(async move {
            for _ in 0..ROUNDS {
                increment(&store).await;
            }
        });
    }
    writers.join_all().await;
    for store in &stores {
        let counted = value(store, "counter").await.unwrap();
        assert_eq!(counted, (WRITERS * ROUNDS).to_string());
    }
    let [one, other] = [list(&stores[0]).await, list(&stores[1]).await];
    assert_eq!(one, other, "both show the same list with the same tag");
}

/// Adds one, decided on what the process knows.
async fn increment(store: &EtcdStore) {
    let mut current = store.known().record(&key("counter"));
    loop {
        let known = current.expect("it is never deleted");
        let next: usize = known.value.as_json().parse().unwrap();
        let change = put(
            "counter",
            Expected::At(known.revision),
            &(next + 1).to_string(),
        );
        match commit(store, vec![change]).await {
            Ok(_) => return,
            Err(CommitError::Conflict(mut conflicts)) => current = conflicts.remove(0).current,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_request_through_both_processes_is_done_once() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let stores = [open(&cluster).await, open(&cluster).await];
    let ann: Name = "ann".parse().unwrap();
    for round in 0..30 {
        let name = format!("request {round}");
        let attempt = async |store: &EtcdStore, content| {
            let changes = vec![
                put("counter", Expected::Any, "1"),
                put(&name, Expected::Any, "2"),
            ];
            let changes = ChangeSet::new(changes).unwrap();
            let changes = changes
                .by(Some(ann.clone()))
                .for_request(Some(request(&name, content)));
            store.commit(changes, soon()).await
        };
        let (first, second) = tokio::join!(attempt(&stores[0], 1), attempt(&stores[1], 1));
        let (done, refused) = match (first, second) {
            (Ok(done), Err(refused)) | (Err(refused), Ok(done)) => (done, refused),
            both => panic!("{both:?}"),
        };
        assert!(
            matches!(refused, CommitError::Repeated(of) if of == done.revision),
            "{refused:?}"
        );
        for store in &stores {
            let again = attempt(store, 1).await;
            assert!(matches!(again, Err(CommitError::Repeated(of)) if of == done.revision));
            let other = attempt(store, 2).await;
            assert!(
                matches!(other, Err(CommitError::RequestMismatch)),
                "{other:?}"
            );
            let found = store
                .past()
                .committed_for(Some(&ann), &request(&name, 1))
                .await;
            let found = found.unwrap().unwrap();
            let records = found.changes.iter().map(|done| done.after.clone());
            assert_eq!(records.collect::<Vec<_>>(), done.records);
        }
    }
    let counter = read(&stores[0], "counter").await.unwrap();
    assert_eq!(counter.version, 30);
}

#[tokio::test]
async fn watchers_of_both_processes_get_the_same_events_with_the_same_ids() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let stores = [open(&cluster).await, open(&cluster).await];
    let mut watchers = [watch(&stores[0], None).await, watch(&stores[1], None).await];
    let start = watchers[0].position;
    assert_eq!(start, watchers[1].position);
    write_a_little(&stores[0]).await;
    commit(&stores[1], vec![put("d", Expected::Absent, "1")])
        .await
        .unwrap();
    let reverted = ChangeSet::from(put("e", Expected::Any, "1"))
        .by(Some("ben".parse().unwrap()))
        .from_origin(Some(Origin::Revert { revision: 7 }));
    stores[1].commit(reverted, soon()).await.unwrap();
    let mut seen = Vec::new();
    for watcher in &mut watchers {
        seen.push(take(watcher, 9).await);
    }
    assert_eq!(seen[0], seen[1]);
    // Who moves to the other process misses nothing and gets nothing twice.
    for (index, event) in seen[0].iter().enumerate() {
        let mut resumed = watch(&stores[1], Some(event.cursor)).await;
        assert_eq!(resumed.start, Start::Resumed);
        let rest = take(&mut resumed, 8 - index).await;
        assert_eq!(rest[..], seen[0][index + 1..]);
    }
    assert_eq!(described(&seen[0][0]).2, "a");
}

#[tokio::test]
async fn a_list_through_one_and_then_a_watch_through_the_other_lose_nothing() {
    const WRITES: usize = 300;
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let stores = [open(&cluster).await, open(&cluster).await];
    let writer = Arc::clone(&stores[0]);
    let writing = tokio::spawn(async move {
        for round in 0..WRITES {
            let name = format!("k{}", round % 7);
            match round % 11 {
                10 => drop(commit(&writer, vec![delete(&name)]).await),
                _ => drop(write(&writer, &name, &round.to_string()).await),
            }
        }
        write(&writer, "last", "1").await
    });
    let mut followers = JoinSet::new();
    for number in 0..8 {
        let stores = stores.clone();
        followers.spawn(async move {
            let (lister, watcher) = (&stores[number % 2], &stores[(number + 1) % 2]);
            let (position, entries) = list(lister).await;
            let mut known: BTreeMap<_, _> = entries
                .into_iter()
                .map(|entry| (entry.key, entry.record))
                .collect();
            let since = ifmatch::model::ResumeToken::after(position);
            let mut changes = watcher.watch(all(), Some(since)).await.unwrap();
            assert_eq!(changes.start, Start::Resumed);
            while !known.contains_key(&key("last")) {
                let event = take(&mut changes, 1).await.remove(0);
                match event.kind {
                    ifmatch::model::EventKind::Put => {
                        drop(known.insert(event.entry.key, event.entry.record));
                    }
                    ifmatch::model::EventKind::Delete => drop(known.remove(&event.entry.key)),
                }
            }
            let (_, held) = list(lister).await;
            let held: BTreeMap<_, _> = held
                .into_iter()
                .map(|entry| (entry.key, entry.record))
                .collect();
            assert_eq!(known, held);
        });
    }
    writing.await.unwrap();
    followers.join_all().await;
}
