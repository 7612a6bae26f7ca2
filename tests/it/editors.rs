//! Many editors of few documents, each of whom reads, changes, saves, and merges when somebody was
//! faster, or lets the service merge: nobody's change is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ifmatch::merge::merge;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::support::binary::{Process, soon};
use crate::support::http;
use crate::support::unreliable::{MODES_WITH_HISTORY, Persistent, Random, Unreliable, rounds};

const EDITORS: usize = 200;
const DOCUMENTS: usize = 20;

/// How long they edit: `IFMATCH_EDITORS_SECONDS`, or two seconds.
fn duration() -> Duration {
    let seconds = std::env::var("IFMATCH_EDITORS_SECONDS").ok();
    Duration::from_secs(seconds.map_or(2, |seconds| seconds.parse().unwrap()))
}

/// What an editor does: counts up its own member, deep in the document, and puts a new member in the
/// place of the one that it added the last time.
fn edited(mut value: Value, editor: usize, round: u64) -> Value {
    let members = value.as_object_mut().unwrap();
    members.remove(&format!("{editor}:{}", round - 1));
    members.insert(format!("{editor}:{round}"), json!({ "by": editor }));
    value["saves"][editor.to_string()] = json!(round);
    value
}

/// Edits until `end`; returns how often it saved and how often it had to merge.
async fn edit(client: Client, url: String, editor: usize, end: Instant) -> (u64, u64) {
    let (mut saves, mut merges) = (0, 0);
    while Instant::now() < end {
        let entry: Value = client.get(&url).send().await.unwrap().json().await.unwrap();
        let mut base = entry["value"].clone();
        let mut etag = entry["etag"].as_str().unwrap().to_owned();
        let mut mine = edited(base.clone(), editor, saves + 1);
        loop {
            let put = client.put(&url).header("if-match", &etag).json(&mine);
            let answer = put.send().await.unwrap();
            if answer.status() == StatusCode::OK {
                break;
            }
            assert_eq!(answer.status(), StatusCode::PRECONDITION_FAILED);
            let current = answer.json::<Value>().await.unwrap()["current"].take();
            let theirs = current["value"].clone();
            mine = merge(Some(&base), Some(&mine), Some(&theirs))
                .unwrap()
                .unwrap();
            base = theirs;
            current["etag"].as_str().unwrap().clone_into(&mut etag);
            merges += 1;
        }
        saves += 1;
    }
    (saves, merges)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_200_editors_of_20_documents_nobody_loses_a_change() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &[]).await;
    let client = http::client();
    let urls: Vec<_> = (0..DOCUMENTS)
        .map(|document| process.url(&format!("/kv/doc/{document}")))
        .collect();
    for url in &urls {
        let created = client
            .put(url)
            .json(&json!({"title": "shared", "saves": {}}));
        assert_eq!(created.send().await.unwrap().status(), StatusCode::CREATED);
    }
    let end = Instant::now() + duration();
    let mut editors = JoinSet::new();
    for editor in 0..EDITORS {
        let (client, url) = (client.clone(), urls[editor % DOCUMENTS].clone());
        editors.spawn(async move { (editor, edit(client, url, editor, end).await) });
    }
    let mut expected = vec![json!({"title": "shared", "saves": {}}); DOCUMENTS];
    let mut versions = [1; DOCUMENTS];
    let mut all_merges = 0;
    for (editor, (saves, merges)) in editors.join_all().await {
        assert!(saves > 0, "editor {editor} never got to save");
        let document = &mut expected[editor % DOCUMENTS];
        document["saves"][editor.to_string()] = json!(saves);
        document[format!("{editor}:{saves}")] = json!({ "by": editor });
        versions[editor % DOCUMENTS] += saves;
        all_merges += merges;
    }
    for ((url, expected), version) in urls.iter().zip(expected).zip(versions) {
        let entry: Value = client.get(url).send().await.unwrap().json().await.unwrap();
        assert_eq!(
            entry["value"], expected,
            "every last change stands, and no old one"
        );
        assert_eq!(
            entry["version"],
            json!(version),
            "every save is one version"
        );
    }
    let saves = versions.iter().sum::<u64>() - DOCUMENTS as u64;
    println!("{EDITORS} editors saved {saves} times and merged {all_merges} times");
    assert!(all_merges > 0, "nobody was ever in another's way");
    assert!(process.stop().await.status.success());
}

/// How many editors leave merging to the service, and how many of them share a list of the document.
const MERGED_EDITORS: u64 = 32;
const SHARING: u64 = 4;
/// How often the service is killed in each mode, unless `IFMATCH_EXACTLY_ONCE_ROUNDS` says otherwise.
const ROUNDS: u32 = 3;
/// A kill comes after so many saves of its round, at most.
const SAVES: u64 = 60;

/// An editor of one document who sends each save with the tag that was read, and asks for a merge.
struct Merged {
    client: Persistent,
    url: String,
    number: u64,
    /// The saves that were acknowledged, and those to the shared list.
    saves: u64,
    shared: Vec<Value>,
    merges: u64,
    conflicts: u64,
}

