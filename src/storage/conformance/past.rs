//! What is promised of the past: states, history, requests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::helpers::{committed, deadline, delete, everything, got, key, put, set};
use crate::model::{
    ChangeSet, Entry, EventKind, Expected, Filter, Fingerprint, HistoryPoint, HistoryQuery,
    IdempotencyKey, Name, Origin, PastEvent, Range, Request, Revision, Timestamp,
};
use crate::storage::{CommitError, PastError, Store};

/// Commits of one change and of several, of which every key is created, replaced and deleted.
async fn write_a_little(store: &dyn Store) -> Vec<(Revision, Vec<Entry>)> {
    let put = |name, value| put(name, Expected::Any, value);
    let delete = |name| delete(name, Expected::Any);
    let mut states = vec![(store.status().await.position.revision, Vec::new())];
    for changes in [
        vec![put("a", "1")],
        vec![put("d/b", "2")],
        vec![put("d/c", "3"), delete("a"), put("d/b", "4")],
        vec![delete("d/b")],
        vec![put("a", "5")],
        vec![put("a", "6")],
        vec![put("d/b", "7")],
    ] {
        let written = committed(store, changes).await;
        states.push((written.revision, everything(store).await.0));
    }
    states
}

fn query(filter: Filter, before: HistoryPoint, limit: usize) -> HistoryQuery {
    HistoryQuery {
        filters: vec![filter],
        before,
        limit,
        max_bytes: usize::MAX,
    }
}

/// All of the history that matches, read in pages of so many events.
async fn history_of(store: &dyn Store, filter: Filter, limit: usize) -> Vec<PastEvent> {
    let mut events = Vec::new();
    let mut before = HistoryPoint::END;
    loop {
        let page = store
            .past()
            .history(query(filter.clone(), before, limit))
            .await
            .unwrap();
        assert!(page.events.len() <= limit);
        events.extend(page.events);
        match page.next {
            None => return events,
            Some(next) => {
                assert!(next < before);
                before = next;
            }
        }
    }
}

fn all() -> Filter {
    Filter::Prefix(String::new())
}

pub async fn every_state_of_the_past_can_be_read(store: Arc<dyn Store>) {
    let states = write_a_little(&*store).await;
    let nexts = states.iter().skip(1).map(|(next, _)| *next);
    let ends = nexts.chain([states[states.len() - 1].0 + 1]);
    for ((first, entries), end) in states.iter().zip(ends) {
        // Also of revisions that were left out after it.
        for revision in BTreeSet::from([*first, (first + 1).min(end - 1), end - 1]) {
            check_state(&*store, revision, entries).await;
        }
        let of_first = store.past().state_at(*first).await.unwrap();
        assert_eq!(store.past().state_at(end - 1).await.unwrap(), of_first);
    }
}

async fn check_state(store: &dyn Store, revision: Revision, entries: &[Entry]) {
    let snapshot = store.past().snapshot_at(revision).await.unwrap();
    assert_eq!(snapshot.position().revision, revision);
    let page = snapshot.page(&Range::default()).await.unwrap();
    assert_eq!(page.entries, entries, "at {revision}");
    assert_eq!(
        store.past().state_at(revision).await.unwrap(),
        Some(snapshot.position().state)
    );
    let prefix = Range {
        prefix: "d/".to_owned(),
        limit: Some(1),
        ..Range::default()
    };
    let page = snapshot.page(&prefix).await.unwrap();
    let expected: Vec<_> = entries
        .iter()
        .filter(|entry| entry.key.as_str().starts_with("d/"))
        .collect();
    assert_eq!(page.entries.first(), expected.first().copied());
    assert_eq!(page.more, expected.len() > 1);
    for name in ["a", "d/b", "d/c", "never"] {
        let then = entries.iter().find(|entry| entry.key == key(name));
        let record = store.past().record_at(&key(name), revision).await.unwrap();
        assert_eq!(
            record,
            then.map(|entry| entry.record.clone()),
            "{name} at {revision}"
        );
    }
}

pub async fn the_history_has_each_change_once_and_the_newest_first(store: Arc<dyn Store>) {
    use EventKind::{Delete, Put};
    let ann: Name = "ann".parse().unwrap();
    let change = put("x", Expected::Any, "0");
    let by_ann = ChangeSet::from(change)
        .by(Some(ann.clone()))
        .from_origin(Some(Origin::Revert { revision: 7 }));
    let states = write_a_little(&*store).await;
    let mut revisions: Vec<_> = states.into_iter().map(|(revision, _)| revision).collect();
    revisions.push(store.commit(by_ann, deadline()).await.unwrap().revision);
    let described = |event: &PastEvent| {
        let record = &event.entry.record;
        let key = event.entry.key.to_string();
        (
            record.revision,
            key,
            event.kind,
            record.value.as_json().to_owned(),
        )
    };
    let expected = [
        (8, "x", Put, "0"),
        (7, "d/b", Put, "7"),
        (6, "a", Put, "6"),
        (5, "a", Put, "5"),
        (4, "d/b", Delete, "4"),
        (3, "d/b", Put, "4"),
        (3, "a", Delete, "1"),
        (3, "d/c", Put, "3"),
        (2, "d/b", Put, "2"),
        (1, "a", Put, "1"),
    ]
    .map(|(commit, key, kind, value): (usize, &str, _, &str)| {
        (revisions[commit], key.to_owned(), kind, value.to_owned())
    });
    for limit in [1, 2, 3, 100] {
        for filter in [
            all(),
            Filter::Prefix("d/".to_owned()),
            Filter::Key(key("a")),
            Filter::Key(key("never")),
        ] {
            let events = history_of(&*store, filter.clone(), limit).await;
            let matching = expected
                .iter()
                .filter(|(_, name, ..)| filter.matches(&key(name)));
            let found: Vec<_> = events.iter().map(described).collect();
            assert_eq!(found, matching.cloned().collect::<Vec<_>>(), "{filter:?}");
        }
    }
    let events = history_of(&*store, all(), 100).await;
    assert!(events.is_sorted_by(|one, next| one.point > next.point && one.at >= next.at));
    assert_eq!(events[0].entry.record.modified_by, Some(ann));
    assert_eq!(events[0].origin, Some(Origin::Revert { revision: 7 }));
    assert_eq!(events[1].origin, None);
    let deleted = &events[4];
    assert_eq!(deleted.entry.record.modified_at, deleted.at);
    assert_eq!(deleted.entry.record.version, events[5].entry.record.version);
    // A page can end at any size.
    let mut small = query(all(), HistoryPoint::END, 100);
    small.max_bytes = 1;
    assert_eq!(store.past().history(small).await.unwrap().events.len(), 1);
}

