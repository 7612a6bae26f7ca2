//! Headers, transactions and data files that nobody meant: whatever comes, the answer is one that
//! the contract knows, and what is refused changes nothing.
//!
//! `PROPTEST_CASES` says how many of each are tried (default: 256).

use std::path::Path;

use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, StatusCode};
use ifmatch::model::{Name, Range};
use ifmatch::storage::Store as _;
use ifmatch::storage::file::{FileStore, Journaling};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::support::api::{Answer, Api};

/// What stands for the current tag of `a` in what is generated.
const TAG: &str = "TAG";

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

async fn stored() -> (Api, Answer) {
    let api = Api::in_memory();
    let answer = api.put("/kv/a", "{\"n\":1}").send().await;
    (api, answer)
}

async fn everything(api: &Api) -> Value {
    api.get("/kv").send().await.json()
}

/// Bytes of a header, near to what one may be.
fn header_text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => Just(b"\"TAG\"".to_vec()),
        2 => prop::sample::select(vec!["*", ",", "\"", "W/", "w/", " ", "\t", ", ", "\"\"", "\\",
            "\"x\"", "W/\"TAG\"", "Sun, 06 Nov 1994 08:49:37 GMT", "return=minimal", ";", "="])
            .prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(0x20_u8..=0xff, 0..4),
    ];
    prop::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

fn header_name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "if-match",
        "if-none-match",
        "if-modified-since",
        "if-unmodified-since",
        "prefer",
        "content-type",
        "accept",
        "range",
        "x-request-id",
    ])
}

fn with_tag(text: &[u8], tag: &str) -> Vec<u8> {
    let text: String = text.iter().copied().map(char::from).collect();
    let text = text.replace(TAG, tag.trim_matches('"'));
    text.chars().map(|c| u8::try_from(c).unwrap()).collect()
}

async fn send_with_headers(
    api: &Api,
    tag: &str,
    method: Method,
    headers: &[(&'static str, Vec<u8>)],
) -> Option<Answer> {
    let body = match method {
        Method::PUT | Method::PATCH => "{\"n\":2}",
        _ => "",
    };
    let mut request = Request::builder().method(method).uri("/kv/a");
    if !headers.iter().any(|(name, _)| *name == "content-type") && !body.is_empty() {
        request = request.header("content-type", "application/json");
    }
    for (name, text) in headers {
        // What no header can hold does not reach the service.
        let value = HeaderValue::from_bytes(&with_tag(text, tag)).ok()?;
        request = request.header(*name, value);
    }
    Some(api.send(request.body(Body::from(body)).unwrap()).await)
}

/// Text of JSON, near to a transaction.
fn transaction_text() -> impl Strategy<Value = Vec<u8>> {
    let condition = prop::sample::select(vec!["\"TAG\"", "*", "\"x\"", "", "W/\"TAG\"", "3"]);
    let operation = (
        prop::sample::select(vec!["put", "delete", "check", "get"]),
        prop::sample::select(vec!["a", "b", "c", "", "..", "a/./b"]),
        prop::option::of(prop::sample::select(vec![
            json!(1),
            json!(null),
            json!({"x": [1]}),
        ])),
        prop::option::of(condition.clone()),
        prop::option::of(condition),
    );
    let operation = operation.prop_map(|(op, key, value, if_match, if_none_match)| {
        let mut operation = json!({"op": op, "key": key});
        let optional = [
            ("value", value),
            ("if_match", if_match.map(Value::from)),
            ("if_none_match", if_none_match.map(Value::from)),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                operation[name] = value;
            }
        }
        operation
    });
    let whole = prop::collection::vec(operation, 0..4)
        .prop_map(|operations| json!({"operations": operations}).to_string().into_bytes());
    (whole, damage()).prop_map(|(text, damage)| damage.of(text))
}

/// Something that happens to a text, or nothing.
#[derive(Debug, Clone)]
struct Damage(Option<(prop::sample::Index, usize, Vec<u8>)>);

fn damage() -> impl Strategy<Value = Damage> {
    let bytes = prop::collection::vec(any::<u8>(), 0..4);
    prop::option::of((any::<prop::sample::Index>(), 0_usize..4, bytes)).prop_map(Damage)
}

impl Damage {
    /// Some bytes are replaced by others.
    fn of(&self, mut text: Vec<u8>) -> Vec<u8> {
        if let Some((at, length, bytes)) = &self.0 {
            let at = at.index(text.len() + 1);
            let end = (at + length).min(text.len());
            text.splice(at..end, bytes.iter().copied());
        }
        text
    }
}

proptest! {
    #[test]
    fn no_header_is_misread(
        method in prop::sample::select(vec![Method::GET, Method::HEAD, Method::PUT, Method::PATCH, Method::DELETE]),
        headers in prop::collection::vec((header_name(), header_text()), 0..4),
    ) {
        runtime().block_on(async {
            let (api, before) = stored().await;
            let tag = before.etag();
            let Some(answer) = send_with_headers(&api, &tag, method.clone(), &headers).await else {
                return Ok(());
            };
            let status = answer.status.as_u16();
            prop_assert!([200, 204, 304, 400, 412, 415].contains(&status), "{answer:?}");
            let conditions: Vec<_> = headers.iter().filter(|(name, _)| *name == "if-match").collect();
            if answer.status.is_success() && !conditions.is_empty() {
                // Whatever else the list held, it named this tag.
                let named = conditions.iter().any(|(_, text)| {
                    text.windows(TAG.len()).any(|window| window == TAG.as_bytes()) || text.contains(&b'*')
                });
                prop_assert!(named, "{answer:?}");
            }
            let after = api.get("/kv/a").send().await;
            if !answer.status.is_success() || method == Method::GET || method == Method::HEAD {
                prop_assert_eq!(&after.body, &before.body);
            } else {
                prop_assert_ne!(&after.body, &before.body);
            }
            Ok(())
        })?;
    }

    #[test]
    fn a_transaction_is_done_whole_or_refused_whole(text in transaction_text()) {
        runtime().block_on(async {
            let (api, first) = stored().await;
            let before = everything(&api).await;
            let text = with_tag(&text, &first.etag().replace('"', "\\\""));
            let answer = api.call(Method::POST, "/transactions")
                .header("content-type", "application/json").body(text.clone()).send().await;
            let after = everything(&api).await;
            match answer.status {
                StatusCode::OK => {
                    let sent: Value = serde_json::from_slice(&text).unwrap();
                    let operations = sent["operations"].as_array().unwrap();
                    let results = answer.json()["results"].as_array().unwrap().clone();
                    prop_assert_eq!(results.len(), operations.len());
                    for (operation, result) in operations.iter().zip(results) {
                        let items = after["items"].as_array().unwrap();
                        let now = items.iter().find(|item| item["key"] == operation["key"]);
                        match operation["op"].as_str().unwrap() {
                            "put" => prop_assert_eq!(&now.unwrap()["value"], &operation["value"]),
                            "delete" => prop_assert_eq!(now, None),
                            _ => prop_assert_eq!(now.unwrap_or(&Value::Null), &result),
                        }
                    }
                }
                StatusCode::BAD_REQUEST | StatusCode::PRECONDITION_FAILED => {
                    prop_assert_eq!(after, before);
                }
                _ => prop_assert!(false, "{answer:?}"),
            }
            Ok(())
        })?;
    }

    #[test]
    fn a_data_file_is_taken_at_its_word_or_refused_and_left_as_it_is(damage in damage(), again in damage()) {
        runtime().block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("data.json");
            let text = again.of(damage.of(DATA.as_bytes().to_vec()));
            std::fs::write(&path, &text).unwrap();
            taken_at_its_word(&path, &text).await;
        });
    }
}

