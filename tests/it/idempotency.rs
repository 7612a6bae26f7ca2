//! `Idempotency-Key`: a request that is sent again is done once, and answered as it was.

use std::sync::Arc;

use async_trait::async_trait;
use axum::http::{HeaderMap, Method};
use ifmatch::model::{ChangeSet, Entry, Filter, Key, Record, ResumeToken};
use ifmatch::service::Policy;
use ifmatch::storage::memory::MemoryStore;
use ifmatch::storage::{
    CommitError, Committed, Lease, Past, Snapshot, Status, Store, StoreError, Subscription,
};
use parking_lot::Mutex;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::races::Gated;
use crate::support::api::{Answer, Api, Call, LIMITS};
use crate::support::binary::{Process, soon};

pub const KEY: &str = "\"8e03978e-40d5\"";
const MERGE_PATCH: &str = "application/merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";

type Headers<'a> = &'a [(&'a str, &'a str)];

/// A request with an idempotency key. `TAG` stands for a tag.
#[derive(Debug, Clone, Copy)]
pub struct Sent<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub headers: Headers<'a>,
    pub body: &'a str,
}

impl Sent<'_> {
    pub fn call<'b>(&self, api: &'b Api, tag: &str) -> Call<'b> {
        let method: Method = self.method.parse().unwrap();
        let mut call = api.call(method, self.path);
        for (name, value) in self.headers {
            call = call.header(name, &value.replace("TAG", tag));
        }
        let is_typed = self.headers.iter().any(|(name, _)| *name == "content-type");
        if !self.body.is_empty() && !is_typed {
            call = call.header("content-type", "application/json");
        }
        call.body(self.body.to_owned())
    }

    async fn send(&self, api: &Api, tag: &str) -> Answer {
        self.call(api, tag)
            .header("idempotency-key", KEY)
            .send()
            .await
    }
}

const TRANSACTION: &str = r#"{"operations":[{"op":"put","key":"b","value":1},{"op":"put","key":"a","value":2},{"op":"delete","key":"d"},{"op":"check","key":"c","if_match":"*"}]}"#;

/// One request of each kind, all of which succeed while `a`, `c` and `d` exist, and `b` does not.
pub const REQUESTS: [Sent<'_>; 9] = [
    Sent {
        method: "PUT",
        path: "/kv/b",
        headers: &[],
        body: "{\"n\":1}",
    },
    Sent {
        method: "PUT",
        path: "/kv/a",
        headers: &[("if-match", "TAG")],
        body: "2",
    },
    Sent {
        method: "POST",
        path: "/kv/b",
        headers: &[("if-none-match", "*")],
        body: "{\"n\":1}",
    },
    Sent {
        method: "PATCH",
        path: "/kv/a",
        headers: &[("content-type", MERGE_PATCH), ("if-match", "TAG")],
        body: "{\"n\":2}",
    },
    Sent {
        method: "PATCH",
        path: "/kv/a",
        headers: &[("content-type", JSON_PATCH)],
        body: r#"[{"op":"test","path":"/n","value":1},{"op":"replace","path":"/n","value":2}]"#,
    },
    Sent {
        method: "DELETE",
        path: "/kv/a",
        headers: &[],
        body: "",
    },
    Sent {
        method: "DELETE",
        path: "/kv/a",
        headers: &[("if-match", "TAG")],
        body: "",
    },
    Sent {
        method: "POST",
        path: "/transactions",
        headers: &[],
        body: TRANSACTION,
    },
    Sent {
        method: "PUT",
        path: "/kv/a",
        headers: &[("if-match", "TAG"), ("prefer", "merge")],
        body: "{\"n\":1,\"m\":1}",
    },
];

/// Creates `a`, `c` and `d`. Returns the tag of `a`.
pub async fn set_scene(api: &Api) -> String {
    api.put("/kv/c", "3").send().await;
    api.put("/kv/d", "4").send().await;
    api.put("/kv/a", "{\"n\":1}").send().await.etag()
}

