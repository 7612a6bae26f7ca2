//! The engine: what it promises, also where several processes are on one etcd.

mod compacted;
mod conformance;
mod faults;
mod foreign;
mod limits;
mod nested;
mod older;
mod reopened;
mod restored;
mod shared;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use ifmatch::model::{
    Change, ChangeSet, Entry, Event, EventKind, Expected, Filter, Fingerprint, HistoryPage,
    HistoryPoint, HistoryQuery, IdempotencyKey, Key, Operation, PastEvent, Position, Range, Record,
    Request, ResumeToken, Revision, Value,
};
use ifmatch::storage::etcd::{EtcdStore, StoreSettings};
use ifmatch::storage::{CommitError, Committed, Store, StoreError, Subscription};
use tokio::time::{Instant, sleep, timeout};

use crate::support::cluster::EtcdCluster;
use crate::support::proxy::Proxy;

/// The root of the store in most tests.
const ROOT: &str = "/ifmatch";
/// Later than anything here takes.
const SOON: Duration = Duration::from_secs(60);

/// A store in a cluster, as one process has it.
async fn open(cluster: &EtcdCluster) -> Arc<EtcdStore> {
    open_with(cluster, StoreSettings::default()).await
}

async fn open_with(cluster: &EtcdCluster, settings: StoreSettings) -> Arc<EtcdStore> {
    let _ = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_test_writer()
        .try_init();
    let address = cluster.address(ROOT).parse().unwrap();
    Arc::new(EtcdStore::open(&address, settings).await.unwrap())
}

/// The same through a proxy.
async fn open_through(proxy: &Proxy) -> Arc<EtcdStore> {
    let address = format!("etcd://{}{ROOT}", proxy.endpoint());
    let address = address.parse().unwrap();
    Arc::new(EtcdStore::open(&address, impatient()).await.unwrap())
}

/// Settings of a store that does not wait long for etcd.
fn impatient() -> StoreSettings {
    let mut settings = StoreSettings::default();
    settings.connection.request_timeout = Duration::from_secs(2);
    settings
}

fn soon() -> Instant {
    Instant::now() + SOON
}

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

fn put(name: &str, expected: Expected, value: &str) -> Change {
    Change {
        key: key(name),
        expected,
        operation: Operation::Put(Value::from_json(value.as_bytes()).unwrap()),
    }
}

fn delete(name: &str) -> Change {
    Change {
        key: key(name),
        expected: Expected::Any,
        operation: Operation::Delete,
    }
}

fn all() -> Filter {
    Filter::Prefix(String::new())
}

fn request(name: &str, content: u8) -> Request {
    Request {
        key: IdempotencyKey::new(name).unwrap(),
        fingerprint: Fingerprint::from_bytes([content; Fingerprint::BYTES]),
    }
}

async fn commit(store: &EtcdStore, changes: Vec<Change>) -> Result<Committed, CommitError> {
    let changes = ChangeSet::new(changes).unwrap();
    store.commit(changes, soon()).await
}

/// Puts one value whatever was there. Returns the revision.
async fn write(store: &EtcdStore, name: &str, value: &str) -> Revision {
    let written = commit(store, vec![put(name, Expected::Any, value)]).await;
    written.unwrap().revision
}

async fn read(store: &EtcdStore, name: &str) -> Option<Arc<Record>> {
    store.get(&key(name)).await.unwrap()
}

/// The value of a key as text.
async fn value(store: &EtcdStore, name: &str) -> Option<String> {
    let record = read(store, name).await;
    record.map(|record| record.value.as_json().to_owned())
}

async fn list(store: &EtcdStore) -> (Position, Vec<Entry>) {
    let snapshot = store.snapshot().await.unwrap();
    let page = snapshot.page(&Range::default()).await.unwrap();
    (snapshot.position(), page.entries)
}

async fn watch(store: &EtcdStore, since: Option<ResumeToken>) -> Subscription {
    store.watch(all(), since).await.unwrap()
}

async fn take(subscription: &mut Subscription, count: usize) -> Vec<Event> {
    let mut events = Vec::new();
    while events.len() < count {
        let next = timeout(SOON, subscription.changes.next()).await;
        let event = next.expect("an event comes").expect("it does not end");
        events.push(Event::clone(&event));
    }
    events
}

/// What happened to one key before a point, the newest first.
async fn history_of(
    store: &EtcdStore,
    name: &str,
    before: HistoryPoint,
    limit: usize,
) -> HistoryPage {
    let query = HistoryQuery {
        filters: vec![Filter::Key(key(name))],
        before,
        limit,
        max_bytes: usize::MAX,
    };
    let page = ifmatch::storage::Past::history(store, query).await;
    page.unwrap()
}

/// Everything that happened, the newest first.
async fn history(store: &EtcdStore) -> (Vec<PastEvent>, Revision) {
    let query = HistoryQuery {
        filters: vec![all()],
        before: HistoryPoint::END,
        limit: 1000,
        max_bytes: usize::MAX,
    };
    let page = ifmatch::storage::Past::history(store, query).await.unwrap();
    assert_eq!(page.next, None);
    (page.events, page.oldest_revision)
}

/// Waits until `holds`.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < SOON, "{what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Commits of one change and of several, of which every key is created, replaced and deleted: seven events.
async fn write_a_little(store: &EtcdStore) {
    let put = |name, value| put(name, Expected::Any, value);
    for changes in [
        vec![put("a", "1")],
        vec![put("b", "2")],
        vec![put("c", "3"), delete("a"), put("b", "4")],
        vec![delete("b")],
        vec![put("a", "5")],
    ] {
        commit(store, changes).await.unwrap();
    }
}

fn described(event: &Event) -> (String, EventKind, String, String) {
    let Entry { key, record } = &event.entry;
    (
        event.cursor.to_string(),
        event.kind,
        key.to_string(),
        record.value.as_json().to_owned(),
    )
}

fn is_unavailable<T>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Unavailable(_)))
}
