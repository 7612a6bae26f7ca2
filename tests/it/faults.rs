//! A disk that stops taking writes, and takes them again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ifmatch::storage::file::{History, Settings};
use rustix::process::{Resource, Rlimit, getrlimit, prlimit};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::support::api::Api;
use crate::support::binary::{MODES, Process};
use crate::support::http;
use crate::support::mounts::Tmpfs;
use crate::support::segments::{copy_of, history_in, keeps_journal, segments};
use crate::support::writers::{shown_entries, stored_entries};

/// The data file and what lies beside it, to compare before and after.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.file_name().unwrap() != "filler")
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

/// Asserts what holds while the disk takes no writes, and that nothing is lost when it does again.
async fn assert_survives(
    api: &Api,
    folder: &Path,
    break_disk: impl FnOnce(),
    mend_disk: impl FnOnce(),
) {
    let big = format!("\"{}\"", "x".repeat(20_000));
    let before = api.put("/kv/a", "\"before\"").send().await;
    assert_eq!(before.status.as_u16(), 201);
    let on_disk = files(folder);
    break_disk();

    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let (api, big) = (api.clone(), big.clone());
        writers.spawn(async move { api.put(&format!("/kv/{writer}"), &big).send().await });
    }
    for answer in writers.join_all().await {
        answer.assert_error(500, "io");
        assert!(!answer.text().contains('/'), "no path is shown: {answer:?}");
    }
    api.put("/kv/a", &big)
        .if_match(&before.etag())
        .send()
        .await
        .assert_error(500, "io");
    api.delete("/kv/a").send().await.assert_error(500, "io");
    let read = api.get("/kv/a").send().await;
    assert_eq!(
        (read.status.as_u16(), read.body),
        (200, before.body.clone())
    );
    api.get("/kv/0").send().await.assert_error(404, "not_found");
    assert_eq!(api.get("/health/ready").send().await.status.as_u16(), 503);
    let health = api.get("/health").send().await.json();
    let store = &health["store"];
    assert_eq!(
        (&store["readable"], &store["writable"]),
        (&true.into(), &false.into())
    );
    let problem = store["problem"].as_str().unwrap();
    assert!(problem.contains("cannot be written"), "{problem}");
    assert!(!problem.contains('/'), "no path is shown: {problem}");
    assert_eq!(api.get("/health/live").send().await.status.as_u16(), 200);

    mend_disk();
    assert_eq!(
        files(folder),
        on_disk,
        "nothing changed, and nothing was left behind"
    );
    let after = api.put("/kv/a", &big).if_match(&before.etag()).send().await;
    assert_eq!(after.status.as_u16(), 200, "{after:?}");
    assert_eq!(after.json()["version"], 2);
    assert_eq!(after.json()["revision"], 2, "what failed took no number");
    assert_eq!(api.get("/health/ready").send().await.status.as_u16(), 200);
    let health = api.get("/health").send().await.json();
    assert_eq!(health["store"].get("problem"), None);
}

