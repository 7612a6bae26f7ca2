//! Short forms of the operations on a store.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::{
    Change, ChangeSet, Entry, Expected, Key, Operation, Range, Record, Revision, Value,
};
use crate::storage::{CommitError, Committed, Conflict, Store};

pub async fn everything(store: &dyn Store) -> (Vec<Entry>, Revision) {
    let snapshot = store.snapshot().await.unwrap();
    let page = snapshot.page(&Range::default()).await.unwrap();
    (page.entries, snapshot.position().revision)
}

pub fn key(text: &str) -> Key {
    text.parse().unwrap()
}

pub fn put(name: &str, expected: Expected, value: &str) -> Change {
    Change {
        key: key(name),
        expected,
        operation: Operation::Put(Value::from_json(value.as_bytes()).unwrap()),
    }
}

pub fn delete(name: &str, expected: Expected) -> Change {
    Change {
        key: key(name),
        expected,
        operation: Operation::Delete,
    }
}

pub fn set(changes: Vec<Change>) -> ChangeSet {
    ChangeSet::new(changes).unwrap()
}

/// Later than any test takes.
pub fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(600)
}

pub async fn committed(store: &dyn Store, changes: Vec<Change>) -> Committed {
    store.commit(set(changes), deadline()).await.unwrap()
}

pub async fn conflicts(store: &dyn Store, changes: Vec<Change>) -> Vec<Conflict> {
    match store.commit(set(changes), deadline()).await {
        Err(CommitError::Conflict(conflicts)) => conflicts,
        other => panic!("a conflict was expected, not {other:?}"),
    }
}

pub async fn got(store: &dyn Store, name: &str) -> Option<Arc<Record>> {
    store.get(&key(name)).await.unwrap()
}

pub async fn listed(
    store: &dyn Store,
    prefix: &str,
    after: Option<&str>,
    limit: Option<usize>,
) -> (Vec<String>, bool) {
    let range = Range {
        prefix: prefix.to_owned(),
        after: after.map(str::to_owned),
        limit,
    };
    let page = store.snapshot().await.unwrap().page(&range).await.unwrap();
    let keys = page.entries.iter().map(|entry| entry.key.to_string());
    (keys.collect(), page.more)
}
