//! Processes of the service on the store of a cluster, and what is asked of them.

use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder};
use rustix::process::{Signal, WaitId, WaitIdOptions, waitid};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::{Duration, Instant, sleep};

use super::binary::{BINARY, Process, bare_command};
use super::cluster::EtcdCluster;
use super::events::Events;
use super::http;

/// The root of the store.
pub const ROOT: &str = "/ifmatch";
/// Later than anything here takes.
const SOON: Duration = Duration::from_secs(60);

/// A command that serves the store at an address on a free port.
pub fn command(store: &str) -> Command {
    let mut command = bare_command(BINARY);
    command.args(["--listen", "127.0.0.1:0", "--store", store]);
    command
}

/// A process on the store of a cluster.
pub async fn serve(cluster: &EtcdCluster) -> Process {
    Process::spawn(command(&cluster.address(ROOT))).await
}

/// Two of them.
pub async fn serve_two(cluster: &EtcdCluster) -> [Process; 2] {
    let (one, other) = tokio::join!(serve(cluster), serve(cluster));
    [one, other]
}

/// Who asks one process.
#[derive(Clone)]
pub struct Caller {
    http: Client,
    server: String,
}

/// What it was answered.
#[derive(Debug, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    /// `Null` if there is none.
    pub body: Value,
}

impl Caller {
    pub fn of(process: &Process) -> Self {
        Self {
            http: http::client(),
            server: process.url(""),
        }
    }

    pub fn call(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.server))
    }

    pub fn put(&self, path: &str, value: impl Into<Value>) -> RequestBuilder {
        self.call(Method::PUT, path).json(&value.into())
    }

    pub async fn get(&self, path: &str) -> Answer {
        send(self.call(Method::GET, path)).await
    }

    /// Opens a stream of events, after what `since` names if there is one. Its beginning is the first block.
    pub async fn watch(&self, path: &str, since: Option<&str>) -> Events {
        let opened = self.try_watch(path, since).await;
        opened.expect("it serves")
    }

    /// The same of a process that may refuse, or be gone.
    pub async fn try_watch(&self, path: &str, since: Option<&str>) -> Option<Events> {
        let mut call = self.call(Method::GET, path);
        if let Some(since) = since {
            call = call.header("last-event-id", since);
        }
        let response = call.send().await.ok()?;
        (response.status() == 200).then(|| Events::of_response(response))
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn etag(&self) -> &str {
        self.header("etag").expect("it has a tag")
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    #[track_caller]
    pub fn expect_error(self, status: u16, error: &str) -> Self {
        let this = self.expect(status);
        assert_eq!(this.body["error"], error, "{this:?}");
        this
    }

    pub fn version(&self) -> u64 {
        self.body["version"].as_u64().expect("it is an entry")
    }

    pub fn revision(&self) -> u64 {
        self.body["revision"].as_u64().expect("it has a revision")
    }
}

/// The answer to a request; there must be one.
pub async fn send(call: RequestBuilder) -> Answer {
    try_send(call).await.expect("it answers")
}

/// The answer to a request, if there is a whole one.
pub async fn try_send(call: RequestBuilder) -> Option<Answer> {
    attempt(call).await.ok()
}

/// The same; the error is whether anybody may have got the request.
pub async fn attempt(call: RequestBuilder) -> Result<Answer, bool> {
    let may_be_done = |error: reqwest::Error| !error.is_connect();
    let response = call.timeout(SOON).send().await.map_err(may_be_done)?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.map_err(may_be_done)?;
    let body = match &*text {
        "" => Value::Null,
        text => serde_json::from_str(text).unwrap_or_else(|_| panic!("{status} {text}")),
    };
    Ok(Answer {
        status,
        headers,
        body,
    })
}

/// Waits until `holds`.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < SOON, "{what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until a process is ready, or is no longer.
pub async fn until_ready(caller: &Caller, ready: bool) {
    let status = if ready { 200 } else { 503 };
    until("its readiness changes", async || {
        caller.get("/health/ready").await.status == status
    })
    .await;
}

/// Stops a process without ending it; none of its threads does anything when this returns.
pub fn freeze(process: &Process) {
    process.signal(Signal::STOP);
    let stopped = WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT;
    waitid(WaitId::Pid(process.pid()), stopped).unwrap();
}

/// Lets a frozen process go on.
pub fn thaw(process: &Process) {
    process.signal(Signal::CONT);
}
