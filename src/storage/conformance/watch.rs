//! What the change feed promises.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::task::JoinSet;

use super::helpers::{committed, delete, everything, got, key, put};
use crate::model::{
    Entry, Event, EventKind, Expected, Filter, Key, Position, Range, Record, ResumeToken, Revision,
};
use crate::storage::{SharedEvent, Start, Store, Subscription};

fn all() -> Filter {
    Filter::Prefix(String::new())
}

pub async fn watch(store: &dyn Store, filter: Filter, since: Option<ResumeToken>) -> Subscription {
    store.watch(filter, since).await.unwrap()
}

/// The next event, which must come.
async fn next(subscription: &mut Subscription) -> Option<Arc<SharedEvent>> {
    let next = tokio::time::timeout(Duration::from_secs(20), subscription.changes.next());
    next.await.expect("an event comes")
}

pub async fn take(subscription: &mut Subscription, count: usize) -> Vec<Arc<SharedEvent>> {
    let mut events = Vec::new();
    while events.len() < count {
        events.push(next(subscription).await.expect("it does not end"));
    }
    events
}

fn described(event: &Event) -> (EventKind, &str, &str, Revision) {
    let Entry { key, record } = &event.entry;
    (
        event.kind,
        key.as_str(),
        record.value.as_json(),
        record.revision,
    )
}

/// Commits of one change and of several, of which every key is put and deleted. Returns their revisions.
async fn write_a_little(store: &dyn Store) -> Vec<Revision> {
    let put = |name, value| put(name, Expected::Any, value);
    let delete = |name| delete(name, Expected::Any);
    let mut revisions = Vec::new();
    for changes in [
        vec![put("a", "1")],
        vec![put("b", "2")],
        vec![put("c", "3"), delete("a"), put("b", "4")],
        vec![delete("b")],
        vec![put("a", "5")],
    ] {
        revisions.push(committed(store, changes).await.revision);
    }
    revisions
}

/// How many events that makes.
const A_LITTLE: usize = 7;

pub async fn watchers_get_every_change_in_order(store: Arc<dyn Store>) {
    use EventKind::{Delete, Put};
    let mut subscription = watch(&*store, all(), None).await;
    assert_eq!(subscription.start, Start::Now);
    let revisions = write_a_little(&*store).await;
    let events = take(&mut subscription, A_LITTLE).await;
    let mut order: Vec<_> = events.iter().map(|event| described(event)).collect();
    assert!(events.is_sorted_by(|one, next| one.cursor < next.cursor));
    // Within a commit the order is not specified.
    order.sort_by_key(|&(_, key, _, revision)| (revision, key));
    let expected = [
        (Put, "a", "1", 0),
        (Put, "b", "2", 1),
        (Delete, "a", "1", 2),
        (Put, "b", "4", 2),
        (Put, "c", "3", 2),
        (Delete, "b", "4", 3),
        (Put, "a", "5", 4),
    ];
    let expected = expected.map(|(kind, key, value, commit)| (kind, key, value, revisions[commit]));
    assert_eq!(order, expected);
    let (put, deleted) = (&events[0].entry.record, &events[2..5]);
    let deleted = deleted.iter().find(|event| event.kind == Delete).unwrap();
    let deleted = &deleted.entry.record;
    assert_eq!(
        (deleted.version, deleted.etag(), deleted.modified_at),
        (put.version, put.etag(), put.modified_at),
        "a deletion shows the deleted entry"
    );
    let last = &events.last().unwrap().entry.record;
    assert_eq!(got(&*store, "a").await.as_ref(), Some(last));
}

