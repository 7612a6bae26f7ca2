//! A retry while the first request is in progress.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use ifmatch::model::{ChangeSet, Key, Record};
use ifmatch::service::Policy;
use ifmatch::storage::memory::MemoryStore;
use ifmatch::storage::{CommitError, Committed, Store};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{REQUESTS, Sent, assert_replay};
use crate::support::api::{Api, LIMITS};
use crate::support::binary::soon;
use crate::support::stores::{Changed, Gated, Otherwise};

fn gated() -> (Arc<Gated>, Api) {
    let store = Arc::new(Gated::default());
    let api = Api::with(
        Arc::clone(&store) as Arc<dyn Store>,
        Policy::AllWrites,
        LIMITS,
    );
    (store, api)
}

#[tokio::test]
async fn the_key_of_a_request_in_progress_is_refused_until_that_ends() {
    let (store, api) = gated();
    let sender = api.clone();
    let first = tokio::spawn(async move { REQUESTS[0].send(&sender, "").await });
    store.waiting.acquire().await.unwrap().forget();
    // Whatever the request is: it is not known yet what the first one comes to.
    for sent in [REQUESTS[0], REQUESTS[2], REQUESTS[7]] {
        let answer = soon(sent.send(&api, "")).await;
        answer.assert_error(409, "idempotency_in_progress");
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    store.open.add_permits(1);
    let first = first.await.unwrap();
    assert_eq!(first.status, 201);
    assert_replay(&REQUESTS[0].send(&api, "").await, &first);
}

#[tokio::test]
async fn a_retry_after_a_hang_up_is_answered_with_what_the_first_request_did() {
    for sent in [REQUESTS[0], REQUESTS[2]] {
        let (store, api) = gated();
        let sender = api.clone();
        let first = tokio::spawn(async move { sent.send(&sender, "").await });
        store.waiting.acquire().await.unwrap().forget();
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        // Its commit is still waiting, and that of the retry waits behind it.
        let sender = api.clone();
        let retry = tokio::spawn(async move { sent.send(&sender, "").await });
        store.waiting.acquire().await.unwrap().forget();
        store.open.add_permits(2);
        let retry = retry.await.unwrap();
        assert_eq!(retry.status, 201);
        let entry = api.get("/kv/b").send().await;
        assert_eq!(entry.body, retry.body);
        assert_eq!(entry.json()["version"], 1);
        assert_eq!(api.get("/kv").send().await.json()["revision"], 1);
        assert_replay(&sent.send(&api, "").await, &retry);
    }
}

/// Makes the first commit only when a key is read after it.
struct Late {
    waiting: Semaphore,
    held: Mutex<Option<ChangeSet>>,
}

impl Default for Late {
    fn default() -> Self {
        Self {
            waiting: Semaphore::new(0),
            held: Mutex::default(),
        }
    }
}

#[async_trait]
impl Otherwise for Late {
    fn known(&self, store: &Arc<MemoryStore>, key: &Key) -> Option<Arc<Record>> {
        let held = self.held.lock().take();
        if let Some(changes) = held {
            let deadline = Instant::now() + LIMITS.request_timeout;
            let done = store.commit(changes, deadline).now_or_never();
            done.expect("memory does not wait").unwrap();
        }
        store.known().record(key)
    }

    async fn commit(
        &self,
        store: &Arc<MemoryStore>,
        changes: ChangeSet,
        deadline: Instant,
    ) -> Result<Committed, CommitError> {
        if store.status().await.position.revision > 0 {
            return store.commit(changes, deadline).await;
        }
        *self.held.lock() = Some(changes);
        self.waiting.add_permits(1);
        std::future::pending().await
    }
}

/// The retry must not be refused because of what its own first attempt has written.
#[tokio::test]
async fn a_retry_whose_first_attempt_is_done_while_it_is_decided_is_a_replay() {
    const CREATE: &str = r#"{"operations":[{"op":"put","key":"b","value":1,"if_none_match":"*"}]}"#;
    for sent in [
        REQUESTS[2],
        Sent {
            body: CREATE,
            ..REQUESTS[7]
        },
    ] {
        let store = Arc::new(Changed::<Late>::default());
        let api = Api::with(
            Arc::clone(&store) as Arc<dyn Store>,
            Policy::AllWrites,
            LIMITS,
        );
        let sender = api.clone();
        let first = tokio::spawn(async move { sent.send(&sender, "").await });
        store.waiting.acquire().await.unwrap().forget();
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        let retry = sent.send(&api, "").await;
        assert!(retry.status.is_success(), "{retry:?}");
        assert_eq!(retry.header("idempotency-replayed"), Some("true"));
        let other = sent.call(&api, "").header("idempotency-key", "other");
        other.send().await.assert_error(412, "precondition_failed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_50_at_once_one_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::in_folder(folder.path()).await;
    let mut senders = JoinSet::new();
    for _ in 0..50 {
        let api = api.clone();
        senders.spawn(async move {
            loop {
                let answer = REQUESTS[0].send(&api, "").await;
                if answer.status != 409 {
                    return answer;
                }
                tokio::task::yield_now().await;
            }
        });
    }
    let answers = senders.join_all().await;
    let first: Vec<_> = answers
        .iter()
        .filter(|answer| answer.header("idempotency-replayed").is_none())
        .collect();
    assert_eq!(first.len(), 1);
    for answer in &answers {
        assert_eq!(answer.status, 201);
        assert_eq!(answer.body, first[0].body);
    }
    assert_eq!(api.get("/kv").send().await.json()["revision"], 1);
    api.close().await;
}
