//! Clients that wait for something new and are gone before it comes.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ifmatch::api::{AllowedHosts, serve};
use ifmatch::model::{ChangeSet, Entry, Filter, Key, Record, ResumeToken};
use ifmatch::service::{Service, Settings};
use ifmatch::storage::memory::MemoryStore;
use ifmatch::storage::{
    CommitError, Committed, Known, Lease, Past, Snapshot, Status, Store, StoreError, Subscription,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};

use crate::support::api::LIMITS;
use crate::support::binary::soon;
use crate::support::load::{MEMORY_MAX_BYTES, Setup, Trial, strings};
use crate::support::raw::{ask, connect, connect_with_buffer, get, request, reset};
use crate::support::strace::Strace;

/// How many clients wait, of each kind.
const CLIENTS: usize = 250;
/// Within which time nothing is left of a client that is gone.
const GONE_WITHIN: Duration = Duration::from_secs(3);
/// What probes may have open at the time.
const PROBES: usize = 4;

/// What waits: the state that it has is the current one.
async fn waiting_request(trial: &Trial, path: &str) -> String {
    let answer = ask(&trial.address, &get(path, "")).await.unwrap();
    let head = answer.head.lines();
    let etag = head.filter_map(|line| line.split_once(": "));
    let (_, etag) = etag
        .into_iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("etag"))
        .unwrap();
    get(
        path,
        &format!("If-None-Match: {etag}\r\nPrefer: wait=60\r\n"),
    )
}

/// Sends the request of many clients, and returns once the service has accepted all of them.
async fn wait_all(trial: &Trial, count: usize, request: &str) -> Vec<TcpStream> {
    let before = trial.more_descriptors();
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut stream = connect(&trial.address).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        streams.push(stream);
    }
    let all = (before + count).saturating_sub(PROBES);
    trial
        .at_least_more_descriptors(all, Duration::from_secs(10))
        .await;
    streams
}

#[tokio::test]
async fn readers_who_wait_and_hang_up_leave_nothing_behind() {
    let trial = Setup::new(&[]).values(strings(1, 100)).start().await;
    let requests = [
        waiting_request(&trial, "/kv/v/000").await,
        waiting_request(&trial, "/kv").await,
    ];
    let mut closing = Vec::new();
    let mut resetting = Vec::new();
    for request in &requests {
        closing.extend(wait_all(&trial, CLIENTS, request).await);
        resetting.extend(wait_all(&trial, CLIENTS, request).await);
    }
    drop(closing);
    resetting.into_iter().for_each(reset);
    trial.at_most_more_descriptors(PROBES, GONE_WITHIN).await;
    trial.finish(MEMORY_MAX_BYTES).await;
}

#[tokio::test]
async fn watchers_who_hang_up_leave_nothing_behind() {
    let trial = Setup::new(&[]).start().await;
    let mut streams = wait_all(&trial, CLIENTS, &get("/watch", "")).await;
    for stream in &mut streams {
        soon(stream.readable()).await.unwrap();
    }
    let resetting = streams.split_off(CLIENTS / 2);
    drop(streams);
    resetting.into_iter().for_each(reset);
    trial.at_most_more_descriptors(PROBES, GONE_WITHIN).await;
    trial.finish(MEMORY_MAX_BYTES).await;
}

/// What a client may have sent behind a request that is not answered yet: another request, more than is read
/// at once, or a part of a body that nobody reads.
fn requests_with_more_behind(request: &str) -> [String; 3] {
    let more = get("/kv/none", "");
    let with_body = request.replacen("\r\n", "\r\nContent-Length: 100000\r\n", 1);
    [
        format!("{request}{more}"),
        format!("{request}{}", more.repeat(20_000 / more.len())),
        format!("{with_body}{{\"a\":"),
    ]
}

/// What is behind a request is not read before its answer is made, and neither is the end after it.
#[tokio::test]
async fn clients_who_sent_more_behind_what_waits_leave_nothing_behind() {
    let trial = Setup::new(&[]).values(strings(1, 100)).start().await;
    let requests = [
        waiting_request(&trial, "/kv/v/000").await,
        waiting_request(&trial, "/kv").await,
        get("/watch", ""),
    ];
    let mut streams = Vec::new();
    for request in requests
        .iter()
        .flat_map(|one| requests_with_more_behind(one))
    {
        streams.extend(wait_all(&trial, 50, &request).await);
    }
    // What comes later is read, and then held.
    for request in &requests {
        let mut later = wait_all(&trial, 50, request).await;
        for stream in &mut later {
            stream.write_all(get("/kv", "").as_bytes()).await.unwrap();
        }
        streams.extend(later);
    }
    for (number, stream) in streams.into_iter().enumerate() {
        if number % 2 == 0 {
            reset(stream);
        }
    }
    trial.at_most_more_descriptors(PROBES, GONE_WITHIN).await;
    trial.finish(MEMORY_MAX_BYTES).await;
}

/// By how much each sync is slower: none ends while the test lasts.
const SYNC_DELAY: Duration = Duration::from_secs(120);

