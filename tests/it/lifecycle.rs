//! Signals and clients that hang up: how requests and the process end.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::binary::{Process, soon};
use crate::support::http;
use crate::support::writers::{Writers, as_stored, shown_entries, stored_entries};

const WRITERS: usize = 32;
/// Limits that end nothing while a test lasts.
const PATIENT: [&str; 4] = ["--shutdown-grace", "1h", "--request-timeout", "1h"];

#[tokio::test]
async fn a_stop_under_load_loses_nothing_that_was_acknowledged() {
    let folder = TempDir::new().unwrap();
    let mut writers = Writers::new(WRITERS);
    for signal in [Signal::TERM, Signal::INT] {
        let process = Process::start(folder.path(), &[]).await;
        let mut working = writers.start(&process);
        working.acknowledged(200).await;
        process.signal(signal);
        let (status, log) = process.wait().await;
        assert_eq!(status.code(), Some(0), "{log}");
        writers = working.end().await;

        let process = Process::start(folder.path(), &[]).await;
        writers.check(shown_entries(&process).await);
        assert_eq!(process.stop().await.status.code(), Some(0));
    }
}

#[tokio::test]
async fn a_request_under_way_is_finished_and_no_connection_is_taken_any_more() {
    for signal in [Signal::TERM, Signal::INT] {
        let folder = TempDir::new().unwrap();
        let process = Process::start(folder.path(), &PATIENT).await;
        let mut put = HalfSent::put(&process.address, "doc/a", "\"whole\"").await;
        process.signal(signal);
        refused(&process.address).await;
        let answer = put.finish().await;
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let entry: Value = serde_json::from_str(body).unwrap();
        assert_eq!(entry["value"], "whole");

        let (status, log) = process.wait().await;
        assert_eq!(status.code(), Some(0), "{log}");
        let process = Process::start(folder.path(), &[]).await;
        assert_eq!(shown_entries(&process).await["doc/a"], entry);
    }
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    for (first, second) in [
        (Signal::TERM, Signal::TERM),
        (Signal::INT, Signal::INT),
        (Signal::TERM, Signal::INT),
    ] {
        let folder = TempDir::new().unwrap();
        let process = Process::start(folder.path(), &PATIENT).await;
        let mut working = Writers::new(WRITERS).start(&process);
        let hanging = HalfSent::put(&process.address, "hanging", "\"never whole\"").await;
        working.acknowledged(50).await;
        process.signal(first);
        refused(&process.address).await;
        process.signal(second);
        let (status, log) = process.wait().await;
        assert!(!status.success(), "{status}: {log}");
        assert!(
            status.code().is_some(),
            "it ends itself, whatever the signal is: {status}"
        );
        drop(hanging);

        let mut writers = working.end().await;
        let process = Process::start(folder.path(), &[]).await;
        writers.check(shown_entries(&process).await);
    }
}

#[tokio::test]
async fn the_grace_time_ends_a_request_that_hangs() {
    let grace = Duration::from_millis(300);
    let folder = TempDir::new().unwrap();
    let arguments = ["--shutdown-grace", "300ms", "--request-timeout", "1h"];
    let process = Process::start(folder.path(), &arguments).await;
    let acknowledged = http::client()
        .put(process.url("/kv/a"))
        .json(&1)
        .send()
        .await
        .unwrap();
    let acknowledged: Value = acknowledged.json().await.unwrap();
    let hanging = HalfSent::put(&process.address, "hanging", "\"never whole\"").await;
    let started = Instant::now();
    process.signal(Signal::TERM);
    let (status, log) = process.wait().await;
    assert_eq!(status.code(), Some(0), "{log}");
    // The rest of the time is to close the store.
    assert!(
        started.elapsed() >= grace * 4 / 5,
        "{:?}",
        started.elapsed()
    );
    drop(hanging);

    let stored = stored_entries(folder.path());
    assert_eq!(stored.len(), 1);
    assert_eq!(stored["a"], as_stored(acknowledged));
}

#[tokio::test]
async fn a_server_without_requests_stops_without_waiting() {
    let folder = TempDir::new().unwrap();
    let process = Process::start(folder.path(), &PATIENT).await;
    // A connection that is kept alive is not a request.
    let client = http::client();
    let health = client.get(process.url("/health/ready")).send().await;
    assert_eq!(health.unwrap().status(), 200);
    let ended = process.stop().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    assert!(!folder.path().join("data.json").exists());
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_undo_or_tear_its_write() {
    let folder = TempDir::new().unwrap();
    let process = Process::start(folder.path(), &[]).await;
    let value = "x".repeat(100_000);
    let json = serde_json::to_string(&value).unwrap();
    let mut requests = tokio::task::JoinSet::new();
    for number in 0..32 {
        let head = head(&format!("hung-up/{number:02}"), json.len(), "");
        let request = format!("{head}{json}");
        let address = process.address.clone();
        requests.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
        });
    }
    requests.join_all().await;
    // The first has been accepted, and one was heard to the end.
    let list = process.url("/kv?prefix=hung-up/&limit=1");
    let is_empty = async || {
        let list: Value = http::client()
            .get(&list)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        list["items"] == json!([])
    };
    soon(async { while is_empty().await {} }).await;
    // All requests are over when it has stopped. One that had to wait for long was given up.
    let ended = process.stop().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    let stored = stored_entries(folder.path());
    assert!(!stored.is_empty(), "nobody was heard to the end");
    for entry in stored.values() {
        assert_eq!(entry["version"], 1);
        assert!(entry["value"] == json!(value), "a value is torn");
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_within_the_body_writes_nothing() {
    let folder = TempDir::new().unwrap();
    let process = Process::start(folder.path(), &[]).await;
    let half = HalfSent::put(&process.address, "half", "\"never whole\"").await;
    drop(half);
    // All requests are over when it has stopped.
    let ended = process.stop().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    assert!(stored_entries(folder.path()).is_empty());
}

/// A request that the server has begun to serve and whose body is half there.
struct HalfSent {
    stream: TcpStream,
    rest: String,
}

impl HalfSent {
    async fn put(address: &str, key: &str, body: &str) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = head(key, body.len(), "Expect: 100-continue\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        // The server says so once it waits for the body (RFC 9110 §10.1.1).
        let go_on = b"HTTP/1.1 100 Continue\r\n\r\n";
        let mut said = vec![0; go_on.len()];
        soon(stream.read_exact(&mut said)).await.unwrap();
        assert_eq!(said, go_on);
        let (half, rest) = body.split_at(body.len() / 2);
        stream.write_all(half.as_bytes()).await.unwrap();
        Self {
            stream,
            rest: rest.to_owned(),
        }
    }

    /// Sends the rest; returns the answer, whose end is the connection's.
    async fn finish(&mut self) -> String {
        self.stream.write_all(self.rest.as_bytes()).await.unwrap();
        let mut answer = String::new();
        soon(self.stream.read_to_string(&mut answer)).await.unwrap();
        answer
    }
}

fn head(key: &str, length: usize, more: &str) -> String {
    format!(
        "PUT /kv/{key} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n{more}\r\n"
    )
}

/// Returns once nobody listens at `address` any more.
async fn refused(address: &str) {
    soon(async {
        loop {
            match TcpStream::connect(address).await {
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => return,
                // It came before the end of the listener, which may have reset it.
                _ => tokio::task::yield_now().await,
            }
        }
    })
    .await;
}
