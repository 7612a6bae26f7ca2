//! The token of a client command: where it comes from, where it goes, and what happens without.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::any;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::support::access::{ANN, BOB, Guarded, LATE, ROOT, WRITER};
use crate::support::binary::{BINARY, bare_command, soon};
use crate::support::cli::{Script, command_for, finish, other_server, ran};

/// A server that counts its requests, and answers that nobody may do anything; its address.
async fn counting_server() -> (String, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let answer = any(async move || {
        counted.fetch_add(1, Ordering::Relaxed);
        r#"{"name":null,"grants":[],"expires_at":null}"#
    });
    let address = other_server(axum::Router::new().fallback(answer)).await;
    (address, count)
}

/// A server whose answer names the token of the request.
async fn showing_server() -> String {
    let answer = any(async |headers: HeaderMap| {
        let token = headers.get(header::AUTHORIZATION);
        let token = token.map_or("none", |token| token.to_str().unwrap());
        format!(r#"{{"name":"{token}","grants":[],"expires_at":null}}"#)
    });
    other_server(axum::Router::new().fallback(answer)).await
}

#[tokio::test]
async fn the_token_of_the_flag_comes_before_that_of_the_environment_and_that_of_the_login() {
    let guarded = Guarded::start().await;
    let cli = &guarded.cli;
    let login = cli.run_with_input(&["login"], BOB).await;
    login.assert_code(0);
    let file = guarded.file("token", &format!("{ROOT}\r\n"), 0o600);
    for (flag, variable, name) in [
        (None, None, "bob"),
        (None, Some(""), "bob"),
        (None, Some(ANN), "ann"),
        (Some(file.as_str()), Some(ANN), "root"),
        (Some(file.as_str()), None, "root"),
    ] {
        let mut command = cli.command(&["whoami"]);
        command.args(flag.iter().flat_map(|file| ["--token-file", file]));
        command.envs(variable.map(|token| ("IFMATCH_TOKEN", token)));
        let who = finish(command).await;
        assert_eq!(who.assert_code(0).json()["name"], name);
        assert_eq!(who.stderr, "");
    }
}

#[tokio::test]
async fn who_may_not_is_told_what_to_do() {
    let guarded = Guarded::start().await;
    let url = guarded.cli.server.url("");
    let login = format!("ifmatch login {url}");
    let here = "The token came from IFMATCH_TOKEN: correct that variable";
    guarded
        .run_as(ROOT, &["put", "a", "1"])
        .await
        .assert_code(0);
    let commands: [&[&str]; 9] = [
        &["get", "a"],
        &["put", "a", "2", "--force"],
        &["patch", "a", "{}"],
        &["rm", "a", "--force"],
        &["ls"],
        &["watch"],
        &["edit", "a"],
        &["export"],
        &["whoami"],
    ];
    for arguments in commands {
        // A patch first reads what it changes.
        let is_write = ["put", "rm"].contains(&arguments[0]);
        for (token, reason, from) in [
            (
                None,
                "a token is needed",
                "--token-file FILE or IFMATCH_TOKEN",
            ),
            (Some("nobody-token"), "the token is not valid", here),
            (Some(LATE), "the token has expired", here),
        ] {
            let mut command = guarded.cli.command(arguments);
            command.envs(token.map(|token| ("IFMATCH_TOKEN", token)));
            let ran = finish(command).await;
            ran.assert_code(5).assert_says(&[reason, from]);
            // What the variable says comes before what a login stores.
            assert_eq!(ran.stderr.contains(&login), token.is_none(), "{ran:?}");
            // A read does nothing in any case.
            assert_eq!(ran.stderr.contains("nothing was done"), is_write, "{ran:?}");
            assert!(!ran.stderr.contains("Bearer"), "{ran:?}");
            assert!(!ran.stderr.contains("-token\n"), "{ran:?}");
            assert!(
                token.is_none_or(|token| !ran.stderr.contains(token)),
                "{ran:?}"
            );
        }
    }
    for arguments in [&["get", "a"][..], &["put", "doc/a", "2"], &["watch", "a"]] {
        let ran = guarded.run_as(BOB, arguments).await;
        ran.assert_code(5).assert_says(&[
            "you may not",
            "ask for a token that may",
            "ifmatch whoami",
        ]);
    }
    let value = guarded.run_as(ROOT, &["get", "a", "--value"]).await;
    assert_eq!(value.stdout.trim(), "1");
}

#[tokio::test]
async fn a_malformed_token_is_an_error_before_any_request() {
    let guarded = Guarded::start().await;
    let (address, count) = counting_server().await;
    let whole = ifmatch::access::new_token().unwrap();
    let changed = whole.replace("ifm_", "ifm_x");
    for (text, reason) in [
        ("two words", "one word"),
        ("two\nlines", "one word"),
        ("sécret", "one word"),
        (&whole[..39], "not copied whole"),
        (&changed[..40], "not copied whole"),
        (&"x".repeat(5000), "longer than"),
    ] {
        let path = guarded.file("token", text, 0o600);
        let flag = command_for(&address, &["whoami", "--token-file", &path]);
        let mut variable = command_for(&address, &["whoami"]);
        variable.env("IFMATCH_TOKEN", text);
        for (command, source) in [(flag, path.as_str()), (variable, "IFMATCH_TOKEN")] {
            let ran = finish(command).await;
            ran.assert_code(1).assert_says(&[source, reason]);
            assert!(!ran.stderr.contains(text), "{ran:?}");
        }
    }
    let empty = guarded.file("token", "\n", 0o600);
    for path in [empty.as_str(), "/nonexistent", "/"] {
        let ran = finish(command_for(&address, &["whoami", "--token-file", path])).await;
        ran.assert_code(1).assert_says(&[path]);
    }
    assert_eq!(count.load(Ordering::Relaxed), 0);
    let path = guarded.file("token", &format!(" {whole}\n\n"), 0o600);
    finish(command_for(&address, &["whoami", "--token-file", &path]))
        .await
        .assert_code(0);
    assert_eq!(count.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_token_file_that_others_may_read_is_used_with_a_warning() {
    let guarded = Guarded::start().await;
    for mode in [0o644, 0o640, 0o604] {
        let path = guarded.file("token", ANN, mode);
        let who = guarded.cli.run(&["whoami", "--token-file", &path]).await;
        who.assert_code(0)
            .assert_says(&["warning", &format!("chmod 600 {path}")]);
    }
    let path = guarded.file("token", ANN, 0o400);
    let who = guarded.cli.run(&["whoami", "--token-file", &path]).await;
    who.assert_code(0);
    assert_eq!(who.stderr, "");
}

#[tokio::test]
async fn a_token_is_not_sent_unencrypted_to_another_machine() {
    let (address, count) = counting_server().await;
    let port = address.rsplit(':').next().unwrap();
    // It leads to this machine, but nothing says so.
    let server = format!("http://0.0.0.0:{port}");
    let run = async |server: &str, arguments: &[&str]| {
        let mut command = command_for(server, arguments);
        command.env("IFMATCH_TOKEN", "secret");
        finish(command).await
    };
    for arguments in [
        &["whoami"][..],
        &["put", "a", "1"],
        &["edit", "a"],
        &["login"],
    ] {
        let ran = run(&server, arguments).await;
        ran.assert_code(1).assert_says(&[
            &server,
            "not encrypted",
            "https",
            "ssh -L",
            "--allow-plain-http",
        ]);
    }
    assert_eq!(count.load(Ordering::Relaxed), 0);
    run(&server, &["whoami", "--allow-plain-http"])
        .await
        .assert_code(0);
    for server in [format!("127.0.0.1:{port}"), format!("localhost:{port}")] {
        run(&server, &["whoami"]).await.assert_code(0);
    }
    assert_eq!(count.load(Ordering::Relaxed), 3);
    // Without a token there is nothing to protect.
    finish(command_for(&server, &["whoami"]))
        .await
        .assert_code(0);
}

#[tokio::test]
async fn a_token_follows_no_redirect_and_takes_no_way_through_a_proxy() {
    let (elsewhere, count) = counting_server().await;
    let location = format!("http://{elsewhere}/whoami");
    let redirect = any(async move || {
        let header = [(header::LOCATION, location)];
        (StatusCode::TEMPORARY_REDIRECT, header)
    });
    let redirecting = other_server(axum::Router::new().fallback(redirect)).await;
    let mut command = command_for(&redirecting, &["whoami"]);
    command.env("IFMATCH_TOKEN", "secret");
    let ran = finish(command).await;
    ran.assert_code(1).assert_says(&["redirects", &elsewhere]);

    let showing = showing_server().await;
    let mut command = command_for(&showing, &["whoami"]);
    command
        .env("IFMATCH_TOKEN", "secret")
        .env("http_proxy", format!("http://{elsewhere}"))
        .env("all_proxy", format!("http://{elsewhere}"))
        .env_remove("no_proxy");
    let who = finish(command).await.assert_code(0).json();
    assert_eq!(who["name"], "Bearer secret");
    assert_eq!(count.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_request_has_a_password_or_a_token_but_not_both() {
    let showing = showing_server().await;
    let with_password = format!("http://u:hidden@{showing}");
    let who = finish(command_for(&with_password, &["whoami"])).await;
    let name = who.assert_code(0).json()["name"].clone();
    assert!(name.as_str().unwrap().starts_with("Basic "), "{name}");
    let mut command = command_for(&with_password, &["whoami"]);
    command.env("IFMATCH_TOKEN", "secret");
    let ran = finish(command).await;
    ran.assert_code(1)
        .assert_says(&["the password of the URL or the token"]);
    assert!(!ran.stderr.contains("hidden"), "{ran:?}");
}

#[tokio::test]
async fn no_help_shows_the_token() {
    for arguments in [
        &["--help"][..],
        &["get", "--help"],
        &["login", "--help"],
        &["-h"],
    ] {
        let mut command = bare_command(BINARY);
        command
            .args(arguments)
            .env("IFMATCH_TOKEN", "secret")
            .env("IFMATCH_SERVER", "http://u:hidden@a");
        let help = finish(command).await;
        help.assert_code(0);
        assert!(help.stdout.contains("--token-file"), "{help:?}");
        for text in ["secret", "hidden"] {
            assert!(!help.stdout.contains(text), "{help:?}");
        }
    }
}

#[tokio::test]
async fn an_edit_that_may_not_be_saved_keeps_its_text() {
    let guarded = Guarded::start().await;
    let cli = &guarded.cli;
    guarded
        .run_as(ROOT, &["put", "doc/a", "1"])
        .await
        .assert_code(0);
    // Ann's token is taken away while the editor is open.
    let token = guarded.file("token file", ANN, 0o600);
    let step = format!(
        "echo '{{\"mine\": 2}}' >\"$1\"; : >'{}'; while ifmatch get doc/a --token-file '{token}'; do :; done",
        guarded.tokens().display()
    );
    let script = Script::of(&[&step]);
    let mut command = cli.command(&["edit", "doc/a", "--token-file", &token]);
    script.be_editor_of(&mut command);
    let ran = finish(command).await;
    ran.assert_code(5).assert_says(&[
        "the token is not valid",
        "leave out --token-file and sign in: ifmatch login",
        "The text is kept in",
        &format!("--token-file '{token}'"),
    ]);
    assert!(cli.kept_texts()[0].contains("mine"));
}

#[tokio::test]
async fn an_import_that_may_not_write_says_how_much_it_wrote() {
    let guarded = Guarded::start().await;
    for key in ["doc/a", "x/b"] {
        guarded
            .run_as(ROOT, &["put", key, "1"])
            .await
            .assert_code(0);
    }
    let export = ["export", "--file", "backup"];
    guarded.run_as(ROOT, &export).await.assert_code(0);
    let missing = guarded.cli.run(&["import", "backup"]).await;
    missing
        .assert_code(5)
        .assert_says(&["a token is needed", "0 of 2 entries were written"]);
    for key in ["doc/a", "x/b"] {
        let rm = ["rm", key, "--force"];
        guarded.run_as(ROOT, &rm).await.assert_code(0);
    }
    let stopped = guarded.run_as(ANN, &["import", "backup"]).await;
    stopped.assert_code(5).assert_says(&[
        "x/b: ",
        "you may not create",
        "1 of 2 entries were written",
        "ifmatch whoami",
    ]);
}

#[tokio::test]
async fn a_watch_that_loses_its_right_says_where_to_continue() {
    let guarded = Guarded::start().await;
    let mut command = guarded.command_as(ANN, &["watch"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
    // The watch may begin only after the first of these.
    let mut key = 0;
    let line = loop {
        let put = format!("doc/{key}");
        guarded
            .run_as(ROOT, &["put", &put, "1"])
            .await
            .assert_code(0);
        key += 1;
        tokio::select! {
            line = stdout.next_line() => break line.unwrap().expect("an event"),
            () = tokio::task::yield_now() => {}
        }
    };
    assert!(line.contains("\"event\":\"put\""), "{line}");
    std::fs::write(guarded.tokens(), "").unwrap();
    let mut last = line;
    while let Some(line) = soon(stdout.next_line()).await.unwrap() {
        last = line;
    }
    let ended = ran(&soon(child.wait_with_output()).await.unwrap());
    let last: serde_json::Value = serde_json::from_str(&last).unwrap();
    let since = format!("--since {}", last["id"].as_str().unwrap());
    ended
        .assert_code(5)
        .assert_says(&["the token is not valid", "The watch has ended", &since]);
}

#[tokio::test]
async fn who_may_write_but_not_read_is_shown_nothing_and_told_what_was_done() {
    let guarded = Guarded::start().await;
    let put = guarded.run_as(WRITER, &["put", "doc/a", "{}"]).await;
    let tag = put.assert_code(0).json()["etag"]
        .as_str()
        .unwrap()
        .to_owned();
    let patch = ["patch", "doc/a", r#"{"x":1}"#, "--if-match", &tag];
    let patched = guarded.run_as(WRITER, &patch).await;
    patched.assert_code(0);
    assert_eq!((patched.stdout.as_str(), patched.stderr.as_str()), ("", ""));
    let value = guarded.run_as(ROOT, &["get", "doc/a", "--value"]).await;
    assert_eq!(value.stdout.trim(), r#"{"x":1}"#);

    for arguments in [
        &["put", "doc/a", "2", "--if-match", &tag][..],
        &["rm", "doc/a", "--if-match", &tag],
        &patch,
    ] {
        let stale = guarded.run_as(WRITER, arguments).await;
        stale
            .assert_code(4)
            .assert_says(&["you may not read the current entry", "nothing was changed"]);
    }
    let exists = guarded.run_as(WRITER, &["put", "doc/a", "2"]).await;
    exists.assert_code(4).assert_says(&["already exists"]);
    let deleted = guarded.run_as(WRITER, &["rm", "doc/a", "--force"]).await;
    deleted.assert_code(0);
    assert_eq!((deleted.stdout.as_str(), deleted.stderr.as_str()), ("", ""));
    let get = guarded.run_as(ROOT, &["get", "doc/a"]).await;
    get.assert_code(3);
}

#[tokio::test]
async fn an_edit_by_somebody_who_may_no_longer_read_is_not_taken_for_a_deletion() {
    let guarded = Guarded::start().await;
    guarded
        .run_as(ROOT, &["put", "doc/a", "1"])
        .await
        .assert_code(0);
    let tokens = std::fs::read_to_string(guarded.tokens()).unwrap();
    // Ann gets the rights of the writer.
    let hash_of_ann = tokens.lines().nth(6).unwrap();
    let hash_of_writer = tokens.lines().nth(14).unwrap();
    assert!(
        hash_of_ann.starts_with("sha256") && hash_of_writer.starts_with("sha256"),
        "{tokens}"
    );
    let changed = tokens
        .replace(hash_of_ann, "sha256 = other")
        .replace(hash_of_writer, hash_of_ann)
        .replace("sha256 = other", hash_of_writer);
    let changed = guarded.file("changed.toml", &changed, 0o600);
    let step = format!(
        "echo 2 >\"$1\"; cp '{changed}' '{}'; while ifmatch get doc/a; do :; done; \
         IFMATCH_TOKEN={ROOT} ifmatch put doc/a 3 --force",
        guarded.tokens().display()
    );
    let script = Script::of(&[&step]);
    let mut command = guarded.command_as(ANN, &["edit", "doc/a"]);
    script.be_editor_of(&mut command);
    let ran = finish(command).await;
    ran.assert_code(4)
        .assert_says(&["you may not read the current entry", "The text is kept in"]);
    let value = guarded.run_as(ROOT, &["get", "doc/a", "--value"]).await;
    assert_eq!(value.stdout.trim(), "3");
}
