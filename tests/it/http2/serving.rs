//! It answers as over HTTP/1.1, and many requests at once.

use std::fmt::Write as _;

use axum::http::{Method, Request};
use futures_util::future::join_all;
use h2::client;
use serde_json::Value;
use tempfile::tempdir;
use tokio::io::AsyncWriteExt as _;

use crate::support::binary::{Process, soon};
use crate::support::http2::{
    END_HEADERS, END_STREAM, HEADERS, Http2, PREFACE, event, flags_of_frame, frame, next,
};
use crate::support::proc::sockets;
use crate::support::raw::connect;
use crate::support::tls::{Authority, start};

const VALUE_BYTES: usize = 300 * 1024;

/// Writes, reads and lists.
async fn tell_the_story(mut client: Http2) {
    let created = client.put("/kv/a", "{\"n\":1}").await;
    assert_eq!(created.status, 201);
    let read = client.get("/kv/a").await;
    assert_eq!(read.headers["etag"], created.headers["etag"]);
    assert_eq!(read.body, created.body);
    let stale = client.request(Method::PUT, "/kv/a");
    let stale = stale.header("if-match", "\"9-0000000000000000\"").body(());
    let refused = soon(client.send(stale.unwrap(), "2")).await.unwrap();
    assert_eq!(refused.status, 412);
    let head = client.request(Method::HEAD, "/kv/a").body(()).unwrap();
    let head = soon(client.send(head, "")).await.unwrap();
    assert_eq!(head.status, 200);
    assert_eq!(
        head.headers["content-length"],
        read.body.len().to_string().as_str()
    );
    assert!(head.body.is_empty());
    let missing = client.request(Method::HEAD, "/nothing").body(()).unwrap();
    let missing = soon(client.send(missing, "")).await.unwrap();
    assert_eq!((missing.status, missing.body.len()), (404, 0));
    let value = format!("\"{}\"", "x".repeat(VALUE_BYTES));
    for number in 0..8 {
        let path = format!("/kv/large/{number}");
        assert_eq!(client.put(&path, &value).await.status, 201);
    }
    let list: Value = serde_json::from_slice(&client.get("/kv").await.body).unwrap();
    let items = list["items"].as_array().unwrap();
    assert_eq!(items.len(), 9);
    assert_eq!(items[8]["value"].as_str().unwrap().len(), VALUE_BYTES);
}

#[tokio::test]
async fn prior_knowledge_needs_no_tls() {
    let folder = tempdir().unwrap();
    let process = Process::start(folder.path(), &[]).await;
    tell_the_story(Http2::connect(&process.address).await).await;
}

#[tokio::test]
async fn over_tls_the_client_chooses_it() {
    let folder = tempdir().unwrap();
    let authority = Authority::new("ours");
    let process = start(&authority, folder.path(), &[]).await;
    let client = authority.client().speaking("h2");
    let stream = soon(client.connect(&process.address)).await.unwrap();
    let (_, session) = stream.get_ref();
    assert_eq!(session.alpn_protocol(), Some(&b"h2"[..]));
    tell_the_story(Http2::over(stream, &mut client::Builder::new()).await).await;
}

#[tokio::test]
async fn a_hundred_requests_share_a_connection() {
    let folder = tempdir().unwrap();
    let process = Process::start(folder.path(), &[]).await;
    let mut client = Http2::connect(&process.address).await;
    assert_eq!(client.get("/health/live").await.status, 200);
    let before = sockets(process.pid());
    let mut answers = Vec::new();
    for number in 0..100 {
        let get = client.request(Method::GET, &format!("/kv/{number}"));
        let (answer, _) = soon(client.begin(get.body(()).unwrap(), true))
            .await
            .unwrap();
        answers.push(answer);
    }
    for answer in soon(join_all(answers)).await {
        assert_eq!(answer.unwrap().status(), 404);
    }
    assert_eq!(sockets(process.pid()), before);
}

