//! Many editors of few documents, each of whom reads, changes, saves, and merges when somebody was
//! faster: nobody's change is lost.

use std::time::{Duration, Instant};

use ifmatch::merge::merge;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::binary::Process;
use crate::support::http;

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
