//! The file of tokens, as it changes under a running service.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use ifmatch::access::{Authority, Tokens, WatchedTokens};
use ifmatch::model::Timestamp;
use ifmatch::storage::memory::MemoryStore;
use reqwest::{Client, RequestBuilder, Response};
use tempfile::{TempDir, tempdir};

use super::{ADMIN, Granted, file, token};
use crate::support::api::Api;
use crate::support::binary::{Process, command, run, soon};
use crate::support::events::Events;
use crate::support::http;
use crate::support::log::Log;

const READ: Granted<'_> = &[("", "r")];
const NARROW: Granted<'_> = &[("doc/", "r")];
const READ_AGAIN: &str = "was read again";
const LATE_SECONDS: u64 = 3;

/// A service with a file of tokens.
struct Guarded {
    folder: TempDir,
    process: Process,
    client: Client,
}

impl Guarded {
    async fn start(tokens: &str) -> Self {
        let folder = tempdir().unwrap();
        let path = folder.path().join("tokens.toml");
        fs::write(&path, tokens).unwrap();
        Self::start_with(folder, &path).await
    }

    async fn start_with(folder: TempDir, path: &Path) -> Self {
        let path = path.to_str().unwrap();
        let process = Process::start(folder.path(), &["--tokens", path]).await;
        let client = http::client();
        Self {
            folder,
            process,
            client,
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("tokens.toml")
    }

    fn get(&self, path: &str, by: &str) -> RequestBuilder {
        self.client.get(self.process.url(path)).bearer_auth(by)
    }

    async fn send(&self, path: &str, by: &str) -> Response {
        soon(self.get(path, by).send()).await.unwrap()
    }

    async fn put(&self, key: &str, value: &str) -> Response {
        let put = self.client.put(self.process.url(&format!("/kv/{key}")));
        let put = put.bearer_auth(ADMIN).body(value.to_owned());
        let put = put.header("content-type", "application/json");
        let answer = soon(put.send()).await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
        answer
    }

    /// Asks until the answer has this status.
    async fn until(&self, path: &str, by: &str, status: u16) {
        soon(async { while self.send(path, by).await.status() != status {} }).await;
    }

    fn rename(&self, tokens: &str) {
        let new = self.folder.path().join("tokens.new");
        fs::write(&new, tokens).unwrap();
        fs::rename(new, self.path()).unwrap();
    }
}

async fn refused(tokens: Option<&str>) -> String {
    let folder = tempdir().unwrap();
    let path = folder.path().join("tokens.toml");
    if let Some(tokens) = tokens {
        fs::write(&path, tokens).unwrap();
    }
    let mut command = command(folder.path());
    command
        .args(["--listen", "127.0.0.1:0", "--tokens"])
        .arg(&path);
    let output = run(command).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    assert!(!folder.path().join("data.json").exists());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(path.to_str().unwrap()), "{said}");
    said
}

#[tokio::test]
async fn a_service_without_a_valid_file_does_not_start() {
    assert!(refused(None).await.contains("No such file"));
    let valid = file(&[]);
    let lines = valid.lines().count();
    for (invalid, said) in [
        ("[[token]\n".to_owned(), "line 1".to_owned()),
        (
            format!("{valid}admin = true\n"),
            "unknown field `admin`".to_owned(),
        ),
        (
            format!("{valid}[[token]]\nname = 3\n"),
            format!("line {}", lines + 2),
        ),
        (
            valid.replace("sha256 = \"", "sha256 = \"x"),
            "token 1 (admin)".to_owned(),
        ),
        (format!("{valid}{valid}"), "token 2 (admin)".to_owned()),
    ] {
        let message = refused(Some(&invalid)).await;
        assert!(message.contains(&said), "{said}: {message}");
    }
}

#[tokio::test]
async fn the_file_is_read_again_when_it_is_written_or_replaced() {
    let service = Guarded::start(&file(&[])).await;
    assert_eq!(service.send("/kv", "ann").await.status(), 401);
    fs::write(service.path(), file(&[("ann", READ)])).unwrap();
    service.until("/kv", "ann", 200).await;
    service.rename(&file(&[("ben", READ)]));
    service.until("/kv", "ben", 200).await;
    // Such short tokens wait after many wrong ones.
    service.until("/kv", "ann", 401).await;
    fs::remove_file(service.path()).unwrap();
    service.process.until_logged("ERROR", 1).await;
    service.until("/kv", "ben", 200).await;
    service.rename(&file(&[("cat", READ)]));
    service.until("/kv", "cat", 200).await;
    let ended = service.process.stop().await;
    assert_eq!(ended.log.matches("ERROR").count(), 1, "{}", ended.log);
}

