//! POST /transactions: all or nothing, under one revision.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, Request};
use http_body_util::BodyExt as _;
use ifmatch::service::Policy;
use ifmatch::storage::Store as _;
use ifmatch::storage::memory::MemoryStore;
use serde_json::{Value, json};

use crate::support::api::{Answer, Api, LIMITS, taken_in_pieces};

async fn transact(api: &Api, operations: &Value) -> Answer {
    let body = json!({ "operations": operations }).to_string();
    api.call(Method::POST, "/transactions")
        .json(&body)
        .send()
        .await
}

#[tokio::test]
async fn all_operations_are_done_under_one_revision() {
    let api = Api::in_memory();
    let a = api.put("/kv/a", "1").send().await.etag();
    let b = api.put("/kv/b", "2").send().await.json();
    let answer = transact(
        &api,
        &json!([
            {"op": "put", "key": "a", "value": {"n": 10}, "if_match": a},
            {"op": "delete", "key": "b", "if_match": b["etag"]},
            {"op": "put", "key": "c/d", "value": null, "if_none_match": "*"},
            {"op": "check", "key": "e", "if_none_match": "*"},
            {"op": "check", "key": "f"},
        ]),
    )
    .await;
    assert_eq!(answer.status.as_u16(), 200, "{answer:?}");
    let body = answer.json();
    assert_eq!(body["revision"], 3);
    assert_eq!(body["results"][0], api.get("/kv/a").send().await.json());
    assert_eq!(body["results"][0]["revision"], 3);
    assert_eq!(body["results"][0]["version"], 2);
    assert_eq!(body["results"][1], b);
    assert_eq!(body["results"][2], api.get("/kv/c%2Fd").send().await.json());
    assert_eq!(body["results"][2]["revision"], 3);
    assert_eq!(body["results"][3], Value::Null);
    assert_eq!(body["results"].as_array().unwrap().len(), 5);
    api.get("/kv/b").send().await.assert_error(404, "not_found");
}

#[tokio::test]
async fn every_operation_that_does_not_hold_is_named_and_nothing_is_done() {
    let api = Api::in_memory();
    let a = api.put("/kv/a", "1").send().await.json();
    let before = api.get("/kv").send().await;
    let stale = "\"9-0000000000000000\"";
    let answer = transact(
        &api,
        &json!([
            {"op": "put", "key": "new", "value": 1},
            {"op": "put", "key": "a", "value": 2, "if_match": stale},
            {"op": "delete", "key": "absent"},
            {"op": "check", "key": "other", "if_match": "*"},
            {"op": "check", "key": "fine", "if_none_match": "*"},
        ]),
    )
    .await;
    answer.assert_error(412, "precondition_failed");
    assert_eq!(
        answer.json()["failed"],
        json!([
            {"index": 1, "key": "a", "current": a},
            {"index": 2, "key": "absent", "current": null},
            {"index": 3, "key": "other", "current": null},
        ])
    );
    assert_eq!(api.get("/kv").send().await.body, before.body);
}

#[tokio::test]
async fn checks_alone_change_nothing() {
    let api = Api::in_memory();
    let a = api.put("/kv/a", "1").send().await.json();
    let answer = transact(
        &api,
        &json!([{"op": "check", "key": "a", "if_match": a["etag"]}]),
    )
    .await;
    assert_eq!(answer.json(), json!({"revision": 1, "results": [a]}));
    assert_eq!(api.get("/kv").send().await.json()["revision"], 1);
}