/// Three entries with what may go wrong in each.
const DATA: &str = concat!(
    "{\"format\":1,\"revision\":12,\"entries\":{\n",
    "\"doc/a\":{\"value\":{\"n\":1.50,\"a\":[true,null]},\"version\":1,\"revision\":2,\"modified_at\":\"2025-11-22T10:00:00.120Z\"},\n",
    "\"ä\":{\"value\":\"\\u0007\\\"é\",\"version\":3,\"revision\":12,\"modified_at\":\"2025-11-22T10:00:00.120Z\",\"modified_by\":\"ü\\\"n\"},\n",
    "\"ü\":{\"value\":-0,\"version\":1,\"revision\":1,\"modified_at\":\"2025-11-22T10:00:00.120Z\"}\n",
    "}}\n"
);

/// Asserts that a data file is either refused, and left as it is, or read as any other reader of
/// JSON does.
async fn taken_at_its_word(path: &Path, text: &[u8]) {
    let Ok(store) = FileStore::open(path, Journaling::Never).await else {
        assert_eq!(std::fs::read(path).unwrap(), text);
        return;
    };
    let snapshot = store.snapshot().await.unwrap();
    let page = snapshot.page(&Range::default()).await.unwrap();
    let document: Value = serde_json::from_slice(text).unwrap();
    assert_eq!(
        snapshot.position().revision,
        document["revision"].as_u64().unwrap()
    );
    let entries = document["entries"].as_object().unwrap();
    assert_eq!(page.entries.len(), entries.len());
    for entry in page.entries {
        let stored = &entries[entry.key.as_str()];
        let record = &entry.record;
        assert_eq!(record.value.as_json(), stored["value"].to_string());
        assert_eq!(record.version, stored["version"].as_u64().unwrap());
        assert_eq!(record.revision, stored["revision"].as_u64().unwrap());
        let moment: ifmatch::model::Timestamp =
            stored["modified_at"].as_str().unwrap().parse().unwrap();
        assert_eq!(record.modified_at, moment);
        let name = record.modified_by.as_ref().map(Name::as_str);
        assert_eq!(name, stored["modified_by"].as_str());
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn every_prefix_and_every_flipped_bit_of_a_data_file_is_taken_at_its_word_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.json");
    std::fs::write(&path, DATA).unwrap();
    let whole = FileStore::open(&path, Journaling::Never).await.unwrap();
    assert_eq!(whole.status().await.keys, 3);
    whole.close().await.unwrap();
    drop(whole);
    for length in 0..DATA.trim_end().len() {
        std::fs::write(&path, &DATA[..DATA.floor_char_boundary(length)]).unwrap();
        let opened = FileStore::open(&path, Journaling::Never).await;
        assert!(opened.is_err(), "{length} bytes");
    }
    for at in 0..DATA.len() {
        for bit in 0..8 {
            let mut text = DATA.as_bytes().to_vec();
            text[at] ^= 1 << bit;
            std::fs::write(&path, &text).unwrap();
            taken_at_its_word(&path, &text).await;
        }
    }
}