/// As the volumes of Kubernetes do: the name is a link into a folder that is itself behind a link, and that one is
/// replaced.
#[tokio::test]
async fn the_file_is_read_again_when_a_folder_before_it_is_replaced() {
    let folder = tempdir().unwrap();
    let volume = folder.path().join("volume");
    let publish = |name: &str, tokens: &str| {
        fs::create_dir_all(volume.join(name)).unwrap();
        fs::write(volume.join(name).join("tokens.toml"), tokens).unwrap();
        symlink(name, volume.join("..data_tmp")).unwrap();
        fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    };
    publish("..one", &file(&[("ann", READ)]));
    let path = volume.join("tokens.toml");
    symlink("..data/tokens.toml", &path).unwrap();
    let service = Guarded::start_with(folder, &path).await;
    assert_eq!(service.send("/kv", "ann").await.status(), 200);
    publish("..two", &file(&[("ben", READ)]));
    fs::remove_dir_all(volume.join("..one")).unwrap();
    service.until("/kv", "ben", 200).await;
    assert_eq!(service.send("/kv", "ann").await.status(), 401);
}

#[tokio::test]
async fn a_broken_file_changes_nothing_and_is_logged() {
    let service = Guarded::start(&file(&[("ann", READ)])).await;
    let mut stream = Events::of_response(service.send("/watch", "ann").await);
    for (count, broken) in ["[[token]", "\u{feff}x", "[[token]]\nname = \"x\"\n"]
        .iter()
        .enumerate()
    {
        service.rename(broken);
        service.process.until_logged("ERROR", count + 1).await;
        assert_eq!(service.send("/kv", "ann").await.status(), 200);
    }
    service.put("a", "1").await;
    assert_eq!(stream.told(1).await[0].1, "a");
    service.rename(&file(&[("ben", READ)]));
    service.until("/kv", "ben", 200).await;
    assert_eq!(service.send("/kv", "ann").await.status(), 401);
    let ended = service.process.stop().await;
    assert!(
        ended.log.contains("the tokens of before stay valid"),
        "{}",
        ended.log
    );
    assert!(ended.log.contains("line 1"), "{}", ended.log);
}

