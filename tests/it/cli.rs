//! The command line as a script uses it.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect};
use axum::routing::any;
use rustix::process::Signal;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout};

use crate::support::binary::{BINARY, Process, bare_command, soon};
use crate::support::cli::{Cli, Ran, finish, other_server};
use crate::support::http;

#[tokio::test]
async fn a_value_comes_from_an_argument_a_file_or_standard_input() {
    let cli = Cli::start().await;
    std::fs::write(cli.folder.path().join("value"), "[1.10]\n").unwrap();
    for (arguments, input, value) in [
        (
            &["put", "a", r#"{"b": 1e400, "a": "é"}"#][..],
            "",
            r#"{"b":1e400,"a":"é"}"#,
        ),
        (&["put", "a", "-5"], "", "-5"),
        (&["put", "a", "-1.50e3"], "", "-1.50e3"),
        (&["put", "a", "--file", "value"], "", "[1.10]"),
        (&["put", "a", "--file", "-"], " 3 ", "3"),
        (&["put", "a", "-"], "4", "4"),
        (&["put", "a"], "null", "null"),
    ] {
        let arguments = [arguments, &["--force"]].concat();
        cli.run_with_input(&arguments, input).await.assert_code(0);
        assert_eq!(cli.value("a").await, value);
    }
    for arguments in [
        &["put", "a", "1", "--file", "value"][..],
        &["put", "a", "1", "--create", "--if-match", "*"],
        &["put", "a", "1", "--create", "--force"],
        &["put", "a", "1", "--force", "--if-match", "*"],
        &["rm", "a", "--force", "--if-match", "*"],
        &["rm", "a"],
        &["put", "a", "1", "--if-match", "a\u{1}b"],
        &["put", "", "1"],
        &["put", "a/../b", "1"],
        &["put", "a", "1", "2"],
        &["frob"],
    ] {
        cli.run(arguments).await.assert_code(2);
    }
    for arguments in [
        &["put", "a", "tru"][..],
        &["put", "a"],
        &["put", "a", "--file", "none"],
    ] {
        let ran = cli.run(arguments).await;
        ran.assert_code(1);
        assert!(
            ran.stderr.starts_with("ifmatch: ") && ran.stdout.is_empty(),
            "{ran:?}"
        );
    }
    assert_eq!(
        cli.value("a").await,
        "null",
        "what failed has changed nothing"
    );
}

#[tokio::test]
async fn an_entry_is_shown_as_the_service_shows_it() {
    let cli = Cli::start().await;
    for key in [
        "doc/plan",
        "a b",
        "ü/🦀",
        "?#%25+&=\"'\\",
        "//a//",
        "-",
        "--value",
    ] {
        let put = cli.run(&["put", "--", key, "[1.0]"]).await;
        put.assert_code(0);
        assert_eq!(put.json()["key"], key);
        let got = cli.run(&["get", "--", key]).await;
        assert_eq!(got.stdout, put.stdout);
        let listed = cli.run(&["ls", "--", key]).await;
        assert_eq!(listed.stdout, put.stdout);
    }
    let body = http::get(cli.server.url("/kv/doc%2Fplan")).await.unwrap();
    let got = cli.run(&["get", "doc/plan"]).await;
    assert_eq!(got.stdout.trim_end(), body.text().await.unwrap());
}

#[tokio::test]
async fn a_precondition_is_sent_and_a_conflict_has_all_that_a_merge_needs() {
    let cli = Cli::start().await;
    let created = cli.run(&["put", "a", "1", "--create"]).await;
    let tag = created.assert_code(0).json()["etag"]
        .as_str()
        .unwrap()
        .to_owned();
    let refused = cli.run(&["put", "a", "2", "--create"]).await;
    refused.assert_code(4);
    assert_eq!(refused.json()["current"], created.json());
    assert!(refused.stderr.contains("version 1"), "{refused:?}");
    // With its quotes, and as a shell leaves it.
    cli.run(&["put", "a", "2", "--if-match", &tag])
        .await
        .assert_code(0);
    let stale = tag.trim_matches('"');
    for arguments in [
        &["put", "a", "3", "--if-match", stale][..],
        &["patch", "a", "3", "--if-match", stale],
        &["rm", "a", "--if-match", stale],
    ] {
        let refused = cli.run(arguments).await;
        assert_eq!(
            refused.assert_code(4).json()["current"]["value"],
            2,
            "{arguments:?}"
        );
    }
    let tag = cli.run(&["get", "a"]).await.json()["etag"]
        .as_str()
        .unwrap()
        .to_owned();
    let bare = tag.trim_matches('"');
    cli.run(&["patch", "a", "4", "--if-match", bare])
        .await
        .assert_code(0);
    cli.run(&["put", "a", "3", "--if-match", "*"])
        .await
        .assert_code(0);
    let gone = cli.run(&["put", "b", "1", "--if-match", "*"]).await;
    assert_eq!(gone.assert_code(4).json()["current"], json!(null));
    assert_eq!(cli.value("a").await, "3");
}

#[tokio::test]
async fn a_patch_that_is_an_array_is_a_json_patch() {
    let cli = Cli::start().await;
    cli.run(&["put", "a", r#"{"b":1,"c":2}"#])
        .await
        .assert_code(0);
    cli.run(&["patch", "a", r#"{"c":null,"d":[3]}"#])
        .await
        .assert_code(0);
    let operations = r#" [{"op":"test","path":"/b","value":1},{"op":"remove","path":"/b"}]"#;
    cli.run_with_input(&["patch", "a"], operations)
        .await
        .assert_code(0);
    assert_eq!(cli.value("a").await, r#"{"d":[3]}"#);
    let failed = cli.run_with_input(&["patch", "a"], operations).await;
    assert_eq!(failed.assert_code(4).json()["error"], "patch_conflict");
    cli.run(&["patch", "a", "[1]"]).await.assert_code(1);
    assert_eq!(cli.value("a").await, r#"{"d":[3]}"#);
}

#[tokio::test]
async fn what_is_not_there_is_3_and_what_went_wrong_is_1() {
    let cli = Cli::start_with(&["--max-value-bytes", "100"]).await;
    for arguments in [
        &["get", "a"][..],
        &["patch", "a", "{}"],
        &["rm", "a", "--force"],
        &["edit", "a"],
    ] {
        let ran = cli.run(arguments).await;
        ran.assert_code(3);
        assert_eq!(ran.stdout, "", "{arguments:?}");
        assert_eq!(ran.stderr, "ifmatch: key does not exist\n", "{arguments:?}");
    }
    let large = format!("\"{}\"", "x".repeat(100));
    cli.run(&["put", "a", &large]).await.assert_code(1);
    cli.run(&["put", "a", "1"]).await.assert_code(0);
    let deleted = cli.run(&["rm", "a", "--force"]).await;
    assert_eq!(deleted.assert_code(0).json()["value"], 1);

    let Cli {
        server,
        folder: _folder,
    } = cli;
    let address = server.address.clone();
    server.stop().await;
    for arguments in [&["get", "a"][..], &["ls"], &["watch"], &["export"]] {
        let mut command = bare_command(BINARY);
        command.args(arguments).args(["--server", &address]);
        let ran = finish(command).await;
        ran.assert_code(1);
        assert!(
            ran.stderr.contains(&address) && ran.stderr.contains("refused"),
            "{ran:?}"
        );
    }
}

/// An export of one entry, as one may write it by hand.
const AN_EXPORT: &str = r#"{"export":{"format":1,"prefix":""}}
{"key":"a","value":1}
{"end":{"entries":1,"revision":1}}
"#;

/// Runs a command against another server.
async fn ask(server: &str, arguments: &[&str]) -> Ran {
    let mut command = bare_command(BINARY);
    command
        .args(arguments)
        .env("IFMATCH_SERVER", server)
        .env("EDITOR", "false");
    finish(command).await
}

#[tokio::test]
async fn an_answer_that_is_none_of_ifmatch_is_an_error() {
    let cut_off = "{\"items\":[{\"key\":\"a\"}";
    let router = axum::Router::new()
        .route("/kv", any(move || async move { cut_off }))
        .route(
            "/kv/conflict",
            any(|| async { StatusCode::PRECONDITION_FAILED }),
        )
        .route("/kv/gone", any(|| async { StatusCode::NOT_FOUND }))
        .fallback(any(|| async { "<html>" }));
    let address = other_server(router).await;
    let folder = tempfile::tempdir().unwrap();
    let export = folder.path().join("export");
    std::fs::write(&export, AN_EXPORT).unwrap();
    let export = export.to_str().unwrap();
    for arguments in [
        &["get", "a"][..],
        &["get", "gone"],
        &["put", "a", "1"],
        &["put", "conflict", "1"],
        &["put", "a", "1", "--force"],
        &["patch", "a", "{}"],
        &["patch", "a", "[]"],
        &["rm", "a", "--force"],
        &["ls"],
        &["export"],
        &["import", export],
        &["import", export, "--replace"],
        &["watch"],
        &["edit", "a"],
    ] {
        let ran = ask(&address, arguments).await;
        ran.assert_code(1);
        assert!(
            ran.stderr.contains("not from ifmatch"),
            "{arguments:?}: {ran:?}"
        );
        assert!(!ran.stdout.contains("end"), "{arguments:?}: {ran:?}");
    }
}

#[tokio::test]
async fn an_import_waits_for_a_service_that_is_busy() {
    let asked = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&asked);
    let busy_at_first = any(move || async move {
        let tag = [("etag", "\"1-a\""), ("location", "/kv/a")];
        match counter.fetch_add(1, Ordering::Relaxed) {
            0 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            _ => (StatusCode::NO_CONTENT, tag).into_response(),
        }
    });
    let router = axum::Router::new().fallback(busy_at_first);
    let folder = tempfile::tempdir().unwrap();
    let export = folder.path().join("export");
    std::fs::write(&export, AN_EXPORT).unwrap();
    let address = other_server(router).await;
    let ran = ask(&address, &["import", export.to_str().unwrap()]).await;
    assert_eq!(ran.assert_code(0).json()["created"], 1);
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_write_is_not_sent_elsewhere() {
    let cli = Cli::start().await;
    cli.run(&["put", "a", "1"]).await.assert_code(0);
    let elsewhere = cli.server.url("/kv/a");
    let moved = Redirect::to(&elsewhere);
    let router = axum::Router::new().fallback(any(move || async move { moved }));
    let address = other_server(router).await;
    for arguments in [
        &["put", "a", "2", "--force"][..],
        &["rm", "a", "--force"],
        &["get", "a"],
    ] {
        let ran = ask(&address, arguments).await;
        ran.assert_code(1);
        assert!(ran.stderr.contains(&elsewhere), "{ran:?}");
    }
    assert_eq!(cli.value("a").await, "1");
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_not_called_a_failure() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let lost = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        connection.read(&mut [0; 1000]).await.unwrap()
    });
    let ran = ask(&address, &["put", "a", "1"]).await;
    ran.assert_code(1);
    assert!(ran.stderr.contains("is not known"), "{ran:?}");
    lost.await.unwrap();
}

#[tokio::test]
async fn what_was_written_and_cannot_be_told_was_written() {
    let Ok(full) = std::fs::File::options().write(true).open("/dev/full") else {
        println!("skipped: there is no /dev/full");
        return;
    };
    let cli = Cli::start().await;
    let mut command = cli.command(&["put", "a", "1"]);
    command.stdout(Stdio::from(full)).stderr(Stdio::piped());
    let output = soon(command.spawn().unwrap().wait_with_output())
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("It was written"), "{told}");
    assert_eq!(cli.value("a").await, "1");
}

#[tokio::test]
async fn nothing_that_a_server_says_speaks_to_the_terminal() {
    let body = r#"{"error":"not_found","message":"a\u001b[2Jb"}"#;
    let answer = (StatusCode::NOT_FOUND, body);
    let router = axum::Router::new().fallback(any(move || async move { answer }));
    let ran = ask(&other_server(router).await, &["get", "a"]).await;
    assert_eq!(ran.assert_code(3).stderr, "ifmatch: a\\u001b[2Jb\n");
}

#[tokio::test]
async fn a_list_is_an_entry_a_line() {
    let cli = Cli::start().await;
    assert_eq!(cli.run(&["ls"]).await.assert_code(0).stdout, "");
    let operations: Vec<_> = (0..100)
        .map(|n| json!({"op": "put", "key": format!("many/{n:03}"), "value": "x".repeat(2000)}))
        .collect();
    let client = http::client();
    for prefix in ["many/", "other/"] {
        let body = json!({"operations": operations}).to_string();
        let body = body.replace("many/", prefix);
        let post = client.post(cli.server.url("/transactions"));
        let done = post.header("content-type", "application/json").body(body);
        assert_eq!(done.send().await.unwrap().status(), 200);
    }
    for (prefix, count) in [("", 200), ("many/", 100), ("many/00", 10), ("none", 0)] {
        let ran = cli.run(&["ls", prefix]).await;
        let keys: Vec<_> = ran
            .assert_code(0)
            .stdout
            .lines()
            .map(|line| {
                let entry: serde_json::Value = serde_json::from_str(line).unwrap();
                entry["key"].as_str().unwrap().to_owned()
            })
            .collect();
        assert_eq!(keys.len(), count, "{prefix:?}");
        assert!(keys.is_sorted() && keys.iter().all(|key| key.starts_with(prefix)));
    }
}

#[tokio::test]
async fn a_server_is_named_in_any_of_the_usual_ways() {
    let cli = Cli::start().await;
    cli.run(&["put", "a", "1"]).await.assert_code(0);
    let (url, address) = (cli.server.url(""), &cli.server.address);
    let with_slash = format!("{url}/");
    for arguments in [
        &["get", "a", "--server", &url][..],
        &["--server", &url, "get", "a"],
        &["get", "--server", address, "a"],
        &["get", "a", "--server", &with_slash],
    ] {
        let mut command = cli.command(arguments);
        command.env("IFMATCH_SERVER", "http://127.0.0.1:1");
        finish(command).await.assert_code(0);
    }
    for server in [
        "ftp://a",
        "http://",
        "a b",
        "http://a?b",
        "http://a#b",
        "http://u:secret@a:99999",
    ] {
        let ran = cli.run(&["get", "a", "--server", server]).await;
        ran.assert_code(2);
        assert!(!ran.stderr.contains("secret"), "{ran:?}");
    }
}

#[tokio::test]
async fn flags_and_variables_of_the_service_are_none_of_its_clients() {
    let cli = Cli::start().await;
    cli.run(&["put", "a", "1"]).await.assert_code(0);
    let mut command = cli.command(&["get", "a"]);
    command
        .env("IFMATCH_LISTEN", "nonsense")
        .env("IFMATCH_MAX_CONNECTIONS", "nonsense")
        .env("IFMATCH_REQUIRE_PRECONDITIONS", "1");
    finish(command).await.assert_code(0);
    for arguments in [
        &["--data", "x", "get", "a"][..],
        &["get", "a", "--data", "x"],
        &["--require-preconditions", "serve"],
        &["serve", "--server", "http://127.0.0.1:1"],
    ] {
        cli.run(arguments).await.assert_code(2);
    }
    let mut command = cli.command(&["serve"]);
    command.env("IFMATCH_MAX_CONNECTIONS", "nonsense");
    finish(command).await.assert_code(2);
}

#[tokio::test]
async fn serve_is_what_happens_without_a_command() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = bare_command(BINARY);
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(folder.path().join("data.json"))
        .env("IFMATCH_SERVER", "not a server");
    let process = Process::spawn(command).await;
    let answer = http::get(process.url("/health")).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(process.stop().await.status.success());
}

/// A watch, and the lines that it prints.
fn watch(cli: &Cli, arguments: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut command = cli.command(&[&["watch"], arguments].concat());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let stdout = child.stdout.take().unwrap();
    (child, BufReader::new(stdout).lines())
}

async fn next(lines: &mut Lines<BufReader<ChildStdout>>) -> serde_json::Value {
    let line = soon(lines.next_line()).await.unwrap().expect("it goes on");
    serde_json::from_str(&line).unwrap()
}

/// The `id` of the newest event: that of a list.
async fn now(cli: &Cli) -> String {
    let list = http::get(cli.server.url("/kv?limit=1")).await.unwrap();
    let tag = list.headers()["etag"].to_str().unwrap();
    tag.trim_matches('"').to_owned()
}

#[tokio::test]
async fn a_watch_tells_each_change_once_and_in_order() {
    let cli = Cli::start().await;
    let since = now(&cli).await;
    cli.run(&["put", "doc/a", "1"]).await.assert_code(0);
    cli.run(&["put", "b", "2"]).await.assert_code(0);
    let (_all, mut all) = watch(&cli, &["--since", &since]);
    let (_docs, mut docs) = watch(&cli, &["doc/", "--since", &since]);
    let (_key, mut key) = watch(&cli, &["--key", "b", "--since", &since]);
    let put = ["put", "doc/a", "3", "--force"];
    cli.run(&put).await.assert_code(0);
    cli.run(&["rm", "b", "--force"]).await.assert_code(0);
    cli.run(&["rm", "doc/a", "--force"]).await.assert_code(0);
    let told = |event: &serde_json::Value| {
        let entry = &event["entry"];
        format!("{} {} {}", event["event"], entry["key"], entry["value"]).replace('"', "")
    };
    let expected = [
        "put doc/a 1",
        "put b 2",
        "put doc/a 3",
        "delete b 2",
        "delete doc/a 3",
    ];
    let mut middle = String::new();
    for expected in expected {
        let event = next(&mut all).await;
        assert_eq!(told(&event), expected);
        if expected == "put doc/a 3" {
            middle = event["id"].as_str().unwrap().to_owned();
        }
    }
    for expected in expected.iter().filter(|told| told.contains("doc/")) {
        assert_eq!(told(&next(&mut docs).await), *expected);
    }
    for expected in expected.iter().filter(|told| told.contains(" b ")) {
        assert_eq!(told(&next(&mut key).await), *expected);
    }
    let (_resumed, mut resumed) = watch(&cli, &["--since", &middle]);
    assert_eq!(told(&next(&mut resumed).await), "delete b 2");
}

#[tokio::test]
async fn a_watch_outlives_the_server_and_is_told_to_list_again() {
    let cli = Cli::start().await;
    let since = now(&cli).await;
    let (_child, mut lines) = watch(&cli, &["--since", &since]);
    cli.run(&["put", "a", "1"]).await.assert_code(0);
    assert_eq!(next(&mut lines).await["entry"]["value"], 1);
    let Cli { server, folder } = cli;
    let address = server.address.clone();
    server.signal(Signal::KILL);
    server.wait().await;
    let cli = Cli::start_again(folder, &address).await;
    assert_eq!(next(&mut lines).await["event"], "reset");
    let put = ["put", "a", "2", "--force"];
    cli.run(&put).await.assert_code(0);
    assert_eq!(next(&mut lines).await["entry"]["value"], 2);
}

/// A proxy that breaks each connection after so many bytes of the answer; its address.
async fn breaking_proxy(to: String, bytes: usize) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = TcpStream::connect(&to).await.unwrap();
            let (mut from_client, mut to_client) = client.split();
            let (from_server, mut to_server) = server.split();
            let mut some = from_server.take(bytes as u64);
            tokio::select! {
                _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
                _ = tokio::io::copy(&mut some, &mut to_client) => {}
            }
        }
    });
    address
}