/// Without what is of one answer alone.
fn compared(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    headers.remove("x-request-id");
    headers.remove("idempotency-replayed");
    headers
}

#[track_caller]
pub fn assert_replay(again: &Answer, first: &Answer) {
    assert_eq!(again.status, first.status, "{again:?}");
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.text(), first.text());
    assert_eq!(compared(&again.headers), compared(&first.headers));
}

async fn state(api: &Api) -> String {
    api.get("/kv").send().await.text().to_owned()
}

#[tokio::test]
async fn a_request_that_is_sent_again_is_answered_as_it_was_and_not_done_again() {
    for prefer in ["return=representation", "return=minimal"] {
        for sent in REQUESTS {
            let api = Api::in_memory();
            let tag = set_scene(&api).await;
            let send = || {
                let call = sent.call(&api, &tag).header("idempotency-key", KEY);
                call.header("prefer", prefer).send()
            };
            let first = send().await;
            assert!(first.status.is_success(), "{sent:?}: {first:?}");
            assert_eq!(first.header("idempotency-replayed"), None);
            // Others go on.
            for key in ["a", "b", "c", "d"] {
                api.put(&format!("/kv/{key}"), "\"later\"").send().await;
            }
            let before = state(&api).await;
            for _ in 0..2 {
                assert_replay(&send().await, &first);
            }
            assert_eq!(state(&api).await, before, "{sent:?}");
        }
    }
}

#[tokio::test]
async fn a_replay_has_the_form_that_it_asks_for() {
    let api = Api::in_memory();
    let put = |prefer| {
        let call = api.put("/kv/a/b", "1").header("idempotency-key", KEY);
        call.header("prefer", prefer).send()
    };
    let first = put("return=representation").await;
    let minimal = put("return=minimal").await;
    assert_eq!(first.status, 201);
    assert_eq!(minimal.status, 204);
    assert_eq!(minimal.header("preference-applied"), Some("return=minimal"));
    for name in ["etag", "location", "last-modified"] {
        assert!(first.header(name).is_some());
        assert_eq!(minimal.header(name), first.header(name));
    }
    assert_replay(&put("return=representation").await, &first);
}

#[tokio::test]
async fn a_merge_is_replayed_as_a_merge() {
    let api = Api::in_memory();
    let tag = set_scene(&api).await;
    api.put("/kv/a", "{\"n\":2}").send().await;
    let sent = REQUESTS[8];
    let first = sent.send(&api, &tag).await;
    assert_eq!(first.header("preference-applied"), Some("merge"));
    assert_eq!(first.json()["value"], json!({"n": 2, "m": 1}));
    api.put("/kv/a", "\"later\"").send().await;
    assert_replay(&sent.send(&api, &tag).await, &first);
}

#[tokio::test]
async fn the_file_engine_replays_too() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::in_folder(folder.path()).await;
    let tag = set_scene(&api).await;
    let first = REQUESTS[1].send(&api, &tag).await;
    api.put("/kv/a", "\"later\"").send().await;
    assert_replay(&REQUESTS[1].send(&api, &tag).await, &first);
    api.close().await;
}

#[tokio::test]
async fn another_request_with_the_key_is_refused() {
    let api = Api::in_memory();
    set_scene(&api).await;
    let put = Sent {
        method: "PUT",
        path: "/kv/e/f",
        headers: &[],
        body: "1",
    };
    let first = put.send(&api, "").await;
    assert_eq!(first.status, 201);
    let before = state(&api).await;
    for other in [
        Sent { body: "2", ..put },
        Sent { body: " 1", ..put },
        Sent {
            path: "/kv/e/g",
            ..put
        },
        Sent {
            method: "POST",
            ..put
        },
        Sent {
            headers: &[("if-match", "*")],
            ..put
        },
        Sent {
            headers: &[("if-none-match", "\"a\"")],
            ..put
        },
        Sent {
            headers: &[("if-unmodified-since", "x")],
            ..put
        },
        Sent {
            headers: &[("prefer", "merge")],
            ..put
        },
    ]
    .into_iter()
    .chain(REQUESTS)
    {
        let answer = other.send(&api, "\"1-0\"").await;
        answer.assert_error(422, "idempotency_mismatch");
    }
    assert_eq!(state(&api).await, before);
    for same in [
        Sent {
            path: "/kv/e%2Ff",
            ..put
        },
        Sent {
            headers: &[("content-type", "application/x+json")],
            ..put
        },
        Sent {
            headers: &[("x-request-id", "2")],
            ..put
        },
    ] {
        let again = same.send(&api, "").await;
        assert_eq!(again.status, 201);
        assert_eq!(again.body, first.body);
    }
    let bare = put
        .call(&api, "")
        .header("idempotency-key", KEY.trim_matches('"'));
    assert_eq!(bare.send().await.body, first.body);
    assert_eq!(state(&api).await, before);
}

