//! A service that is killed now and then, behind a proxy that cuts connections at random moments, and a client
//! that repeats its request until it is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::binary::{Process, soon};
use super::http;

/// A request is about so long, and an answer about twice that.
const REQUEST_BYTES: u64 = 400;
/// About how long a commit takes under this load.
const COMMIT_MICROSECONDS: u64 = 30_000;
/// How long a client waits after an answer that tells it to come again.
const PAUSE: Duration = Duration::from_millis(10);

/// The ways to keep the data in which what was done for an idempotency key is known after a restart, as arguments.
pub const MODES_WITH_HISTORY: [&[&str]; 2] = [&[], &["--journal-above", "0"]];

/// How often the service is killed: `IFMATCH_EXACTLY_ONCE_ROUNDS`, or so often.
pub fn rounds(default: u32) -> u32 {
    match std::env::var("IFMATCH_EXACTLY_ONCE_ROUNDS") {
        Ok(rounds) => rounds.parse().expect("a number of rounds"),
        Err(_) => default,
    }
}

/// Numbers that a seed determines (`SplitMix64`).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From 0 to `end`, without it.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// When a connection is cut.
#[derive(Debug, Clone, Copy)]
struct Cut {
    /// After so many bytes of the request.
    request: u64,
    /// After so many bytes of the answer; with 0, once it is there.
    answer: u64,
    after: Option<Duration>,
    /// With a reset, which also discards what the other side has not read.
    is_reset: bool,
}

impl Cut {
    /// Half of the connections are not cut.
    fn random(random: &mut Random) -> Self {
        let mut cut = Self {
            request: u64::MAX,
            answer: u64::MAX,
            after: None,
            is_reset: random.below(2) == 0,
        };
        match random.below(8) {
            0 => cut.request = random.below(REQUEST_BYTES),
            1 => cut.answer = 0,
            2 => cut.answer = random.below(2 * REQUEST_BYTES),
            3 => cut.after = Some(Duration::from_micros(random.below(COMMIT_MICROSECONDS))),
            _ => {}
        }
        cut
    }

    /// Carries a request and its answer, until one side is gone or the connection is cut.
    async fn carry(self, mut client: TcpStream, mut server: TcpStream) {
        let (from_client, mut to_client) = client.split();
        let (from_server, mut to_server) = server.split();
        let request = async { copy(&mut from_client.take(self.request), &mut to_server).await };
        let answer = async {
            from_server.readable().await?;
            copy(&mut from_server.take(self.answer), &mut to_client).await
        };
        let time = async {
            match self.after {
                Some(after) => tokio::time::sleep(after).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = request => {}
            _ = answer => {}
            () = time => {}
        }
        if self.is_reset {
            let _ = (client.set_zero_linger(), server.set_zero_linger());
        }
    }
}

/// The service and the proxy before it.
pub struct Unreliable {
    folder: TempDir,
    mode: &'static [&'static str],
    process: Option<Process>,
    /// Where the service listens, while there is one.
    target: watch::Sender<Option<String>>,
    /// Where the proxy listens.
    proxy: String,
    accepting: JoinHandle<()>,
}

impl Drop for Unreliable {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Unreliable {
    /// Starts both. The seed determines where the proxy cuts.
    pub async fn start(mode: &'static [&'static str], seed: u64) -> Self {
        let folder = TempDir::new().unwrap();
        let process = Process::start(folder.path(), mode).await;
        let (target, address) = watch::channel(Some(process.address.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self {
            folder,
            mode,
            process: Some(process),
            target,
            proxy: format!("http://{}", listener.local_addr().unwrap()),
            accepting: tokio::spawn(accept(listener, address, Random::new(seed))),
        }
    }

    /// Kills the service with SIGKILL and starts it again. Meanwhile new connections wait.
    pub async fn restart(&mut self) {
        self.target.send_replace(None);
        if let Some(process) = self.process.take() {
            let ended = process.kill().await;
            assert_eq!(
                ended.status.code(),
                None,
                "it ended by itself: {}",
                ended.log
            );
        }
        let process = Process::start(self.folder.path(), self.mode).await;
        self.target.send_replace(Some(process.address.clone()));
        self.process = Some(process);
    }

    /// The URL of a path, through the proxy.
    pub fn unreliable_url(&self, path: &str) -> String {
        format!("{}{path}", self.proxy)
    }

    /// The URL of a path without the proxy, until the next restart.
    pub fn url(&self, path: &str) -> String {
        self.process.as_ref().expect("it runs").url(path)
    }
}

async fn accept(
    listener: TcpListener,
    mut address: watch::Receiver<Option<String>>,
    mut random: Random,
) {
    while let Ok((client, _)) = listener.accept().await {
        let Ok(target) = address.wait_for(Option::is_some).await else {
            return;
        };
        let target = target.clone().unwrap_or_default();
        let cut = Cut::random(&mut random);
        tokio::spawn(async move {
            // It may be gone already.
            if let Ok(server) = TcpStream::connect(target).await {
                cut.carry(client, server).await;
            }
        });
    }
}

/// A client that opens a connection for each request.
#[derive(Debug, Clone)]
pub struct Persistent {
    http: Client,
    /// How many requests had to be sent again.
    repeated: Arc<AtomicU64>,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    pub status: StatusCode,
    pub etag: Option<String>,
    /// Whether the request had been done before.
    pub is_replay: bool,
    pub body: Value,
    /// The tags of successes before, of which only the head had come.
    pub tags_before: Vec<Option<String>>,
}

impl Persistent {
    pub fn new() -> Self {
        Self {
            http: http::builder().pool_max_idle_per_host(0).build().unwrap(),
            repeated: Arc::default(),
        }
    }

    pub fn http(&self) -> &Client {
        &self.http
    }

    pub fn repeated(&self) -> u64 {
        self.repeated.load(Ordering::Relaxed)
    }

    /// Sends a request again and again until it is answered with what it came to.
    pub async fn ask(&self, request: &RequestBuilder) -> Reply {
        let mut tags_before = Vec::new();
        loop {
            let sent = request.try_clone().unwrap().send();
            if let Ok(answer) = soon(sent).await {
                let status = answer.status();
                let header = |name| {
                    let value = answer.headers().get(name);
                    value.map(|value| value.to_str().unwrap().to_owned())
                };
                let etag = header("etag");
                let is_replay = header("idempotency-replayed").as_deref() == Some("true");
                match soon(answer.json::<Value>()).await {
                    Ok(body) if is_final(status, &body) => {
                        return Reply {
                            status,
                            etag,
                            is_replay,
                            body,
                            tags_before,
                        };
                    }
                    Ok(_) => tokio::time::sleep(PAUSE).await,
                    Err(_) if status.is_success() => tags_before.push(etag),
                    Err(_) => {}
                }
            }
            self.repeated.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Whether the same request need not be sent again.
fn is_final(status: StatusCode, body: &Value) -> bool {
    match status.as_u16() {
        409 => {
            assert_eq!(body["error"], "idempotency_in_progress", "{body}");
            false
        }
        503 | 504 => false,
        _ => true,
    }
}
