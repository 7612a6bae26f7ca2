//! `ifmatch verify`: what it says of whole, damaged, restored and edited files, and that it changes none.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::support::binary::{BINARY, Process, bare_command};
use crate::support::cli::{Ran, finish};
use crate::support::segments::segments;

async fn verify(folder: &Path) -> Ran {
    let mut command = bare_command(BINARY);
    command
        .arg("verify")
        .arg("--data")
        .arg(folder.join("data.json"));
    finish(command).await
}

/// Puts `count` versions of a few keys, and deletes one.
async fn write(process: &Process, count: usize) {
    let client = reqwest::Client::new();
    for number in 0..count {
        let url = process.url(&format!("/kv/doc/{}", number % 3));
        let written = client.put(&url).json(&json!({"n": number})).send().await;
        assert!(written.unwrap().status().is_success());
    }
    let deleted = client.delete(process.url("/kv/doc/0")).send().await;
    assert!(deleted.unwrap().status().is_success());
}

fn content(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap())
        .map(|file| {
            let name = file.file_name().to_string_lossy().into_owned();
            (name, fs::read(file.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[tokio::test]
async fn whole_files_are_described_and_left_as_they_are() {
    for (flags, leads_to_data) in [(&[][..], "yes"), (&["--journal-above", "0"], "beyond_it")] {
        let folder = tempdir().unwrap();
        let process = Process::start(folder.path(), flags).await;
        write(&process, 10).await;
        let running = verify(folder.path()).await;
        running
            .assert_code(1)
            .assert_says(&["in use by another process"]);
        process.kill().await;
        let before = content(folder.path());
        let verified = verify(folder.path()).await;
        verified.assert_code(0);
        assert_eq!(content(folder.path()), before);
        let verified = verified.json();
        let log = &verified["log"];
        assert_eq!(log["leads_to_data"], leads_to_data, "{verified}");
        assert_eq!(log["commits"], 11, "{verified}");
        assert_eq!(log["newest_revision"], 11, "{verified}");
        assert_eq!(log["oldest_revision"], 0, "{verified}");
        assert_eq!(log["torn_bytes"], 0, "{verified}");
        if flags.is_empty() {
            assert_eq!(
                (&verified["entries"], &verified["revision"]),
                (&json!(2), &json!(11))
            );
        }
    }
}

#[tokio::test]
async fn without_a_history_there_is_no_log_and_without_a_data_file_nothing() {
    let folder = tempdir().unwrap();
    verify(folder.path())
        .await
        .assert_code(1)
        .assert_says(&["data.json cannot be opened"]);
    let process = Process::start(folder.path(), &["--history", "never"]).await;
    write(&process, 4).await;
    process.stop().await;
    let verified = verify(folder.path()).await;
    assert_eq!(verified.json()["log"], Value::Null);
    assert_eq!(verified.json()["entries"], 2);
}

#[tokio::test]
async fn a_restored_backup_and_an_edited_file_are_told_apart() {
    let folder = tempdir().unwrap();
    let data = folder.path().join("data.json");
    let process = Process::start(folder.path(), &[]).await;
    write(&process, 4).await;
    process.stop().await;
    let backup = fs::read(&data).unwrap();
    let process = Process::start(folder.path(), &[]).await;
    write(&process, 4).await;
    process.stop().await;
    let current = fs::read_to_string(&data).unwrap();
    fs::write(&data, &backup).unwrap();
    let restored = verify(folder.path()).await.json();
    assert_eq!(restored["log"]["leads_to_data"], "past", "{restored}");
    fs::write(&data, current.replace("\"n\":1", "\"n\":100")).unwrap();
    let edited = verify(folder.path()).await.json();
    assert_eq!(edited["log"]["leads_to_data"], "edited", "{edited}");
}

#[tokio::test]
async fn damage_is_named_with_its_file_and_place() {
    let folder = tempdir().unwrap();
    let process = Process::start(folder.path(), &[]).await;
    write(&process, 4).await;
    process.stop().await;
    let segment = segments(folder.path()).pop().unwrap();
    let whole = fs::read(&segment).unwrap();
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&segment, &damaged).unwrap();
    let refused = verify(folder.path()).await;
    let name = segment.file_name().unwrap().to_string_lossy();
    refused.assert_code(1).assert_says(&[&name, "at byte"]);
    assert_eq!(fs::read(&segment).unwrap(), damaged);
    // Checksums and order are right, but a state does not follow from its records.
    let text = String::from_utf8(whole).unwrap();
    let forged: String = text.split_inclusive('\n').map(with_another_state).collect();
    assert_ne!(forged, text);
    fs::write(&segment, forged).unwrap();
    let refused = verify(folder.path()).await;
    refused
        .assert_code(1)
        .assert_says(&[&name, "its records make"]);
}

/// A frame of commits with another last state, and the checksum of that.
fn with_another_state(frame: &str) -> String {
    let text = &frame["\u{1e}".len() + 22..frame.len() - 1];
    let Some((before, state)) = text
        .rsplit_once("\"state\":\"")
        .filter(|_| text.contains("commits"))
    else {
        return frame.to_owned();
    };
    let digit = if state.starts_with('0') { '1' } else { '0' };
    let text = format!("{before}\"state\":\"{digit}{}", &state[1..]);
    let checksum = crc32fast::hash(text.as_bytes());
    format!("\u{1e}{:012x} {checksum:08x} {text}\n", text.len())
}