#[tokio::test]
async fn writers_who_sent_more_and_hang_up_on_a_stalled_disk_leave_no_connection_behind() {
    if !Strace::is_usable().await {
        return;
    }
    let mut trial = Setup::new(&[]).values(strings(1, 100)).start().await;
    trial.slow_down_disk(SYNC_DELAY).await;
    let mut streams = Vec::new();
    for write in [
        request("PUT", "/kv/v/000", "", "1"),
        request("DELETE", "/kv/v/000", "", ""),
    ] {
        let request = format!("{write}{}", get("/kv/none", ""));
        streams.extend(wait_all(&trial, 50, &request).await);
    }
    for (number, stream) in streams.into_iter().enumerate() {
        if number % 2 == 0 {
            reset(stream);
        }
    }
    trial.at_most_more_descriptors(PROBES, GONE_WITHIN).await;
    trial.finish(MEMORY_MAX_BYTES).await;
}

/// A closed sending side alone does not say that the client is gone: it may have sent all that it
/// has to say.
#[tokio::test]
async fn a_client_that_closes_its_side_after_a_request_is_answered() {
    let trial = Setup::new(&[]).values(strings(1, 100)).start().await;
    for (request, status) in [
        (request("PUT", "/kv/a", "", "1"), "201"),
        (get("/kv/v/000", ""), "200"),
        (get("/kv", ""), "200"),
        (request("DELETE", "/kv/a", "", ""), "200"),
    ] {
        let mut stream = connect(&trial.address).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        soon(stream.read_to_string(&mut answer)).await.unwrap();
        assert_eq!(answer.get(9..12), Some(status), "{request}\n{answer}");
        assert!(answer.ends_with('}'), "{answer}");
    }
    trial.finish(MEMORY_MAX_BYTES).await;
}

/// Whoever has closed the sending side gets a long answer to its end, also when the last of it waits for
/// the reader.
#[tokio::test]
async fn a_client_that_closes_its_side_gets_a_long_answer_to_its_end() {
    let trial = Setup::new(&[]).values(strings(8, 700 * 1024)).start().await;
    let mut stream = connect_with_buffer(&trial.address, 128 * 1024).await;
    let get = b"GET /kv HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(get).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut list = Vec::new();
    soon(stream.read_to_end(&mut list)).await.unwrap();
    assert!(
        list.ends_with(b"\r\n0\r\n\r\n"),
        "it ends after {}",
        list.len()
    );
    trial.finish(MEMORY_MAX_BYTES).await;
}

/// A store that takes its time to read: longer than the end of a request is on its way, and less than a
/// client that sends no more is given.
struct SlowStore(MemoryStore);

const READ_DELAY: Duration = Duration::from_millis(100);

#[async_trait]
impl Store for SlowStore {
    async fn get(&self, key: &Key) -> Result<Option<Arc<Record>>, StoreError> {
        sleep(READ_DELAY).await;
        self.0.get(key).await
    }

    async fn get_many(&self, keys: &[&Key]) -> Result<Vec<Option<Arc<Record>>>, StoreError> {
        sleep(READ_DELAY).await;
        self.0.get_many(keys).await
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        sleep(READ_DELAY).await;
        self.0.snapshot().await
    }

    fn known(&self) -> &dyn Known {
        self.0.known()
    }

    fn hold(&self, entries: Vec<Entry>) -> Lease<Vec<Entry>> {
        self.0.hold(entries)
    }

    async fn commit(
        &self,
        changes: ChangeSet,
        deadline: Instant,
    ) -> Result<Committed, CommitError> {
        self.0.commit(changes, deadline).await
    }

    async fn watch(
        &self,
        _filter: Filter,
        _since: Option<ResumeToken>,
    ) -> Result<Subscription, StoreError> {
        sleep(READ_DELAY).await;
        Err(StoreError::Closed)
    }

    fn past(&self) -> &dyn Past {
        self.0.past()
    }

    async fn status(&self) -> Status {
        self.0.status().await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.0.close().await
    }
}

/// Only a client whose answer is held must keep its sending side open, not one that would have waited.
#[tokio::test]
async fn a_client_that_closes_its_side_is_answered_if_there_is_nothing_to_wait_for() {
    let store = Arc::new(SlowStore(MemoryStore::new()));
    let service = Arc::new(Service::new(store, Settings::default()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let hosts = AllowedHosts::listening_on(listener.local_addr().unwrap(), "localhost:0", &[]);
    let serving = tokio::spawn(serve(listener, service, LIMITS, hosts, pending()));
    let put = request("PUT", "/kv/a", "", "1");
    ask(&address, &put).await.unwrap().assert_is_one_of(&[201]);
    let stale = "If-None-Match: \"old\"\r\nPrefer: wait=60\r\n";
    for (request, status) in [
        (get("/kv/a", stale), "200"),
        (get("/kv", stale), "200"),
        // A failing answer is no stream.
        (get("/watch", ""), "503"),
    ] {
        let mut stream = connect(&address).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        soon(stream.read_to_string(&mut answer)).await.unwrap();
        assert_eq!(answer.get(9..12), Some(status), "{request}\n{answer}");
    }
    serving.abort();
}