pub async fn a_watcher_resumes_after_any_event(store: Arc<dyn Store>) {
    let mut subscription = watch(&*store, all(), None).await;
    let start = subscription.position;
    write_a_little(&*store).await;
    let events = take(&mut subscription, A_LITTLE).await;
    let tokens = events.iter().map(|event| event.cursor);
    for (seen, since) in [start].into_iter().chain(tokens).enumerate() {
        let mut resumed = watch(&*store, all(), Some(since)).await;
        assert_eq!((resumed.start, resumed.position), (Start::Resumed, since));
        let rest = take(&mut resumed, A_LITTLE - seen).await;
        let rest: Vec<_> = rest.iter().map(|event| described(event)).collect();
        let expected: Vec<_> = events[seen..]
            .iter()
            .map(|event| described(event))
            .collect();
        assert_eq!(rest, expected, "after {since}");
        // Then come the changes since, and the one just written.
        committed(&*store, vec![put("z", Expected::Any, &seen.to_string())]).await;
        for (round, event) in take(&mut resumed, seen + 1).await.iter().enumerate() {
            assert_eq!(described(event).2, round.to_string());
        }
    }
}

pub async fn a_watcher_gets_only_events_that_match_its_filter(store: Arc<dyn Store>) {
    let filters = [
        all(),
        Filter::Prefix("d/ü".to_owned()),
        Filter::Prefix("d".to_owned()),
        Filter::Key(key("d/ü")),
        Filter::Prefix("nothing".to_owned()),
    ];
    let mut subscription = Vec::new();
    for filter in &filters {
        subscription.push(watch(&*store, filter.clone(), None).await);
    }
    let written = [
        "d/ü",
        "d/û",
        "d",
        "e",
        "d/ü/x",
        "c",
        "last",
        "d/last",
        "d/ü/last",
    ];
    for name in written {
        committed(&*store, vec![put(name, Expected::Any, "1")]).await;
    }
    let last = committed(&*store, vec![delete("d/ü", Expected::Any)]).await;
    for (filter, subscription) in filters.iter().zip(&mut subscription) {
        let expected = written.iter().chain(&["d/ü"]).copied();
        let expected: Vec<_> = expected.filter(|name| filter.matches(&key(name))).collect();
        let events = take(subscription, expected.len()).await;
        let keys: Vec<_> = events
            .iter()
            .map(|event| event.entry.key.as_str())
            .collect();
        assert_eq!(keys, expected, "{filter:?}");
        // Its position is that of a watcher of everything.
        let position = subscription.changes.position();
        assert_eq!(position.revision(), last.revision, "{filter:?}");
    }
}

pub async fn an_unknown_resume_token_resets(store: Arc<dyn Store>) {
    write_a_little(&*store).await;
    let position = store.snapshot().await.unwrap().position();
    let known = ResumeToken::after(position);
    let subscription = watch(&*store, all(), Some(known)).await;
    assert_eq!(
        (subscription.start, subscription.position),
        (Start::Resumed, known)
    );
    for unknown in [
        format!("{}-{}", position.revision + 1, position.state),
        format!("{}-0123456789abcdef", position.revision),
    ] {
        let mut subscription = watch(&*store, all(), Some(unknown.parse().unwrap())).await;
        let begins = ResumeToken::after(store.snapshot().await.unwrap().position());
        assert_eq!(
            (subscription.start, subscription.position),
            (Start::Reset, begins)
        );
        let written = committed(&*store, vec![put("a", Expected::Any, "9")]).await;
        let event = next(&mut subscription).await.unwrap();
        assert_eq!(event.entry.record.revision, written.revision);
    }
}

pub async fn a_revision_that_was_left_out_is_the_point_before_it(store: Arc<dyn Store>) {
    committed(&*store, vec![put("a", Expected::Any, "1")]).await;
    let first = store.snapshot().await.unwrap().position();
    let second = committed(&*store, vec![put("a", Expected::Any, "2")]).await;
    let second_position = store.snapshot().await.unwrap().position();
    let last_left_out = second.revision - 1;
    for revision in BTreeSet::from([first.revision, last_left_out]) {
        let state = store.past().state_at(revision).await.unwrap();
        assert_eq!(state, Some(first.state));
        for (state, start) in [
            (first.state, Start::Resumed),
            (second_position.state, Start::Reset),
        ] {
            let since = ResumeToken::after(Position { revision, state });
            let mut subscription = watch(&*store, all(), Some(since)).await;
            assert_eq!(subscription.start, start, "{since}");
            if start == Start::Resumed {
                let event = next(&mut subscription).await.unwrap();
                assert_eq!(event.cursor, ResumeToken::after(second_position));
            }
        }
    }
}

