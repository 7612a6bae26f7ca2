//! PATCH: the public vectors, and what the contract says around them.

use std::path::Path;

use axum::http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::api::{Answer, Api};

const MERGE: &str = "application/merge-patch+json";
const OPERATIONS: &str = "application/json-patch+json";

async fn patch(api: &Api, content_type: &str, body: &str) -> Answer {
    let call = api.call(Method::PATCH, "/kv/a");
    call.header("content-type", content_type)
        .body(body.to_owned())
        .send()
        .await
}

/// What becomes of a document, or the failing answer, after which the document is as it was.
async fn patched(document: &str, content_type: &str, body: &str) -> Result<Value, Answer> {
    let api = Api::in_memory();
    let before = api.put("/kv/a", document).send().await;
    assert_eq!(before.status.as_u16(), 201, "{document}");
    let answer = patch(&api, content_type, body).await;
    let after = api.get("/kv/a").send().await;
    if answer.status.is_success() {
        assert_eq!(answer.body, after.body);
        assert_eq!(answer.etag(), after.etag());
        assert_eq!(answer.json()["version"], 2);
        Ok(answer.json()["value"].clone())
    } else {
        assert_eq!(after.body, before.body, "nothing of a failed patch applies");
        Err(answer)
    }
}

#[tokio::test]
async fn the_public_json_patch_vectors() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/suites/json-patch");
    let mut asked = 0;
    for name in ["tests.json", "spec_tests.json"] {
        let Ok(text) = std::fs::read_to_string(folder.join(name)) else {
            println!("skipped: the JSON Patch vectors are not there");
            return;
        };
        let vectors: Vec<Value> = serde_json::from_str(&text).unwrap();
        for vector in vectors {
            let disabled = vector.get("disabled").is_some_and(|value| value == true);
            if disabled || vector.get("doc").is_none() {
                continue;
            }
            let (document, body) = (vector["doc"].to_string(), vector["patch"].to_string());
            let outcome = patched(&document, OPERATIONS, &body).await;
            match (outcome, vector.get("expected"), vector.get("error")) {
                (Ok(value), Some(expected), None) => assert_eq!(value, *expected, "{vector}"),
                (Ok(_), None, None) => {}
                (Err(answer), _, Some(_)) => {
                    let code = answer.json()["error"].clone();
                    let known = ["invalid_patch", "patch_conflict"];
                    assert!(
                        known.iter().any(|known| code == *known),
                        "{vector} {answer:?}"
                    );
                }
                (outcome, ..) => panic!("{vector}: {outcome:?}"),
            }
            asked += 1;
        }
    }
    assert!(asked > 90, "{asked} vectors");
}

