//! The command line behind a proxy that weakens entity tags, as one that compresses does.

use std::process::Stdio;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::response::Response;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::support::binary::soon;
use crate::support::cli::{Cli, Script, finish, other_server};
use crate::support::http;

/// Hands everything on, and makes the tag of each answer weak.
async fn weaken(State(to): State<String>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().unwrap().as_str();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let client = http::client();
    let mut headers = parts.headers;
    headers.remove("host");
    let request = client.request(parts.method, format!("{to}{path}"));
    let answer = request.headers(headers).body(body).send().await.unwrap();
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        if name == "etag" {
            let weak = format!("W/{}", value.to_str().unwrap());
            let weak = HeaderValue::from_str(&weak).unwrap();
            response = response.header(name, weak);
        } else if name != "transfer-encoding" {
            response = response.header(name, value);
        }
    }
    response
        .body(Body::from_stream(answer.bytes_stream()))
        .unwrap()
}

/// A service, and the address of the proxy before it.
async fn behind_a_proxy() -> (Cli, String) {
    let cli = Cli::start().await;
    let router = axum::Router::new()
        .fallback(weaken)
        .with_state(cli.server.url(""));
    let proxy = other_server(router).await;
    let header = http::get(format!("http://{proxy}/kv")).await.unwrap();
    let tag = header.headers()["etag"].to_str().unwrap();
    assert!(tag.starts_with("W/\""), "{tag}");
    (cli, proxy)
}

#[tokio::test]
async fn weakened_tags_do_not_keep_anybody_from_writing() {
    let (cli, proxy) = behind_a_proxy().await;
    let run = async |arguments: &[&str]| {
        let mut command = cli.command(arguments);
        command.env("IFMATCH_SERVER", &proxy);
        finish(command).await
    };
    run(&["put", "a", r#"{"x":1,"y":1}"#]).await.assert_code(0);
    let got = run(&["get", "a"]).await.assert_code(0).json();
    let tag = got["etag"].as_str().unwrap();
    let value = r#"{"x":2,"y":2}"#;
    run(&["put", "a", value, "--if-match", tag])
        .await
        .assert_code(0);
    run(&["patch", "a", r#"{"z":1}"#]).await.assert_code(0);
    // Somebody else writes while the editor is open.
    let script = Script::of(&[r#"sed -i 's/"x": 2/"x": 3/' "$1"; ifmatch patch a '{"y":3}'"#]);
    let mut command = cli.command(&["edit", "a"]);
    command.env("IFMATCH_SERVER", &proxy);
    script.be_editor_of(&mut command);
    finish(command).await.assert_code(0);
    assert_eq!(cli.value("a").await, r#"{"x":3,"y":3,"z":1}"#);

    let exported = run(&["export", "--file", "all"]).await;
    exported.assert_code(0);
    run(&["put", "a", "1", "--force"]).await.assert_code(0);
    run(&["import", "all", "--replace"]).await.assert_code(0);
    assert_eq!(cli.value("a").await, r#"{"x":3,"y":3,"z":1}"#);
    let tag = run(&["get", "a"]).await.json()["etag"].clone();
    run(&["rm", "a", "--if-match", tag.as_str().unwrap()])
        .await
        .assert_code(0);
}

#[tokio::test]
async fn a_watch_begins_after_a_weakened_list_tag() {
    let (cli, proxy) = behind_a_proxy().await;
    let list = http::get(format!("http://{proxy}/kv")).await.unwrap();
    let weak = list.headers()["etag"].to_str().unwrap().to_owned();
    cli.run(&["put", "a", "1"]).await.assert_code(0);
    for since in [weak.as_str(), weak.trim_start_matches("W/")] {
        let mut command = cli.command(&["watch", "--since", since]);
        command.env("IFMATCH_SERVER", &proxy).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let line = soon(BufReader::new(stdout).lines().next_line()).await;
        let line = line.unwrap().expect("an event");
        assert!(line.contains("\"event\":\"put\""), "{line}");
    }
}

#[tokio::test]
async fn a_weak_tag_is_refused_with_what_to_do() {
    let cli = Cli::start().await;
    cli.run(&["put", "a", "1"]).await.assert_code(0);
    for weak in [
        "W/\"1-0123456789abcdef\"",
        "W/1-0123456789abcdef",
        "\"a\", W/\"b\"",
    ] {
        for arguments in [
            &["put", "a", "2", "--if-match", weak][..],
            &["patch", "a", "{}", "--if-match", weak],
            &["rm", "a", "--if-match", weak],
        ] {
            let ran = cli.run(arguments).await;
            ran.assert_code(2)
                .assert_says(&["weak", "ifmatch get", "proxy"]);
        }
    }
    // Within a tag it is nothing special; and nothing is not a tag.
    cli.run(&["put", "a", "2", "--if-match", "\"W/x,W/\""])
        .await
        .assert_code(4);
    cli.run(&["put", "a", "2", "--if-match", ""])
        .await
        .assert_code(2);
    assert_eq!(cli.value("a").await, "1");
}
