//! Concurrent writers, each with a key of its own, that remember what they were told.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::binary::{Process, soon};
use super::http;
use super::segments::histories_in;

/// What is sent to the server, and how it is conditioned.
#[derive(Debug, Clone)]
enum Write {
    Put(Value),
    Delete,
}

/// What the disk does while the writers write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disk {
    Sound,
    Failing,
}

/// One writer: its key, what was acknowledged last, what was refused since, and the request that
/// was not answered.
#[derive(Debug)]
struct Writer {
    key: String,
    disk: Disk,
    acknowledged: Option<Value>,
    refused: Vec<Write>,
    in_flight: Option<Write>,
    writes: u64,
    /// All that it did, in order: the entries that it put, and for each deletion nothing.
    past: Vec<Option<Value>>,
}

/// What a writer was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Acknowledged,
    Refused,
}

/// All writers, over one start of the server or several.
pub struct Writers(Vec<Writer>);

/// Writers at work.
pub struct Working {
    tasks: JoinSet<Writer>,
    answers: mpsc::UnboundedReceiver<Told>,
    power_goes: Arc<AtomicBool>,
}

impl Writers {
    pub fn new(count: usize) -> Self {
        Self::on(Disk::Sound, count)
    }

    /// Writers that expect to be refused at times. After each refusal they read their key, which
    /// must be as it was.
    pub fn on_a_failing_disk(count: usize) -> Self {
        Self::on(Disk::Failing, count)
    }

    fn on(disk: Disk, count: usize) -> Self {
        let writer = |number| Writer {
            key: format!("writer/{number:02}"),
            disk,
            acknowledged: None,
            refused: Vec::new(),
            in_flight: None,
            writes: 0,
            past: Vec::new(),
        };
        Self((0..count).map(writer).collect())
    }

    /// Lets all of them write until the server is gone.
    pub fn start(self, process: &Process) -> Working {
        let client = http::client();
        let (tell, answers) = mpsc::unbounded_channel();
        let power_goes = Arc::<AtomicBool>::default();
        let mut tasks = JoinSet::new();
        for writer in self.0 {
            let url = process.url(&format!("/kv/{}", writer.key));
            let power_goes = Arc::clone(&power_goes);
            tasks.spawn(writer.work(client.clone(), url, tell.clone(), power_goes));
        }
        Working {
            tasks,
            answers,
            power_goes,
        }
    }

    /// Asserts that every key is as acknowledged or as the request under way would have it, and
    /// that there is no other key. Whatever stands is what the writers go on from.
    pub fn check(&mut self, entries: BTreeMap<String, Value>) {
        for writer in &mut self.0 {
            writer.refused.clear();
        }
        self.check_with_unknown(entries);
    }

    /// The same where the disk was gone for good: what was refused may also be there, because
    /// nobody could find out.
    pub fn check_with_unknown(&mut self, mut entries: BTreeMap<String, Value>) {
        for writer in &mut self.0 {
            let current = entries.remove(&writer.key);
            assert!(
                writer.explains(current.as_ref()),
                "{current:?} is not explained by {writer:?}"
            );
            if current != writer.acknowledged {
                writer.past.push(current.clone());
            }
            writer.acknowledged = current;
            writer.refused.clear();
            writer.in_flight = None;
        }
        assert!(entries.is_empty(), "nobody wrote {entries:?}");
    }

    /// Asserts that the history that a process with these flags left in `folder` has what was acknowledged and found
    /// by the last check: all of it, each once, in order, and nothing that was refused. No process may write.
    pub async fn check_history(&self, folder: &Path, flags: &[&str]) {
        let Some(mut histories) = histories_in(folder, flags).await else {
            return;
        };
        for writer in &self.0 {
            let history = histories.remove(&writer.key).unwrap_or_default();
            let mut version = 0;
            for happened in &history {
                // A deletion has the version that it deleted.
                version += u64::from(happened.put.is_some());
                assert_eq!(happened.version, version, "{flags:?}: {history:?}");
                if happened.put.is_none() {
                    version = 0;
                }
            }
            let past: Vec<_> = history.into_iter().map(|happened| happened.put).collect();
            assert_eq!(past, writer.past, "{flags:?}: {}", writer.key);
        }
        assert!(histories.is_empty(), "nobody wrote {histories:?}");
    }
}

