//! Connections: as many as there can be, and more.

use std::time::Duration;

use futures_util::future::join_all;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::support::binary::{Ended, MODES, Process, soon};
use crate::support::load::{Ending, MEMORY_MAX_BYTES, Setup, Trial};
use crate::support::raw::{ask, connect, get, request, status};

/// How many connections are served, and how many more come all the time.
const PLACES: usize = 4;
const SILENT: usize = 80;
const FLOOD: Duration = Duration::from_secs(3);
/// How long a log may get that does not grow with the clients, in bytes.
const LOG_MAX_BYTES: usize = 64 * 1024;

fn assert_log_is_short(ended: &Ended) {
    let lines: Vec<_> = ended.log.lines().collect();
    let first = lines[..lines.len().min(5)].join("\n");
    let count = lines.len();
    assert!(ended.log.len() <= LOG_MAX_BYTES, "{count} lines: {first}");
}

/// Clients that connect and say nothing, again as soon as the service hangs up on them.
fn stay_silent(trial: &mut Trial, count: usize) {
    for _ in 0..count {
        let address = trial.address.clone();
        trial.client(async move {
            loop {
                if let Ok(mut stream) = TcpStream::connect(&address).await {
                    let _ = stream.read(&mut [0; 256]).await;
                }
                // The client that it stands for is on the other side of a network.
                sleep(Duration::from_millis(5)).await;
            }
        });
    }
}

/// Clients that take all places, and keep them.
async fn take_all_places(address: &str) -> Vec<TcpStream> {
    let mut taken = Vec::new();
    for _ in 0..PLACES {
        let mut stream = connect(address).await;
        stream
            .write_all(get("/kv/none", "").as_bytes())
            .await
            .unwrap();
        if soon(status(&mut stream)).await.unwrap() == 404 {
            taken.push(stream);
        }
    }
    taken
}

/// Longer than a connection must be idle before it gives its place.
const QUIET: Duration = Duration::from_secs(2);

/// Also the first one: nobody has looked at the connections before.
#[tokio::test]
async fn after_a_quiet_time_each_newcomer_gets_the_place_of_a_connection_that_is_idle() {
    let folder = TempDir::new().unwrap();
    let places = PLACES.to_string();
    let process = Process::start(folder.path(), &["--max-connections", &places]).await;
    let first = take_all_places(&process.address).await;
    assert_eq!(first.len(), PLACES);
    sleep(QUIET).await;
    let second = take_all_places(&process.address).await;
    assert_eq!(second.len(), PLACES, "each newcomer is served");
    for mut stream in first {
        // What is left of its answer, and then the end, in one way or another.
        let _ = soon(stream.read_to_end(&mut Vec::new())).await;
    }
}

#[tokio::test]
async fn probes_are_answered_past_the_limit_of_connections_however_many_are_silent() {
    let places = PLACES.to_string();
    let mut trial = Setup::new(&["--max-connections", &places]).start().await;
    let _taken = take_all_places(&trial.address).await;
    stay_silent(&mut trial, SILENT);
    sleep(FLOOD).await;
    let ended = trial.finish(MEMORY_MAX_BYTES).await;
    assert_log_is_short(&ended);
}

/// The same clients, who renew their connections by themselves.
#[tokio::test]
async fn probes_are_answered_while_silent_connections_are_renewed() {
    let places = PLACES.to_string();
    let setup = Setup::new(&["--max-connections", &places]);
    let mut trial = setup.ending(Ending::SecondSignal).start().await;
    let _taken = take_all_places(&trial.address).await;
    for number in 0..SILENT {
        let address = trial.address.clone();
        let kept = Duration::from_millis(200 + 5 * number as u64);
        trial.client(async move {
            loop {
                if let Ok(stream) = TcpStream::connect(&address).await {
                    sleep(kept).await;
                    drop(stream);
                }
            }
        });
    }
    sleep(FLOOD).await;
    let ended = trial.finish(MEMORY_MAX_BYTES).await;
    assert_log_is_short(&ended);
}

/// Clients past the limit who ask for something are told, and the log does not grow with them.
#[tokio::test]
async fn clients_past_the_limit_are_told_and_cost_nothing() {
    let places = PLACES.to_string();
    let mut trial = Setup::new(&["--max-connections", &places]).start().await;
    let _taken = take_all_places(&trial.address).await;
    for _ in 0..8 {
        let address = trial.address.clone();
        trial.client(async move {
            loop {
                let put = request("PUT", "/kv/a", "", "1");
                if let Ok(answer) = ask(&address, &put).await {
                    answer.assert_is_one_of(&[503]);
                }
            }
        });
    }
    sleep(FLOOD).await;
    let ended = trial.finish(MEMORY_MAX_BYTES).await;
    assert_log_is_short(&ended);
}

/// How many files the process may open, and how many sockets nobody uses.
const OPEN_FILES: u32 = 64;
const IDLE: [usize; 2] = [40, 100];

/// The store needs descriptors as well: for a new data file, its folder, a new journal.
#[tokio::test]
async fn idle_connections_leave_the_store_its_descriptors() {
    for mode in MODES {
        for idle in IDLE {
            let trial = Setup::new(mode).open_files(OPEN_FILES).start().await;
            let mut connected = connect(&trial.address).await;
            let put = request("PUT", "/kv/a", "", "1");
            connected.write_all(put.as_bytes()).await.unwrap();
            assert_eq!(soon(status(&mut connected)).await.unwrap(), 201);
            let mut silent = Vec::new();
            for _ in 0..idle {
                silent.push(connect(&trial.address).await);
            }
            for number in 0..20 {
                // Large enough that a journal is outgrown, and the data file written.
                let value = format!("\"{}\"", "x".repeat(100_000));
                let path = format!("/kv/{}", number % 2);
                let put = request("PUT", &path, "Prefer: return=minimal\r\n", &value);
                connected.write_all(put.as_bytes()).await.unwrap();
                let told = soon(status(&mut connected)).await.unwrap();
                assert_eq!(told, 204, "{mode:?}: a client that has its place is served");
            }
            let put = request("PUT", "/kv/b", "Prefer: return=minimal\r\n", "1");
            let answer = timeout(Duration::from_secs(5), ask(&trial.address, &put)).await;
            let answer = answer.unwrap_or_else(|_| panic!("{mode:?}, {idle}: it is answered"));
            answer.unwrap().assert_is_one_of(&[204, 503]);
            drop(silent);
            let ended = trial.finish(MEMORY_MAX_BYTES).await;
            assert_log_is_short(&ended);
        }
    }
}

/// So many clients at once. A system's queue for them has usually room for 4,096, and that of a program that
/// asks for nothing special has room for 128.
const BURST: usize = 1_000;

#[tokio::test]
async fn a_burst_of_clients_is_let_in_also_while_the_process_is_held_up() {
    let room = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    if room.trim().parse::<usize>().unwrap() <= BURST {
        println!("skipped: the system has room for {} clients", room.trim());
        return;
    }
    let trial = Setup::new(&[]).start().await;
    trial.process.signal(Signal::STOP);
    // The system lets them in; the process only has to take them over.
    let clients = soon(join_all((0..BURST).map(|_| connect(&trial.address))));
    let clients = clients.await;
    trial.process.signal(Signal::CONT);
    let mut last = clients.into_iter().last().unwrap();
    last.write_all(get("/health/live", "").as_bytes())
        .await
        .unwrap();
    assert_eq!(soon(status(&mut last)).await.unwrap(), 200);
    trial.finish(MEMORY_MAX_BYTES).await;
}