#[tokio::test]
async fn what_is_no_transaction_names_its_part() {
    let api = Api::in_memory();
    let put = |key: &str| json!({"op": "put", "key": key, "value": 1});
    let many: Vec<_> = (0..129).map(|key| put(&key.to_string())).collect();
    for (operations, part) in [
        (json!([]), "1 to 128"),
        (json!(many), "1 to 128"),
        (json!({}), "array"),
        (json!([1]), "operations[0]"),
        (
            json!([put("a"), {"op": "put", "key": "b"}]),
            "operations[1] has no value",
        ),
        (json!([{"op": "put", "value": 1}]), "has no key"),
        (json!([{"op": "move", "key": "a"}]), "operations[0].op"),
        (json!([{"key": "a"}]), "operations[0].op"),
        (
            json!([{"op": "put", "key": "..", "value": 1}]),
            "operations[0].key",
        ),
        (
            json!([{"op": "put", "key": 1, "value": 1}]),
            "operations[0].key",
        ),
        (
            json!([put("a"), put("a")]),
            "operations[1]: \"a\" appears twice",
        ),
        (
            json!([{"op": "delete", "key": "a", "if_match": "3"}]),
            "operations[0].if_match",
        ),
        (
            json!([{"op": "delete", "key": "a", "if_match": null}]),
            "operations[0].if_match",
        ),
        (
            json!([{"op": "delete", "key": "a", "if_none_match": 1}]),
            "operations[0].if_none_match",
        ),
        (
            json!([{"op": "delete", "key": "a", "value": 1}]),
            "\"value\"",
        ),
        (
            json!([{"op": "check", "key": "a", "ifmatch": "*"}]),
            "\"ifmatch\"",
        ),
    ] {
        let answer = transact(&api, &operations).await;
        answer.assert_error(400, "invalid_transaction");
        let message = answer.message();
        assert!(message.contains(part), "{operations}: {message}");
    }
    for body in ["[]", "{}", "null", r#"{"operations":[],"more":1}"#] {
        let answer = api
            .call(Method::POST, "/transactions")
            .json(body)
            .send()
            .await;
        answer.assert_error(400, "invalid_transaction");
    }
    let send = |body: &'static str| api.call(Method::POST, "/transactions").json(body);
    send("{").send().await.assert_error(400, "invalid_json");
    let plain = api
        .call(Method::POST, "/transactions")
        .body("{}")
        .send()
        .await;
    plain.assert_error(415, "unsupported_media_type");
    let header = send("{}").if_match("*").send().await;
    header.assert_error(400, "invalid_precondition");
    let get = api.get("/transactions").send().await;
    get.assert_error(405, "method_not_allowed");
    assert_eq!(get.header("allow"), Some("POST"));
    assert_eq!(api.get("/kv").send().await.json()["revision"], 0);
}

