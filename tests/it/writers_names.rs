//! Who wrote an entry: in files, answers, events, exports and the texts of the command line.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use axum::http::{Method, StatusCode};
use axum::response::IntoResponse as _;
use axum::routing::any;
use ifmatch::Store;
use ifmatch::model::{Change, ChangeSet, Expected, Operation, Timestamp, Value};
use ifmatch::service::Policy;
use ifmatch::storage::Committed;
use ifmatch::storage::file::{FileStore, Journaling};
use ifmatch::storage::memory::MemoryStore;
use serde_json::{Value as Tree, json};
use tokio::time::Instant;

use crate::support::api::{Api, LIMITS};
use crate::support::binary::{command, run};
use crate::support::cli::{Cli, Script, command_for, finish, other_server};
use crate::support::events::Events;
use crate::watch::begin;

/// Names that a careless writer of JSON would damage.
const NAMES: [&str; 3] = ["ann", r#"Ann "the \ pen" <b>"#, "ü 🙂\u{202e}"];

fn change(key: &str, operation: Operation) -> Change {
    Change {
        key: key.parse().unwrap(),
        expected: Expected::Any,
        operation,
    }
}

fn put(key: &str, value: &str) -> Change {
    let value = Value::from_json(value.as_bytes()).unwrap();
    change(key, Operation::Put(value))
}

/// Commits as the writer with this name.
async fn commit(store: &dyn Store, name: Option<&str>, changes: Vec<Change>) -> Committed {
    let name = name.map(|name| name.parse().unwrap());
    let changes = ChangeSet::new(changes).unwrap().by(name);
    let deadline = Instant::now() + LIMITS.request_timeout;
    store.commit(changes, deadline).await.unwrap()
}

fn api_of(store: &Arc<impl Store + 'static>) -> Api {
    let store: Arc<dyn Store> = Arc::clone(store) as _;
    Api::with(store, Policy::AllWrites, LIMITS)
}

/// The names in a list by key; null where there is none.
fn names_of(list: &Tree) -> Vec<(&str, &Tree)> {
    let items = list["items"].as_array().unwrap().iter();
    items
        .map(|item| (item["key"].as_str().unwrap(), &item["modified_by"]))
        .collect()
}

/// Leaves a data file with an entry by each of `NAMES`, and one by nobody.
async fn leave_entries(folder: &Path) {
    let path = folder.join("data.json");
    let store = FileStore::open(&path, Journaling::Never).await.unwrap();
    for (name, number) in NAMES.iter().zip(0..) {
        let key = format!("by/{number}");
        commit(&store, Some(name), vec![put(&key, "{\"a\":1}")]).await;
    }
    commit(&store, None, vec![put("nobody", "1")]).await;
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_restart_keeps_names_and_a_name_is_the_last_member_of_an_entry() {
    for journaling in [Journaling::Never, Journaling::Above { bytes: 0 }] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.json");
        let store = FileStore::open(&path, journaling).await.unwrap();
        for (name, number) in NAMES.iter().zip(0..) {
            let changes = vec![put(&format!("a/{number}"), "1"), put(name, "2")];
            commit(&store, Some(name), changes).await;
        }
        commit(&store, None, vec![put("nobody", "1"), put("a/0", "2")]).await;
        store.close().await.unwrap();
        drop(store);
        let store = Arc::new(FileStore::open(&path, journaling).await.unwrap());
        let api = api_of(&store);
        let list = api.get("/kv").send().await.json();
        let [first, second, third] = NAMES.map(Tree::from);
        let mut expected = vec![
            ("a/0", &Tree::Null),
            ("a/1", &second),
            ("a/2", &third),
            (NAMES[1], &second),
            (NAMES[0], &first),
            ("nobody", &Tree::Null),
            (NAMES[2], &third),
        ];
        expected.sort_by_key(|(key, _)| *key);
        assert_eq!(names_of(&list), expected, "{journaling:?}");
        let shown = api.get("/kv/a/1").send().await;
        let end = format!("Z\",\"modified_by\":{second}}}");
        assert!(shown.text().ends_with(&end), "{shown:?}");
        assert!(
            !api.get("/kv/a/0")
                .send()
                .await
                .text()
                .contains("modified_by")
        );
        api.service.close().await.unwrap();
    }
}

#[tokio::test]
async fn who_wrote_an_entry_does_not_change_its_tag() {
    let named = MemoryStore::new();
    let anonymous = MemoryStore::new();
    let with_name = commit(&named, Some("ann"), vec![put("a", "1")]).await;
    let without = commit(&anonymous, None, vec![put("a", "1")]).await;
    let tag = |committed: &Committed| committed.records[0].as_ref().unwrap().etag();
    assert_eq!(tag(&with_name), tag(&without));
}

#[tokio::test]
async fn a_write_replaces_the_name_too_and_a_refusal_shows_whose_version_is_current() {
    let store = Arc::new(MemoryStore::new());
    let api = api_of(&store);
    commit(&*store, Some("ann"), vec![put("a", "1")]).await;
    let refused = api.put("/kv/a", "2").if_match("\"7-0\"").send().await;
    assert_eq!(refused.json()["current"]["modified_by"], "ann");
    let tag = api.get("/kv/a").send().await.etag();
    let replaced = api.put("/kv/a", "2").if_match(&tag).send().await;
    assert_eq!(replaced.json().get("modified_by"), None);
}

#[tokio::test]
async fn the_event_of_a_deletion_says_who_deleted_and_the_answer_who_wrote() {
    let store = Arc::new(MemoryStore::new());
    let api = api_of(&store);
    let response = begin(&api, "/watch", &[]).await;
    let mut events = Events::of(response.into_body());
    for name in NAMES {
        commit(&*store, Some(name), vec![put("a", "1"), put("b", "2")]).await;
        for _ in 0..2 {
            let event = events.next().await.unwrap();
            let key = event.json()["key"].as_str().unwrap().to_owned();
            let read = api.get(&format!("/kv/{key}")).send().await;
            assert_eq!(event.data.as_deref(), Some(read.text()));
            assert_eq!(event.json()["modified_by"], name);
        }
        let deletion = vec![change("b", Operation::Delete)];
        let deleted = commit(&*store, Some("ben"), deletion).await;
        let writer = &deleted.records[0].as_ref().unwrap().modified_by;
        assert_eq!(writer.as_ref().unwrap().as_str(), name);
        let event = events.next().await.unwrap();
        assert_eq!(event.event.as_deref(), Some("delete"));
        assert_eq!(event.json()["modified_by"], "ben");
        assert_eq!(event.json()["revision"], deleted.revision);

        let deleted = api.delete("/kv/a").send().await;
        assert_eq!(deleted.json()["modified_by"], name);
        let event = events.next().await.unwrap();
        assert_eq!(event.json().get("modified_by"), None, "nobody deleted it");
    }
}

#[tokio::test]
async fn a_data_file_without_names_is_loaded_and_written_again_without_a_change() {
    const DATA: &str = "{\"format\":1,\"revision\":1,\"entries\":{\n\
        \"a\":{\"value\":1,\"version\":1,\"revision\":1,\"modified_at\":\"2026-11-23T10:00:00.000Z\"}\n}}\n";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.json");
    std::fs::write(&path, DATA).unwrap();
    let store = FileStore::open(&path, Journaling::Never).await.unwrap();
    commit(&store, Some("ann"), vec![put("b", "1")]).await;
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(
        text.lines().nth(1).unwrap(),
        DATA.lines().nth(1).unwrap().to_owned() + ","
    );
    assert!(text.contains("\"modified_by\":\"ann\"}\n}}\n"), "{text}");
    store.close().await.unwrap();
}

#[tokio::test]
async fn an_invalid_name_in_a_data_file_is_refused_with_its_place() {
    for (name, reason) in [
        ("\"\"", "a name has 1 to 128 bytes"),
        ("\" ann\"", "no white space at either end"),
        ("\"a\\u0007\"", "no control characters"),
        ("7", "expected a string"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.json");
        let text = format!(
            "{{\"format\":1,\"revision\":1,\"entries\":{{\n\"a\":{{\"value\":1,\"version\":1,\"revision\":1,\
             \"modified_at\":\"2026-11-23T10:00:00.000Z\",\"modified_by\":{name}}}\n}}}}\n"
        );
        std::fs::write(&path, &text).unwrap();
        let refused = run(command(folder.path())).await;
        let message = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success(), "{name}");
        for part in ["data.json", "at line 2 column", reason] {
            assert!(message.contains(part), "{part}: {message}");
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}

#[tokio::test]
async fn commands_show_names_an_export_has_them_and_an_import_does_not_take_them() {
    let folder = tempfile::tempdir().unwrap();
    leave_entries(folder.path()).await;
    let from = Cli::start_in(folder, &[]).await;
    let listed = from.run(&["ls"]).await;
    let lines: Vec<Tree> = listed
        .assert_code(0)
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let names: Vec<_> = lines.iter().map(|entry| entry.get("modified_by")).collect();
    let expected = NAMES.map(Tree::from);
    let expected: Vec<_> = expected.iter().map(Some).chain([None]).collect();
    assert_eq!(names, expected);
    let got = from.run(&["get", "by/1"]).await.assert_code(0).json();
    assert_eq!(got["modified_by"], NAMES[1]);

    let exported = from.run(&["export"]).await;
    for (line, entry) in exported.assert_code(0).stdout.lines().skip(1).zip(&lines) {
        assert_eq!(serde_json::from_str::<Tree>(line).unwrap(), *entry);
    }
    let to = Cli::start().await;
    let imported = to.run_with_input(&["import"], &exported.stdout).await;
    assert_eq!(imported.assert_code(0).json()["created"], 4);
    let listed = to.run(&["ls"]).await;
    assert!(!listed.assert_code(0).stdout.contains("modified_by"));

    let refused = from.run(&["put", "by/0", "2"]).await;
    refused.assert_code(4).assert_says(&["(version 1 by ann)"]);
    let stale = from
        .run(&["put", "by/0", "2", "--if-match", "\"7-0\""])
        .await;
    stale
        .assert_code(4)
        .assert_says(&["version 1 by ann is current"]);
}

/// The entry as it was saved just now.
fn entry_by(version: u32, value: &str, name: Option<&str>) -> Tree {
    let mut entry = json!({
        "key": "a", "value": {"a": value}, "version": version, "revision": version,
        "etag": format!("\"{version}-x\""), "modified_at": Timestamp::from(SystemTime::now()).to_string(),
    });
    if let Some(name) = name {
        entry["modified_by"] = name.into();
    }
    entry
}

#[tokio::test]
async fn an_edit_that_conflicts_says_who_saved_and_when() {
    for (name, first_line, mark) in [
        (
            Some("ann"),
            "// ann saved version 6, just now. It and your text both change /a.",
            ">>>>>>> theirs: version 6 by ann",
        ),
        (
            Some("\u{9b}2J\n"),
            "// \\u009b2J\\u000a saved version 6, just now. It and your text both change /a.",
            ">>>>>>> theirs: version 6 by \\u009b2J\\u000a",
        ),
        (
            None,
            "// You and somebody else (version 6) both changed /a.",
            ">>>>>>> theirs: version 6",
        ),
    ] {
        let writes = Arc::new(AtomicU32::new(0));
        let router = axum::Router::new().fallback(any(move |method: Method| async move {
            if method == Method::GET {
                return axum::Json(entry_by(3, "base", None)).into_response();
            }
            if writes.fetch_add(1, Ordering::Relaxed) > 0 {
                return axum::Json(entry_by(7, "both", None)).into_response();
            }
            let current = entry_by(6, "theirs", name);
            let refusal =
                json!({"error": "precondition_failed", "message": "m", "current": current});
            (StatusCode::PRECONDITION_FAILED, axum::Json(refusal)).into_response()
        }));
        let address = other_server(router).await;
        let script = Script::of(&[
            r#"echo '{"a":"mine"}' >"$1""#,
            r#"echo '{"a":"both"}' >"$1""#,
        ]);
        let mut edit = command_for(&address, &["edit", "a"]);
        let kept = tempfile::tempdir().unwrap();
        edit.env("TMPDIR", kept.path());
        script.be_editor_of(&mut edit);
        finish(edit).await.assert_code(0);
        let seen = script.seen();
        assert_eq!(seen[1].lines().next(), Some(first_line));
        assert!(seen[1].lines().any(|line| line == mark), "{}", seen[1]);
    }
}
