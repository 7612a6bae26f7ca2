//! What a process knows of what was written before it was started.

use ifmatch::model::{ChangeSet, Expected, ResumeToken, Timestamp};
use ifmatch::storage::{CommitError, PastError, Start, Store as _};

use super::{
    commit, delete, history, key, list, open, put, read, request, soon, take, watch, write,
    write_a_little,
};
use crate::support::cluster::EtcdCluster;

#[tokio::test]
async fn tags_ids_history_and_states_are_the_same_after_a_restart() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let store = open(&cluster).await;
    let mut watcher = watch(&store, None).await;
    let start = watcher.position;
    write_a_little(&store).await;
    let events = take(&mut watcher, 7).await;
    let (held, known) = (list(&store).await, history(&store).await);
    let secret = store.past().secret();
    store.close().await.unwrap();
    drop(store);

    let reopened = open(&cluster).await;
    assert_eq!(list(&reopened).await, held);
    assert_eq!(history(&reopened).await, known);
    assert_eq!(known.1, 0, "everything since the first commit is known");
    assert_eq!(reopened.past().secret(), secret);
    let tokens = [start]
        .into_iter()
        .chain(events.iter().map(|event| event.cursor));
    for (seen, since) in tokens.enumerate() {
        let mut resumed = watch(&reopened, Some(since)).await;
        assert_eq!((resumed.start, resumed.position), (Start::Resumed, since));
        assert_eq!(take(&mut resumed, 7 - seen).await, events[seen..]);
        let position = since.position();
        let state = reopened.past().state_at(position.revision).await.unwrap();
        assert_eq!(state, Some(position.state));
    }
    for event in &known.0 {
        let revision = event.entry.record.revision;
        let then = reopened
            .past()
            .record_at(&event.entry.key, revision)
            .await
            .unwrap();
        let written = (event.kind == ifmatch::model::EventKind::Put).then_some(&event.entry.record);
        assert_eq!(then.as_ref(), written);
    }
    let at = reopened.past().revision_at(known.0[0].at).await.unwrap();
    assert_eq!(at, held.0.revision);
    assert_eq!(reopened.past().newest_at(), known.0[0].at);
    let before = Timestamp::from_millis(0);
    assert_eq!(reopened.past().revision_at(before).await.unwrap(), 0);
    let never = ResumeToken::unknown();
    assert_eq!(watch(&reopened, Some(never)).await.start, Start::Reset);
}

#[tokio::test]
async fn a_request_that_was_done_before_a_restart_is_not_done_again() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let store = open(&cluster).await;
    write(&store, "b", "1").await;
    let changes = || {
        let changes = vec![put("a", Expected::Absent, "1"), delete("b")];
        let changes = ChangeSet::new(changes).unwrap();
        changes.for_request(Some(request("once", 1)))
    };
    let done = store.commit(changes(), soon()).await.unwrap();
    let known = store.past().committed_for(None, &request("once", 1)).await;
    let known = known.unwrap().unwrap();
    write(&store, "a", "2").await;
    store.close().await.unwrap();
    drop(store);
    let reopened = open(&cluster).await;
    let again = reopened.commit(changes(), soon()).await;
    assert!(matches!(again, Err(CommitError::Repeated(of)) if of == done.revision));
    let found = reopened
        .past()
        .committed_for(None, &request("once", 1))
        .await;
    assert_eq!(found.unwrap(), Some(known));
    let other = reopened
        .past()
        .committed_for(None, &request("once", 2))
        .await;
    assert!(matches!(other, Err(CommitError::RequestMismatch)));
    assert_eq!(read(&reopened, "a").await.unwrap().version, 2);
    let never = reopened
        .past()
        .committed_for(None, &request("never", 1))
        .await;
    assert_eq!(never.unwrap(), None);
    // It is remembered for a day, and forgotten by etcd itself.
    let leases = cluster.ctl(&["lease", "list"]).await;
    assert_eq!(leases.lines().count(), 2, "{leases}");
}

#[tokio::test]
async fn many_keys_and_long_values_are_loaded_in_pages() {
    const KEYS: usize = 2500;
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let store = open(&cluster).await;
    let mut keys: Vec<_> = (0..KEYS).map(|number| format!("k/{number:05}")).collect();
    for chunk in keys.chunks(100) {
        let puts = chunk.iter().map(|key| put(key, Expected::Any, "1"));
        commit(&store, puts.collect()).await.unwrap();
    }
    // Together more than one answer of etcd may have, between the small ones and after them.
    let long = format!("\"{}\"", "x".repeat(1024 * 1024));
    for number in 0..40 {
        let key = format!("{}/{number:05}x", if number % 2 == 0 { "k" } else { "l" });
        write(&store, &key, &long).await;
        keys.push(key);
    }
    keys.sort();
    let held = list(&store).await;
    let found: Vec<_> = held.1.iter().map(|entry| entry.key.to_string()).collect();
    assert_eq!(found, keys);
    let reopened = open(&cluster).await;
    assert!(list(&reopened).await == held, "the same is loaded");
    // Of the past only as much as fits.
    let oldest = reopened.past().snapshot_at(0).await.map(drop);
    let Err(PastError::Compacted { oldest }) = oldest else {
        panic!("{oldest:?}");
    };
    assert!(oldest > 0 && oldest < held.0.revision, "{oldest}");
    let state = store.past().state_at(oldest).await.unwrap();
    assert!(state.is_some());
    assert_eq!(reopened.past().state_at(oldest).await.unwrap(), state);
    assert_eq!(
        read(&reopened, &keys[0]).await,
        read(&store, &keys[0]).await
    );
    let then = reopened.past().record_at(&key(&keys[0]), 3).await;
    assert_eq!(
        then.unwrap(),
        store.past().record_at(&key(&keys[0]), 3).await.unwrap()
    );
}