#[tokio::test]
async fn values_are_held_to_the_same_limits_and_keep_their_digits() {
    let api = Api::in_memory();
    let deep = "[".repeat(128) + &"]".repeat(128);
    let magic = r#"{"$serde_json::private::Number":"1"}"#;
    for value in [deep.as_str(), "1e400", "-0.0", magic] {
        let body = format!(r#"{{"operations":[{{"op":"put","key":"a","value":{value}}}]}}"#);
        let answer = api
            .call(Method::POST, "/transactions")
            .json(&body)
            .send()
            .await;
        assert!(
            answer.text().contains(&format!("\"value\":{value},")),
            "{answer:?}"
        );
    }
    let deeper = format!("[{deep}]");
    let long = format!("\"{}\"", "x".repeat(1024 * 1024));
    for (value, status, code) in [
        (deeper, 400, "invalid_json"),
        (long, 413, "value_too_large"),
    ] {
        let body = format!(r#"{{"operations":[{{"op":"put","key":"b","value":{value}}}]}}"#);
        let answer = api
            .call(Method::POST, "/transactions")
            .json(&body)
            .send()
            .await;
        answer.assert_error(status, code);
    }
    api.get("/kv/b").send().await.assert_error(404, "not_found");
}

#[tokio::test]
async fn where_preconditions_are_required_each_write_of_a_transaction_needs_one() {
    let api = Api::with(
        Arc::new(MemoryStore::new()),
        Policy::ConditionalWrites,
        LIMITS,
    );
    let bare = transact(
        &api,
        &json!([
            {"op": "put", "key": "a", "value": 1, "if_none_match": "*"},
            {"op": "put", "key": "b", "value": 1},
        ]),
    )
    .await;
    bare.assert_error(428, "precondition_required");
    let named = transact(
        &api,
        &json!([
            {"op": "put", "key": "a", "value": 1, "if_none_match": "*"},
            {"op": "check", "key": "b"},
        ]),
    )
    .await;
    assert_eq!(named.status.as_u16(), 200);
}

#[tokio::test]
async fn return_minimal_answers_with_the_headers_alone() {
    let api = Api::in_memory();
    let created = api
        .put("/kv/a", "{}")
        .header("prefer", "return=minimal")
        .send()
        .await;
    let read = api.get("/kv/a").send().await;
    assert_eq!((created.status.as_u16(), created.body.len()), (204, 0));
    assert_eq!(created.header("preference-applied"), Some("return=minimal"));
    assert_eq!(created.header("location"), Some("./a"));
    assert_eq!(created.header("content-type"), None);
    for name in ["etag", "last-modified", "cache-control"] {
        assert_eq!(created.header(name), read.header(name), "{name}");
    }
    let patched = api
        .call(Method::PATCH, "/kv/a")
        .json("{\"b\":1}")
        .header("prefer", "respond-async, RETURN=\"minimal\"")
        .send()
        .await;
    assert_eq!((patched.status.as_u16(), patched.body.len()), (204, 0));
    assert_eq!(patched.etag(), api.get("/kv/a").send().await.etag());
    let unknown = api
        .put("/kv/a", "1")
        .header("prefer", "handling=strict")
        .send()
        .await;
    assert_eq!(unknown.status.as_u16(), 200);
    assert_eq!(unknown.header("preference-applied"), None);
    // A failing answer is not shortened.
    let stale = api
        .put("/kv/a", "2")
        .if_match("\"0-0\"")
        .header("prefer", "return=minimal");
    stale.send().await.assert_error(412, "precondition_failed");
    let deleted = api
        .delete("/kv/a")
        .header("prefer", "return=minimal")
        .send()
        .await;
    assert_eq!(
        (deleted.status.as_u16(), deleted.etag()),
        (204, unknown.etag())
    );
}

/// The most that is built of an answer at once.
const PIECE_MAX_BYTES: usize = 16 * 1024;

fn request(body: &Value) -> Request<Body> {
    Request::post("/transactions")
        .header("content-type", "application/json")
        .body(body.to_string().into())
        .unwrap()
}

/// Puts a long value under each of these keys, and returns the entries.
async fn put_long(api: &Api, keys: usize) -> Vec<Value> {
    let value = format!("\"{}\"", "x".repeat(300_000));
    let mut entries = Vec::new();
    for key in 0..keys {
        entries.push(api.put(&format!("/kv/{key}"), &value).send().await.json());
    }
    entries
}

#[tokio::test]
async fn results_that_are_long_come_in_pieces() {
    let api = Api::in_memory();
    let entries = put_long(&api, 20).await;
    let mut operations: Vec<_> = entries
        .iter()
        .map(|entry| json!({"op": "check", "key": entry["key"], "if_match": entry["etag"]}))
        .collect();
    operations.push(json!({"op": "check", "key": "absent", "if_none_match": "*"}));
    let answer = api.begin(request(&json!({"operations": operations}))).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let length: usize = answer.headers()["content-length"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    let text = taken_in_pieces(answer, PIECE_MAX_BYTES).await;
    assert_eq!(text.len(), length);
    let mut results = entries.clone();
    results.push(Value::Null);
    let expected = json!({"revision": 20, "results": results}).to_string();
    assert!(text == expected.as_bytes(), "{} bytes", text.len());
    // And it is as described.
    assert_eq!(transact(&api, &json!(operations)).await.body, text);
}

#[tokio::test]
async fn operations_that_do_not_hold_and_are_long_come_in_pieces() {
    let api = Api::in_memory();
    let entries = put_long(&api, 20).await;
    let stale = "\"9-0000000000000000\"";
    let mut operations: Vec<_> = entries
        .iter()
        .map(|entry| json!({"op": "delete", "key": entry["key"], "if_match": stale}))
        .collect();
    operations.push(json!({"op": "delete", "key": "ab\"sent"}));
    let answer = api.begin(request(&json!({"operations": operations}))).await;
    assert_eq!(answer.status(), 412);
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let text = taken_in_pieces(answer, PIECE_MAX_BYTES).await;
    let mut failed: Vec<_> = entries
        .iter()
        .enumerate()
        .map(|(index, entry)| json!({"index": index, "key": entry["key"], "current": entry}))
        .collect();
    failed.push(json!({"index": 20, "key": "ab\"sent", "current": null}));
    let short = transact(&api, &json!([{"op": "delete", "key": "absent"}])).await;
    let expected = json!({
        "error": "precondition_failed",
        "message": short.json()["message"],
        "failed": failed,
    });
    assert!(
        text == expected.to_string().as_bytes(),
        "{} bytes",
        text.len()
    );
    assert_eq!(transact(&api, &json!(operations)).await.body, text);
}

#[tokio::test]
async fn an_entry_that_is_long_comes_in_pieces_and_with_the_same_headers() {
    let api = Api::in_memory();
    let value = format!("\"{}\"", "x".repeat(900_000));
    let created = api.put("/kv/a", &value).send().await;
    assert_eq!(
        (created.status.as_u16(), created.header("location")),
        (201, Some("./a"))
    );
    let etag = created.etag();
    let json = "application/json";
    for (method, body, header, status) in [
        (Method::GET, "", None, 200),
        (
            Method::GET,
            "",
            Some(("if-match", "\"9-0000000000000000\"")),
            412,
        ),
        (Method::PUT, "1", Some(("if-none-match", "*")), 412),
        (
            Method::PATCH,
            "{}",
            Some(("if-match", "\"9-0000000000000000\"")),
            412,
        ),
        (
            Method::DELETE,
            "",
            Some(("if-match", "\"9-0000000000000000\"")),
            412,
        ),
        (Method::DELETE, "", Some(("if-match", &etag)), 200),
    ] {
        let mut request = Request::builder().method(&method).uri("/kv/a");
        if !body.is_empty() {
            request = request.header("content-type", json);
        }
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let answer = api.begin(request.body(body.into()).unwrap()).await;
        assert_eq!(answer.status(), status, "{method}");
        for name in ["etag", "last-modified", "cache-control", "content-type"] {
            assert_eq!(
                answer.headers()[name],
                created.header(name).unwrap(),
                "{method} {name}"
            );
        }
        let length = answer.headers().get("content-length").cloned();
        let text = taken_in_pieces(answer, PIECE_MAX_BYTES).await;
        assert_eq!(length.unwrap(), text.len().to_string().as_str(), "{method}");
        let body: Value = serde_json::from_slice(&text).unwrap();
        let shown = if status == 412 {
            &body["current"]
        } else {
            &body
        };
        assert!(*shown == created.json(), "{method}");
        if method == Method::GET && status == 200 {
            let head = api.call(Method::HEAD, "/kv/a").send().await;
            assert_eq!(head.header("content-length"), Some(&*length_of(&text)));
            assert_eq!(head.body.len(), 0);
        }
    }
}

fn length_of(text: &[u8]) -> String {
    text.len().to_string()
}

#[tokio::test]
async fn answers_that_nobody_reads_give_back_what_was_replaced_and_look_incomplete() {
    const BYTES: usize = 1_000_000;
    let store = MemoryStore::with_watch_buffer(0).with_held_limit(5 * BYTES as u64);
    // Its history would keep them as well.
    let store = Arc::new(store.with_history_limit(0));
    let api = Api::with(Arc::<MemoryStore>::clone(&store), Policy::AllWrites, LIMITS).unchecked();
    let mut records = Vec::new();
    let mut unread = Vec::new();
    for number in 0..30 {
        let value = format!("\"{number}{}\"", "x".repeat(BYTES));
        let put = Request::put("/kv/a").header("content-type", "application/json");
        let mut written = api.begin(put.body(value.into()).unwrap()).await;
        assert!(written.body_mut().frame().await.unwrap().is_ok());
        unread.push(written);
        let record = store.get(&"a".parse().unwrap()).await.unwrap().unwrap();
        records.push(Arc::downgrade(&record));
        let checked = json!({"operations": [{"op": "check", "key": "a"}]});
        unread.push(api.begin(request(&checked)).await);
    }
    let held = || {
        records
            .iter()
            .filter(|record| record.strong_count() > 0)
            .count()
    };
    let freed = async {
        while held() > 6 {
            tokio::task::yield_now().await;
        }
    };
    crate::support::binary::soon(freed).await;
    let last = unread.pop().unwrap().into_body().collect().await;
    assert!(last.is_ok());
    for answer in unread.drain(..40) {
        assert!(answer.into_body().collect().await.is_err());
    }
}
