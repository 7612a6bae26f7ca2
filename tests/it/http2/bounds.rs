//! What a client can take by streams, and for how long.

use std::time::Duration;

use axum::http::Method;
use h2::{Reason, client};
use tempfile::tempdir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::binary::{Process, soon};
use crate::support::http2::{Http2, PREFACE, frame, read_to_end};
use crate::support::proc::sockets;
use crate::support::raw::{self, connect};

#[tokio::test]
async fn a_connection_without_a_request_ends() {
    let folder = tempdir().unwrap();
    let process = Process::start(folder.path(), &["--header-timeout", "1s"]).await;
    let mut client = Http2::connect(&process.address).await;
    let watch = client.stream("/watch?prefix=").await;
    let mut idle = Http2::connect(&process.address).await;
    assert_eq!(idle.get("/health/live").await.status, 200);
    idle.end().await.unwrap();
    // One with a request goes on.
    assert_eq!(client.get("/health/live").await.status, 200);
    drop(watch);
    client.end().await.unwrap();
    // Half of what a client begins with, and all of it and no more.
    for begin in [&PREFACE[..12], PREFACE] {
        let mut stream = connect(&process.address).await;
        stream.write_all(begin).await.unwrap();
        let _ = soon(read_to_end(&mut stream)).await;
    }
}

#[tokio::test]
async fn a_client_that_is_gone_leaves_nothing_behind() {
    let folder = tempdir().unwrap();
    let process = Process::start(folder.path(), &[]).await;
    let before = sockets(process.pid());
    let mut client = Http2::connect(&process.address).await;
    let _watch = client.stream("/watch?prefix=").await;
    client.abort().await;
    soon(async {
        while sockets(process.pid()) > before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// GET of `path`, with a table of headers that nobody changes (RFC 7541 §6.2.2).
fn get(stream: u32, path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x41, 9];
    block.extend_from_slice(b"localhost");
    block.extend_from_slice(&[0x04, u8::try_from(path.len()).unwrap()]);
    block.extend_from_slice(path.as_bytes());
    frame(1, 0x05, stream, &block)
}

/// It reads, and so its system acknowledges all that comes.
#[tokio::test]
async fn a_client_that_does_not_answer_pings_is_gone() {
    let folder = tempdir().unwrap();
    let process = Process::start(folder.path(), &["--request-timeout", "1s"]).await;
    let mut stream = connect(&process.address).await;
    stream.write_all(PREFACE).await.unwrap();
    stream.write_all(&get(1, "/watch?prefix=")).await.unwrap();
    let ended = timeout(Duration::from_secs(100), read_to_end(&mut stream)).await;
    let (bytes, _) = ended.expect("it ends");
    let ping = frame(6, 0, 0, &[0; 8]);
    assert!(bytes.windows(9).any(|nine| nine == &ping[..9]));
}

/// A client that lets so many bytes be sent on a stream.
async fn with_window(process: &Process, bytes: u32) -> Http2 {
    let stream = TcpStream::connect(&process.address).await.unwrap();
    Http2::over(stream, client::Builder::new().initial_window_size(bytes)).await
}

#[tokio::test]
async fn an_answer_that_is_not_read_is_cut_off() {
    let folder = tempdir().unwrap();
    let process = Process::start(folder.path(), &["--request-timeout", "2s"]).await;
    let mut client = with_window(&process, 0).await;
    let mut writer = Http2::connect(&process.address).await;
    let value = format!("\"{}\"", "x".repeat(500 * 1024));
    assert_eq!(writer.put("/kv/a", &value).await.status, 201);
    let get = client.request(Method::GET, "/kv/a").body(()).unwrap();
    let (answer, _) = soon(client.begin(get, true)).await.unwrap();
    let mut body = soon(answer).await.unwrap().into_body();
    let mut watch = client.stream("/watch?prefix=").await;
    let error = soon(body.data()).await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(Reason::CANCEL));
    // Only that: nothing was ready for the watcher but the first event.
    let error = soon(watch.data()).await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(Reason::CANCEL));
    let head = client.request(Method::HEAD, "/kv/a").body(()).unwrap();
    assert_eq!(soon(client.send(head, "")).await.unwrap().status, 200);
}

