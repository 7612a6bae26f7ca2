//! `watch`, and output that nobody reads to its end.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout};

use crate::support::binary::soon;
use crate::support::cli::Cli;
use crate::support::http;

/// A watch, and the lines that it prints.
fn watch(cli: &Cli, arguments: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut command = cli.command(&[&["watch"], arguments].concat());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
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
async fn a_watch_outlives_the_server_and_misses_nothing() {
    let cli = Cli::start().await;
    let since = now(&cli).await;
    let (mut child, mut lines) = watch(&cli, &["--since", &since]);
    cli.run(&["put", "a", "1"]).await.assert_code(0);
    assert_eq!(next(&mut lines).await["entry"]["value"], 1);
    let Cli { server, folder } = cli;
    let address = server.address.clone();
    server.kill().await;
    let cli = Cli::start_again(folder, &address).await;
    let put = ["put", "a", "2", "--force"];
    cli.run(&put).await.assert_code(0);
    let event = next(&mut lines).await;
    assert_eq!(
        (&event["event"], &event["entry"]["value"]),
        (&"put".into(), &2.into())
    );
    // In a pipe, too, each loss is reported once.
    child.start_kill().unwrap();
    let output = soon(child.wait_with_output()).await.unwrap();
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "Connection lost; reconnecting.\nReconnected.\n"
    );
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
