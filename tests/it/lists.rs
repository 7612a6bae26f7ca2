//! A list of everything, however long it is and however slowly it is read.

use std::future::pending;
use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use ifmatch::api::{AllowedHosts, serve};
use ifmatch::model::Key;
use ifmatch::service::Policy;
use ifmatch::storage::Store;
use ifmatch::storage::memory::MemoryStore;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::api::{Answer, Api, LIMITS, LOOPBACK, taken_in_pieces};
use crate::support::binary::soon;

const ENTRIES: usize = 300;
/// What an entry's text takes, in bytes.
const TEXT_BYTES: usize = 10_000;
/// The most that is put together before it is sent: 16 KiB and the end of the list.
const PIECE_MAX_BYTES: usize = 16 * 1024 + 1024;

async fn filled() -> Api {
    let api = Api::in_memory();
    let value = format!("\"{}\"", "x".repeat(TEXT_BYTES));
    for number in 0..ENTRIES {
        let path = format!("/kv/{number:03}");
        api.put(&path, &value).send().await;
    }
    api
}

#[tokio::test]
async fn a_list_is_what_stood_when_it_was_asked_for_and_holds_no_writer_up() {
    let api = filled().await;
    let request = Request::get("/kv").body(Body::empty()).unwrap();
    let mut answer = api.begin(request).await;
    let etag = answer.headers()["etag"].to_str().unwrap().to_owned();

    // None of it has been read yet.
    for number in 0..ENTRIES {
        let path = format!("/kv/{number:03}");
        let written = api.put(&path, "\"new\"").send().await;
        assert_eq!(written.status.as_u16(), 200);
    }
    api.delete("/kv/299").send().await;
    api.put("/kv/new", "1").send().await;

    let (mut text, mut pieces) = (Vec::new(), 0);
    while let Some(frame) = answer.body_mut().frame().await {
        let piece = frame.unwrap().into_data().unwrap();
        assert!(
            piece.len() <= PIECE_MAX_BYTES,
            "{} bytes at once",
            piece.len()
        );
        text.extend_from_slice(&piece);
        pieces += 1;
    }
    assert!(pieces > 10, "{pieces} pieces");
    let list: Value = serde_json::from_slice(&text).unwrap();
    let items = list["items"].as_array().unwrap();
    assert_eq!(items.len(), ENTRIES);
    for (number, item) in items.iter().enumerate() {
        assert_eq!(item["key"], format!("{number:03}"));
        assert_eq!(item["value"].as_str().unwrap().len(), TEXT_BYTES);
    }
    assert_eq!(list["revision"], ENTRIES);
    assert_eq!(list["next"], Value::Null);
    assert!(etag.starts_with(&format!("\"{ENTRIES}-")), "{etag}");
}

#[tokio::test]
async fn long_pages_meet_as_short_ones_do() {
    let api = filled().await;
    let whole = api.get("/kv").send().await.json();
    for limit in [1, 100, 255, 256, 257, 299, 300, 301] {
        let (mut items, mut after) = (Vec::new(), None);
        loop {
            let path = match &after {
                Some(after) => format!("/kv?limit={limit}&after={after}"),
                None => format!("/kv?limit={limit}"),
            };
            let page = api.get(&path).send().await.json();
            let page_items = page["items"].as_array().unwrap();
            assert!(page_items.len() <= limit);
            items.extend(page_items.iter().cloned());
            match page["next"].as_str() {
                Some(next) => {
                    assert_eq!(
                        page_items.len(),
                        limit,
                        "a page that is not the last is full"
                    );
                    after = Some(next.to_owned());
                }
                None => break,
            }
        }
        assert_eq!(Value::Array(items), whole["items"], "limit {limit}");
    }
}

