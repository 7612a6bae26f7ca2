//! Where a command finds the service, and which flags belong to the service.

use crate::support::binary::{BINARY, Process, bare_command};
use crate::support::cli::{Cli, finish};
use crate::support::http;

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
async fn the_help_of_a_command_lists_its_own_flags() {
    let clients = ["--server", "--token-file", "--ca ", "--allow-plain-http"];
    for (arguments, lists_them) in [
        (&["serve", "--help"][..], false),
        (&["serve", "-h"], false),
        (&["help", "serve"], false),
        (&["token", "--help"], false),
        (&["token", "new", "--help"], false),
        (&["token", "check", "-h"], false),
        (&["get", "--help"], true),
        (&["--help"], true),
    ] {
        let mut command = bare_command(BINARY);
        command.args(arguments);
        let help = finish(command).await;
        for flag in clients {
            let lists_it = help.assert_code(0).stdout.contains(flag);
            assert_eq!(lists_it, lists_them, "{arguments:?} {flag}: {help:?}");
        }
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
