//! Clients that ask too much, byte by byte.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::binary::{Process, soon};
use crate::support::http;

async fn connect(process: &Process) -> TcpStream {
    TcpStream::connect(&process.address).await.unwrap()
}

/// Sends bytes and returns all that comes until the server closes the connection.
async fn exchange(mut stream: TcpStream, sent: &[u8]) -> String {
    stream.write_all(sent).await.unwrap();
    let mut answer = Vec::new();
    soon(stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// Reads one answer and leaves the connection open.
async fn answer(stream: &mut TcpStream) -> String {
    let mut seen = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&seen).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return text;
            }
        }
        let mut more = [0; 4096];
        let read = soon(stream.read(&mut more)).await.unwrap();
        assert!(read > 0, "closed after {text:?}");
        seen.extend_from_slice(&more[..read]);
    }
}

fn put(more: &str) -> String {
    format!("PUT /kv/a HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{more}\r\n")
}

#[track_caller]
fn assert_unavailable(answer: &str) {
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("\r\nretry-after: "), "{answer}");
    assert!(answer.contains("{\"error\":\"unavailable\","), "{answer}");
}

#[tokio::test]
async fn a_probe_of_http_1_0_without_host_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &[]).await;
    for path in ["/health", "/health/live", "/health/ready"] {
        for method in ["GET", "HEAD"] {
            let request = format!("{method} {path} HTTP/1.0\r\n\r\n");
            let answer = exchange(connect(&process).await, request.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
            assert_eq!(
                answer.contains("\"status\":\"ok\""),
                method == "GET",
                "{answer}"
            );
        }
    }
}

#[tokio::test]
async fn a_client_that_trickles_its_header_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &["--header-timeout", "200ms"]).await;
    let stream = connect(&process).await;
    let answer = exchange(stream, b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-").await;
    assert!(!answer.contains("200 OK"), "{answer}");
}

#[tokio::test]
async fn a_client_that_trickles_its_body_is_told_and_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &["--request-timeout", "200ms"]).await;
    let request = put("Content-Length: 100\r\n") + "[1,";
    let answer = exchange(connect(&process).await, request.as_bytes()).await;
    assert_unavailable(&answer);
}

/// More than the buffers of both sides hold.
const UNREAD_VALUES: u32 = 32;

#[tokio::test]
async fn a_client_that_never_reads_its_answer_loses_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--max-connections", "1", "--request-timeout", "300ms"];
    let process = Process::start(folder.path(), &[]).await;
    let client = http::client();
    for number in 0..UNREAD_VALUES {
        let put = client.put(process.url(&format!("/kv/{number}")));
        let answer = put.json(&"x".repeat(1_000_000)).send().await.unwrap();
        assert_eq!(answer.status(), 201);
    }
    process.stop().await;

    let process = Process::start(folder.path(), &arguments).await;
    let mut unread = connect(&process).await;
    let request = b"GET /kv HTTP/1.1\r\nHost: localhost\r\n\r\n";
    unread.write_all(request).await.unwrap();
    // It has begun to answer, so the place is taken.
    unread.readable().await.unwrap();
    let probe = "GET /kv/none HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let told = exchange(connect(&process).await, probe.as_bytes()).await;
    assert_unavailable(&told);
    let served = async {
        loop {
            let mut stream = connect(&process).await;
            stream.write_all(probe.as_bytes()).await.unwrap();
            if answer(&mut stream).await.starts_with("HTTP/1.1 404 ") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon(served).await;
    drop(unread);
}

#[tokio::test]
async fn past_the_limit_of_connections_a_client_is_told_and_a_probe_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &["--max-connections", "2"]).await;
    let probe = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut places = [connect(&process).await, connect(&process).await];
    for place in &mut places {
        place.write_all(probe("/kv").as_bytes()).await.unwrap();
        assert!(answer(place).await.starts_with("HTTP/1.1 200 "));
    }
    let told = exchange(connect(&process).await, probe("/kv").as_bytes()).await;
    assert_unavailable(&told);
    for path in ["/health", "/health/live", "/health/ready"] {
        let probed = exchange(connect(&process).await, probe(path).as_bytes()).await;
        assert!(probed.starts_with("HTTP/1.1 200 "), "{probed}");
    }
    let [first, second] = places;
    drop(first);
    let served = async {
        loop {
            let mut stream = connect(&process).await;
            stream.write_all(probe("/kv").as_bytes()).await.unwrap();
            if answer(&mut stream).await.starts_with("HTTP/1.1 200 ") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(served).await;
    drop(second);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_it_is_all_sent() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &["--max-value-bytes", "1000"]).await;
    let told = put("Content-Length: 1001\r\n");
    let mut stream = connect(&process).await;
    stream.write_all(told.as_bytes()).await.unwrap();
    let refused = answer(&mut stream).await;
    assert!(refused.starts_with("HTTP/1.1 413 "), "{refused}");

    let mut stream = connect(&process).await;
    let untold = put("Transfer-Encoding: chunked\r\n") + "3e9\r\n" + &"1".repeat(1001);
    stream.write_all(untold.as_bytes()).await.unwrap();
    let refused = answer(&mut stream).await;
    assert!(refused.starts_with("HTTP/1.1 413 "), "{refused}");
    assert!(
        refused.contains("\"error\":\"value_too_large\""),
        "{refused}"
    );
}

#[tokio::test]
async fn a_client_that_sends_a_large_body_before_it_reads_sees_the_refusal() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &[]).await;
    let client = http::client();
    for round in 0..20 {
        let body = vec![b'1'; 8 * 1024 * 1024];
        let put = client
            .put(process.url("/kv/a"))
            .header("content-type", "application/json")
            .body(body);
        let answer = put
            .send()
            .await
            .unwrap_or_else(|error| panic!("{round}: {error:?}"));
        assert_eq!(answer.status(), 413);
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &[]).await;
    let mut requests = String::new();
    for value in 1..=3 {
        requests += &(put("Content-Length: 1\r\n") + &value.to_string());
    }
    requests += "GET /kv/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answers = exchange(connect(&process).await, requests.as_bytes()).await;
    let versions: Vec<_> = answers
        .split("\"version\":")
        .skip(1)
        .map(|rest| &rest[..1])
        .collect();
    assert_eq!(versions, ["1", "2", "3", "3"]);
}
