//! What clients over TLS can take, and for how long.

use std::time::Duration;

use tempfile::tempdir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::binary::{Process, soon};
use crate::support::load::{key, string};
use crate::support::proc::sockets;
use crate::support::raw::{connect, connect_slow_reader, exchange, get, request, status};
use crate::support::tls::{Authority, start};

/// Returns once the process has only so many sockets open.
async fn has_sockets(process: &Process, count: usize) {
    soon(async {
        while sockets(process.pid()) > count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_handshake_that_never_ends_gives_its_place_back() {
    let folder = tempdir().unwrap();
    let authority = Authority::new("ours");
    let arguments = ["--max-connections", "2", "--header-timeout", "2s"];
    let process = start(&authority, folder.path(), &arguments).await;
    let mut silent = connect(&process.address).await;
    let mut begun = connect(&process.address).await;
    // The beginning of a record that says it has 512 bytes.
    begun.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
    for stream in [&mut silent, &mut begun] {
        let _ = soon(stream.read_to_end(&mut Vec::new())).await;
    }
    let stream = soon(authority.client().connect(&process.address)).await;
    let answer = soon(exchange(stream.unwrap(), &get("/kv/a", ""))).await;
    assert_eq!(answer.unwrap().status, 404);
}

#[tokio::test]
async fn a_handshake_gives_its_place_to_a_newcomer() {
    let folder = tempdir().unwrap();
    let authority = Authority::new("ours");
    let arguments = ["--max-connections", "1", "--header-timeout", "1h"];
    let process = start(&authority, folder.path(), &arguments).await;
    let _silent = connect(&process.address).await;
    let client = authority.client();
    let put = request("PUT", "/kv/a", "", "1");
    // Until it is silent for long, others get 503.
    soon(async {
        loop {
            let stream = client.connect(&process.address).await.unwrap();
            match exchange(stream, &put).await.unwrap().status {
                201 => return,
                status => assert_eq!(status, 503),
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_probe_past_the_limit_of_connections_is_answered() {
    let folder = tempdir().unwrap();
    let authority = Authority::new("ours");
    let process = start(&authority, folder.path(), &["--max-connections", "1"]).await;
    let client = authority.client();
    let mut watching = client.connect(&process.address).await.unwrap();
    let watch = get("/watch?prefix=", "");
    watching.write_all(watch.as_bytes()).await.unwrap();
    assert_eq!(soon(status(&mut watching)).await.unwrap(), 200);
    for (path, expected) in [("/health/live", 200), ("/kv/a", 503)] {
        let stream = soon(client.connect(&process.address)).await.unwrap();
        let answer = soon(exchange(stream, &get(path, ""))).await.unwrap();
        assert_eq!(answer.status, expected);
    }
}

/// A handshake is read only up to a limit, whatever the records say.
#[tokio::test]
async fn a_handshake_that_is_too_long_is_cut_off() {
    let folder = tempdir().unwrap();
    let process = start(&Authority::new("ours"), folder.path(), &[]).await;
    let mut stream = connect(&process.address).await;
    // One message of 65,535 bytes, in records of 4 KiB.
    let mut sent = 0;
    let mut message = vec![0_u8; 4096];
    message[..4].copy_from_slice(&[1, 0, 0xff, 0xff]);
    let cut_off = async {
        for _ in 0..15 {
            stream.write_all(b"\x16\x03\x01\x10\x00").await?;
            stream.write_all(&message).await?;
            sent += message.len();
            message[..4].fill(0);
        }
        // All but the end of it: only the limit can end this.
        match stream.read(&mut [0; 64]).await? {
            0 => Ok(()),
            _ => stream.read_to_end(&mut Vec::new()).await.map(|_| ()),
        }
    };
    let _: std::io::Result<()> = tokio::time::timeout(Duration::from_secs(5), cut_off)
        .await
        .expect("sooner than a handshake may take");
}

#[tokio::test]
async fn a_header_that_never_ends_is_cut_off() {
    let folder = tempdir().unwrap();
    let authority = Authority::new("ours");
    let process = start(&authority, folder.path(), &["--header-timeout", "1s"]).await;
    let mut stream = authority.client().connect(&process.address).await.unwrap();
    let (mut reading, mut writing) = tokio::io::split(&mut stream);
    let dribble = async {
        let mut head = get("/kv/a", "X: ").into_bytes();
        head.truncate(head.len() - 2);
        let _ = writing.write_all(&head).await;
        while writing.write_all(b"x").await.is_ok() && writing.flush().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let read = async {
        let _ = reading.read_to_end(&mut Vec::new()).await;
    };
    soon(async {
        tokio::select! { () = dribble => {}, () = read => {} }
    })
    .await;
}

#[tokio::test]
async fn a_reader_who_reads_nothing_is_cut_off() {
    let folder = tempdir().unwrap();
    let authority = Authority::new("ours");
    let process = start(&authority, folder.path(), &["--request-timeout", "2s"]).await;
    let before = sockets(process.pid());
    let client = authority.client();
    for number in 0..4 {
        let value = string(1024 * 1024, b'a');
        let put = request("PUT", &format!("/kv/{}", key(number)), "", &value);
        let stream = client.connect(&process.address).await.unwrap();
        let answer = soon(exchange(stream, &put)).await.unwrap();
        answer.assert_is_one_of(&[201]);
    }
    has_sockets(&process, before).await;
    let slow = connect_slow_reader(&process.address).await;
    let mut slow = soon(client.over(slow)).await.unwrap();
    slow.write_all(get("/kv", "").as_bytes()).await.unwrap();
    soon(slow.get_ref().0.readable()).await.unwrap();
    has_sockets(&process, before).await;
}

/// A client is gone if its socket is, and also if it only says so.
#[tokio::test]
async fn a_watcher_who_is_gone_leaves_nothing_behind() {
    let folder = tempdir().unwrap();
    let authority = Authority::new("ours");
    let process = start(&authority, folder.path(), &[]).await;
    let client = authority.client();
    let before = sockets(process.pid());
    for says_so in [true, false] {
        let mut stream = client.connect(&process.address).await.unwrap();
        let watch = get("/watch?prefix=", "");
        stream.write_all(watch.as_bytes()).await.unwrap();
        assert_eq!(soon(status(&mut stream)).await.unwrap(), 200);
        if says_so {
            stream.shutdown().await.unwrap();
            let _ = soon(stream.read_to_end(&mut Vec::new())).await;
        }
        drop(stream);
        has_sockets(&process, before).await;
    }
}