/// All of it is on its way, so only the end of the connection takes it back.
#[tokio::test]
async fn the_end_of_an_answer_that_is_not_read_ends_the_connection() {
    let folder = tempdir().unwrap();
    let process = Process::start(folder.path(), &["--request-timeout", "1s"]).await;
    let mut client = with_window(&process, 1).await;
    let get = client.request(Method::GET, "/kv/a").body(()).unwrap();
    let (answer, _) = soon(client.begin(get, true)).await.unwrap();
    let body = soon(answer).await.unwrap().into_body();
    let _ = client.end().await;
    drop(body);
}

/// How much a slow reader takes at once, and after which rest.
const ENOUGH_BYTES: usize = 32 * 1024;
const ENOUGH_REST: Duration = Duration::from_millis(100);

#[tokio::test]
async fn an_answer_that_is_read_slowly_comes_to_its_end() {
    let folder = tempdir().unwrap();
    let process = Process::start(folder.path(), &["--request-timeout", "2s"]).await;
    let mut client = Http2::connect(&process.address).await;
    let value = format!("\"{}\"", "x".repeat(900 * 1024));
    assert_eq!(client.put("/kv/a", &value).await.status, 201);
    let mut body = client.stream("/kv/a").await;
    let (mut length, mut held) = (0, 0);
    while let Some(piece) = soon(body.data()).await {
        let bytes = piece.unwrap().len();
        length += bytes;
        held += bytes;
        if held >= ENOUGH_BYTES || length > value.len() {
            // Several times what it must take, and longer in all than the time for it.
            tokio::time::sleep(ENOUGH_REST).await;
            body.flow_control().release_capacity(held).unwrap();
            held = 0;
        }
    }
    assert!(length > value.len(), "{length}");
}

/// As many as there are connections, whichever connections they are on.
#[tokio::test]
async fn streams_past_the_limit_are_refused_and_probes_are_answered() {
    let folder = tempdir().unwrap();
    let process = Process::start(folder.path(), &["--max-connections", "3"]).await;
    let mut first = Http2::connect(&process.address).await;
    let mut second = Http2::connect(&process.address).await;
    let watches = [
        first.stream("/watch?prefix=").await,
        first.stream("/watch?prefix=").await,
        second.stream("/watch?prefix=").await,
    ];
    for client in [&mut first, &mut second] {
        let refused = client.get("/kv/a").await;
        assert_eq!(refused.status, 503);
        assert!(refused.headers.contains_key("retry-after"));
        assert_eq!(client.get("/health/live").await.status, 200);
    }
    drop(watches);
    soon(async { while second.get("/kv/a").await.status != 404 {} }).await;
}

#[tokio::test]
async fn a_connection_past_the_limit_ends_after_its_answer() {
    let folder = tempdir().unwrap();
    let process = Process::start(folder.path(), &["--max-connections", "1"]).await;
    let mut served = Http2::connect(&process.address).await;
    let _watch = served.stream("/watch?prefix=").await;
    for (path, status) in [("/kv/a", 503), ("/health/live", 200)] {
        let mut client = Http2::connect(&process.address).await;
        assert_eq!(client.get(path).await.status, status);
        client.end().await.unwrap();
    }
}

/// A connection with an open stream is not idle, and one without gives its place to a newcomer.
#[tokio::test]
async fn only_a_connection_without_streams_gives_its_place() {
    let folder = tempdir().unwrap();
    let process = Process::start(folder.path(), &["--max-connections", "2"]).await;
    // The older one: it would be the first to go.
    let mut watching = Http2::connect(&process.address).await;
    let _watch = watching.stream("/watch?prefix=").await;
    let mut idle = Http2::connect(&process.address).await;
    assert_eq!(idle.get("/kv/a").await.status, 404);
    soon(async {
        loop {
            let answer = raw::ask(&process.address, &raw::get("/kv/a", "")).await;
            match answer.unwrap().status {
                404 => return,
                status => assert_eq!(status, 503),
            }
        }
    })
    .await;
    let _ = idle.end().await;
    assert_eq!(watching.get("/health/live").await.status, 200);
}
