//! A store that cannot be reached, or that takes no commit of that size.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ifmatch::access::{Authority, Tokens};
use ifmatch::api::Limits;
use ifmatch::model::ChangeSet;
use ifmatch::service::Policy;
use ifmatch::storage::memory::MemoryStore;
use ifmatch::storage::{CommitError, Committed, Store, StoreError};
use serde_json::json;
use tokio::time::Instant;

use super::{JSON_PATCH, patch, transact};
use crate::support::access::{BOB, lines};
use crate::support::api::{Answer, Api, LIMITS};
use crate::support::log::Log;
use crate::support::shared::{Link, Process};
use crate::support::stores::{Changed, Otherwise};

#[track_caller]
fn assert_unavailable(answer: &Answer) {
    answer.assert_error(503, "unavailable");
    assert_eq!(answer.header("retry-after"), Some("1"));
    let message = answer.message();
    assert!(message.contains("nothing was done"), "{message}");
    assert!(
        !message.contains("link"),
        "nothing of the inside: {message}"
    );
}

#[tokio::test]
async fn nothing_is_done_and_nobody_is_refused_for_what_is_only_known() {
    let log = Log::default();
    let _logging = log.of_this_thread();
    let [(_, first), (process, api)] = Process::two();
    let tag = first.put("/kv/a", "1").send().await.etag();
    let list = api.get("/kv").send().await;
    process.set_link(Link::Down);
    let test = r#"[{"op":"test","path":"","value":2}]"#;
    let stale = "\"1-0000000000000000\"";
    for call in [
        api.get("/kv/a"),
        api.get("/kv/a").if_none_match(&tag),
        api.get("/kv/b"),
        api.get("/kv"),
        api.get("/kv").if_none_match(&list.etag()),
        api.get("/kv/a?revision=1"),
        api.get("/history/a"),
        api.get("/watch"),
        api.put("/kv/a", "2"),
        api.put("/kv/a", "2").if_match(&tag),
        api.put("/kv/a", "2").if_match(stale),
        api.put("/kv/a", "2").if_none_match("*"),
        api.delete("/kv/b"),
        patch(&api, "/kv/a", JSON_PATCH, test),
    ] {
        assert_unavailable(&call.send().await);
    }
    for tag in [&tag, stale] {
        let put = json!({"op": "put", "key": "a", "value": 2, "if_match": tag});
        assert_unavailable(&transact(&api, &json!([put])).await);
    }
    let health = api.get("/health").send().await;
    assert_eq!(health.status, 503);
    let store = &health.json()["store"];
    assert_eq!(
        (&store["readable"], &store["writable"], &store["problem"]),
        (&false.into(), &false.into(), &"the link is down".into())
    );
    assert_eq!(api.get("/health/ready").send().await.status, 503);
    process.set_link(Link::Up);
    let entry = api.get("/kv/a").send().await;
    assert_eq!((entry.etag(), entry.status.as_u16()), (tag, 200));
    assert_eq!(api.get("/health/ready").send().await.status, 200);
    let log = log.text();
    assert!(!log.contains("not known whether"), "{log}");
    assert!(!log.contains("ERROR"), "{log}");
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_waited_for_until_the_deadline() {
    let process = Process::on(&Arc::new(MemoryStore::new()));
    let limits = Limits {
        request_timeout: Duration::from_millis(100),
        ..LIMITS
    };
    let store: Arc<dyn Store> = Arc::clone(&process) as _;
    let api = Api::with(store, Policy::AllWrites, limits);
    api.put("/kv/a", "1").send().await;
    process.set_link(Link::Silent);
    let test = r#"[{"op":"test","path":"","value":2}]"#;
    for call in [
        api.get("/kv/a"),
        api.get("/kv"),
        api.put("/kv/a", "2").if_none_match("*"),
        api.delete("/kv/b"),
        patch(&api, "/kv/a", JSON_PATCH, test),
    ] {
        let answer = call.send().await;
        assert_unavailable(&answer);
        assert!(answer.message().contains("too long"), "{answer:?}");
    }
    let delete = json!({"op": "delete", "key": "b"});
    assert_unavailable(&transact(&api, &json!([delete])).await);
}

/// What is wrong with the store is for those who may see its figures.
#[tokio::test]
async fn a_caller_who_may_not_read_everything_is_not_told_what_is_wrong() {
    let shared = Arc::new(MemoryStore::new());
    let process = Process::on(&shared);
    process.set_link(Link::Down);
    let tokens = lines(
        "bob",
        BOB,
        "allow = [{ prefix = \"doc/\", actions = [\"read\"] }]",
    );
    let authority = Authority::new(Tokens::parse(&tokens).unwrap(), None);
    let api = Api::guarded_by(process as Arc<dyn Store>, authority);
    for token in ["", BOB] {
        let health = api.get("/health").by(token).send().await.json();
        let expected = json!({"engine": "shared", "readable": false, "writable": false});
        assert_eq!(health["store"], expected);
    }
}

/// A store that takes small commits only.
#[derive(Default)]
struct Small;

#[async_trait]
impl Otherwise for Small {
    async fn commit(
        &self,
        store: &Arc<MemoryStore>,
        changes: ChangeSet,
        deadline: Instant,
    ) -> Result<Committed, CommitError> {
        let operations = changes.as_slice().len();
        if operations > 2 {
            let limit = format!("it takes 2 operations in a commit, not {operations}");
            return Err(StoreError::TooLarge(limit).into());
        }
        store.commit(changes, deadline).await
    }
}

#[tokio::test]
async fn a_commit_that_is_too_large_for_the_store_is_refused_with_its_limit() {
    let log = Log::default();
    let _logging = log.of_this_thread();
    let store = Arc::new(Changed::<Small>::default());
    let api = Api::with(store as Arc<dyn Store>, Policy::AllWrites, LIMITS);
    let puts = |count: usize| {
        let put = |number| json!({"op": "put", "key": format!("k{number}"), "value": 1});
        (0..count).map(put).collect()
    };
    let answer = transact(&api, &puts(3)).await;
    answer.assert_error(413, "request_too_large");
    let message = answer.message();
    assert!(
        message.contains("2 operations in a commit, not 3"),
        "{message}"
    );
    assert_eq!(api.get("/kv").send().await.json()["items"], json!([]));
    assert_eq!(transact(&api, &puts(2)).await.status, 200);
    let log = log.text();
    assert!(!log.contains("not known whether"), "{log}");
}
