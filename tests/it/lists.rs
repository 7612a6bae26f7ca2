//! A list of everything, however long it is and however slowly it is read.

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use serde_json::Value;

use crate::support::api::Api;

const ENTRIES: usize = 300;
/// What an entry's text takes, in bytes.
const TEXT_BYTES: usize = 10_000;
/// The most that is put together before it is sent: 64 KiB and an entry.
const PIECE_MAX_BYTES: usize = 64 * 1024 + TEXT_BYTES + 1024;

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
