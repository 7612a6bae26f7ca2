//! A right to create or to update is one at the moment of the commit.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ifmatch::access::{Authority, Tokens};
use ifmatch::model::{Change, ChangeSet, Expected, Operation, Record};
use ifmatch::storage::memory::MemoryStore;
use ifmatch::storage::{CommitError, Committed, Store};
use ifmatch::{Key, StoreError, Value};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{ADMIN, file, put, transact};
use crate::support::api::Api;
use crate::support::stores::{Changed, Otherwise};

/// Somebody else is faster: between the next decision on a key and the commit, or the refusal.
#[derive(Default)]
struct Overtaken {
    by: Mutex<Option<Operation>>,
}

impl Overtaken {
    async fn let_pass(&self, store: &MemoryStore, key: &Key) {
        let faster = self.by.lock().take();
        if let Some(operation) = faster {
            let change = Change {
                key: key.clone(),
                expected: Expected::Any,
                operation,
            };
            let deadline = Instant::now() + Duration::from_secs(60);
            store.commit(change.into(), deadline).await.unwrap();
        }
    }
}

#[async_trait]
impl Otherwise for Overtaken {
    async fn get(
        &self,
        store: &Arc<MemoryStore>,
        key: &Key,
    ) -> Result<Option<Arc<Record>>, StoreError> {
        let read = store.get(key).await?;
        self.let_pass(store, key).await;
        Ok(read)
    }

    async fn commit(
        &self,
        store: &Arc<MemoryStore>,
        changes: ChangeSet,
        deadline: Instant,
    ) -> Result<Committed, CommitError> {
        let key = changes.as_slice()[0].key.clone();
        self.let_pass(store, &key).await;
        store.commit(changes, deadline).await
    }
}

/// A service in which `creator` may only create, and `updater` only update.
fn service() -> (Api, Arc<Changed<Overtaken>>) {
    let store = Arc::new(Changed::<Overtaken>::default());
    let tokens = file(&[("creator", &[("", "c")]), ("updater", &[("", "u")])]);
    let authority = Authority::new(Tokens::parse(&tokens).unwrap(), None);
    let api = Api::guarded_by(Arc::clone(&store) as Arc<dyn Store>, authority);
    (api, store)
}

const BY_OTHER: &str = "\"of another\"";

#[tokio::test]
async fn who_may_only_create_replaces_nothing_that_was_created_meanwhile() {
    for (condition, status) in [(None, 403), (Some("*"), 412), (Some("\"x\""), 403)] {
        for in_transaction in [false, true] {
            let (api, store) = service();
            let value = Value::from_json(BY_OTHER.as_bytes()).unwrap();
            *store.by.lock() = Some(Operation::Put(value));
            let answer = if in_transaction {
                let condition = condition.map(|text| format!(",\"if_none_match\":{text:?}"));
                let condition = condition.unwrap_or_default();
                let put = format!(r#"{{"op":"put","key":"a","value":1{condition}}}"#);
                transact(&api, "creator", &put).await
            } else {
                let put = api.put("/kv/a", "1").by("creator");
                match condition {
                    None => put.send().await,
                    Some(tags) => put.if_none_match(tags).send().await,
                }
            };
            assert_eq!(answer.status, status, "{condition:?}: {answer:?}");
            let now = api.get("/kv/a").by(ADMIN).send().await.json();
            assert_eq!(
                (&now["value"], &now["version"]),
                (&"of another".into(), &1.into())
            );
        }
    }
}

#[tokio::test]
async fn who_may_only_update_creates_nothing_that_was_deleted_meanwhile() {
    for (condition, status) in [
        (None, 403),
        (Some(("if-match", "*")), 412),
        (Some(("if-match", "TAG")), 412),
        (Some(("if-none-match", "\"x\"")), 403),
    ] {
        for in_transaction in [false, true] {
            let (api, store) = service();
            let tag = put(&api, "a", "0").await.etag();
            *store.by.lock() = Some(Operation::Delete);
            let condition = condition.map(|(name, text)| (name, text.replace("TAG", &tag)));
            let answer = match (&condition, in_transaction) {
                (None, false) => api.put("/kv/a", "1").by("updater").send().await,
                (Some((name, text)), false) => {
                    let put = api.put("/kv/a", "1").by("updater");
                    put.header(name, text).send().await
                }
                (condition, true) => {
                    let condition = condition.as_ref().map_or(String::new(), |(name, text)| {
                        format!(",\"{}\":{text:?}", name.replace('-', "_"))
                    });
                    let put = format!(r#"{{"op":"put","key":"a","value":1{condition}}}"#);
                    transact(&api, "updater", &put).await
                }
            };
            assert_eq!(answer.status, status, "{condition:?}: {answer:?}");
            let now = api.get("/kv/a").by(ADMIN).send().await;
            assert_eq!(now.status, 404, "{condition:?}");
        }
    }
}

#[tokio::test]
async fn who_loses_a_race_that_changes_nothing_for_the_right_writes_all_the_same() {
    let (api, store) = service();
    put(&api, "a", "0").await;
    let value = Value::from_json(BY_OTHER.as_bytes()).unwrap();
    *store.by.lock() = Some(Operation::Put(value));
    let answer = api.put("/kv/a", "1").by("updater").send().await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["version"], 3);
    *store.by.lock() = Some(Operation::Delete);
    let answer = api.put("/kv/a", "2").by("creator").send().await;
    assert_eq!(answer.status, 403);
    let answer = api.put("/kv/a", "2").by("creator").send().await;
    assert_eq!(answer.status, 201);
}