#[tokio::test]
async fn who_loses_a_right_loses_the_stream_and_the_wait_and_others_do_not() {
    let tokens = |of: &[(&str, Granted<'_>)]| {
        let now = SystemTime::now() + Duration::from_secs(LATE_SECONDS);
        let late = token("late", READ, &format!("expires = {}", Timestamp::from(now)));
        format!("{}{late}", file(of))
    };
    let all = [("gone", READ), ("narrowed", READ), ("stays", READ)];
    let service = Guarded::start(&tokens(&all)).await;
    let tag = service.put("a", "1").await.headers()["etag"].clone();
    let mut losing = Vec::new();
    for by in ["gone", "narrowed", "late"] {
        let wait = service.get("/kv/a", by).header("prefer", "wait=60");
        let wait = tokio::spawn(wait.header("if-none-match", &tag).send());
        let stream = Events::of_response(service.send("/watch", by).await);
        losing.push((by, stream, wait));
    }
    let mut stays = Events::of_response(service.send("/watch", "stays").await);
    service.rename(&tokens(&[("narrowed", NARROW), ("stays", READ)]));
    for (by, stream, wait) in &mut losing {
        soon(async { while stream.block().await.is_some() {} }).await;
        let waited = soon(wait).await.unwrap().unwrap();
        assert_eq!(waited.status(), 304, "{by}");
    }
    for (by, status) in [("gone", 401), ("narrowed", 403)] {
        for path in ["/kv/a", "/watch?key=a"] {
            assert_eq!(service.send(path, by).await.status(), status, "{by}");
        }
    }
    service.put("b", "1").await;
    assert_eq!(stays.told(1).await[0].1, "b");
}

#[tokio::test]
async fn an_expired_token_loses_its_stream_without_a_change_of_the_file() {
    let end = SystemTime::now() + Duration::from_secs(LATE_SECONDS);
    let late = token("late", READ, &format!("expires = {}", Timestamp::from(end)));
    let service = Guarded::start(&format!("{}{late}", file(&[]))).await;
    let mut stream = Events::of_response(service.send("/watch", "late").await);
    soon(async { while stream.block().await.is_some() {} }).await;
    assert!(SystemTime::now() >= end);
    assert_eq!(service.send("/kv", "late").await.status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_the_file_is_replaced() {
    let tokens = [
        file(&[("ann", READ), ("ben", READ)]),
        file(&[("ann", READ)]),
    ];
    let service = Arc::new(Guarded::start(&tokens[0]).await);
    service.put("a", "1").await;
    let is_over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (service, is_over) = (Arc::clone(&service), Arc::clone(&is_over));
            tokio::spawn(async move {
                let mut requests = 0;
                while !is_over.load(Ordering::Relaxed) {
                    assert_eq!(service.send("/kv/a", "ann").await.status(), 200);
                    requests += 1;
                }
                requests
            })
        })
        .collect();
    for round in 1..=3 {
        service.rename(&tokens[round % 2]);
        service.process.until_logged(READ_AGAIN, round).await;
    }
    is_over.store(true, Ordering::Relaxed);
    for client in clients {
        assert!(client.await.unwrap() > 0);
    }
}

/// Whoever writes the file in place has emptied it for a moment, and an empty file is a valid one.
#[tokio::test(start_paused = true)]
async fn a_file_that_is_being_written_is_not_read() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("tokens.toml");
    fs::write(&path, file(&[("ann", READ)])).unwrap();
    let (watched, tokens) = WatchedTokens::open(&path).await.unwrap();
    let authority = Authority::new(tokens, None);
    let api = Api::guarded_by(Arc::new(MemoryStore::new()), authority.clone());
    tokio::spawn(watched.keep_current(authority));
    let knows = async |by: &str| api.get("/whoami").by(by).send().await.status == 200;
    // Between two looks.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let whole = file(&[("ann", READ), ("ben", READ)]);
    // Each part of it is a valid file.
    let parts: Vec<&str> = whole.split_inclusive("\n\n").collect();
    for end in 0..=parts.len() {
        fs::write(&path, parts[..end].concat()).unwrap();
        assert!(knows("ann").await, "{end}");
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(knows("ann").await, "{end}");
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(knows("ann").await && knows("ben").await);
}

#[tokio::test(start_paused = true)]
async fn a_broken_file_is_logged_again_every_ten_minutes_while_it_stays_broken() {
    let log = Log::default();
    let _logging = log.of_this_thread();
    let errors = || log.text().matches("ERROR").count();
    let minutes = |minutes: u64| tokio::time::sleep(Duration::from_secs(60 * minutes));
    let folder = tempdir().unwrap();
    let path = folder.path().join("tokens.toml");
    // As a whole: it may be being read.
    let write = |text: &str| {
        let new = folder.path().join("new.toml");
        fs::write(&new, text).unwrap();
        fs::rename(new, &path).unwrap();
    };
    write(&file(&[]));
    let (watched, tokens) = WatchedTokens::open(&path).await.unwrap();
    tokio::spawn(watched.keep_current(Authority::new(tokens, None)));
    minutes(1).await;
    assert_eq!(errors(), 0);
    // The same mistake each time.
    for _ in 0..5 {
        write("[[token]");
        minutes(1).await;
        assert_eq!(errors(), 1);
    }
    minutes(6).await;
    assert_eq!(errors(), 2);
    minutes(8).await;
    assert_eq!(errors(), 2);
    // Another mistake.
    write("x = 1");
    minutes(1).await;
    assert_eq!(errors(), 3);
    minutes(10).await;
    assert_eq!(errors(), 4);
    write(&file(&[]));
    minutes(30).await;
    assert_eq!(errors(), 4);
    write("x = 1");
    minutes(1).await;
    assert_eq!(errors(), 5);
}

/// A long file takes long, and requests must not wait for that.
#[tokio::test]
async fn reading_a_long_file_keeps_no_worker_busy() {
    static IS_READ: AtomicBool = AtomicBool::new(false);
    let folder = tempdir().unwrap();
    let path = folder.path().join("tokens.toml");
    let names: Vec<_> = (0..5000).map(|number| format!("name {number}")).collect();
    let of: Vec<(&str, Granted<'_>)> = names.iter().map(|name| (&**name, READ)).collect();
    let text = file(&of);
    fs::write(&path, &text).unwrap();
    let begun = Instant::now();
    Tokens::parse(&text).unwrap();
    let parsing = begun.elapsed();
    // All on this thread.
    let other = tokio::spawn(async {
        let mut longest = Duration::ZERO;
        let mut last = Instant::now();
        while !IS_READ.load(Ordering::Relaxed) {
            tokio::task::yield_now().await;
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        longest
    });
    // It has had a turn.
    tokio::task::yield_now().await;
    WatchedTokens::open(&path).await.unwrap();
    IS_READ.store(true, Ordering::Relaxed);
    let longest = other.await.unwrap();
    assert!(longest < parsing / 2, "{longest:?} of {parsing:?}");
}

#[tokio::test]
async fn a_service_beyond_loopback_needs_somebody_to_say_who_may_do_what() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("tokens.toml");
    fs::write(&path, file(&[])).unwrap();
    for listen in ["0.0.0.0:0", "[::]:0"] {
        let mut open = command(folder.path());
        let output = run({
            open.args(["--listen", listen]);
            open
        })
        .await;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("--tokens FILE"), "{said}");
        assert!(said.contains("--anonymous write (or read)"), "{said}");
        assert!(output.stdout.is_empty());
    }
    for ways in [
        &["--anonymous", "read"] as &[&str],
        &["--anonymous", "write"],
        &["--tokens", path.to_str().unwrap()],
    ] {
        let mut command = command(folder.path());
        command.args(["--listen", "0.0.0.0:0"]).args(ways);
        let process = Process::spawn(command).await;
        assert!(process.announced.starts_with("listening on"));
        assert!(process.stop().await.status.success());
    }
}
