//! What messages say about rights, and the commands that they suggest.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::{any, get};

use crate::support::access::{ANN, BOB, Guarded, ROOT};
use crate::support::binary::{BINARY, bare_command};
use crate::support::cli::{Cli, Ran, Script, ask, finish, other_server};
use crate::support::tls::Authority;

/// Runs a command that a message suggests, as one pastes it, with nothing in the environment that helps.
async fn paste(suggested: &str) -> Ran {
    let arguments = suggested.strip_prefix("ifmatch ").expect(suggested);
    let mut shell = bare_command("sh");
    shell.args(["-c", &format!("'{BINARY}' {arguments}")]);
    finish(shell).await
}

#[tokio::test]
async fn a_suggested_command_has_the_flags_of_the_one_that_failed() {
    let guarded = Guarded::start().await;
    let put = guarded.run_as(ROOT, &["put", "doc/a", "1"]).await;
    put.assert_code(0);
    let url = guarded.cli.server.url("");
    let ca = guarded.file("ca.pem", &Authority::new("ours").pem, 0o600);
    let bob = guarded.file("bob token", BOB, 0o600);
    let flags = ["--server", &url, "--token-file", &bob, "--ca", &ca];
    let run = async |arguments: &[&str]| {
        let mut command = guarded.cli.command(&[arguments, &flags].concat());
        command.env("IFMATCH_SERVER", "http://127.0.0.1:1");
        finish(command).await
    };
    let typed = format!("--server {url} --token-file '{bob}' --ca {ca}");
    let forbidden = run(&["put", "doc/a", "2", "--force"]).await;
    let whoami = format!("ifmatch whoami {typed}");
    forbidden
        .assert_code(5)
        .assert_says(&[&format!("`{whoami}` shows what you may do")]);
    let who = paste(&whoami).await;
    assert_eq!(who.assert_code(0).json()["name"], "bob");

    let login = format!("ifmatch login --ca {ca} {url}");
    let bad = guarded.file("bob token", "nobody-token", 0o600);
    let unknown = run(&["get", "doc/a"]).await;
    unknown.assert_code(5).assert_says(&[
        "the token is not valid",
        &format!("The token came from {bad}: write a valid one to that file"),
        &format!("leave out --token-file and sign in: {login}"),
    ]);
    // Nobody types the token here.
    paste(&login).await.assert_says(&["no token in it"]);

    guarded.file("bob token", ROOT, 0o600);
    let get = format!("ifmatch get {typed} doc/a");
    let exists = run(&["put", "doc/a", "2"]).await;
    exists.assert_code(4).assert_says(&[&format!("`{get}`")]);
    let conflict = run(&["put", "doc/a", "2", "--if-match", "7-0"]).await;
    conflict
        .assert_code(4)
        .assert_says(&[&format!("To see the current value: {get}\n")]);
    let shown = paste(&get).await;
    assert_eq!(shown.assert_code(0).json()["value"], 1);
}

#[tokio::test]
async fn what_the_environment_says_is_not_repeated() {
    let guarded = Guarded::start().await;
    let forbidden = guarded.run_as(BOB, &["get", "x"]).await;
    forbidden
        .assert_code(5)
        .assert_says(&["`ifmatch whoami` shows what you may do"]);
    let unknown = guarded.run_as("nobody-token", &["get", "x"]).await;
    unknown
        .assert_code(5)
        .assert_says(&["IFMATCH_TOKEN: correct that variable"]);
    assert!(!unknown.stderr.contains("ifmatch login"), "{unknown:?}");
}