pub async fn a_moment_is_the_state_after_the_commits_up_to_it(store: Arc<dyn Store>) {
    write_a_little(&*store).await;
    let mut newest_at = BTreeMap::new();
    for event in history_of(&*store, all(), 100).await.iter().rev() {
        newest_at.insert(event.at, event.entry.record.revision);
    }
    for (at, revision) in newest_at {
        assert_eq!(store.past().revision_at(at).await.unwrap(), revision);
        let later = Timestamp::from_millis(at.millis() + 1);
        assert!(store.past().revision_at(later).await.unwrap() >= revision);
    }
}

pub async fn the_future_is_not_the_past(store: Arc<dyn Store>) {
    write_a_little(&*store).await;
    let newest = store.status().await.position.revision;
    let record = store.past().record_at(&key("a"), newest + 1).await;
    assert!(matches!(record, Err(PastError::Future { newest: of }) if of == newest));
    let snapshot = store.past().snapshot_at(newest + 1).await.map(drop);
    assert!(matches!(snapshot, Err(PastError::Future { newest: of }) if of == newest));
    assert_eq!(store.past().state_at(newest + 1).await.unwrap(), None);
}

pub async fn a_request_is_committed_once(store: Arc<dyn Store>) {
    let request = |key: &str, content| Request {
        key: IdempotencyKey::new(key).unwrap(),
        fingerprint: Fingerprint::from_bytes([content; Fingerprint::BYTES]),
    };
    let ann: Name = "ann".parse().unwrap();
    let changes = |by: Option<&Name>, request| {
        let changes = vec![
            put("a", Expected::Any, "1"),
            delete("b", Expected::Any),
            put("c", Expected::Any, "2"),
        ];
        set(changes).by(by.cloned()).for_request(Some(request))
    };
    committed(&*store, vec![put("b", Expected::Any, "0")]).await;
    assert_eq!(
        store
            .past()
            .committed_for(None, &request("1", 1))
            .await
            .unwrap(),
        None
    );
    let refused = changes(None, request("1", 1));
    let twice = changes(None, request("1", 1));
    let first = store.commit(refused, deadline()).await.unwrap();
    let b_before = first.records[1].clone();
    let again = store.commit(twice, deadline()).await;
    assert!(matches!(again, Err(CommitError::Repeated(of)) if of == first.revision));
    let commit = store
        .past()
        .committed_for(None, &request("1", 1))
        .await
        .unwrap();
    let commit = commit.unwrap();
    assert_eq!(commit.position.revision, first.revision);
    assert_eq!(commit.request, Some(request("1", 1)));
    let done: Vec<_> = commit
        .changes
        .iter()
        .map(|done| (done.key.as_str(), done.before.clone(), done.after.clone()))
        .collect();
    assert_eq!(
        done,
        [
            ("a", None, first.records[0].clone()),
            ("b", b_before, None),
            ("c", None, first.records[2].clone()),
        ]
    );
    // Another content, another writer, another key.
    let other = store
        .commit(changes(None, request("1", 2)), deadline())
        .await;
    assert!(matches!(other, Err(CommitError::RequestMismatch)));
    let known = store.past().committed_for(None, &request("1", 2)).await;
    assert!(matches!(known, Err(CommitError::RequestMismatch)));
    // What was refused is not remembered.
    let refused = store
        .commit(changes(Some(&ann), request("1", 2)), deadline())
        .await;
    assert!(matches!(refused, Err(CommitError::Conflict(_))));
    committed(&*store, vec![put("b", Expected::Any, "0")]).await;
    let by_ann = store
        .commit(changes(Some(&ann), request("1", 2)), deadline())
        .await;
    assert!(by_ann.is_ok());
    committed(&*store, vec![put("b", Expected::Any, "0")]).await;
    let other_key = store
        .commit(changes(None, request("2", 1)), deadline())
        .await;
    assert!(other_key.is_ok());
    assert_eq!(got(&*store, "a").await.unwrap().version, 3);
}

pub async fn a_state_that_comes_back_has_the_same_digest(store: Arc<dyn Store>) {
    let empty = store.status().await.position;
    committed(&*store, vec![put("a", Expected::Any, "1")]).await;
    let one = store.status().await.position.state;
    committed(&*store, vec![put("b", Expected::Any, "2")]).await;
    let both = store.status().await.position.state;
    committed(&*store, vec![delete("b", Expected::Any)]).await;
    let after = store.status().await.position;
    assert_eq!(after.state, one);
    assert_ne!(one, both);
    committed(&*store, vec![delete("a", Expected::Any)]).await;
    assert_eq!(store.status().await.position.state, empty.state);
}
