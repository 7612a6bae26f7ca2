//! Writes of the command line whose answer is lost: they are done once, or it is said that this is not known.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use axum::routing::{any, get};
use parking_lot::Mutex;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::cli::{Cli, Ran, Script, ask, export_of, file_with, finish, other_server};

/// Where a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Cut {
    /// The service does not get the request.
    Before,
    /// The client gets half of the answer.
    During,
    /// The client gets nothing of the answer.
    After,
    /// The client gets a gateway's error in place of the answer.
    Gateway,
}

const CUTS: [Cut; 4] = [Cut::Before, Cut::During, Cut::After, Cut::Gateway];

/// A proxy that loses the answers to the first writes.
struct Proxy {
    address: String,
    /// How many more writes lose their answer.
    left: Arc<AtomicU32>,
    /// The idempotency key of each write.
    keys: Arc<Mutex<Vec<String>>>,
}

/// All of a request: its head, and as much as that says.
async fn read_request(client: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    loop {
        if client.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8(request.clone()).unwrap();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = header(head, "content-length").map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return Some(text);
            }
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    let mut values = lines.filter_map(|(found, value)| (found == name).then_some(value));
    values.next()
}

/// What the service answers.
async fn forwarded(service: &str, request: &str) -> String {
    let mut server = TcpStream::connect(service).await.unwrap();
    let request = request.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    server.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    server.read_to_string(&mut answer).await.unwrap();
    answer
}

impl Proxy {
    /// With `is_old`, the service behind it knows no idempotency keys.
    async fn before(service: &str, cut: Cut, is_old: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (left, keys) = (Arc::new(AtomicU32::new(0)), Arc::default());
        let proxy = Self {
            address,
            left: Arc::clone(&left),
            keys: Arc::clone(&keys),
        };
        let service = service.to_owned();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (service, left, keys) = (service.clone(), Arc::clone(&left), Arc::clone(&keys));
                tokio::spawn(async move {
                    let mut request = read_request(&mut client).await?;
                    let is_write = !request.starts_with("GET ");
                    if is_write {
                        let key = header(&request, "idempotency-key").unwrap().to_owned();
                        keys.lock().push(key);
                    }
                    let take = |left: u32| left.checked_sub(1);
                    let order = Ordering::Relaxed;
                    let is_cut = is_write && left.fetch_update(order, order, take).is_ok();
                    if is_cut && cut == Cut::Before {
                        return None;
                    }
                    if is_old {
                        request = request.replace("idempotency-key", "x-idempotency-key");
                    }
                    let mut answer = forwarded(&service, &request).await;
                    if is_old {
                        answer = answer.replace("Idempotency-Key", "Idempotency_Key");
                    }
                    let sent = match cut {
                        _ if !is_cut => &answer,
                        Cut::Before | Cut::After => "",
                        Cut::During => &answer[..answer.len() - 10],
                        Cut::Gateway => "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n",
                    };
                    client.write_all(sent.as_bytes()).await.ok()
                });
            }
        });
        proxy
    }

    async fn run(&self, cli: &Cli, arguments: &[&str]) -> Ran {
        let mut command = cli.command(arguments);
        command.env("IFMATCH_SERVER", &self.address);
        finish(command).await
    }

    /// Loses the answers to the next writes.
    fn lose(&self, count: u32) {
        self.left.store(count, Ordering::Relaxed);
    }

    /// The idempotency keys of the writes since the last call.
    fn keys(&self) -> Vec<String> {
        std::mem::take(&mut *self.keys.lock())
    }
}

