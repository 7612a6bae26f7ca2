//! The command line as a script uses it.

use std::process::Stdio;

use serde_json::json;
use tokio::io::AsyncReadExt as _;

use crate::support::binary::{BINARY, bare_command, soon};
use crate::support::cli::{Cli, finish};
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
