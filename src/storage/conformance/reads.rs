//! What is promised of reads: of one key, of several, of all, and of what is known.

use std::slice;
use std::sync::Arc;

use super::helpers::{committed, conflicts, delete, everything, got, key, listed, put};
use crate::model::{Entry, Expected, Range};
use crate::storage::lease::HELD_MAX_BYTES;
use crate::storage::{Store, StoreError};

pub async fn readers_lose_replaced_records_when_all_hold_too_much(store: Arc<dyn Store>) {
    let entry = async |name: &str| Entry {
        key: key(name),
        record: got(&*store, name).await.unwrap(),
    };
    let large = format!("\"{}\"", "x".repeat(1024 * 1024));
    committed(&*store, vec![put("a", Expected::Any, &large)]).await;
    let too_many = usize::try_from(HELD_MAX_BYTES / (1024 * 1024)).unwrap() + 1;
    let old = entry("a").await;
    let snapshot = store.snapshot().await.unwrap();
    // Current entries cost nothing, however many answers hold them.
    let answer = store.hold(vec![old.clone(); too_many]);
    let page = snapshot.page(&Range::default()).await.unwrap();
    assert_eq!(page.entries, slice::from_ref(&old));
    committed(&*store, vec![put("a", Expected::Any, "2")]).await;
    let page = snapshot.page(&Range::default()).await.unwrap();
    assert_eq!(
        page.entries,
        slice::from_ref(&old),
        "a snapshot does not change"
    );
    assert_eq!(answer.read(Vec::len).unwrap(), too_many);
    let newest = store.hold(vec![old; too_many]);
    let revoked = snapshot.page(&Range::default()).await;
    assert!(matches!(revoked, Err(StoreError::Revoked)));
    assert!(matches!(answer.read(Vec::len), Err(StoreError::Revoked)));
    assert_eq!(newest.read(Vec::len).unwrap(), too_many);
    let (held, _) = everything(&*store).await;
    assert_eq!(held, [entry("a").await]);
    committed(&*store, vec![delete("a", Expected::Any)]).await;
    assert!(matches!(newest.read(Vec::len), Err(StoreError::Revoked)));
}

pub async fn several_keys_are_read_as_of_one_moment(store: Arc<dyn Store>) {
    const ROUNDS: u64 = 200;
    let [a, b, c] = ["a", "b", "c"].map(key);
    let none = store.get_many(&[&b, &a]).await.unwrap();
    assert_eq!(none, [None, None]);
    let writer = Arc::clone(&store);
    let writing = tokio::spawn(async move {
        for round in 0..ROUNDS {
            let value = round.to_string();
            let both = vec![
                put("a", Expected::Any, &value),
                put("b", Expected::Any, &value),
            ];
            committed(&*writer, both).await;
        }
    });
    let mut is_over = false;
    while !is_over {
        is_over = writing.is_finished();
        let read = store.get_many(&[&b, &c, &a]).await.unwrap();
        assert_eq!((read.len(), &read[1]), (3, &None));
        let value = |index: usize| read[index].as_ref().map(|record| record.value.clone());
        assert_eq!(value(0), value(2));
        tokio::task::yield_now().await;
    }
    writing.await.unwrap();
    let read = store.get_many(&[&a, &b]).await.unwrap();
    assert_eq!(read, [got(&*store, "a").await, got(&*store, "b").await]);
    assert!(store.get_many(&[]).await.unwrap().is_empty());
}

pub async fn what_is_known_has_what_was_returned(store: Arc<dyn Store>) {
    let known = store.known();
    let before = known.position();
    assert_eq!(known.record(&key("a")), None);
    let mut last = before.revision;
    for value in ["1", "2"] {
        let written = committed(&*store, vec![put("a", Expected::Any, value)]).await;
        assert!(written.revision > last);
        last = written.revision;
        assert_eq!(known.record(&key("a")), written.records[0]);
        let conflicts = conflicts(&*store, vec![put("a", Expected::Absent, "0")]).await;
        assert_eq!(known.record(&key("a")), conflicts[0].current);
        let snapshot = known.snapshot();
        let page = snapshot.page(&Range::default()).await.unwrap();
        let records = page.entries.into_iter().map(|entry| Some(entry.record));
        assert_eq!(records.collect::<Vec<_>>(), written.records);
        assert_eq!(snapshot.position(), known.position());
        assert_eq!(snapshot.position().revision, last);
    }
    committed(&*store, vec![delete("a", Expected::Any)]).await;
    assert_eq!(known.record(&key("a")), None);
    let read = store.snapshot().await.unwrap();
    assert_eq!(read.position(), known.position());
    assert_eq!(known.position().state, before.state);
}

pub async fn a_list_is_ascending_and_pages_meet(store: Arc<dyn Store>) {
    for name in ["b", "a/2", "a", "a/1", "ü", "a0"] {
        committed(&*store, vec![put(name, Expected::Any, "0")]).await;
    }
    let list = |prefix, after, limit| listed(&*store, prefix, after, limit);
    let all: Vec<_> = ["a", "a/1", "a/2", "a0", "b", "ü"]
        .map(str::to_owned)
        .into();
    assert_eq!(list("", None, None).await, (all, false));
    assert_eq!(
        list("a/", None, None).await,
        (vec!["a/1".into(), "a/2".into()], false)
    );
    assert_eq!(list("a/", None, Some(1)).await, (vec!["a/1".into()], true));
    assert_eq!(
        list("a/", Some("a/1"), Some(1)).await,
        (vec!["a/2".into()], false)
    );
    assert_eq!(list("b", Some("a"), None).await, (vec!["b".into()], false));
    assert_eq!(list("a", Some("b"), None).await, (vec![], false));
    assert_eq!(
        list("", Some("a00"), Some(2)).await,
        (vec!["b".into(), "ü".into()], false)
    );
    assert_eq!(list("x", None, None).await, (vec![], false));
}