#[tokio::test]
async fn entries_that_are_longer_than_a_piece_are_cut_and_meet() {
    let api = Api::in_memory();
    let mut expected = Vec::new();
    // Around the sizes of a piece, and of several.
    for (number, bytes) in [
        0, 16_000, 16_384, 20_000, 60_000, 65_536, 70_000, 1_000_000, 3,
    ]
    .into_iter()
    .enumerate()
    {
        let value = format!("\"{}\"", "y".repeat(bytes));
        expected.push(api.put(&format!("/kv/{number}%22"), &value).send().await);
    }
    let request = Request::get("/kv").body(Body::empty()).unwrap();
    let text = taken_in_pieces(api.begin(request).await, PIECE_MAX_BYTES).await;
    let items: Vec<_> = expected.iter().map(Answer::text).collect();
    let list = format!(
        "{{\"items\":[{}],\"revision\":{},\"next\":null}}",
        items.join(","),
        items.len()
    );
    assert!(text == list.as_bytes(), "{} bytes", text.len());
    for limit in 1..=items.len() {
        let page = api.get(&format!("/kv?limit={limit}")).send().await.json();
        assert_eq!(page["items"].as_array().unwrap().len(), limit);
        let key = &page["items"][limit - 1]["key"];
        let next = if limit < items.len() {
            key
        } else {
            &Value::Null
        };
        assert_eq!(&page["next"], next, "limit {limit}");
    }
}

#[tokio::test]
async fn a_reader_that_holds_too_much_of_the_past_is_cut_off_and_a_newer_one_is_not() {
    const HELD_BYTES: u64 = 20_000_000;
    let store = Arc::new(MemoryStore::new().with_held_limit(HELD_BYTES));
    let api = Api::with(Arc::<MemoryStore>::clone(&store), Policy::AllWrites, LIMITS).unchecked();
    let value = |number: usize| format!("\"{number}{}\"", "x".repeat(1_000_000));
    let mut records = Vec::new();
    let mut write = async |number: usize| {
        let key = format!("{}", number % 8);
        api.put(&format!("/kv/{key}"), &value(number)).send().await;
        let record = store.get(&key.parse::<Key>().unwrap()).await.unwrap();
        records.push(Arc::downgrade(&record.unwrap()));
        records
            .iter()
            .filter(|record| record.strong_count() > 0)
            .count()
    };
    for number in 0..8 {
        write(number).await;
    }
    let list = || Request::get("/kv").body(Body::empty()).unwrap();
    let mut slow = Vec::new();
    let mut most = 0;
    for number in 8..60 {
        let mut reader = api.begin(list()).await;
        // It has begun, and takes no more.
        assert!(reader.body_mut().frame().await.unwrap().is_ok());
        slow.push(reader);
        most = most.max(write(number).await);
    }
    // The table's own, those of the feed, those that readers hold, and one that is being freed.
    let of_feed = 32 * 1024 * 1024 / 1_000_000 + 1;
    assert!(most <= 8 + of_feed + 20 + 1, "{most} records");
    let newest = slow.pop().unwrap();
    assert!(newest.into_body().collect().await.is_ok());
    for reader in slow.drain(..30) {
        let read = reader.into_body().collect().await;
        assert!(read.is_err(), "what is incomplete looks complete");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_was_cut_off_has_no_end_on_the_wire() {
    let store = Arc::new(MemoryStore::new().with_held_limit(1_000_000));
    let api = Api::with(store, Policy::AllWrites, LIMITS);
    let value = format!("\"{}\"", "x".repeat(1_000_000));
    for key in 0..20 {
        api.put(&format!("/kv/{key}"), &value).send().await;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let hosts = AllowedHosts::listening_on(LOOPBACK, "localhost:8080", &[]);
    let serving = serve(listener, Arc::clone(&api.service), LIMITS, hosts, pending());
    let serving = tokio::spawn(serving);
    let mut client = TcpStream::connect(address).await.unwrap();
    client
        .write_all(b"GET /kv HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut text = vec![0; 1000];
    client.read_exact(&mut text).await.unwrap();
    assert!(text.starts_with(b"HTTP/1.1 200"));
    // What it has not taken is more than the system holds for it.
    for key in 0..20 {
        api.put(&format!("/kv/{key}"), "1").send().await;
    }
    // That the connection is reset is an end like another.
    let _ = soon(client.read_to_end(&mut text)).await;
    assert!(!text.ends_with(b"\r\n0\r\n\r\n"), "it looks complete");
    serving.abort();
}