/// A client that lists and then watches from there ends with what the store holds, whenever it listed and
/// however many write meanwhile.
pub async fn a_list_and_then_a_watch_lose_nothing(store: Arc<dyn Store>) {
    const WRITERS: u64 = 8;
    const COMMITS: u64 = 40;
    let (mut writers, mut watchers) = (JoinSet::new(), JoinSet::new());
    for writer in 0..WRITERS {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            let mut revisions = Vec::new();
            for round in 0..COMMITS {
                let value = format!("[{writer},{round}]");
                let own = format!("own/{writer}");
                let put = |name: &str| put(name, Expected::Any, &value);
                let changes = match round % 4 {
                    0 => vec![put("shared"), put(&own)],
                    3 => vec![delete(&own, Expected::Any)],
                    _ => vec![put(&own)],
                };
                revisions.push(committed(&*store, changes).await.revision);
            }
            revisions
        });
    }
    for _ in 0..16 {
        let store = Arc::clone(&store);
        watchers.spawn(async move { follow(&*store).await });
        tokio::task::yield_now().await;
    }
    let revisions = writers.join_all().await.into_iter().flatten();
    let mut revisions: BTreeSet<_> = revisions.collect();
    let last = committed(&*store, vec![put(LAST, Expected::Absent, "0")]).await;
    revisions.insert(last.revision);
    for (listed, seen) in watchers.join_all().await {
        let later = (Bound::Excluded(listed), Bound::Unbounded);
        assert!(revisions.range(later).eq(&seen), "no commit is skipped");
    }
}

/// The key that is written last.
const LAST: &str = "last";

/// Lists, then watches until `LAST` is written, and compares with what is there then. Returns the revision of the
/// list, and those of the commits after it.
async fn follow(store: &dyn Store) -> (Revision, BTreeSet<Revision>) {
    let snapshot = store.snapshot().await.unwrap();
    let since = ResumeToken::after(snapshot.position());
    let page = snapshot.page(&Range::default()).await.unwrap();
    let mut known: BTreeMap<Key, Arc<Record>> = BTreeMap::new();
    known.extend(
        page.entries
            .into_iter()
            .map(|entry| (entry.key, entry.record)),
    );
    let mut subscription = watch(store, all(), Some(since)).await;
    assert_eq!(subscription.start, Start::Resumed);
    let mut seen = since;
    let mut revisions = BTreeSet::new();
    while !known.contains_key(LAST) {
        let event = next(&mut subscription)
            .await
            .expect("no watcher is cut off");
        assert!(event.cursor > seen, "in order, and no event twice");
        seen = event.cursor;
        revisions.insert(seen.revision());
        let Entry { key, record } = event.entry.clone();
        // A reader that has the event finds its state or a later one.
        let read = store.get(&key).await.unwrap();
        assert!(read.is_none_or(|read| match event.kind {
            EventKind::Put => read.revision >= record.revision,
            EventKind::Delete => read.revision > record.revision,
        }));
        let before = match event.kind {
            EventKind::Put => known.insert(key, Arc::clone(&record)),
            EventKind::Delete => known.remove(&key),
        };
        let version = before.map_or(0, |before| before.version);
        match event.kind {
            EventKind::Put => assert_eq!(record.version, version + 1, "no event is left out"),
            EventKind::Delete => assert_eq!(record.version, version, "no event is left out"),
        }
    }
    let (held, _) = everything(store).await;
    let known = known.into_iter().map(|(key, record)| Entry { key, record });
    assert_eq!(known.collect::<Vec<_>>(), held);
    (since.revision(), revisions)
}

