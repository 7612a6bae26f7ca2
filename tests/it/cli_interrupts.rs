//! What was ended early says what is left, and can be gone on with.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::body::Bytes;
use axum::http::{StatusCode, Uri};
use axum::response::IntoResponse as _;
use axum::routing::any;
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;

use crate::support::binary::{BINARY, pid_of, soon};
use crate::support::cli::{
    Cli, Ran, Script, command_for, empty_server, export_of, file_with, finish, ran,
};

async fn with(key: &str, value: &str) -> Cli {
    let cli = Cli::start().await;
    cli.run(&["put", key, value]).await.assert_code(0);
    cli
}

/// Runs the command that a failed edit says goes on with its text, with an editor of these steps.
async fn resume(cli: &Cli, failed: &Ran, steps: &[&str]) -> Ran {
    let last = failed.stderr.lines().last().unwrap();
    let command = last.strip_prefix("To continue: ifmatch ").expect(last);
    assert!(command.starts_with("edit --resume "), "{command}");
    let script = Script::of(steps);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("'{BINARY}' {command}")])
        .env("TMPDIR", cli.kept());
    script.be_editor_of(&mut shell);
    finish(shell).await
}

fn spawn(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

async fn end(child: Child) -> Ran {
    ran(&soon(child.wait_with_output()).await.unwrap())
}

#[tokio::test]
async fn an_edit_that_a_signal_ends_names_its_file_and_can_be_resumed() {
    for (signal, name, code) in [(Signal::TERM, "SIGTERM", 143), (Signal::HUP, "SIGHUP", 129)] {
        let cli = with("a", r#"{"x":1,"y":1}"#).await;
        let ready = cli.folder.path().join("ready");
        // The editor saves, and is open still when the signal comes.
        let step = format!(
            r#"sed -i 's/"x": 1/"x": 2/' "$1"; mkfifo '{0}'; read -r line <'{0}'"#,
            ready.display()
        );
        let script = Script::of(&[&step]);
        let mut command = cli.command(&["edit", "a"]);
        script.be_editor_of(&mut command);
        let mut child = spawn(command);
        // Opening it waits for the editor to read.
        let opened = tokio::task::spawn_blocking(move || {
            loop {
                if ready.exists() {
                    break std::fs::File::options().write(true).open(&ready).unwrap();
                }
                std::thread::yield_now();
            }
        });
        let editor = soon(opened).await.unwrap();
        kill_process(pid_of(&child), signal).unwrap();
        soon(child.wait()).await.unwrap();
        // The editor has the same standard error, and ends when it has read all.
        drop(editor);
        let ran = end(child).await;
        ran.assert_code(code);
        assert!(ran.stderr.contains(name), "{ran:?}");
        assert!(ran.stderr.contains("The text is kept in "), "{ran:?}");
        assert_eq!(cli.value("a").await, r#"{"x":1,"y":1}"#);
        // What others have saved meanwhile is not undone.
        cli.run(&["patch", "a", r#"{"y":2}"#]).await.assert_code(0);
        let resumed = resume(&cli, &ran, &["true"]).await;
        resumed.assert_code(0);
        assert_eq!(cli.value("a").await, r#"{"x":2,"y":2}"#);
        assert!(cli.kept_files().is_empty());
    }
}

#[tokio::test]
async fn an_editor_that_fails_leaves_a_text_that_can_be_resumed() {
    let cli = with("a", r#"{"x":1}"#).await;
    let step = r#"sed -i 's/"x": 1/"x": 2/' "$1"; exit 7"#;
    let failed = cli.edit(&["a"], &[step]).await.ran;
    failed.assert_code(1);
    // A failure on the way loses nothing, either.
    let again = resume(&cli, &failed, &["exit 8"]).await;
    again.assert_code(1);
    let broken = resume(&cli, &again, &[r#"echo '{' >"$1""#, "true"]).await;
    broken.assert_code(1);
    let mended = resume(&cli, &broken, &[r#"echo '{"x":3}' >"$1""#]).await;
    mended.assert_code(0);
    assert_eq!(cli.value("a").await, r#"{"x":3}"#);
}

#[tokio::test]
async fn an_overlap_that_was_left_can_be_settled_later() {
    const TAKE_MINE: &str = r#"sed -i -e '/^|||||||/,/^>>>>>>>/d' -e '/^<<<<<<</d' "$1""#;
    let cli = with("a", r#"{"x":1,"y":1}"#).await;
    let conflict = r#"sed -i 's/"x": 1/"x": 2/' "$1"; ifmatch patch a '{"x":3,"y":3}'"#;
    let left = cli.edit(&["a"], &[conflict, "true"]).await.ran;
    left.assert_code(4);
    // To leave the editor settles nothing.
    let left = resume(&cli, &left, &["true", "true"]).await;
    assert_ne!(left.code, 0);
    assert_eq!(cli.value("a").await, r#"{"x":3,"y":3}"#);
    let settled = resume(&cli, &left, &[TAKE_MINE]).await;
    settled.assert_code(0);
    assert_eq!(cli.value("a").await, r#"{"x":2,"y":3}"#);
}

#[tokio::test]
async fn a_text_that_would_undo_what_it_has_not_seen_meets_the_conflict_again() {
    let cli = with("a", r#"{"x":1,"y":1}"#).await;
    // An editor that writes its own text over the marks.
    let same = r#"echo '{"x":2,"y":1}' >"$1""#;
    let first = format!(r#"{same}; ifmatch patch a '{{"x":3,"y":9}}'"#);
    let left = cli.edit(&["a"], &[&first, same]).await.ran;
    left.assert_code(4);
    let again = resume(&cli, &left, &["true", "true"]).await;
    again.assert_code(4);
    assert_eq!(cli.value("a").await, r#"{"x":3,"y":9}"#);
}

#[tokio::test]
async fn a_resumed_text_goes_with_its_key_and_what_it_was_made_from() {
    let cli = with("a", "1").await;
    cli.run(&["put", "b", "1"]).await.assert_code(0);
    let failed = cli.edit(&["a"], &["echo 2 >\"$1\"; exit 7"]).await.ran;
    failed.assert_code(1);
    let files = cli.kept_files();
    let text = files
        .iter()
        .find(|path| path.extension().unwrap() == "jsonc")
        .unwrap();
    let text = text.to_str().unwrap();
    let other = cli.run(&["edit", "b", "--resume", text]).await;
    assert!(other.assert_code(1).stderr.contains("key a"), "{other:?}");
    std::fs::remove_file(format!("{text}.base")).unwrap();
    let alone = cli.run(&["edit", "a", "--resume", text]).await;
    assert!(alone.assert_code(1).stderr.contains(".base"), "{alone:?}");
    assert_eq!(cli.kept_texts(), ["2\n"]);
    for key in ["a", "b"] {
        assert_eq!(cli.value(key).await, "1");
    }
}

#[tokio::test]
async fn a_text_is_resumed_by_a_link_whether_its_base_is_beside_the_link_or_the_text() {
    for is_beside_link in [false, true] {
        let cli = with("a", "1").await;
        let failed = cli.edit(&["a"], &["echo 2 >\"$1\"; exit 7"]).await.ran;
        failed.assert_code(1);
        let files = cli.kept_files();
        let is_text = |path: &&PathBuf| path.extension().unwrap() == "jsonc";
        let text = files.iter().find(is_text).unwrap();
        let link = cli.folder.path().join("link");
        std::os::unix::fs::symlink(text, &link).unwrap();
        if is_beside_link {
            let base = format!("{}.base", text.display());
            std::fs::rename(base, cli.folder.path().join("link.base")).unwrap();
        }
        let arguments = ["a", "--resume", link.to_str().unwrap()];
        // Also if it fails again.
        let again = cli.edit(&arguments, &["exit 7"]).await.ran;
        again.assert_code(1);
        let resumed = resume(&cli, &again, &["true"]).await;
        resumed.assert_code(0);
        assert_eq!(cli.value("a").await, "2");
    }
}

/// Returns when it was asked for this many entries.
async fn asked_for(entries: u32, asked: &AtomicU32) {
    let have_come = async {
        while asked.load(Ordering::SeqCst) < entries {
            tokio::task::yield_now().await;
        }
    };
    soon(have_come).await;
}

/// The keys that a request of an import writes.
fn written_keys(uri: &Uri, body: &[u8]) -> Vec<String> {
    if let Some(key) = uri.path().strip_prefix("/kv/") {
        return vec![key.to_owned()];
    }
    let body: Value = serde_json::from_slice(body).unwrap();
    let operations = body["operations"].as_array().unwrap().iter();
    let keys = operations.map(|put| put["key"].as_str().unwrap().to_owned());
    keys.collect()
}

/// Imports so many entries into a service that answers after the signal, which comes once so many entries were
/// sent to it; only a request with the `refused` key is answered at once. Returns also how many were sent in all.
/// Of what is refused, a key counts only when it comes alone.
async fn import_interrupted(
    entries: usize,
    refused: Option<&'static str>,
    sent: u32,
    signal: Signal,
) -> (Ran, u32) {
    let asked = Arc::new(AtomicU32::new(0));
    let may_answer = Arc::new(Semaphore::new(0));
    let (counter, permits) = (Arc::clone(&asked), Arc::clone(&may_answer));
    let write = any(move |uri: Uri, body: Bytes| async move {
        let keys = written_keys(&uri, &body);
        let is_refused = refused.is_some_and(|refused| keys.iter().any(|key| key == refused));
        if !is_refused || keys.len() == 1 {
            let count = u32::try_from(keys.len()).unwrap();
            counter.fetch_add(count, Ordering::SeqCst);
        }
        if is_refused {
            let body = r#"{"error":"value_too_large","message":"it is too large"}"#;
            return (StatusCode::PAYLOAD_TOO_LARGE, body).into_response();
        }
        permits.acquire().await.unwrap().forget();
        let written = [
            ("etag", "\"1-a\""),
            ("location", "/kv/a"),
            ("preference-applied", "return=minimal"),
        ];
        (StatusCode::NO_CONTENT, written).into_response()
    });
    let address = empty_server(write).await;
    let export = file_with(&export_of(entries));
    let child = spawn(command_for(&address, &["import", export.to_str().unwrap()]));
    asked_for(sent, &asked).await;
    kill_process(pid_of(&child), signal).unwrap();
    may_answer.add_permits(entries);
    (end(child).await, asked.load(Ordering::SeqCst))
}

#[tokio::test]
async fn a_signal_after_an_entry_has_failed_is_the_first_and_the_error_is_shown() {
    let (ran, _) = import_interrupted(64, Some("i/0"), 64, Signal::INT).await;
    assert_eq!(ran.assert_code(130).json()["created"], 63);
    ran.assert_says(&[
        "ifmatch: i/0: it is too large",
        "63 of 64 entries were written",
    ]);
}

#[tokio::test]
async fn an_import_that_a_signal_ends_says_how_far_it_was() {
    for (signal, name, code) in [
        (Signal::INT, "Ctrl-C", 130),
        (Signal::TERM, "SIGTERM", 143),
        (Signal::HUP, "SIGHUP", 129),
    ] {
        let (ran, sent) = import_interrupted(10_000, None, 10, signal).await;
        let created = ran.assert_code(code).json()["created"].as_u64().unwrap();
        // What is under way is waited for, and nothing else is begun.
        assert_eq!(created, u64::from(sent));
        assert!(created < 10_000, "{ran:?}");
        ran.assert_says(&[
            name,
            &format!("{created} of 10000 entries were written"),
            "run the import again",
        ]);
    }
}