#[tokio::test]
async fn a_watch_over_broken_connections_misses_nothing_and_repeats_nothing() {
    const CHANGES: u64 = 40;
    let cli = Cli::start().await;
    let since = now(&cli).await;
    let proxy = breaking_proxy(cli.server.address.clone(), 3000).await;
    let (_child, mut lines) = watch(&cli, &["--since", &since, "--server", &proxy]);
    let client = http::client();
    for number in 0..CHANGES {
        let put = client.put(cli.server.url(&format!("/kv/key/{number}")));
        let put = put.header("content-type", "application/json").body("1");
        assert_eq!(put.send().await.unwrap().status(), 201);
    }
    for revision in 1..=CHANGES {
        assert_eq!(next(&mut lines).await["entry"]["revision"], revision);
    }
}

#[tokio::test]
async fn a_list_waits_for_a_slow_reader() {
    let cli = Cli::start_with(&["--request-timeout", "500ms"]).await;
    let large = format!("\"{}\"", "x".repeat(900_000));
    for number in 0..10 {
        let put = ["put", &format!("large/{number}")];
        cli.run_with_input(&put, &large).await.assert_code(0);
    }
    let mut child = cli.command(&["ls"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut first = [0; 100];
    soon(stdout.read_exact(&mut first)).await.unwrap();
    // The service ends when it has sent everything, or has given up on who does not read.
    let Cli { server, folder } = cli;
    server.stop().await;
    let mut rest = Vec::new();
    soon(stdout.read_to_end(&mut rest)).await.unwrap();
    assert!(soon(child.wait()).await.unwrap().success());
    assert!(rest.len() > 9_000_000);
    drop(folder);
}

#[tokio::test]
async fn who_has_read_enough_ends_it_without_an_error() {
    let cli = Cli::start().await;
    let since = now(&cli).await;
    let (mut child, mut lines) = watch(&cli, &["--since", &since]);
    cli.run(&["put", "a", "1"]).await.assert_code(0);
    next(&mut lines).await;
    drop(lines);
    let put = ["put", "a", "2", "--force"];
    cli.run(&put).await.assert_code(0);
    assert_eq!(soon(child.wait()).await.unwrap().code(), Some(0));

    // More than a pipe holds.
    let large = format!("\"{}\"", "x".repeat(500_000));
    cli.run_with_input(&["put", "a", "--force"], &large)
        .await
        .assert_code(0);
    cli.run_with_input(&["put", "b"], &large)
        .await
        .assert_code(0);
    let mut child = cli.command(&["ls"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(soon(child.wait()).await.unwrap().code(), Some(0));
}
