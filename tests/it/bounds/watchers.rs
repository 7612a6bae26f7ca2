//! Watchers that do not read what they are told.

use tokio::io::AsyncWriteExt as _;

use crate::support::binary::soon;
use crate::support::load::{MEMORY_MAX_BYTES, Setup, Trial, key, string, strings};
use crate::support::proc::MIB;
use crate::support::raw::{ask, connect_slow_reader, get, request};

const VALUE_BYTES: usize = 1024 * 1024;
/// What all of them may hold together, with `--watch-buffer` of 16 MiB.
const STALLED_MAX_BYTES: u64 = 100 * MIB;
const WATCHERS: usize = 64;
/// How many events each of them leaves unread.
const EVENTS: u8 = 2;

/// They hold other events each, which the buffer has dropped long ago.
#[tokio::test]
async fn stalled_watchers_hold_no_more_than_the_buffer() {
    let setup = Setup::new(&["--watch-buffer", "16777216"]);
    let trial = setup.values(strings(WATCHERS, VALUE_BYTES)).start().await;
    let mut stalled = Vec::new();
    for number in 0..WATCHERS {
        let watch = get(&format!("/watch?prefix={}", key(number)), "");
        let mut stream = connect_slow_reader(&trial.address).await;
        stream.write_all(watch.as_bytes()).await.unwrap();
        soon(stream.readable()).await.unwrap();
        stalled.push(stream);
    }
    // Two at a time, because the machine may have two processors.
    for pair in (0..WATCHERS).collect::<Vec<_>>().chunks(2) {
        for event in 0..EVENTS {
            let writes = pair.iter().map(|&number| write(&trial, number, event));
            futures_util::future::join_all(writes).await;
        }
    }
    trial.finish(STALLED_MAX_BYTES).await;
    drop(stalled);
}

async fn write(trial: &Trial, number: usize, event: u8) {
    let path = format!("/kv/{}", key(number));
    let value = string(VALUE_BYTES, b'b' + event);
    let put = request("PUT", &path, "Prefer: return=minimal\r\n", &value);
    let answer = soon(ask(&trial.address, &put)).await.unwrap();
    answer.assert_is_one_of(&[204]);
}

/// How many watchers resume, and how many events each has missed.
const RESUMING: usize = 400;
const MISSED: u8 = 3;

/// The buffer has forgotten what they missed long ago, so each of them is given it from the log.
#[tokio::test]
async fn watchers_that_resume_from_the_log_and_stall_hold_a_bounded_amount() {
    let setup = Setup::new(&["--watch-buffer", "1048576"]);
    let trial = setup.values(strings(1, VALUE_BYTES)).start().await;
    let list = get("/kv?limit=1", "");
    let list = soon(ask(&trial.address, &list)).await.unwrap();
    let head = list.head.to_ascii_lowercase();
    let (_, etag) = head.split_once("\r\netag: \"").unwrap();
    let (since, _) = etag.split_once('"').unwrap();
    for event in 0..MISSED {
        write(&trial, 0, event).await;
    }
    let watch = get(&format!("/watch?since={since}"), "");
    let mut stalled = Vec::new();
    for _ in 0..RESUMING {
        let mut stream = connect_slow_reader(&trial.address).await;
        stream.write_all(watch.as_bytes()).await.unwrap();
        soon(stream.readable()).await.unwrap();
        stalled.push(stream);
    }
    trial.finish(MEMORY_MAX_BYTES).await;
    drop(stalled);
}
