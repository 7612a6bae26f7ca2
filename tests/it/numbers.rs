//! Versions and revisions at the end of their range.

use std::fs;
use std::path::Path;

use axum::http::Method;
use tempfile::tempdir;

use crate::support::api::Api;
use crate::support::binary::{MODES, Process, command};
use crate::support::http;

/// The last number that every JSON reader holds exactly.
const LAST: u64 = (1 << 53) - 1;
const MOMENT: &str = "2026-11-23T10:00:00.000Z";

/// A data file with the entry `a`.
fn data(revision: &str, version: &str, entry_revision: &str) -> String {
    format!(
        "{{\"format\":1,\"revision\":{revision},\"entries\":{{\n\"a\":{{\"value\":1,\"version\":{version},\
         \"revision\":{entry_revision},\"modified_at\":\"{MOMENT}\"}}\n}}}}\n"
    )
}

/// A frame of a log or of an old journal.
pub fn frame(text: &str) -> String {
    let checksum = crc32fast::hash(text.as_bytes());
    format!("\u{1e}{:012x} {checksum:08x} {text}\n", text.len())
}

async fn assert_refused(folder: &Path, named: &[&str]) {
    let state = |name: &str| fs::read(folder.join(name)).ok();
    let files = [
        "data.json",
        "data.json.journal",
        "data.json.commits.00000001",
    ];
    let before = files.map(state);
    let mut command = command(folder);
    command.args(["--listen", "127.0.0.1:0"]);
    let Err(refused) = Process::try_spawn(command).await else {
        panic!("it started: {named:?}");
    };
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr);
    for part in named {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(files.map(state), before);
}

#[tokio::test]
async fn a_number_past_the_last_is_refused_at_the_start_by_its_name() {
    for (number, is_past) in [
        ("18446744073709551615", true),
        ("9223372036854775807", true),
        ("9007199254740992", true),
        ("9007199254740991", false),
    ] {
        for (text, name) in [
            (data(number, "1", "1"), "revision"),
            (data(number, "1", number), "revision"),
            (data("1", number, "1"), "version"),
        ] {
            let folder = tempdir().unwrap();
            fs::write(folder.path().join("data.json"), text).unwrap();
            if is_past {
                let named = format!("the {name} {number}");
                assert_refused(folder.path(), &["data.json", &named, "at line"]).await;
            } else {
                Process::start(folder.path(), &[]).await;
            }
        }
    }
}

#[tokio::test]
async fn a_number_past_the_last_is_refused_in_a_journal_too() {
    let max = u64::MAX;
    let record = |version: u64, revision: u64| {
        format!(
            "{{\"a\":{{\"value\":2,\"version\":{version},\"revision\":{revision},\
             \"modified_at\":\"{MOMENT}\"}}}}"
        )
    };
    let first = |revision: u64| format!("{{\"format\":1,\"revision\":{revision}}}");
    let group = |after: u64, revision: u64, changes: &str| {
        format!("{{\"after\":{after},\"revision\":{revision},\"changes\":{changes}}}")
    };
    for (frames, name) in [
        (vec![first(max)], "revision"),
        (vec![first(1), group(1, max, &record(2, max))], "revision"),
        (vec![first(1), group(max, 2, &record(2, 2))], "revision"),
        (vec![first(1), group(1, 2, &record(2, max))], "revision"),
        (vec![first(1), group(1, 2, &record(max, 2))], "version"),
    ] {
        let folder = tempdir().unwrap();
        fs::write(folder.path().join("data.json"), data("1", "1", "1")).unwrap();
        let journal: String = frames.iter().map(|text| frame(text)).collect();
        fs::write(folder.path().join("data.json.journal"), journal).unwrap();
        let named = format!("the {name} {max}");
        assert_refused(folder.path(), &["data.json.journal", &named, "at byte"]).await;
    }
}