impl Working {
    /// Returns once there were so many acknowledgements.
    pub async fn acknowledged(&mut self, count: u64) {
        for _ in 0..count {
            while self.told().await != Told::Acknowledged {}
        }
    }

    /// Whether one of the next so many requests is refused; returns when it is.
    pub async fn refusal_within(&mut self, count: u64) -> bool {
        for _ in 0..count {
            if self.told().await == Told::Refused {
                return true;
            }
        }
        false
    }

    /// Returns once so many requests were answered, in whichever way.
    pub async fn answered(&mut self, count: u64) {
        for _ in 0..count {
            self.told().await;
        }
    }

    async fn told(&mut self) -> Told {
        let next = soon(self.answers.recv()).await;
        next.expect("the writers ended early")
    }

    /// From now on no answer counts: with the power gone, nobody would have sent it.
    pub fn power_goes(&self) {
        self.power_goes.store(true, Ordering::Release);
    }

    /// Waits until each writer has found the server gone.
    pub async fn end(self) -> Writers {
        let mut writers = soon(self.tasks.join_all()).await;
        writers.sort_by(|a, b| a.key.cmp(&b.key));
        Writers(writers)
    }
}

impl Writer {
    async fn work(
        mut self,
        client: Client,
        url: String,
        tell: mpsc::UnboundedSender<Told>,
        power_goes: Arc<AtomicBool>,
    ) -> Self {
        loop {
            let write = self.next_write();
            self.in_flight = Some(write.clone());
            let Some((status, etag, entry)) = self.send(&client, &url, &write).await else {
                return self;
            };
            if power_goes.load(Ordering::Acquire) {
                return self;
            }
            let told = if status.is_server_error() && self.disk == Disk::Failing {
                assert_eq!(entry["error"], "io", "{entry} to {self:?}");
                self.in_flight = None;
                self.refused.push(write);
                if !self.stands(&client, &url).await {
                    return self;
                }
                Told::Refused
            } else {
                assert!(status.is_success(), "{status} {entry} to {self:?}");
                assert_eq!(etag.as_deref(), entry["etag"].as_str(), "{entry}");
                self.take(write, status, entry);
                Told::Acknowledged
            };
            // Whoever counts may have heard enough.
            let _ = tell.send(told);
        }
    }

    /// Asserts that what was acknowledged is what is read; `false` if the server is gone.
    async fn stands(&self, client: &Client, url: &str) -> bool {
        let Ok(answer) = client.get(url).send().await else {
            return false;
        };
        let status = answer.status();
        let Ok(entry) = answer.json::<Value>().await else {
            return false;
        };
        match &self.acknowledged {
            Some(acknowledged) => assert_eq!(
                (status, &entry),
                (StatusCode::OK, acknowledged),
                "reads go on: {self:?}"
            ),
            None => assert_eq!(status, StatusCode::NOT_FOUND, "{entry} to {self:?}"),
        }
        true
    }

    /// Every fifth write or so is a delete; sizes go from a few bytes to some thousand.
    fn next_write(&mut self) -> Write {
        self.writes += 1;
        if self.acknowledged.is_some() && random_below(5) == 0 {
            return Write::Delete;
        }
        let length = usize::try_from(random_below(4000)).unwrap();
        let text = "x".repeat(length);
        Write::Put(json!({"writer": self.key, "write": self.writes, "text": text}))
    }