#[tokio::test]
async fn appendix_a_of_rfc_7396() {
    for (original, merge, result) in [
        (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
        (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
        (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
        (
            r#"{"a":{"b":"c"}}"#,
            r#"{"a":{"b":"d","c":null}}"#,
            r#"{"a":{"b":"d"}}"#,
        ),
        (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
        (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
        (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
        (r#"{"a":"foo"}"#, "null", "null"),
        (r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#),
        (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
        ("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
        ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
    ] {
        let expected: Value = serde_json::from_str(result).unwrap();
        // Generated clients send a merge patch as plain JSON; an array is refused there.
        for content_type in [MERGE, "application/json"] {
            if content_type != MERGE && merge.starts_with('[') {
                continue;
            }
            let value = patched(original, content_type, merge).await.unwrap();
            assert_eq!(value, expected, "{original} {merge}");
        }
    }
}

#[tokio::test]
async fn numbers_outside_of_the_patched_paths_keep_their_digits() {
    let api = Api::in_memory();
    api.put(
        "/kv/a",
        r#"{"z":12345678901234567890123.4500,"n":1,"e":1e400}"#,
    )
    .send()
    .await;
    patch(&api, MERGE, r#"{"n":2.50}"#).await;
    let operations =
        r#"[{"op":"test","path":"/n","value":2.5},{"op":"add","path":"/m","value":-0.0}]"#;
    let answer = patch(&api, OPERATIONS, operations).await;
    let value = r#""value":{"z":12345678901234567890123.4500,"n":2.50,"e":1e400,"m":-0.0},"#;
    assert!(answer.text().contains(value), "{answer:?}");
}

/// The answer's text up to the value's end, so that the order of members counts.
fn shows(answer: &Answer, value: &str) -> bool {
    answer.text().contains(&format!("\"value\":{value},"))
}

#[tokio::test]
async fn members_that_a_patch_leaves_alone_keep_their_order() {
    let members: Vec<_> = (0..40).map(|n| format!("\"m{n}\":{n}.0")).collect();
    let without = |gone: usize| {
        let mut members = members.clone();
        members.remove(gone);
        members.join(",")
    };
    for (content_type, body) in [
        (MERGE, r#"{"m3":null,"new":[1],"m5":5.0}"#),
        (
            OPERATIONS,
            r#"[{"op":"remove","path":"/m3"},{"op":"add","path":"/new","value":[1]},
                {"op":"move","from":"/m5","path":"/m5"}]"#,
        ),
        (
            OPERATIONS,
            r#"[{"op":"move","from":"/m3","path":"/new"},
                {"op":"replace","path":"/new","value":[1]}]"#,
        ),
    ] {
        let api = Api::in_memory();
        let value = format!("{{{}}}", members.join(","));
        api.put("/kv/a", &value).send().await;
        let answer = patch(&api, content_type, body).await;
        let expected = format!("{{{},\"new\":[1]}}", without(3));
        assert!(shows(&answer, &expected), "{answer:?}");
    }
}

#[tokio::test]
async fn a_value_as_deep_as_may_be_with_escapes_in_it_is_patched() {
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    let value = format!(r#"{{"s":"\u0001\n\"é","d":{}}}"#, nested(126));
    let api = Api::in_memory();
    api.put("/kv/a", &value).send().await;
    let add = format!(
        r#"[{{"op":"add","path":"/d{}/-","value":[]}}]"#,
        "/0".repeat(125)
    );
    let answer = patch(&api, OPERATIONS, &add).await;
    let expected = value.replace(&nested(126), &nested(127));
    assert!(shows(&answer, &expected), "{answer:?}");
    assert!(shows(&api.get("/kv/a").send().await, &expected));
}

#[tokio::test]
async fn a_patch_that_takes_too_much_work_is_refused() {
    let value = format!("[1{}]", "0".repeat(1_000_000));
    let test = r#"{"op":"test","path":"/0","value":1e1000000}"#;
    let tests = |times: usize| format!("[{}]", vec![test; times].join(","));
    assert!(patched(&value, OPERATIONS, &tests(3)).await.is_ok());
    let answer = patched(&value, OPERATIONS, &tests(20_000)).await;
    answer.unwrap_err().assert_error(413, "request_too_large");
}

#[tokio::test]
async fn a_patch_that_is_none_or_does_not_fit_says_why() {
    let value = r#"{"a":1}"#;
    for (body, status, code, said) in [
        ("{", 400, "invalid_json", "line 1 column"),
        ("{}", 400, "invalid_patch", "array"),
        (
            r#"[{"op":"spam","path":"/a"}]"#,
            400,
            "invalid_patch",
            "operation 0",
        ),
        (
            r#"[{"op":"test","path":"/a","value":1},{"op":"add","path":"/b"}]"#,
            400,
            "invalid_patch",
            "operation 1",
        ),
        (
            r#"[{"op":"test","path":"/a","value":2}]"#,
            409,
            "patch_conflict",
            "/a",
        ),
        (
            r#"[{"op":"add","path":"/b","value":1},{"op":"remove","path":"/c"}]"#,
            409,
            "patch_conflict",
            "operation 1",
        ),
    ] {
        let answer = patched(value, OPERATIONS, body).await.unwrap_err();
        answer.assert_error(status, code);
        assert!(answer.text().contains(said), "{answer:?}");
    }
    for content_type in ["text/plain", "application/xml", "application/patch+json"] {
        let answer = patched(value, content_type, "{}").await.unwrap_err();
        answer.assert_error(415, "unsupported_media_type");
        let accepted = answer.header("accept-patch").unwrap();
        assert!(accepted.contains(MERGE) && accepted.contains(OPERATIONS));
    }
    let long = format!(r#"{{"b":"{}"}}"#, "x".repeat(600_000));
    let copy = r#"[{"op":"copy","from":"/b","path":"/c"}]"#;
    let answer = patched(&long, OPERATIONS, copy).await.unwrap_err();
    answer.assert_error(413, "value_too_large");
}

#[tokio::test]
async fn a_refusal_does_not_repeat_a_long_patch() {
    let api = Api::in_memory();
    api.put("/kv/a", "{}").send().await;
    let long = "\u{300}".repeat(300_000);
    for (operation, status, code) in [
        (json!({"op": long, "path": "/a"}), 400, "invalid_patch"),
        (
            json!({"op": "remove", "path": format!("/{long}")}),
            409,
            "patch_conflict",
        ),
    ] {
        let body = json!([operation]).to_string();
        let answer = patch(&api, "application/json-patch+json", &body).await;
        answer.assert_error(status, code);
        assert!(answer.body.len() < 20_000, "{}", answer.body.len());
    }
}

#[tokio::test]
async fn an_array_that_is_not_said_to_be_a_json_patch_replaces_nothing() {
    let value = r#"{"a":1}"#;
    for body in [
        r#"[{"op":"replace","path":"/a","value":2}]"#,
        " \r\n\t[]",
        "[1]",
    ] {
        for content_type in ["application/json", "Application/JSON; charset=utf-8"] {
            let answer = patched(value, content_type, body).await.unwrap_err();
            answer.assert_error(400, "invalid_patch");
            for named in [MERGE, OPERATIONS] {
                assert!(answer.text().contains(named), "{answer:?}");
            }
        }
        let replaced = patched(value, MERGE, body).await.unwrap();
        assert_eq!(replaced.to_string(), body.trim());
    }
    let broken = patched(value, "application/json", "[").await.unwrap_err();
    broken.assert_error(400, "invalid_json");
    let merged = patched(value, "application/json", r#"{"b":[1]}"#).await;
    assert_eq!(merged.unwrap().to_string(), r#"{"a":1,"b":[1]}"#);
}

#[tokio::test]
async fn preconditions_hold_for_a_patch() {
    let api = Api::in_memory();
    patch(&api, MERGE, "{}")
        .await
        .assert_error(404, "not_found");
    let absent = api
        .call(Method::PATCH, "/kv/a")
        .if_match("*")
        .json("{}")
        .send()
        .await;
    absent.assert_error(404, "not_found");
    let tag = api.put("/kv/a", "{}").send().await.etag();
    let with = |tag: &str| {
        api.call(Method::PATCH, "/kv/a")
            .if_match(tag)
            .json("{\"a\":1}")
            .send()
    };
    assert_eq!(with(&tag).await.status.as_u16(), 200);
    let stale = with(&tag).await;
    stale.assert_error(412, "precondition_failed");
    assert_eq!(
        stale.json()["current"],
        api.get("/kv/a").send().await.json()
    );
    let unread = with("3").await;
    unread.assert_error(400, "invalid_precondition");
}

#[tokio::test(flavor = "multi_thread")]
async fn patches_without_a_precondition_are_applied_to_what_stands() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::in_folder(folder.path()).await;
    api.put("/kv/a", "[]").send().await;
    let mut clients = JoinSet::new();
    for client in 0..64 {
        let api = api.clone();
        clients.spawn(async move {
            for round in 0..5 {
                let value = client * 100 + round;
                let add = format!(r#"[{{"op":"add","path":"/-","value":{value}}}]"#);
                let answer = patch(&api, OPERATIONS, &add).await;
                assert_eq!(answer.status.as_u16(), 200, "{answer:?}");
            }
        });
    }
    clients.join_all().await;
    let entry = api.get("/kv/a").send().await.json();
    let mut values: Vec<_> = entry["value"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_u64().unwrap())
        .collect();
    values.sort_unstable();
    let all = (0..64).flat_map(|client| (0..5).map(move |round| client * 100 + round));
    assert_eq!(values, all.collect::<Vec<_>>());
    assert_eq!(entry["version"], 321);
    api.close().await;
}