#[tokio::test]
async fn a_patch_of_another_kind_is_another_request() {
    let api = Api::in_memory();
    set_scene(&api).await;
    let patch = |content_type| {
        let call = api.call(Method::PATCH, "/kv/a").body("[]");
        let call = call.header("content-type", content_type);
        call.header("idempotency-key", KEY).send()
    };
    assert_eq!(patch(JSON_PATCH).await.status, 200);
    let other = patch(MERGE_PATCH).await;
    other.assert_error(422, "idempotency_mismatch");
}

#[tokio::test]
async fn a_key_that_cannot_be_read_is_refused_and_nothing_is_written() {
    let api = Api::in_memory();
    let tag = set_scene(&api).await;
    let before = state(&api).await;
    let too_long = "x".repeat(256);
    for key in [
        "", "\"\"", "\"a", "a b", "a\"b", "\"a\\b\"", "a;b=1", &too_long,
    ] {
        for sent in REQUESTS {
            let answer = sent.call(&api, &tag).header("idempotency-key", key);
            let answer = answer.send().await;
            answer.assert_error(400, "invalid_idempotency_key");
        }
    }
    let twice = REQUESTS[0].call(&api, "").header("idempotency-key", "a");
    let twice = twice.header("idempotency-key", "a").send().await;
    twice.assert_error(400, "invalid_idempotency_key");
    assert_eq!(state(&api).await, before);
    // A read is not a request that must be done once.
    let read = api
        .get("/kv/a")
        .header("idempotency-key", "\"")
        .send()
        .await;
    assert_eq!(read.status, 200);
}

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

/// A store that makes the first commit only when a key is read after it.
struct Late {
    store: Arc<MemoryStore>,
    waiting: Semaphore,
    held: Mutex<Option<ChangeSet>>,
}

#[async_trait]
impl Store for Late {
    async fn get(&self, key: &Key) -> Result<Option<Arc<Record>>, StoreError> {
        let held = self.held.lock().take();
        if let Some(changes) = held {
            let deadline = Instant::now() + LIMITS.request_timeout;
            self.store.commit(changes, deadline).await.unwrap();
        }
        self.store.get(key).await
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        self.store.snapshot().await
    }

    fn hold(&self, entries: Vec<Entry>) -> Lease<Vec<Entry>> {
        self.store.hold(entries)
    }

    async fn commit(
        &self,
        changes: ChangeSet,
        deadline: Instant,
    ) -> Result<Committed, CommitError> {
        if self.store.status().await.position.revision > 0 {
            return self.store.commit(changes, deadline).await;
        }
        *self.held.lock() = Some(changes);
        self.waiting.add_permits(1);
        std::future::pending().await
    }

    async fn watch(
        &self,
        filter: Filter,
        since: Option<ResumeToken>,
    ) -> Result<Subscription, StoreError> {
        self.store.watch(filter, since).await
    }

    fn past(&self) -> &dyn Past {
        self.store.past()
    }