    /// The answer, if there was a whole one.
    async fn send(
        &self,
        client: &Client,
        url: &str,
        write: &Write,
    ) -> Option<(StatusCode, Option<String>, Value)> {
        let mut request = match write {
            Write::Put(value) => client.request(Method::PUT, url).json(value),
            Write::Delete => client.request(Method::DELETE, url),
        };
        // Nobody else writes this key, so its tag is current.
        if self.writes.is_multiple_of(2) {
            request = match &self.acknowledged {
                Some(entry) => request.header("if-match", entry["etag"].as_str().unwrap()),
                None => request.header("if-none-match", "*"),
            };
        }
        let answer = request.send().await.ok()?;
        let status = answer.status();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            return None;
        }
        let etag = answer.headers().get("etag");
        let etag = etag.map(|etag| etag.to_str().unwrap().to_owned());
        Some((status, etag, answer.json().await.ok()?))
    }

    /// Notes an acknowledgement, which must be what the contract says of this write.
    fn take(&mut self, write: Write, status: StatusCode, entry: Value) {
        self.in_flight = None;
        self.refused.clear();
        match write {
            Write::Put(value) => {
                let expected = if self.acknowledged.is_some() {
                    StatusCode::OK
                } else {
                    StatusCode::CREATED
                };
                assert_eq!(status, expected, "{entry} to {self:?}");
                assert!(self.follows(&value, &entry), "{entry} to {self:?}");
                self.past.push(Some(entry.clone()));
                self.acknowledged = Some(entry);
            }
            Write::Delete => {
                assert_eq!(Some(&entry), self.acknowledged.as_ref());
                self.past.push(None);
                self.acknowledged = None;
            }
        }
    }

    fn explains(&self, current: Option<&Value>) -> bool {
        let made_by = |write: &Write| match (write, current) {
            (Write::Put(value), Some(entry)) => self.follows(value, entry),
            (Write::Delete, None) => true,
            _ => false,
        };
        let mut possible = self.refused.iter().chain(&self.in_flight);
        possible.any(made_by) || current == self.acknowledged.as_ref()
    }

    /// Whether `entry` is what a write of `value` makes of the acknowledged state.
    fn follows(&self, value: &Value, entry: &Value) -> bool {
        let number = |entry: &Value, name: &str| entry[name].as_u64().unwrap();
        let before = self.acknowledged.as_ref();
        let version = before.map_or(1, |before| number(before, "version") + 1);
        let etag = entry["etag"].as_str().unwrap();
        entry["key"] == *self.key
            && entry["value"] == *value
            && number(entry, "version") == version
            && before.is_none_or(|before| number(entry, "revision") > number(before, "revision"))
            && etag.starts_with(&format!("\"{version}-"))
    }
}

/// Every entry that a server shows, by key.
pub async fn shown_entries(process: &Process) -> BTreeMap<String, Value> {
    let answer = soon(http::get(process.url("/kv"))).await.unwrap();
    let list: Value = answer.json().await.unwrap();
    let items = list["items"].as_array().unwrap().iter();
    items
        .map(|entry| (entry["key"].as_str().unwrap().to_owned(), entry.clone()))
        .collect()
}

/// What is stored in the `data.json` in `folder`, by key; nothing, if there is no file.
pub fn stored_entries(folder: &Path) -> BTreeMap<String, Value> {
    let Ok(text) = std::fs::read(folder.join("data.json")) else {
        return BTreeMap::new();
    };
    let document: Value = serde_json::from_slice(&text).expect("data.json is whole");
    let entries = document["entries"].as_object().unwrap().iter();
    entries
        .map(|(key, stored)| (key.clone(), stored.clone()))
        .collect()
}

/// An entry as `data.json` has it: its key stands before it, and its tag is computed.
pub fn as_stored(mut entry: Value) -> Value {
    let members = entry.as_object_mut().unwrap();
    members.shift_remove("key");
    members.shift_remove("etag");
    entry
}

/// From 0 to `end`, without it.
pub fn random_below(end: u64) -> u64 {
    RandomState::new().hash_one(()) % end
}