impl Merged {
    /// Counts up an own member, and every third time adds to a list that others add to as well.
    fn edited(&self, mut value: Value) -> Value {
        value["saves"][self.number.to_string()] = json!(self.saves + 1);
        if self.saves % 3 == 2 {
            let list = &mut value["lists"][self.list()];
            list.as_array_mut().unwrap().push(self.line());
        }
        value
    }

    fn line(&self) -> Value {
        json!([self.number, self.saves + 1])
    }

    fn list(&self) -> String {
        (self.number / SHARING).to_string()
    }

    async fn work(mut self, enough: Arc<AtomicBool>, saved: mpsc::UnboundedSender<()>) -> Self {
        let http = self.client.http().clone();
        let mut base = self.client.ask(&http.get(&self.url)).await.body;
        while !enough.load(Ordering::Relaxed) {
            loop {
                let request = http.put(&self.url).header("prefer", "merge");
                let request = request.header("if-match", base["etag"].as_str().unwrap());
                let attempt = self.saves + self.conflicts;
                let key = format!("\"{}:{attempt}\"", self.number);
                let request = request.header("idempotency-key", key);
                let request = request.json(&self.edited(base["value"].clone()));
                let reply = self.client.ask(&request).await;
                if reply.status == StatusCode::PRECONDITION_FAILED {
                    let list = json!([format!("/lists/{}", self.list())]);
                    assert_eq!(reply.body["conflicts"], list, "{reply:?}");
                    assert_eq!(reply.body["base"], base);
                    base = reply.body["current"].clone();
                    self.conflicts += 1;
                    continue;
                }
                assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
                let own = &reply.body["value"]["saves"][self.number.to_string()];
                assert_eq!(*own, json!(self.saves + 1));
                let plain = base["version"].as_u64().unwrap() + 1;
                self.merges += u64::from(reply.body["version"] != json!(plain));
                base = reply.body;
                break;
            }
            if self.saves % 3 == 2 {
                self.shared.push(self.line());
            }
            self.saves += 1;
            // Whoever counts may have heard enough.
            let _ = saved.send(());
        }
        self
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_32_editors_who_leave_merging_to_a_service_that_is_killed_nobody_loses_a_change() {
    for (mode, seed) in MODES_WITH_HISTORY.into_iter().zip(1..) {
        let mut service = Unreliable::start(mode, seed).await;
        let lists = (0..MERGED_EDITORS / SHARING).map(|list| (list.to_string(), json!([])));
        let lists: serde_json::Map<_, _> = lists.collect();
        let document = json!({"saves": {}, "lists": lists});
        let created = http::client().put(service.url("/kv/doc")).json(&document);
        assert_eq!(created.send().await.unwrap().status(), StatusCode::CREATED);
        let enough = Arc::<AtomicBool>::default();
        let (saved, mut acknowledgements) = mpsc::unbounded_channel();
        let mut editors = JoinSet::new();
        for number in 0..MERGED_EDITORS {
            let editor = Merged {
                client: Persistent::new(),
                url: service.unreliable_url("/kv/doc"),
                number,
                saves: 0,
                shared: Vec::new(),
                merges: 0,
                conflicts: 0,
            };
            editors.spawn(editor.work(Arc::clone(&enough), saved.clone()));
        }
        let mut random = Random::new(seed);
        for _ in 0..rounds(ROUNDS) {
            for _ in 0..=MERGED_EDITORS + random.below(SAVES) {
                soon(acknowledgements.recv()).await.unwrap();
            }
            service.restart().await;
        }
        enough.store(true, Ordering::Relaxed);
        let editors = soon(editors.join_all()).await;
        let got = http::get(service.url("/kv/doc")).await.unwrap();
        println!("{mode:?}");
        assert_has_all(&got.json().await.unwrap(), &editors);
    }
}

/// Asserts that a document has every save of the editors, once.
fn assert_has_all(entry: &Value, editors: &[Merged]) {
    let value = &entry["value"];
    for editor in editors {
        let own = value["saves"].get(editor.number.to_string());
        let saves = (editor.saves > 0).then(|| json!(editor.saves));
        assert_eq!(own, saves.as_ref());
        let list = value["lists"][editor.list()].as_array().unwrap().iter();
        let own = list.filter(|line| line[0] == json!(editor.number));
        assert!(own.eq(&editor.shared), "{entry}");
    }
    let sum = |number: fn(&Merged) -> u64| editors.iter().map(number).sum::<u64>();
    let saves = sum(|editor| editor.saves);
    let merges = sum(|editor| editor.merges);
    let conflicts = sum(|editor| editor.conflicts);
    println!("{saves} saves, {merges} of them merged, {conflicts} conflicts");
    let version = json!(saves + 1);
    assert_eq!(entry["version"], version, "every save is one version");
    assert!(merges > 0, "nobody was ever in another's way");
    assert!(conflicts > 0, "nobody ever wrote in the same place");
}
