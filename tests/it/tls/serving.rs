//! Who speaks TLS is served, and who does not is told.

use tempfile::tempdir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::binary::soon;
use crate::support::raw::{ask, connect, exchange, get, request, status};
use crate::support::tls::{Authority, start};

#[tokio::test]
async fn both_versions_of_tls_are_served() {
    let folder = tempdir().unwrap();
    let authority = Authority::new("ours");
    let process = start(&authority, folder.path(), &[]).await;
    let announced = format!("listening on https://{}\n", process.address);
    assert_eq!(process.announced, announced);
    for (version, created) in [
        (&rustls::version::TLS12, 201),
        (&rustls::version::TLS13, 200),
    ] {
        let client = authority.client_of_version(version);
        let stream = soon(client.connect(&process.address)).await.unwrap();
        let put = request("PUT", "/kv/a", "", "1");
        let answer = soon(exchange(stream, &put)).await.unwrap();
        answer.assert_is_one_of(&[created]);
    }
}

#[tokio::test]
async fn a_client_that_trusts_another_authority_does_not_connect() {
    let folder = tempdir().unwrap();
    let process = start(&Authority::new("ours"), folder.path(), &[]).await;
    let other = Authority::new("other").client();
    let error = soon(other.connect(&process.address)).await.unwrap_err();
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
}

#[tokio::test]
async fn a_client_that_speaks_only_an_unknown_protocol_does_not_connect() {
    let folder = tempdir().unwrap();
    let authority = Authority::new("ours");
    let process = start(&authority, folder.path(), &[]).await;
    let client = authority.client().speaking("h3");
    let error = soon(client.connect(&process.address)).await.unwrap_err();
    assert!(
        error.to_string().contains("NoApplicationProtocol"),
        "{error}"
    );
}

#[tokio::test]
async fn a_client_that_does_not_speak_tls_is_told() {
    let folder = tempdir().unwrap();
    let process = start(&Authority::new("ours"), folder.path(), &[]).await;
    let put = request("PUT", "/kv/a", "", &format!("\"{}\"", "x".repeat(8 * 1024)));
    for request in [get("/kv/a", ""), put] {
        let answer = soon(ask(&process.address, &request)).await.unwrap();
        assert_eq!(answer.status, 400);
        let said = String::from_utf8(answer.body).unwrap();
        assert_eq!(said, "this port speaks TLS: begin with https:\n");
    }
    let mut stream = connect(&process.address).await;
    stream.write_all(b"\x05\x01\x00\r\n").await.unwrap();
    // No HTTP either: what comes is an alert of TLS, and the end.
    let mut answer = Vec::new();
    let _ = soon(stream.read_to_end(&mut answer)).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

/// It ends its sending with `close_notify` (RFC 8446 §6.1), and still reads.
#[tokio::test]
async fn a_client_that_has_finished_sending_gets_its_answer() {
    let folder = tempdir().unwrap();
    let authority = Authority::new("ours");
    let process = start(&authority, folder.path(), &[]).await;
    let mut stream = authority.client().connect(&process.address).await.unwrap();
    let put = request("PUT", "/kv/a", "", "1");
    stream.write_all(put.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(soon(status(&mut stream)).await.unwrap(), 201);
}

/// The end is a `close_notify`: a client can tell it from an attacker's.
#[tokio::test]
async fn draining_ends_each_connection_cleanly() {
    let folder = tempdir().unwrap();
    let authority = Authority::new("ours");
    let process = start(&authority, folder.path(), &[]).await;
    let client = authority.client();
    let mut idle = client.connect(&process.address).await.unwrap();
    idle.write_all(get("/kv/a", "").as_bytes()).await.unwrap();
    assert_eq!(soon(status(&mut idle)).await.unwrap(), 404);
    let mut waiting = client.connect(&process.address).await.unwrap();
    waiting
        .write_all(get("/watch?prefix=", "").as_bytes())
        .await
        .unwrap();
    assert_eq!(soon(status(&mut waiting)).await.unwrap(), 200);
    let silent = connect(&process.address).await;
    let ended = process.stop().await;
    assert!(ended.status.success(), "{ended:?}");
    for mut stream in [idle, waiting] {
        soon(stream.read_to_end(&mut Vec::new())).await.unwrap();
    }
    drop(silent);
}