#[tokio::test]
async fn the_authority_is_the_host() {
    let folder = tempdir().unwrap();
    let process = Process::start(folder.path(), &[]).await;
    let mut client = Http2::connect(&process.address).await;
    for (target, host, status) in [
        ("http://localhost/kv/a", None, 404),
        ("http://localhost/kv/a", Some("localhost"), 404),
        ("http://localhost/kv/a", Some("evil.example"), 400),
        ("http://evil.example/kv/a", None, 421),
        ("http://evil.example/kv/a", Some("localhost"), 400),
    ] {
        let mut request = Request::get(target);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let answer = soon(client.send(request.body(()).unwrap(), "")).await;
        assert_eq!(answer.unwrap().status, status, "{target} {host:?}");
    }
    let put = client.request(Method::PUT, "/kv/a");
    let put = put
        .header("origin", "http://evil.example")
        .body(())
        .unwrap();
    let answer = soon(client.send(put, "1")).await.unwrap();
    assert_eq!(answer.status, 403);
}

/// Also one that is refused before any handler sees it: its headers end the stream (RFC 9113 §8.1).
#[tokio::test]
async fn the_answer_to_a_head_has_no_body() {
    let folder = tempdir().unwrap();
    let process = Process::start(folder.path(), &[]).await;
    for (host, path) in [("localhost", "/nothing"), ("elsewhere", "/kv/a")] {
        let mut stream = connect(&process.address).await;
        stream.write_all(PREFACE).await.unwrap();
        let length = |text: &str| u8::try_from(text.len()).unwrap();
        let block = [
            b"\x02\x04HEAD\x86\x41".as_slice(),
            &[length(host)],
            host.as_bytes(),
            &[0x04, length(path)],
            path.as_bytes(),
        ];
        let head = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block.concat());
        stream.write_all(&head).await.unwrap();
        let flags = soon(flags_of_frame(&mut stream, HEADERS)).await.unwrap();
        assert_eq!(flags & END_STREAM, END_STREAM, "{host}{path}");
    }
}

#[tokio::test]
async fn watches_share_a_connection_with_writes() {
    let folder = tempdir().unwrap();
    let process = Process::start(folder.path(), &[]).await;
    let mut client = Http2::connect(&process.address).await;
    let mut watches = Vec::new();
    for _ in 0..10 {
        watches.push(client.stream("/watch?prefix=").await);
    }
    assert_eq!(client.put("/kv/a", "1").await.status, 201);
    for watch in &mut watches {
        event(watch, "\"key\":\"a\"").await;
    }
    // One that is dropped is withdrawn; the others go on.
    watches.pop();
    assert_eq!(client.put("/kv/b", "1").await.status, 201);
    for watch in &mut watches {
        event(watch, "\"key\":\"b\"").await;
    }
}

#[tokio::test]
async fn a_client_that_waits_for_a_change_gets_it() {
    let folder = tempdir().unwrap();
    let process = Process::start(folder.path(), &[]).await;
    let mut client = Http2::connect(&process.address).await;
    let created = client.put("/kv/a", "1").await;
    let get = client.request(Method::GET, "/kv/a");
    let get = get
        .header("if-none-match", &created.headers["etag"])
        .header("prefer", "wait=30");
    let (waiting, _) = soon(client.begin(get.body(()).unwrap(), true))
        .await
        .unwrap();
    assert_eq!(client.put("/kv/a", "2").await.status, 200);
    assert_eq!(soon(waiting).await.unwrap().status(), 200);
}

#[tokio::test]
async fn draining_lets_requests_finish_and_ends_streams_of_changes() {
    let folder = tempdir().unwrap();
    let process = Process::start(folder.path(), &[]).await;
    let mut idle = Http2::connect(&process.address).await;
    assert_eq!(idle.get("/health/live").await.status, 200);
    let mut client = Http2::connect(&process.address).await;
    let mut watch = client.stream("/watch?prefix=").await;
    let mut body = String::from("\"");
    write!(body, "{}\"", "x".repeat(1000)).unwrap();
    let put = client.request(Method::PUT, "/kv/a").body(()).unwrap();
    let (answer, mut sending) = soon(client.begin(put, false)).await.unwrap();
    sending
        .send_data(body[..500].to_owned().into(), false)
        .unwrap();
    // Its stream was begun: this one comes after it.
    assert_eq!(client.get("/health/live").await.status, 200);
    process.signal(rustix::process::Signal::TERM);
    while soon(next(&mut watch)).await.unwrap().is_some() {}
    sending
        .send_data(body[500..].to_owned().into(), true)
        .unwrap();
    assert_eq!(soon(answer).await.unwrap().status(), 201);
    client.end().await.unwrap();
    idle.end().await.unwrap();
    let ended = process.end().await;
    assert!(ended.status.success(), "{ended:?}");
    assert!(!ended.log.contains("cut off"), "{}", ended.log);
}
