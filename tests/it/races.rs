//! Many at once on one key: nobody's update is lost.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use ifmatch::error::{CommitError, StoreError};
use ifmatch::model::{Change, Key, Page, Range, Record};
use ifmatch::service::Policy;
use ifmatch::storage::memory::MemoryStore;
use ifmatch::storage::{Committed, Status, Store};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::support::api::{Answer, Api, LIMITS};

async fn at_once(api: &Api, count: usize, condition: (&'static str, String)) -> Vec<Answer> {
    let mut writers = JoinSet::new();
    for writer in 0..count {
        let (api, (name, value)) = (api.clone(), condition.clone());
        writers.spawn(async move {
            let json = writer.to_string();
            api.put("/kv/a", &json).header(name, &value).send().await
        });
    }
    writers.join_all().await
}

fn with_status(answers: &[Answer], status: u16) -> Vec<&Answer> {
    answers
        .iter()
        .filter(|answer| answer.status.as_u16() == status)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_50_writers_with_one_tag_one_wins() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::in_folder(folder.path()).await;
    let tag = api.put("/kv/a", "null").send().await.etag();
    let answers = at_once(&api, 50, ("if-match", tag)).await;
    let winner = with_status(&answers, 200);
    let losers = with_status(&answers, 412);
    assert_eq!((winner.len(), losers.len()), (1, 49));
    for loser in losers {
        assert_eq!(loser.json()["current"], winner[0].json());
    }
    assert_eq!(api.get("/kv/a").send().await.body, winner[0].body);
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_50_creators_one_creates() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::in_folder(folder.path()).await;
    let answers = at_once(&api, 50, ("if-none-match", "*".to_owned())).await;
    assert_eq!(with_status(&answers, 201).len(), 1);
    assert_eq!(with_status(&answers, 412).len(), 49);
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_without_a_precondition_all_count() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::in_folder(folder.path()).await;
    let answers = at_once(&api, 50, ("x-none", String::new())).await;
    let versions: BTreeSet<_> = answers
        .iter()
        .map(|answer| answer.json()["version"].as_u64().unwrap())
        .collect();
    assert_eq!(versions, (1..=50).collect());
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_counter_of_many_counts_them_all() {
    const CLIENTS: u64 = 32;
    const EACH: u64 = 10;
    let folder = tempfile::tempdir().unwrap();
    let api = Api::in_folder(folder.path()).await;
    api.put("/kv/counter", "0").send().await;
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let api = api.clone();
        clients.spawn(async move {
            for _ in 0..EACH {
                let mut entry = api.get("/kv/counter").send().await.json();
                loop {
                    let next = entry["value"].as_u64().unwrap() + 1;
                    let tag = entry["etag"].as_str().unwrap();
                    let call = api.put("/kv/counter", &next.to_string()).if_match(tag);
                    let answer = call.send().await;
                    match answer.status.as_u16() {
                        200 => break,
                        // Everything that the next attempt needs is in the answer.
                        412 => entry = answer.json()["current"].clone(),
                        _ => panic!("{answer:?}"),
                    }
                }
            }
        });
    }
    clients.join_all().await;
    let counter = api.get("/kv/counter").send().await.json();
    assert_eq!(counter["value"], CLIENTS * EACH);
    assert_eq!(counter["version"], CLIENTS * EACH + 1);
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_loses_a_race_but_whose_condition_still_holds_writes_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::in_folder(folder.path()).await;
    api.put("/kv/a", "null").send().await;
    let not_this = "\"1-0000000000000000\"".to_owned();
    let answers = at_once(&api, 50, ("if-none-match", not_this)).await;
    assert_eq!(with_status(&answers, 200).len(), 50);
    assert_eq!(api.get("/kv/a").send().await.json()["version"], 51);
    api.close().await;
}

/// A store whose commits wait until they are let through.
struct Gated {
    store: MemoryStore,
    waiting: Semaphore,
    open: Semaphore,
}

#[async_trait]
impl Store for Gated {
    async fn get(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        self.store.get(key).await
    }

    async fn list(&self, range: &Range) -> Result<Page, StoreError> {
        self.store.list(range).await
    }

    async fn commit(&self, changes: Vec<Change>) -> Result<Committed, CommitError> {
        self.waiting.add_permits(1);
        self.open.acquire().await.unwrap().forget();
        self.store.commit(changes).await
    }

    async fn status(&self) -> Status {
        self.store.status().await
    }

    async fn close(&self) {}
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_undo_what_was_begun() {
    let store = Arc::new(Gated {
        store: MemoryStore::new(),
        waiting: Semaphore::new(0),
        open: Semaphore::new(0),
    });
    let api = Api::with(
        Arc::clone(&store) as Arc<dyn Store>,
        Policy::AllWrites,
        LIMITS,
    );
    let caller = api.clone();
    let request = tokio::spawn(async move { caller.put("/kv/a", "1").send().await });
    store.waiting.acquire().await.unwrap().forget();
    request.abort();
    assert!(request.await.unwrap_err().is_cancelled());
    store.open.add_permits(1);
    while api.get("/kv/a").send().await.status.as_u16() != 200 {
        tokio::task::yield_now().await;
    }
}