#[tokio::test]
async fn a_read_that_failed_is_not_said_to_have_done_nothing() {
    for (status, error, message, shown) in [
        (
            503,
            "unavailable",
            "too many requests are in progress; nothing was done: try again soon",
            "ifmatch: too many requests are in progress: try again soon\n",
        ),
        (
            503,
            "unavailable",
            "the request took too long; nothing was done, and nothing will be",
            "ifmatch: the request took too long\n",
        ),
        (
            429,
            "too_many_attempts",
            "too many tokens from this address were not valid, and nothing was done: try again",
            "ifmatch: too many tokens from this address were not valid: try again\n",
        ),
    ] {
        let body = format!(r#"{{"error":"{error}","message":"{message}"}}"#);
        let status = StatusCode::from_u16(status).unwrap();
        let answer = any(async move || (status, body));
        let address = other_server(axum::Router::new().fallback(answer)).await;
        let read = ask(&address, &["get", "a"]).await;
        assert_eq!(read.assert_code(1).stderr, shown);
        let write = ask(&address, &["put", "a", "1"]).await;
        write.assert_code(1).assert_says(&[message]);
    }
}

#[tokio::test]
async fn an_export_says_if_it_holds_only_what_may_be_read() {
    let guarded = Guarded::start().await;
    for key in ["doc/a", "x"] {
        guarded
            .run_as(ROOT, &["put", key, "1"])
            .await
            .assert_code(0);
    }
    for (token, arguments, is_limited) in [
        (BOB, &["export"][..], true),
        (BOB, &["export", "--file", "bob"], true),
        (BOB, &["export", "d"], true),
        (BOB, &["export", "doc/"], false),
        (ANN, &["export"], false),
        (ANN, &["export", "--file", "ann"], false),
    ] {
        let export = guarded.run_as(token, arguments).await;
        let warning = if is_limited {
            "ifmatch: warning: the export holds only what you may read, not every key: keys that begin with doc/\n"
        } else {
            ""
        };
        assert_eq!(export.assert_code(0).stderr, warning, "{arguments:?}");
    }
}

#[tokio::test]
async fn an_edit_that_may_not_be_saved_ends_before_the_editor_opens() {
    let guarded = Guarded::start().await;
    guarded
        .run_as(ROOT, &["put", "doc/a", "1"])
        .await
        .assert_code(0);
    for (token, arguments, reason) in [
        (
            BOB,
            &["edit", "doc/a"][..],
            "you may not update the key \"doc/a\"",
        ),
        (
            BOB,
            &["edit", "doc/b", "--create"],
            "you may not create the key \"doc/b\"",
        ),
        (
            ANN,
            &["edit", "x", "--create"],
            "you may not create the key \"x\"",
        ),
    ] {
        let script = Script::of(&["echo 2 >\"$1\""]);
        let mut command = guarded.command_as(token, arguments);
        script.be_editor_of(&mut command);
        let ran = finish(command).await;
        ran.assert_code(5)
            .assert_says(&[reason, "the editor was not opened", "`ifmatch whoami`"]);
        assert!(script.seen().is_empty(), "{ran:?}");
        assert!(guarded.cli.kept_files().is_empty(), "{ran:?}");
    }
    // The text of an earlier edit stays where it is.
    let broken = Script::of(&["echo 2 >\"$1\"; exit 1"]);
    let mut command = guarded.command_as(ANN, &["edit", "doc/a"]);
    broken.be_editor_of(&mut command);
    finish(command).await.assert_code(1);
    let files = guarded.cli.kept_files();
    let text = files
        .iter()
        .find(|path| path.extension().unwrap() == "jsonc");
    let text = text.unwrap().to_str().unwrap();
    let resumed = guarded
        .run_as(BOB, &["edit", "--resume", text, "doc/a"])
        .await;
    resumed.assert_code(5).assert_says(&[
        "the editor was not opened",
        &format!("The text is kept in {text}"),
        &format!("ifmatch edit --resume {text}"),
    ]);
    assert_eq!(guarded.cli.kept_files().len(), files.len());
}

#[tokio::test]
async fn who_may_read_without_a_token_is_told_to_sign_in_before_the_editor_opens() {
    let folder = tempfile::tempdir().unwrap();
    let guarded = Guarded::start_in(folder, &["--anonymous", "read"]).await;
    guarded
        .run_as(ROOT, &["put", "a", "1"])
        .await
        .assert_code(0);
    let edited = guarded.cli.edit(&["a"], &["echo 2 >\"$1\""]).await;
    edited
        .ran
        .assert_code(5)
        .assert_says(&["you may not update", "To sign in: ifmatch login"]);
    assert!(edited.seen.is_empty());
}

#[tokio::test]
async fn a_service_that_does_not_say_what_may_be_done_does_not_stop_an_edit() {
    let entry = r#"{"key":"a","value":1,"version":1,"revision":1,"etag":"\"1-a\"",
        "modified_at":"2026-01-01T00:00:00.000Z"}"#;
    let missing = r#"{"error":"not_found","message":"there is no such path"}"#;
    let router = axum::Router::new()
        .route("/kv/a", get(async move || entry))
        .fallback(any(async move || (StatusCode::NOT_FOUND, missing)));
    let edit = ask(&other_server(router).await, &["edit", "a"]).await;
    edit.assert_code(1)
        .assert_says(&["the editor, false, ended"]);
}

#[tokio::test]
async fn a_watch_that_has_shown_nothing_does_not_speak_of_its_last_event() {
    let asked = Arc::new(AtomicU32::new(0));
    let answer = any(async move || {
        if asked.fetch_add(1, Ordering::Relaxed) == 0 {
            let stream = [(header::CONTENT_TYPE, "text/event-stream")];
            return (stream, "retry: 1\nid: 5-0a\n\n").into_response();
        }
        let body = r#"{"error":"unauthorized","message":"the token is not valid, and nothing was done: send"}"#;
        (StatusCode::UNAUTHORIZED, body).into_response()
    });
    let address = other_server(axum::Router::new().fallback(answer)).await;
    let ended = ask(&address, &["watch"]).await;
    ended.assert_code(5).assert_says(&[
        "the token is not valid",
        "The watch has ended, and has shown no event. To miss none: --since 5-0a",
    ]);
    assert!(!ended.stderr.contains("it showed"), "{ended:?}");
}

#[tokio::test]
async fn an_open_service_lets_everybody_edit_and_export() {
    let cli = Cli::start().await;
    let edited = cli.edit(&["a", "--create"], &["echo 2 >\"$1\""]).await;
    edited.ran.assert_code(0);
    let export = cli.run(&["export"]).await;
    assert_eq!(export.assert_code(0).stderr, "");
}
