//! Histories that are longer than what is put together at once, and their slow readers.

use axum::body::Body;
use axum::http::{Request, Response};
use http_body_util::BodyExt as _;
use serde_json::Value;

use super::{items, with_history};
use crate::support::api::{Api, taken_in_pieces};

/// The most that is put together before it is sent: 16 KiB and the end of the text.
const PIECE_MAX_BYTES: usize = 16 * 1024 + 1024;

fn string(letter: char, bytes: usize) -> String {
    format!("\"{}\"", letter.to_string().repeat(bytes))
}

async fn begin(api: &Api, path: &str) -> Response<Body> {
    let answer = api.begin(Request::get(path).body(Body::empty()).unwrap());
    let answer = answer.await;
    assert_eq!(answer.status(), 200);
    answer
}

#[tokio::test]
async fn events_of_any_size_are_cut_and_meet() {
    let api = Api::in_memory();
    let mut expected = Vec::new();
    // Around the sizes of a piece, and of several.
    for bytes in [
        0, 100, 16_000, 16_384, 20_000, 3, 60_000, 65_536, 70_000, 1_000_000, 3, 300, 16_100,
    ] {
        let written = api.put("/kv/a%22", &string('y', bytes)).send().await;
        expected.insert(0, written.json());
    }
    for path in [
        "/history",
        "/history/a%22",
        "/history?limit=13",
        "/history?limit=4",
    ] {
        let body = taken_in_pieces(begin(&api, path).await, PIECE_MAX_BYTES).await;
        let history: Value = serde_json::from_slice(&body).unwrap();
        let found = history["items"].as_array().unwrap();
        let count = if path.ends_with("=4") { 4 } else { 13 };
        assert_eq!(found.len(), count, "{path}");
        for (found, expected) in found.iter().zip(&expected) {
            for member in ["key", "value", "version", "revision", "etag", "modified_at"] {
                assert_eq!(found[member], expected[member], "{path}: {member}");
            }
        }
        let next = if count == 4 { "10".into() } else { Value::Null };
        assert_eq!(history["next"], next, "{path}");
    }
    let without = api.get("/history?values=false").send().await;
    assert_eq!(items(&without).len(), 13);
}

#[tokio::test]
async fn more_readers_than_events_are_kept_for_get_the_same() {
    const READERS: usize = 80;
    let api = Api::in_memory();
    for letter in ['a', 'b'] {
        api.put("/kv/large", &string(letter, 1_000_000))
            .send()
            .await;
    }
    let mut begun = Vec::new();
    for _ in 0..READERS {
        begun.push(begin(&api, "/history/large").await);
    }
    let mut first: Option<Vec<u8>> = None;
    for answer in begun {
        let body = taken_in_pieces(answer, PIECE_MAX_BYTES).await;
        let first = first.get_or_insert_with(|| body.clone());
        assert!(*first == body, "the same bytes for all");
    }
    let history: Value = serde_json::from_slice(&first.unwrap()).unwrap();
    let values: Vec<_> = history["items"].as_array().unwrap().iter().collect();
    assert_eq!(values.len(), 2);
    assert_eq!(values[0]["value"].as_str().unwrap().len(), 1_000_000);
}

/// Some begun answers to the same request, while only the last two events are kept.
async fn overtaken(api: &Api, readers: usize) -> Vec<Response<Body>> {
    for letter in ['a', 'b'] {
        api.put("/kv/large", &string(letter, 1_000_000))
            .send()
            .await;
    }
    let mut begun = Vec::new();
    for _ in 0..readers {
        begun.push(begin(api, "/history/large").await);
    }
    for letter in ['c', 'd', 'e', 'f', 'g'] {
        api.put("/kv/large", &string(letter, 1_000_000))
            .send()
            .await;
    }
    let oldest = api.get("/history/large?values=false").send().await;
    assert!(oldest.json()["oldest_revision"].as_u64() >= Some(2));
    begun
}

#[tokio::test]
async fn what_is_dropped_while_it_is_read_ends_the_history_or_breaks_it_off() {
    let api = with_history(5_000_000);
    let begun = overtaken(&api, 80).await;
    let (mut whole, mut broken) = (0, 0);
    for answer in begun {
        match answer.into_body().collect().await {
            Ok(body) => {
                // The event that was kept for this reader, and nothing after it.
                let history: Value = serde_json::from_slice(&body.to_bytes()).unwrap();
                let found = history["items"].as_array().unwrap();
                assert_eq!(found.len(), 1);
                assert_eq!(found[0]["revision"], 2);
                assert_eq!(found[0]["value"].as_str().unwrap().len(), 1_000_000);
                assert_eq!(history["next"], Value::Null);
                assert!(history["oldest_revision"].as_u64() >= Some(2));
                whole += 1;
            }
            Err(_) => broken += 1,
        }
    }
    assert!(
        whole > 10 && broken > 10,
        "{whole} whole, {broken} broken off"
    );
}