#[tokio::test]
async fn a_folder_that_goes_away_and_comes_back() {
    let home = tempfile::tempdir().unwrap();
    let (folder, away) = (home.path().join("data"), home.path().join("away"));
    std::fs::create_dir(&folder).unwrap();
    let api = Api::in_folder(&folder).await;
    let rename = |from: &Path, to: &Path| std::fs::rename(from, to).unwrap();
    assert_survives(
        &api,
        &folder,
        || rename(&folder, &away),
        || rename(&away, &folder),
    )
    .await;
    let last = api.get("/kv/a").send().await;
    api.close().await;
    let api = Api::in_folder(&folder).await;
    assert_eq!(api.get("/kv/a").send().await.body, last.body);
    assert_eq!(
        api.get("/kv").send().await.json()["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    api.close().await;
}

#[tokio::test]
async fn a_store_finds_out_by_itself_that_the_disk_is_back() {
    let home = tempfile::tempdir().unwrap();
    let (folder, away) = (home.path().join("data"), home.path().join("away"));
    std::fs::create_dir(&folder).unwrap();
    let api = Api::in_folder(&folder).await;
    api.put("/kv/a", "1").send().await;
    std::fs::rename(&folder, &away).unwrap();
    api.put("/kv/a", "2").send().await.assert_error(500, "io");
    std::fs::rename(&away, &folder).unwrap();
    let ready = async {
        while api.get("/health/ready").send().await.status.as_u16() != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ready)
        .await
        .unwrap();
    assert_eq!(api.get("/kv/a").send().await.json()["value"], 1);
    api.close().await;
}

#[tokio::test]
async fn without_its_lock_file_a_store_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::in_folder(folder.path()).await;
    api.put("/kv/a", "1").send().await;
    std::fs::remove_file(folder.path().join("data.json.lock")).unwrap();
    // Now somebody else can take it.
    let other = Api::in_folder(folder.path()).await;
    other.put("/kv/a", "2").send().await;
    api.put("/kv/a", "3").send().await.assert_error(500, "io");
    other.close().await;
    api.close().await;
    let last = Api::in_folder(folder.path()).await;
    assert_eq!(last.get("/kv/a").send().await.json()["value"], 2);
    last.close().await;
}

#[tokio::test]
async fn a_disk_that_is_full_and_emptied() {
    let Some(tmpfs) = Tmpfs::mount("256k") else {
        return;
    };
    let folder = tmpfs.path();
    let api = Api::in_folder(folder).await;
    let filler = folder.join("filler");
    let fill = || {
        let full = std::fs::write(&filler, vec![0; 1024 * 1024]).unwrap_err();
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    };
    assert_survives(&api, folder, fill, || {
        std::fs::remove_file(&filler).unwrap();
    })
    .await;
    api.close().await;
}

#[tokio::test]
async fn a_disk_that_turns_read_only_and_back() {
    let Some(tmpfs) = Tmpfs::mount("256k") else {
        return;
    };
    let folder = tmpfs.path();
    // A segment that is open would keep it from turning read-only.
    let settings = Settings {
        history: History::Never,
        ..Settings::default()
    };
    let api = Api::in_folder_with(folder, settings).await;
    assert_survives(&api, folder, || tmpfs.remount("ro"), || tmpfs.remount("rw")).await;
    api.close().await;
}

/// More than half of the disk: after a failure the data file is written anew beside the old one.
const FILLER_BYTES: usize = 640 * 1024;

#[tokio::test]
async fn a_disk_that_the_service_itself_fills() {
    for mode in MODES {
        let Some(tmpfs) = Tmpfs::mount("1m") else {
            return;
        };
        let filler = tmpfs.path().join("filler");
        std::fs::write(&filler, vec![0; FILLER_BYTES]).unwrap();
        let process = Process::start(tmpfs.path(), mode).await;
        let mut acknowledged = BTreeMap::new();
        let refused = loop {
            let key = format!("key/{:03}", acknowledged.len());
            match put(&process, &key).await {
                (200 | 201, entry) => acknowledged.insert(key, entry),
                (500, error) => {
                    assert_eq!(error["error"], "io");
                    break key;
                }
                other => panic!("{other:?}"),
            };
        };
        assert!(acknowledged.len() > 10, "{}", acknowledged.len());
        assert_eq!(shown_entries(&process).await, acknowledged, "reads go on");

        std::fs::remove_file(&filler).unwrap();
        for key in [refused, "one more".to_owned()] {
            let (status, entry) = put(&process, &key).await;
            assert_eq!(status, 201, "{entry}");
            acknowledged.insert(key, entry);
        }
        assert_eq!(shown_entries(&process).await, acknowledged);
        process.kill().await;
        assert_is_history(tmpfs.path(), mode, &acknowledged).await;
        let process = Process::start(tmpfs.path(), mode).await;
        assert_eq!(shown_entries(&process).await, acknowledged);
        assert!(process.stop().await.status.success());
    }
}

/// Asserts that the history is that these entries were put, in the order of their revisions.
async fn assert_is_history(folder: &Path, mode: &[&str], entries: &BTreeMap<String, Value>) {
    if let Some(history) = history_in(folder, mode).await {
        let mut entries: Vec<_> = entries.values().cloned().map(Some).collect();
        entries.sort_by_key(|entry| entry.as_ref().unwrap()["revision"].as_u64());
        let past: Vec<_> = history.into_iter().map(|happened| happened.put).collect();
        assert_eq!(past, entries, "{mode:?}");
    }
}

/// How many files the disk has room for, besides those that are there.
const INODES: &str = "64";

/// Appending to a segment takes no new file, and beginning the next one does.
#[tokio::test]
async fn a_disk_that_fills_while_a_segment_is_begun() {
    const MODE: [&str; 4] = ["--journal-above", "0", "--history-max-bytes", "1048576"];
    let Some(tmpfs) = Tmpfs::mount(&format!("8m,nr_inodes={INODES}")) else {
        return;
    };
    let process = Process::start(tmpfs.path(), &MODE).await;
    let mut acknowledged = BTreeMap::new();
    for key in ["a", "b"] {
        let (status, entry) = put(&process, key).await;
        assert_eq!(status, 201);
        acknowledged.insert(key.to_owned(), entry);
    }
    let folder = tmpfs.path().join("filler");
    std::fs::create_dir(&folder).unwrap();
    let filled = (0..10_000)
        .find(|number: &u32| std::fs::write(folder.join(number.to_string()), "").is_err());
    let before = segments(tmpfs.path());
    let refused = loop {
        let key = format!("key/{:03}", acknowledged.len());
        match put(&process, &key).await {
            (201, entry) => acknowledged.insert(key, entry),
            (500, error) => {
                assert_eq!(error["error"], "io");
                break key;
            }
            other => panic!("{other:?}"),
        };
    };
    assert!(acknowledged.len() > 5, "{}", acknowledged.len());
    assert_eq!(segments(tmpfs.path()), before, "none was begun");
    assert_eq!(put(&process, &refused).await.0, 500);
    assert_eq!(shown_entries(&process).await, acknowledged, "reads go on");
    let left = copy_of(tmpfs.path());
    assert_is_history(left.path(), &MODE, &acknowledged).await;

    for number in 0..filled.unwrap() {
        std::fs::remove_file(folder.join(number.to_string())).unwrap();
    }
    for number in 0..20 {
        let key = format!("more/{number}");
        let (status, entry) = put(&process, &key).await;
        assert_eq!(status, 201, "{entry}");
        acknowledged.insert(key, entry);
    }
    assert!(segments(tmpfs.path()).len() > before.len());
    process.kill().await;
    assert_is_history(tmpfs.path(), &MODE, &acknowledged).await;
    for folder in [tmpfs.path(), left.path()] {
        let process = Process::start(folder, &MODE).await;
        let shown = shown_entries(&process).await;
        assert!(shown.iter().all(|(key, entry)| acknowledged[key] == *entry));
        assert!(process.stop().await.status.success());
    }
}

/// Writes some thousand bytes under a key; the status and the body of the answer.
async fn put(process: &Process, key: &str) -> (u16, Value) {
    let url = process.url(&format!("/kv/{key}"));
    let sent = http::client().put(url).json(&"x".repeat(8000)).send();
    let answer = sent.await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Keeps `process` from having more than `more` files open besides those that it has.
fn allow_descriptors(process: &Process, more: usize) {
    let open: BTreeSet<u64> = std::fs::read_dir(format!("/proc/{}/fd", process.pid()))
        .unwrap()
        .map(|file| file.unwrap().file_name().to_str().unwrap().parse().unwrap())
        .collect();
    // A number must be below the limit.
    let mut free = (0..).filter(|number| !open.contains(number));
    limit_descriptors(process, free.nth(more));
}

fn limit_descriptors(process: &Process, limit: Option<u64>) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let new = Rlimit {
        current: limit,
        maximum,
    };
    prlimit(Some(process.pid()), Resource::Nofile, new).unwrap();
}

/// What it takes to write a file is one descriptor; after the rename none is needed any more.
#[tokio::test]
async fn a_lack_of_descriptors_refuses_a_write_or_does_not_matter() {
    for mode in MODES {
        let folder = tempfile::tempdir().unwrap();
        let process = Process::start(folder.path(), mode).await;
        // One connection, which is kept.
        let client = http::builder().pool_max_idle_per_host(1).build().unwrap();
        let put = async |key: &str| {
            let url = process.url(&format!("/kv/{key}"));
            let answer = client.put(url).json(&1).send().await.unwrap();
            let status = answer.status().as_u16();
            (status, answer.json::<Value>().await.unwrap())
        };
        for key in ["a", "b", "c"] {
            assert_eq!(put(key).await.0, 201);
        }
        allow_descriptors(&process, 1);
        let (status, body) = put("d").await;
        assert_eq!(status, 201, "{mode:?}: {body}");
        allow_descriptors(&process, 0);
        let (status, body) = put("e").await;
        if keeps_journal(mode) {
            assert_eq!(status, 201, "{body}: an append needs none");
        } else {
            assert_eq!((status, &body["error"]), (500, &"io".into()));
            let message = body["message"].as_str().unwrap();
            assert!(message.contains("was not applied"), "{message}");
        }
        limit_descriptors(&process, Some(1024));
        assert!([200, 201].contains(&put("e").await.0));
        let shown = shown_entries(&process).await;
        assert_eq!(shown.len(), 5);
        process.kill().await;
        let process = Process::start(folder.path(), mode).await;
        assert_eq!(shown_entries(&process).await, shown, "{mode:?}");
    }
}

const JOURNAL: [&str; 2] = ["--journal-above", "0"];

/// A process with a journal, and what it acknowledged.
async fn with_journal(folder: &Path) -> (Process, BTreeMap<String, Value>) {
    let process = Process::start(folder, &JOURNAL).await;
    for key in ["a", "b", "c"] {
        assert_eq!(put(&process, key).await.0, 201);
    }
    let shown = shown_entries(&process).await;
    (process, shown)
}

async fn assert_not_closed_well(process: Process) {
    let ended = process.stop().await;
    assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
    let said = "ifmatch: the store could not be closed cleanly: ";
    assert!(ended.log.contains(said), "{}", ended.log);
    assert!(!ended.log.contains("panicked"), "{}", ended.log);
}

#[tokio::test]
async fn a_store_that_cannot_be_closed_well_says_so_in_its_exit_code_and_loses_nothing() {
    let home = tempfile::tempdir().unwrap();
    let (folder, away) = (home.path().join("data"), home.path().join("away"));
    std::fs::create_dir(&folder).unwrap();
    let (process, shown) = with_journal(&folder).await;
    std::fs::rename(&folder, &away).unwrap();
    assert_not_closed_well(process).await;
    let process = Process::start(&away, &JOURNAL).await;
    assert_eq!(shown_entries(&process).await, shown);

    let Some(tmpfs) = Tmpfs::mount("256k") else {
        return;
    };
    let (process, shown) = with_journal(tmpfs.path()).await;
    let filler = tmpfs.path().join("filler");
    std::fs::write(&filler, vec![0; 1024 * 1024]).unwrap_err();
    assert_not_closed_well(process).await;
    std::fs::remove_file(&filler).unwrap();
    let process = Process::start(tmpfs.path(), &JOURNAL).await;
    assert_eq!(shown_entries(&process).await, shown);
    assert!(process.stop().await.status.success());
}

/// Without a journal all is in the data file already, wherever that is.
#[tokio::test]
async fn a_small_store_whose_folder_was_moved_away_is_closed_well_and_one_that_was_removed_is_not()
{
    let home = tempfile::tempdir().unwrap();
    let (folder, away) = (home.path().join("data"), home.path().join("away"));
    std::fs::create_dir(&folder).unwrap();
    let process = Process::start(&folder, &[]).await;
    assert_eq!(put(&process, "a").await.0, 201);
    std::fs::rename(&folder, &away).unwrap();
    let ended = process.stop().await;
    assert!(ended.status.success(), "{}", ended.log);
    assert_eq!(stored_entries(&away).len(), 1);

    let process = Process::start(&away, &[]).await;
    std::fs::remove_dir_all(&away).unwrap();
    assert_not_closed_well(process).await;
}
