//! Readers that take their time over a list.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::support::binary::soon;
use crate::support::load::{MEMORY_MAX_BYTES, Setup, Trial, key, string, strings};
use crate::support::raw::{ask, connect, connect_slow_reader, connect_with_buffer, get, request};

const VALUE_BYTES: usize = 1024 * 1024;
const VALUES: usize = 64;
const READERS: usize = 30;
/// How often all values are replaced. Each past state of them is 64 MiB.
const ROUNDS: usize = 5;
/// After which rest such a reader takes a byte.
const BYTE_REST: Duration = Duration::from_millis(100);

/// A reader that has begun to read the list, and takes a byte of it now and then.
async fn hardly_read(trial: &mut Trial) {
    let mut stream = connect_slow_reader(&trial.address).await;
    stream.write_all(get("/kv", "").as_bytes()).await.unwrap();
    soon(stream.readable()).await.unwrap();
    trial.client(async move {
        while stream.read_u8().await.is_ok() {
            sleep(BYTE_REST).await;
        }
        // It goes on as long as nobody tells it that it is cut off.
        std::future::pending::<()>().await;
    });
}

/// They have time left for the whole test; what all of them hold is bounded even so.
#[tokio::test]
async fn readers_who_hardly_read_hold_few_past_states() {
    let setup = Setup::new(&["--request-timeout", "5m"]);
    let mut trial = setup.values(strings(VALUES, VALUE_BYTES)).start().await;
    for round in 0..ROUNDS {
        for _ in 0..READERS / ROUNDS {
            hardly_read(&mut trial).await;
        }
        let letter = b'b' + u8::try_from(round).unwrap();
        for pair in (0..VALUES).collect::<Vec<_>>().chunks(2) {
            join_all(pair.iter().map(|&number| replace(&trial, number, letter))).await;
        }
    }
    trial.finish(MEMORY_MAX_BYTES).await;
}

/// In the time of a request they take less than 64 KiB.
#[tokio::test]
async fn readers_who_hardly_read_are_cut_off() {
    let setup = Setup::new(&["--request-timeout", "2s"]);
    let mut trial = setup.values(strings(4, VALUE_BYTES)).start().await;
    for _ in 0..READERS {
        hardly_read(&mut trial).await;
    }
    // What is probed meanwhile has a descriptor or two of its own.
    trial
        .at_most_more_descriptors(4, Duration::from_secs(8))
        .await;
    trial.finish(MEMORY_MAX_BYTES).await;
}

/// How many values are deleted, and how many read the list of before.
const DELETED: usize = 12;
const PAST_READERS: usize = 40;

/// Every value was deleted since: each reader is given it from the log.
#[tokio::test]
async fn readers_of_a_list_of_the_past_hold_a_bounded_amount() {
    let setup = Setup::new(&["--request-timeout", "5m"]);
    let trial = setup.values(strings(DELETED, VALUE_BYTES)).start().await;
    for number in 0..DELETED {
        let path = format!("/kv/{}", key(number));
        let delete = request("DELETE", &path, "Prefer: return=minimal\r\n", "");
        let answer = soon(ask(&trial.address, &delete)).await.unwrap();
        answer.assert_is_one_of(&[204]);
    }
    let list = get(&format!("/kv?revision={DELETED}"), "");
    let mut readers = Vec::new();
    for _ in 0..PAST_READERS {
        let mut stream = connect_slow_reader(&trial.address).await;
        stream.write_all(list.as_bytes()).await.unwrap();
        soon(stream.readable()).await.unwrap();
        readers.push(stream);
    }
    trial.finish(MEMORY_MAX_BYTES).await;
    drop(readers);
}

async fn replace(trial: &Trial, number: usize, letter: u8) {
    let path = format!("/kv/{}", key(number));
    let value = string(VALUE_BYTES, letter);
    let put = request("PUT", &path, "Prefer: return=minimal\r\n", &value);
    let answer = soon(ask(&trial.address, &put)).await.unwrap();
    answer.assert_is_one_of(&[204]);
}

/// How many bytes the system takes for a slow reader.
const BUFFER_BYTES: u32 = 128 * 1024;
/// How much a slow reader takes at once, after which rest, and within which time at the latest:
/// several times what it must take.
const ENOUGH_BYTES: usize = 64 * 1024;
const ENOUGH_REST: Duration = Duration::from_millis(150);
const ENOUGH_WITHIN: Duration = Duration::from_secs(4);

/// What the service still has to send does not count against them, however much the system took
/// from it before.
#[tokio::test]
async fn readers_who_take_enough_are_served_to_the_end() {
    // Shorter than the whole takes, and long enough for a machine that does other things as well.
    let setup = Setup::new(&["--request-timeout", "5s"]);
    let values = strings(4, 700 * 1024);
    let trial = setup.values(values).start().await;
    let streams = [
        connect(&trial.address).await,
        connect_with_buffer(&trial.address, BUFFER_BYTES).await,
    ];
    for (list, slowest) in join_all(streams.map(read_slowly)).await {
        let end = list.windows(7).rposition(|seven| seven == b"\"next\":");
        assert!(
            end.is_some(),
            "cut off after {} bytes; it took {ENOUGH_BYTES} in {slowest:?} at the slowest",
            list.len()
        );
    }
    trial.finish(MEMORY_MAX_BYTES).await;
}

/// All that comes, and how long the slowest piece of it took. Where the machine is too slow for
/// the reader it reads on without a rest.
async fn read_slowly(mut stream: TcpStream) -> (Vec<u8>, Duration) {
    let get = get("/kv", "Connection: close\r\n");
    stream.write_all(get.as_bytes()).await.unwrap();
    let (mut list, mut slowest) = (Vec::new(), Duration::ZERO);
    loop {
        let began = Instant::now();
        let end = list.len() + ENOUGH_BYTES;
        while list.len() < end {
            let mut piece = (&mut stream).take((end - list.len()) as u64);
            match piece.read_buf(&mut list).await {
                Ok(0) | Err(_) => return (list, slowest),
                Ok(_) => {}
            }
        }
        slowest = slowest.max(began.elapsed());
        if began.elapsed() + ENOUGH_REST < ENOUGH_WITHIN {
            sleep(ENOUGH_REST).await;
        }
    }
}