#[tokio::test]
async fn a_number_past_the_last_is_refused_in_a_segment_too() {
    let max = u64::MAX;
    let changes = |version: u64, revision: u64| {
        format!(
            "{{\"a\":{{\"value\":2,\"version\":{version},\"revision\":{revision},\
             \"modified_at\":\"{MOMENT}\"}}}}"
        )
    };
    let state = "0000000000000000";
    let first = |revision: u64| {
        format!(
            "{{\"format\":1,\"log\":\"{state}\",\"journal\":true,\"revision\":{revision},\
             \"state\":\"{state}\",\"at\":\"{MOMENT}\"}}"
        )
    };
    let group = |after: u64, revision: u64, changes: &str| {
        format!(
            "{{\"after\":{after},\"commits\":[{{\"revision\":{revision},\"at\":\"{MOMENT}\",\
             \"changes\":{changes},\"state\":\"{state}\"}}]}}"
        )
    };
    for (frames, name) in [
        (vec![first(max)], "revision"),
        (vec![first(1), group(max, 2, &changes(2, 2))], "revision"),
        (vec![first(1), group(1, max, &changes(2, max))], "revision"),
        (vec![first(1), group(1, 2, &changes(2, max))], "revision"),
        (vec![first(1), group(1, 2, &changes(max, 2))], "version"),
    ] {
        let folder = tempdir().unwrap();
        let named = data("1", "1", "1").replacen(
            "\"entries\"",
            &format!("\"journal\":\"{state}\",\"entries\""),
            1,
        );
        fs::write(folder.path().join("data.json"), named).unwrap();
        let segment: String = frames.iter().map(|text| frame(text)).collect();
        fs::write(folder.path().join("data.json.commits.00000001"), segment).unwrap();
        let named = format!("the {name} {max}");
        assert_refused(folder.path(), &["data.json.commits.00000001", &named]).await;
    }
}

#[tokio::test]
async fn after_the_last_revision_a_commit_fails_and_changes_nothing() {
    for mode in MODES {
        let folder = tempdir().unwrap();
        let last_but_one = (LAST - 1).to_string();
        fs::write(
            folder.path().join("data.json"),
            data(&last_but_one, "1", "1"),
        )
        .unwrap();
        let process = Process::start(folder.path(), mode).await;
        let client = http::client();
        let put = async |value: u32| {
            let put = client.put(process.url("/kv/b")).json(&value).send().await;
            put.unwrap()
        };
        let last: serde_json::Value = put(1).await.json().await.unwrap();
        assert_eq!(last["revision"], LAST);
        let state = || fs::read(folder.path().join("data.json")).unwrap();
        let before = state();
        for _ in 0..3 {
            let failed = put(2).await;
            assert_eq!(failed.status(), 500);
            let body: serde_json::Value = failed.json().await.unwrap();
            assert_eq!(body["error"], "io");
        }
        let deleted = client.delete(process.url("/kv/a")).send().await.unwrap();
        assert_eq!(deleted.status(), 500);
        let read = client.get(process.url("/kv/b")).send().await.unwrap();
        assert_eq!(read.json::<serde_json::Value>().await.unwrap(), last);
        assert_eq!(state(), before);
        let check = r#"{"operations":[{"op":"check","key":"b","if_match":"*"}]}"#;
        let check = client.post(process.url("/transactions")).body(check);
        let check = check.header("content-type", "application/json").send();
        assert_eq!(check.await.unwrap().status(), 200);
        process.stop().await;
        let process = Process::start(folder.path(), mode).await;
        let read = client.get(process.url("/kv/b")).send().await.unwrap();
        assert_eq!(read.json::<serde_json::Value>().await.unwrap(), last);
    }
}

#[tokio::test]
async fn after_the_last_version_only_that_key_can_not_be_replaced() {
    let folder = tempdir().unwrap();
    fs::write(
        folder.path().join("data.json"),
        data("1", &LAST.to_string(), "1"),
    )
    .unwrap();
    let api = Api::in_folder(folder.path()).await;
    let before = api.get("/kv").send().await;
    api.put("/kv/a", "2").send().await.assert_error(500, "io");
    let both =
        r#"{"operations":[{"op":"put","key":"b","value":1},{"op":"put","key":"a","value":2}]}"#;
    let call = api.call(Method::POST, "/transactions").json(both);
    call.send().await.assert_error(500, "io");
    assert_eq!(api.get("/kv").send().await.body, before.body);
    assert_eq!(api.put("/kv/b", "1").send().await.status.as_u16(), 201);
    assert_eq!(api.delete("/kv/a").send().await.status.as_u16(), 200);
    let again = api.put("/kv/a", "1").send().await.json();
    assert_eq!(again["version"], 1);
    api.close().await;
}