pub async fn a_watcher_that_falls_behind_is_cut_off_and_others_are_not(store: Arc<dyn Store>) {
    let mut slow = watch(&*store, all(), None).await;
    let mut quick = watch(&*store, all(), None).await;
    let mut elsewhere = watch(&*store, Filter::Key(key("elsewhere")), None).await;
    let large = format!("\"{}\"", "x".repeat(1024 * 1024));
    let mut written = Vec::new();
    // More than twice what is kept.
    for _ in 0..70 {
        let revision = committed(&*store, vec![put("a", Expected::Any, &large)])
            .await
            .revision;
        written.push(revision);
        let event = next(&mut quick)
            .await
            .expect("a watcher that keeps up is not cut off");
        assert_eq!(event.entry.record.revision, revision);
    }
    assert!(next(&mut slow).await.is_none());
    // It misses nothing: either it gets everything later, or it is told to list again.
    let mut resumed = watch(&*store, all(), Some(slow.position)).await;
    if resumed.start == Start::Resumed {
        let events = take(&mut resumed, 70).await;
        let revisions = events.iter().map(|event| event.entry.record.revision);
        assert!(revisions.eq(written));
    } else {
        assert_eq!(resumed.start, Start::Reset);
    }
    committed(&*store, vec![put("elsewhere", Expected::Any, "1")]).await;
    let event = next(&mut elsewhere).await.expect("it has missed nothing");
    assert_eq!(event.entry.key, key("elsewhere"));
}

pub async fn closing_ends_watchers_when_they_have_seen_everything(store: Arc<dyn Store>) {
    let mut subscription = watch(&*store, all(), None).await;
    committed(&*store, vec![put("a", Expected::Any, "1")]).await;
    let since = subscription.position;
    let seen = next(&mut subscription).await.unwrap();
    assert_eq!(seen.entry.key, key("a"));
    for value in ["2", "3"] {
        committed(&*store, vec![put("a", Expected::Any, value)]).await;
    }
    store.close().await.unwrap();
    for value in ["2", "3"] {
        assert_eq!(described(&next(&mut subscription).await.unwrap()).2, value);
    }
    assert!(next(&mut subscription).await.is_none());
    let mut late = watch(&*store, all(), Some(since)).await;
    assert_eq!(take(&mut late, 3).await.len(), 3);
    assert!(next(&mut late).await.is_none());
}

pub async fn a_backlog_larger_than_one_round_is_delivered_in_order(store: Arc<dyn Store>) {
    // Together more than the feed delivers in one round.
    const WATCHERS: usize = 200;
    const EVENTS: usize = 40;
    let value = format!("\"{}\"", "x".repeat(16 * 1024));
    let mut watchers = Vec::new();
    for _ in 0..WATCHERS {
        watchers.push(watch(&*store, all(), None).await);
    }
    let start = watchers[0].position;
    for _ in 0..EVENTS {
        committed(&*store, vec![put("a", Expected::Any, &value)]).await;
    }
    // A watcher that resumes while the others wait misses nothing and gets nothing twice.
    let first = next(&mut watchers[0]).await.expect("it does not end");
    let since = first.cursor;
    let mut resumed = watch(&*store, all(), Some(since)).await;
    let mut restarted = watch(&*store, all(), Some(start)).await;
    let versions = |events: &[Arc<SharedEvent>]| -> Vec<_> {
        let versions = events.iter().map(|event| event.entry.record.version);
        versions.collect()
    };
    let expected: Vec<_> = (1..=EVENTS as u64).collect();
    assert_eq!(
        versions(&take(&mut resumed, EVENTS - 1).await),
        expected[1..]
    );
    assert_eq!(versions(&take(&mut restarted, EVENTS).await), expected);
    for subscription in &mut watchers[1..] {
        assert_eq!(versions(&take(subscription, EVENTS).await), expected);
    }
}