/// It was sent so often, under one name.
#[track_caller]
fn assert_one_key(proxy: &Proxy, count: usize) -> String {
    let mut keys = proxy.keys();
    assert_eq!(keys.len(), count, "{keys:?}");
    keys.dedup();
    let [key] = &keys[..] else {
        panic!("{keys:?}");
    };
    assert!(key.starts_with('"') && key.len() > 30, "{key}");
    key.clone()
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_done_once() {
    let runs = CUTS.map(async |cut| {
        let cli = Cli::start().await;
        let proxy = Proxy::before(&cli.server.address, cut, false).await;
        let add = r#"[{"op":"add","path":"/n/-","value":1}]"#;
        let mut names = Vec::new();
        for (arguments, version) in [
            (&["put", "a", r#"{"n":[]}"#][..], 1),
            (&["patch", "a", add], 2),
            (&["patch", "a", add], 3),
            (&["put", "b", "1", "--create"], 1),
            (&["put", "b", "2", "--force"], 2),
            (&["rm", "b", "--force"], 2),
        ] {
            proxy.lose(2);
            let ran = proxy.run(&cli, arguments).await;
            let entry = ran.assert_code(0).json();
            assert_eq!(entry["version"], version, "{cut:?} {arguments:?}");
            names.push(assert_one_key(&proxy, 3));
        }
        assert_eq!(cli.value("a").await, r#"{"n":[1,1]}"#);
        cli.run(&["get", "b"]).await.assert_code(3);
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 6, "each write has a name of its own");
    });
    futures_util::future::join_all(runs).await;
}

#[tokio::test]
async fn a_write_with_a_tag_does_not_run_into_its_own_success() {
    let cli = Cli::start().await;
    let proxy = Proxy::before(&cli.server.address, Cut::After, false).await;
    let created = cli.run(&["put", "a", "1"]).await.json();
    let tag = created["etag"].as_str().unwrap();
    proxy.lose(1);
    let put = proxy.run(&cli, &["put", "a", "2", "--if-match", tag]).await;
    assert_eq!(put.assert_code(0).json()["version"], 2);
    // Another's success is a conflict all the same.
    proxy.lose(1);
    let late = proxy.run(&cli, &["put", "a", "3", "--if-match", tag]).await;
    late.assert_code(4).assert_says(&["version 2 is current"]);
    proxy.lose(1);
    let reverted = proxy.run(&cli, &["revert", "a@1", "--force"]).await;
    assert_eq!(reverted.assert_code(0).json()["version"], 3);
}

#[tokio::test]
async fn an_edit_and_an_import_are_written_once() {
    let cli = Cli::start().await;
    let proxy = Proxy::before(&cli.server.address, Cut::During, false).await;
    cli.run(&["put", "a", r#"{"n":1}"#]).await.assert_code(0);
    proxy.lose(1);
    let script = Script::of(&[r#"sed -i 's/1/2/' "$1""#]);
    let mut command = cli.command(&["edit", "a"]);
    command.env("IFMATCH_SERVER", &proxy.address);
    script.be_editor_of(&mut command);
    let edited = finish(command).await;
    assert_eq!(edited.assert_code(0).json()["version"], 2);
    assert_eq!(script.seen().len(), 1, "there is no conflict");

    proxy.keys();
    let export = file_with(&export_of(1000));
    let import = ["import", export.to_str().unwrap()];
    proxy.lose(8);
    let imported = proxy.run(&cli, &import).await;
    let all = json!({"created": 1000, "replaced": 0, "unchanged": [], "different": []});
    assert_eq!(imported.assert_code(0).json(), all);
    let mut keys = proxy.keys();
    let sent = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!(sent, keys.len() + 8);
    assert!(keys.len() < 100, "many entries are written together");
    let listed = cli.run(&["ls", "i/"]).await.stdout;
    assert_eq!(listed.matches("\"version\":1,").count(), 1000);
}

#[tokio::test]
async fn an_import_whose_answers_are_lost_is_continued_by_the_next() {
    let cli = Cli::start().await;
    let proxy = Proxy::before(&cli.server.address, Cut::After, false).await;
    let export = file_with(&export_of(250));
    let import = ["import", export.to_str().unwrap()];
    proxy.lose(u32::MAX);
    let stopped = proxy.run(&cli, &import).await;
    stopped.assert_code(1).assert_says(&[
        "It is not known whether",
        "0 of 250 entries were written",
        "run the import again for the rest",
    ]);
    let again = cli.run(&import).await.assert_code(0).json();
    let unchanged = again["unchanged"].as_array().unwrap().len();
    assert!(unchanged > 0, "{again}");
    assert_eq!(again["created"], 250 - unchanged);
    let listed = cli.run(&["ls", "i/"]).await.stdout;
    assert_eq!(listed.matches("\"version\":1,").count(), 250);
}

#[tokio::test]
async fn an_older_service_gets_no_write_twice() {
    let runs = CUTS.map(async |cut| {
        let cli = Cli::start().await;
        let proxy = Proxy::before(&cli.server.address, cut, true).await;
        proxy.lose(1);
        let ran = proxy.run(&cli, &["put", "a", "1", "--force"]).await;
        ran.assert_code(1)
            .assert_says(&["It is not known whether the write was applied"]);
        assert_one_key(&proxy, 1);
        let expected = if cut == Cut::Before { "" } else { "1" };
        assert_eq!(cli.value("a").await, expected, "{cut:?}");
    });
    futures_util::future::join_all(runs).await;
}

#[tokio::test]
async fn a_service_that_does_not_come_back_leaves_the_outcome_unknown() {
    let cli = Cli::start().await;
    let proxy = Proxy::before(&cli.server.address, Cut::After, false).await;
    proxy.lose(u32::MAX);
    let ran = proxy.run(&cli, &["put", "a", "1"]).await;
    ran.assert_code(1)
        .assert_says(&["It is not known whether the write was applied"]);
    let sent = proxy.keys();
    assert!((2..10).contains(&sent.len()), "{sent:?}");
    assert_eq!(cli.run(&["get", "a"]).await.json()["version"], 1);
}

/// A service that is too busy for the first writes; how many it got.
async fn busy(times: u32, answer: (StatusCode, &'static str)) -> (String, Arc<AtomicU32>) {
    let asked = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&asked);
    let write = any(async move || {
        if counter.fetch_add(1, Ordering::Relaxed) < times {
            let (status, body) = answer;
            return (status, [("retry-after", "0")], body).into_response();
        }
        let entry = json!({
            "key": "a", "value": 1, "version": 1, "revision": 1, "etag": "\"1-a\"",
            "modified_at": "2026-11-22T10:00:02.123Z",
        });
        axum::Json(entry).into_response()
    });
    let description = get(async || r#"{"parameters":[{"name":"Idempotency-Key"}]}"#);
    let router = axum::Router::new().route("/openapi.json", description);
    (other_server(router.fallback(write)).await, asked)
}

#[tokio::test]
async fn a_write_waits_for_a_service_that_is_busy_but_not_for_ever() {
    let busy_body = r#"{"error":"unavailable","message":"m; nothing was done"}"#;
    let answer = (StatusCode::SERVICE_UNAVAILABLE, busy_body);
    let (address, asked) = busy(2, answer).await;
    ask(&address, &["put", "a", "1"]).await.assert_code(0);
    assert_eq!(asked.load(Ordering::Relaxed), 3);
    let (address, _) = busy(u32::MAX, answer).await;
    let ran = ask(&address, &["put", "a", "1"]).await;
    ran.assert_code(1).assert_says(&["nothing was done"]);
    assert!(!ran.stderr.contains("not known"), "{ran:?}");
}

#[tokio::test]
async fn a_request_in_progress_is_waited_for() {
    // The first answer is lost, and the next ones find that request at work.
    let body = r#"{"error":"outcome_unknown","message":"m"}"#;
    let (address, _) = busy(1, (StatusCode::GATEWAY_TIMEOUT, body)).await;
    ask(&address, &["put", "a", "1"]).await.assert_code(0);
    let body = r#"{"error":"idempotency_in_progress","message":"m"}"#;
    let (address, asked) = busy(2, (StatusCode::CONFLICT, body)).await;
    ask(&address, &["put", "a", "1"]).await.assert_code(0);
    assert_eq!(asked.load(Ordering::Relaxed), 3);
}
