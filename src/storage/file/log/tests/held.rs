//! What those hold who read the past.

use std::sync::{Weak, mpsc};

use futures_util::{FutureExt as _, StreamExt as _};

use super::*;
use crate::model::{Position, ResumeToken};
use crate::storage::feed::Feed;
use crate::storage::file::log::Follower;
use crate::storage::{ChangeStream as _, Leases, SharedEvent, StoreError};

const VALUE_BYTES: usize = 10_000;
const COMMITS: u64 = 30;
const WATCHERS: u64 = 40;
/// How much all watchers may hold, in bytes.
const HELD_BYTES: u64 = 200 * 1024;
/// How many events that are, with their renderings, and how many one watcher is given at once.
const HELD_EVENTS: usize = 10;
const BATCH_EVENTS: usize = 7;

/// They resume from the beginning, and take an event at a time.
#[tokio::test]
async fn watchers_that_resume_from_the_log_hold_little_together_and_miss_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path(), JOURNAL);
    let value = long(VALUE_BYTES);
    for _ in 0..COMMITS {
        store.commit(&[("a", Some(&value))]);
    }
    let feed = Arc::new(Feed::new(store.table.read().position(), 0));
    let reader = store
        .past
        .clone()
        .with_leases(Leases::of_at_most(HELD_BYTES));
    let follow = || {
        let all = Filter::Prefix(String::new());
        let since = ResumeToken::after(Position::default());
        Follower::new(reader.clone(), Arc::clone(&feed), all, since)
    };
    let mut watchers: Vec<_> = (0..WATCHERS).map(|_| follow()).collect();
    for round in 1..=COMMITS {
        let mut events: Vec<Weak<SharedEvent>> = Vec::new();
        for watcher in &mut watchers {
            let event = watcher.next().await.unwrap();
            assert_eq!(event.cursor.revision(), round);
            assert_eq!(watcher.position(), event.cursor);
            events.push(Arc::downgrade(&event));
        }
        let held = events.iter().filter(|event| event.strong_count() > 0);
        let held = held.count();
        assert!(
            held <= HELD_EVENTS + BATCH_EVENTS,
            "{held} in round {round}"
        );
        assert!(
            events.last().unwrap().strong_count() > 0,
            "the newest is kept"
        );
    }
    feed.close();
    for watcher in &mut watchers {
        assert!(watcher.next().await.is_none());
    }
}

#[tokio::test]
async fn deletions_that_nobody_waits_for_are_not_read_to_their_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path(), JOURNAL);
    store.commit(&[("a", Some("1"))]);
    store.commit(&[("a", None)]);
    for is_awaited in [true, false] {
        let (begun, begins) = mpsc::channel();
        let (go_on, gate) = mpsc::channel::<()>();
        let (done, result) = mpsc::channel();
        let mut reading = Box::pin(store.past.on_thread(move |past| {
            begun.send(()).unwrap();
            gate.recv().unwrap();
            done.send(past.deleted_since(1).map(drop)).unwrap();
            Ok::<_, PastError>(())
        }));
        assert!((&mut reading).now_or_never().is_none());
        begins.recv().unwrap();
        let kept = is_awaited.then_some(reading);
        go_on.send(()).unwrap();
        let read = result.recv().unwrap();
        match read {
            Ok(()) => assert!(is_awaited),
            Err(PastError::Store(error)) => {
                assert!(!is_awaited && matches!(error, StoreError::Expired));
            }
            Err(error) => panic!("{error}"),
        }
        drop(kept);
    }
}
