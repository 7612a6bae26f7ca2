//! Whose request a retry repeats, and what its sender may see and do now.

use std::path::Path;
use std::sync::Arc;

use ifmatch::access::{Authority, Tokens};
use ifmatch::service::Policy;
use ifmatch::storage::Store;
use ifmatch::storage::file::{FileStore, Journaling};
use ifmatch::storage::memory::MemoryStore;

use super::{KEY, REQUESTS, Sent, assert_replay, set_scene};
use crate::support::access::lines;
use crate::support::api::{Answer, Api, LIMITS};

/// A service on a store, where `ann` and `ben` may do what their letters say.
fn guarded(store: &Arc<dyn Store>, ann: &str) -> Api {
    let actions = |letters: &str| {
        let action = |letter| match letter {
            'r' => "\"read\"",
            'c' => "\"create\"",
            'u' => "\"update\"",
            _ => "\"delete\"",
        };
        letters.chars().map(action).collect::<Vec<_>>().join(", ")
    };
    let token = |name: &str, letters: &str| {
        let allow = format!(
            "allow = [{{ prefix = \"\", actions = [{}] }}]",
            actions(letters)
        );
        lines(name, name, &allow)
    };
    let tokens = token("ann", ann) + &token("ben", "rcud");
    let authority = Authority::new(Tokens::parse(&tokens).unwrap(), None);
    Api::guarded_by(Arc::clone(store), authority)
}

async fn send_by(api: &Api, sent: Sent<'_>, tag: &str, by: &str) -> Answer {
    let call = sent.call(api, tag).header("idempotency-key", KEY);
    call.by(by).send().await
}

#[tokio::test]
async fn each_writer_has_keys_of_its_own() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let api = guarded(&store, "rcud");
    let put = REQUESTS[0];
    let of_ann = send_by(&api, put, "", "ann").await;
    let of_ben = send_by(&api, put, "", "ben").await;
    assert_eq!((of_ann.status.as_u16(), of_ben.status.as_u16()), (201, 200));
    assert_eq!(of_ben.json()["modified_by"], "ben");
    assert_replay(&send_by(&api, put, "", "ann").await, &of_ann);
    assert_replay(&send_by(&api, put, "", "ben").await, &of_ben);
    let other = Sent { body: "1", ..put };
    let refused = send_by(&api, other, "", "ben").await;
    refused.assert_error(422, "idempotency_mismatch");
}

#[tokio::test]
async fn a_replay_needs_the_rights_of_today_and_shows_what_they_allow() {
    replays_by_rights(async |_| Arc::new(MemoryStore::new()) as Arc<dyn Store>).await;
}

#[tokio::test]
async fn a_replay_needs_the_same_rights_if_its_commit_is_read_from_the_log() {
    replays_by_rights(async |folder| {
        let path = folder.join("data.json");
        let store = FileStore::open(&path, Journaling::default()).await;
        Arc::new(store.unwrap()) as Arc<dyn Store>
    })
    .await;
}

async fn replays_by_rights(new_store: impl AsyncFn(&Path) -> Arc<dyn Store>) {
    for (index, needed) in [
        (0, "c"),
        (1, "u"),
        (3, "u"),
        (4, "ru"),
        (5, "d"),
        (7, "rcud"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let store = new_store(folder.path()).await;
        let scene = Api::with(Arc::clone(&store), Policy::AllWrites, LIMITS);
        let tag = set_scene(&scene).await;
        let sent = REQUESTS[index];
        let first = send_by(&guarded(&store, "rcud"), sent, &tag, "ann").await;
        assert!(first.status.is_success(), "{first:?}");
        let enough = format!("r{}", needed.trim_start_matches('r'));
        let same = send_by(&guarded(&store, &enough), sent, &tag, "ann").await;
        assert_replay(&same, &first);
        for missing in needed.chars() {
            let left: String = "rcud".chars().filter(|letter| *letter != missing).collect();
            let answer = send_by(&guarded(&store, &left), sent, &tag, "ann").await;
            answer.assert_error(403, "forbidden");
        }
        // A put shows what was sent; nothing else may be seen without the right to read.
        if !needed.contains('r') {
            let answer = send_by(&guarded(&store, needed), sent, &tag, "ann").await;
            if sent.method == "PUT" {
                assert_replay(&answer, &first);
            } else {
                assert_eq!(answer.status, 204);
                assert_eq!(answer.header("etag"), None);
                assert_eq!(answer.header("idempotency-replayed"), Some("true"));
            }
        }
    }
}