    async fn status(&self) -> Status {
        self.store.status().await
    }

    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
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
        let store = Arc::new(Late {
            store: Arc::default(),
            waiting: Semaphore::new(0),
            held: Mutex::default(),
        });
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

#[tokio::test]
async fn a_refused_write_is_not_remembered() {
    let api = Api::in_memory();
    let tag = set_scene(&api).await;
    api.put("/kv/a", "{\"n\":2}").send().await;
    api.put("/kv/b", "1").send().await;
    let key = |index: usize| format!("refused-{index}");
    let send = |index: usize| {
        let call = REQUESTS[index].call(&api, &tag);
        call.header("idempotency-key", &key(index)).send()
    };
    send(1).await.assert_error(412, "precondition_failed");
    send(2).await.assert_error(412, "precondition_failed");
    send(4).await.assert_error(409, "patch_conflict");
    api.delete("/kv/d").send().await;
    send(7).await.assert_error(412, "precondition_failed");
    api.delete("/kv/a").send().await;
    send(5).await.assert_error(404, "not_found");
    // What was in the way is gone.
    api.delete("/kv/b").send().await;
    for (index, status) in [(2, 201), (5, 404)] {
        let answer = send(index).await;
        assert_eq!(answer.status, status, "{index}: {answer:?}");
        assert_eq!(answer.header("idempotency-replayed"), None);
    }
    api.delete("/kv/b").send().await;
    set_scene(&api).await;
    for index in [4, 7, 5] {
        let answer = send(index).await;
        // The transaction has replaced `a`.
        assert_eq!(answer.status, 200, "{index}: {answer:?}");
        assert_eq!(answer.header("idempotency-replayed"), None);
    }
}

#[tokio::test]
async fn a_transaction_that_only_checks_is_not_remembered() {
    let api = Api::in_memory();
    let check = Sent {
        body: r#"{"operations":[{"op":"check","key":"a"}]}"#,
        ..REQUESTS[7]
    };
    let before = check.send(&api, "").await;
    assert_eq!(before.json()["results"], json!([null]));
    api.put("/kv/a", "1").send().await;
    let after = check.send(&api, "").await;
    assert_eq!(after.json()["results"][0]["value"], 1);
    assert_eq!(after.header("idempotency-replayed"), None);
}

/// A proxy that passes the first request on, and loses the answer.
async fn losing_proxy(to: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut is_first = true;
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut service = TcpStream::connect(&to).await.unwrap();
            if is_first {
                let mut request = [0; 4096];
                let length = client.read(&mut request).await.unwrap();
                service.write_all(&request[..length]).await.unwrap();
                service.readable().await.unwrap();
                is_first = false;
                continue;
            }
            tokio::spawn(async move { copy_bidirectional(&mut client, &mut service).await });
        }
    });
    address
}

#[tokio::test]
async fn the_shell_function_of_the_readme_gets_the_answer_that_was_lost() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let mut blocks = readme.split("```sh\n").skip(1);
    let once = blocks.find(|block| block.contains("\nonce() {")).unwrap();
    let (once, _) = once.split_once("```").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &[]).await;
    let address = losing_proxy(process.address.clone()).await;
    let call = format!(
        "uuidgen() {{ cat /proc/sys/kernel/random/uuid; }}\n{once}\n\
         once -X PUT http://{address}/kv/a -H 'If-None-Match: *' \
         -H 'Content-Type: application/json' -d 1"
    );
    let run = || {
        let mut shell = tokio::process::Command::new("sh");
        shell.args(["-c", &call]).current_dir(folder.path());
        shell.output()
    };
    let first = run().await.unwrap();
    if String::from_utf8_lossy(&first.stderr).contains("not found") {
        println!("skipped: the README's examples need curl");
        return;
    }
    assert!(first.status.success(), "{first:?}");
    let entry: serde_json::Value = serde_json::from_slice(&first.stdout).unwrap();
    assert_eq!(
        (&entry["version"], &entry["revision"]),
        (&json!(1), &json!(1))
    );
    // Another call is another request.
    let second = run().await.unwrap();
    assert!(!second.status.success(), "{second:?}");
    let refused: serde_json::Value = serde_json::from_slice(&second.stdout).unwrap();
    assert_eq!(refused["error"], "precondition_failed");
    assert_eq!(refused["current"], entry);
}
