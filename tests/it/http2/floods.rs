//! Clients that flood the service with what HTTP/1.1 does not have.

use std::time::Duration;

use axum::http::Method;
use h2::Reason;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::support::binary::soon;
use crate::support::http2::{Http2, PREFACE, frame, read_to_end};
use crate::support::load::{MEMORY_MAX_BYTES, Setup};

/// How many clients flood it at once, and for how long.
const CLIENTS: usize = 8;
const FLOOD: Duration = Duration::from_secs(3);
/// How many frames such a client sends at once.
const FRAMES: usize = 500;

/// Sends `frames` for ever; after each end of a connection on a new one.
async fn flood(address: String, frames: impl Fn(u32) -> Vec<u8>) {
    loop {
        let Ok(mut stream) = TcpStream::connect(&address).await else {
            sleep(Duration::from_millis(5)).await;
            continue;
        };
        let (mut reading, mut writing) = stream.split();
        let write = async {
            let mut number = 0;
            if writing.write_all(PREFACE).await.is_err() {
                return;
            }
            loop {
                let mut bytes = Vec::new();
                for _ in 0..FRAMES {
                    bytes.extend(frames(number));
                    number += 1;
                }
                if writing.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = write => {}
            _ = read_to_end(&mut reading) => {}
        }
    }
}

/// GET /kv/a of `localhost`.
const GET: &[u8] = b"\x82\x86\x41\x09localhost\x04\x05/kv/a";

/// Requests that are withdrawn at once (CVE-2023-44487).
#[tokio::test]
async fn rapid_resets_leave_others_served() {
    let mut trial = Setup::new(&[]).start().await;
    for _ in 0..CLIENTS {
        let address = trial.address.clone();
        trial.client(flood(address, |number| {
            let stream = 2 * number + 1;
            let cancel = 8_u32.to_be_bytes();
            [frame(1, 0x05, stream, GET), frame(3, 0, stream, &cancel)].concat()
        }));
    }
    sleep(FLOOD).await;
    let mut client = Http2::connect(&trial.address).await;
    assert_eq!(client.get("/kv/a").await.status, 404);
    trial.finish(MEMORY_MAX_BYTES).await;
}

/// A header that never ends (CVE-2024-27316).
#[tokio::test]
async fn endless_headers_leave_others_served() {
    let mut trial = Setup::new(&[]).start().await;
    for _ in 0..CLIENTS {
        let address = trial.address.clone();
        let field = [b"\x00\x01a\x7f\x81\x07".as_slice(), &[b'x'; 1024]].concat();
        trial.client(flood(address, move |number| match number {
            0 => frame(1, 0x01, 1, GET),
            _ => frame(9, 0, 1, &field),
        }));
    }
    sleep(FLOOD).await;
    let mut client = Http2::connect(&trial.address).await;
    assert_eq!(client.get("/kv/a").await.status, 404);
    trial.finish(MEMORY_MAX_BYTES).await;
}

/// Settings and pings, each of which must be answered (CVE-2019-9512, CVE-2019-9515).
#[tokio::test]
async fn settings_and_pings_leave_others_served() {
    let mut trial = Setup::new(&[]).start().await;
    for number in 0..CLIENTS {
        let address = trial.address.clone();
        trial.client(flood(address, move |_| match number % 2 {
            0 => frame(4, 0, 0, &[]),
            _ => frame(6, 0, 0, &[7; 8]),
        }));
    }
    sleep(FLOOD).await;
    let mut client = Http2::connect(&trial.address).await;
    assert_eq!(client.get("/kv/a").await.status, 404);
    trial.finish(MEMORY_MAX_BYTES).await;
}

#[tokio::test]
async fn a_header_that_is_too_long_is_refused() {
    let trial = Setup::new(&[]).start().await;
    let mut client = Http2::connect(&trial.address).await;
    let get = client.request(Method::GET, "/kv/a");
    let get = get.header("x", "x".repeat(20 * 1024)).body(()).unwrap();
    match soon(client.send(get, "")).await {
        Ok(answer) => assert_eq!(answer.status, 431),
        Err(error) => assert_eq!(error.reason(), Some(Reason::PROTOCOL_ERROR)),
    }
    trial.finish(MEMORY_MAX_BYTES).await;
}

/// Each stream of each client would take more than it may.
#[tokio::test]
async fn uploads_that_nobody_ends_are_bounded() {
    let mut trial = Setup::new(&["--request-timeout", "5s"]).start().await;
    for _ in 0..CLIENTS {
        let address = trial.address.clone();
        trial.client(async move {
            let mut client = Http2::connect(&address).await;
            let mut sending = Vec::new();
            loop {
                let put = client.request(Method::PUT, "/kv/a").body(()).unwrap();
                let Ok((_, mut body)) = client.begin(put, false).await else {
                    client = Http2::connect(&address).await;
                    continue;
                };
                let _ = body.send_data(vec![b' '; 256 * 1024].into(), false);
                sending.push(body);
                if sending.len() > 100 {
                    sending.clear();
                }
                tokio::task::yield_now().await;
            }
        });
    }
    sleep(FLOOD).await;
    trial.finish(MEMORY_MAX_BYTES).await;
}
