//! No command overwrites or deletes what its user has not seen, and no slip is stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::IntoResponse as _;
use axum::routing::any;
use serde_json::{Value, json};

use crate::support::cli::{Cli, Ran, ask, file_with, other_server};

/// Both ways to serve; the commands do the same in each.
const FLAGS: [&[&str]; 2] = [&[], &["--require-preconditions"]];

async fn tag(cli: &Cli, key: &str) -> String {
    let entry = cli.run(&["get", key]).await.assert_code(0).json();
    entry["etag"].as_str().unwrap().to_owned()
}

/// It failed, says all of `parts`, and the key still has this value.
async fn assert_left(cli: &Cli, ran: &Ran, code: i32, parts: &[&str], [key, value]: [&str; 2]) {
    ran.assert_code(code).assert_says(parts);
    assert_eq!(cli.value(key).await, value, "{ran:?}");
}

#[tokio::test]
async fn put_without_a_flag_creates_and_replaces_nothing() {
    for flags in FLAGS {
        let cli = Cli::start_with(flags).await;
        let created = cli.run(&["put", "doc/a", "1"]).await;
        assert_eq!(created.assert_code(0).json()["version"], 1);
        let refused = cli.run(&["put", "doc/a", "2"]).await;
        let parts = [
            "doc/a already exists",
            "version 1",
            "--if-match",
            "nothing was written",
            "--force",
            "ifmatch get doc/a",
        ];
        assert_left(&cli, &refused, 4, &parts, ["doc/a", "1"]).await;
        // A script gets all that a merge needs.
        assert_eq!(refused.json()["current"], created.json());

        let tag = tag(&cli, "doc/a").await;
        cli.run(&["put", "doc/a", "2", "--if-match", &tag])
            .await
            .assert_code(0);
        cli.run(&["put", "doc/a", "3", "--if-match", &tag])
            .await
            .assert_code(4);
        let forced = cli.run(&["put", "doc/a", "4", "--force"]).await;
        assert_eq!(forced.assert_code(0).json()["version"], 3);
        let forced = cli.run(&["put", "new", "5", "--force"]).await;
        assert_eq!(forced.assert_code(0).json()["version"], 1);
    }
}

#[tokio::test]
async fn only_one_of_many_puts_without_a_flag_succeeds() {
    let cli = Cli::start().await;
    let cli = &cli;
    let puts = (0..8).map(|number| async move {
        let ran = cli.run(&["put", "a", &number.to_string()]).await;
        (ran.code, number.to_string())
    });
    let ended = futures_util::future::join_all(puts).await;
    let won: Vec<_> = ended.iter().filter(|(code, _)| *code == 0).collect();
    assert_eq!(won.len(), 1, "{ended:?}");
    assert!(ended.iter().all(|(code, _)| matches!(code, 0 | 4)));
    assert_eq!(cli.value("a").await, won[0].1);
}

#[tokio::test]
async fn rm_deletes_only_what_was_seen_or_is_forced() {
    for flags in FLAGS {
        let cli = Cli::start_with(flags).await;
        cli.run(&["put", "doc/a", "1"]).await.assert_code(0);
        let bare = cli.run(&["rm", "doc/a"]).await;
        let parts = [
            "--if-match",
            "--force",
            "ifmatch get",
            "nothing was deleted",
        ];
        assert_left(&cli, &bare, 2, &parts, ["doc/a", "1"]).await;
        // A prefix is not a key.
        let prefix = cli.run(&["rm", "doc/", "--force"]).await;
        assert_left(&cli, &prefix, 3, &[], ["doc/a", "1"]).await;

        let tag = tag(&cli, "doc/a").await;
        cli.run(&["put", "doc/a", "2", "--force"])
            .await
            .assert_code(0);
        let stale = cli.run(&["rm", "doc/a", "--if-match", &tag]).await;
        assert_left(&cli, &stale, 4, &["version 2"], ["doc/a", "2"]).await;
        cli.run(&["rm", "doc/a", "--force"]).await.assert_code(0);
        cli.run(&["rm", "doc/a", "--force"]).await.assert_code(3);
    }
}

/// An entry as it is after so many writes.
fn entry_after(writes: u32) -> Value {
    json!({
        "key": "a", "value": {}, "version": writes, "revision": writes,
        "etag": format!("\"{writes}-x\""), "modified_at": "2026-11-22T10:00:02.123Z",
    })
}

/// What a server that demands preconditions answers to the write with this number, if others were
/// faster the first times.
fn answer_to_write(number: u32, writes_lost: u32, is_conditional: bool) -> (StatusCode, Value) {
    if !is_conditional {
        let body = json!({"error": "precondition_required", "message": "m"});
        return (StatusCode::PRECONDITION_REQUIRED, body);
    }
    let entry = entry_after(number + 2);
    if number <= writes_lost {
        let body = json!({"error": "precondition_failed", "message": "m", "current": entry});
        return (StatusCode::PRECONDITION_FAILED, body);
    }
    (StatusCode::OK, entry)
}

#[tokio::test]
async fn force_meets_changes_meanwhile_and_does_not_try_for_ever() {
    for (writes_lost, code) in [(3, 0), (u32::MAX, 4)] {
        let writes = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&writes);
        let router = axum::Router::new().fallback(any(
            move |method: Method, headers: axum::http::HeaderMap| async move {
                if method == Method::GET {
                    return axum::Json(entry_after(2)).into_response();
                }
                let number = counter.fetch_add(1, Ordering::Relaxed);
                // What is sent is always the newest tag that was shown.
                let tag = headers.get("if-match").map(|tag| tag.to_str().unwrap());
                let newest = format!("\"{}-x\"", number + 1);
                assert!(number == 0 || tag == Some(&newest), "{tag:?}, {newest}");
                let (status, body) = answer_to_write(number, writes_lost, tag.is_some());
                (status, axum::Json(body)).into_response()
            },
        ));
        let address = other_server(router).await;
        for arguments in [
            &["put", "a", "1", "--force"][..],
            &["rm", "a", "--force"],
            &["patch", "a", "[]"],
        ] {
            writes.store(0, Ordering::Relaxed);
            ask(&address, arguments).await.assert_code(code);
        }
    }
}

#[tokio::test]
async fn a_patch_applies_to_what_is_current_also_where_tags_are_required() {
    for flags in FLAGS {
        let cli = Cli::start_with(flags).await;
        cli.run(&["put", "a", r#"{"n":[],"x":1}"#])
            .await
            .assert_code(0);
        let cli = &cli;
        let patches = (0..6).map(|number| async move {
            let patch = if number % 2 == 0 {
                format!(r#"{{"m{number}":{number}}}"#)
            } else {
                format!(r#"[{{"op":"add","path":"/m{number}","value":{number}}}]"#)
            };
            cli.run(&["patch", "a", &patch]).await.assert_code(0);
        });
        futures_util::future::join_all(patches).await;
        let value: Value = serde_json::from_str(&cli.value("a").await).unwrap();
        for number in 0..6 {
            assert_eq!(value[format!("m{number}")], number, "{value}");
        }
    }
}

#[tokio::test]
async fn a_merge_patch_does_not_replace_a_whole_value_unseen() {
    let cli = Cli::start().await;
    cli.run(&["put", "object", r#"{"x":1}"#])
        .await
        .assert_code(0);
    cli.run(&["put", "array", "[1,2,3]"]).await.assert_code(0);
    for (patch, key, value) in [
        ("null", "object", r#"{"x":1}"#),
        ("\"text\"", "object", r#"{"x":1}"#),
        (r#"{"x":2}"#, "array", "[1,2,3]"),
    ] {
        let ran = cli.run(&["patch", key, patch]).await;
        let parts = [
            "replace the whole value",
            "--if-match",
            "nothing was written",
        ];
        assert_left(&cli, &ran, 1, &parts, [key, value]).await;
        // Who has seen it may.
        let tag = tag(&cli, key).await;
        let seen = ["patch", key, patch, "--if-match", &tag];
        cli.run(&seen).await.assert_code(0);
        cli.run(&["put", key, value, "--force"])
            .await
            .assert_code(0);
    }
}

#[tokio::test]
async fn a_json_patch_does_not_replace_a_whole_value_unseen() {
    let [key, value] = ["a", r#"{"x":{"y":1},"z":2}"#];
    for flags in FLAGS {
        let cli = Cli::start_with(flags).await;
        cli.run(&["put", key, value]).await.assert_code(0);
        for patch in [
            r#"[{"op":"replace","path":"","value":1}]"#,
            r#"[{"op":"add","path":"","value":{"x":{}}}]"#,
            r#"[{"op":"copy","from":"/x","path":""}]"#,
            r#"[{"op":"move","from":"/x","path":""}]"#,
            // These tests do not show that the value was seen.
            r#"[{"op":"test","path":"/z","value":2},{"op":"replace","path":"","value":1}]"#,
            r#"[{"op":"replace","path":"","value":1},{"op":"test","path":"","value":1}]"#,
        ] {
            let ran = cli.run(&["patch", key, patch]).await;
            let parts = [
                "path \"\"",
                "replace the whole value",
                "--if-match",
                "nothing was written",
            ];
            assert_left(&cli, &ran, 1, &parts, [key, value]).await;
            // Who has seen it may.
            let tag = tag(&cli, key).await;
            let seen = ["patch", key, patch, "--if-match", &tag];
            cli.run(&seen).await.assert_code(0);
            cli.run(&["put", key, value, "--force"])
                .await
                .assert_code(0);
        }
    }
}

#[tokio::test]
async fn a_json_patch_that_tests_the_whole_value_may_replace_it() {
    for flags in FLAGS {
        let cli = Cli::start_with(flags).await;
        cli.run(&["put", "a", "[1]"]).await.assert_code(0);
        let patch = r#"[{"op":"test","path":"","value":[1]},{"op":"replace","path":"","value":2}]"#;
        cli.run(&["patch", "a", patch]).await.assert_code(0);
        assert_eq!(cli.value("a").await, "2");
        let stale = cli.run(&["patch", "a", patch]).await;
        assert_left(&cli, &stale, 4, &["operation 0"], ["a", "2"]).await;
    }
}

#[tokio::test]
async fn what_a_broken_pipe_leaves_is_not_stored() {
    let cli = Cli::start().await;
    std::fs::write(cli.folder.path().join("empty"), " \n").unwrap();
    for (arguments, source) in [
        (&["put", "a", "-"][..], "standard input: it is empty"),
        (&["put", "a"], "standard input: it is empty"),
        (&["put", "a", "--force"], "standard input: it is empty"),
        (&["put", "a", "--file", "empty"], "empty: it is empty"),
        (&["put", "a", ""], "the JSON: it is empty"),
        (&["patch", "a"], "standard input: it is empty"),
    ] {
        let ran = cli.run_with_input(arguments, "").await;
        assert_left(&cli, &ran, 1, &[source, "nothing was written"], ["a", ""]).await;
    }
    let cut = cli
        .run_with_input(&["put", "a", "-"], "{\"x\": [1,\n 2")
        .await;
    let parts = ["standard input: ", "line 2", "nothing was written"];
    assert_left(&cli, &cut, 1, &parts, ["a", ""]).await;
}

#[tokio::test]
async fn a_member_that_is_there_twice_is_refused() {
    let cli = Cli::start().await;
    cli.run(&["put", "a", "{}"]).await.assert_code(0);
    for arguments in [
        &["put", "a", r#"{"y":[{"x":1,"x":2}]}"#, "--force"][..],
        &["patch", "a", r#"{"x":1,"x":2}"#],
        &["patch", "a", r#"[{"op":"add","path":"/x","x":1,"x":2}]"#],
    ] {
        let ran = cli.run(arguments).await;
        let parts = ["\"x\" appears twice", "line 1", "nothing was written"];
        assert_left(&cli, &ran, 1, &parts, ["a", "{}"]).await;
    }
    // As deep as the service takes it.
    let deep = format!("{}{}", "[".repeat(128), "]".repeat(128));
    cli.run(&["put", "deep", &deep]).await.assert_code(0);
    let patch = format!(r#"[{{"op":"replace","path":"","value":{deep}}}]"#);
    let seen = ["patch", "deep", &patch, "--if-match", "*"];
    cli.run(&seen).await.assert_code(0);
}

#[tokio::test]
async fn a_new_key_that_looks_like_a_slip_is_named() {
    let cli = Cli::start().await;
    for (key, what) in [
        ("doc/plan ", "'doc/plan ' ends with a space"),
        (" plan", "' plan' begins with a space"),
        ("doc/", "doc/ ends with a slash"),
    ] {
        let created = cli.run(&["put", key, "1"]).await;
        assert!(created.assert_code(0).stderr.contains(what), "{created:?}");
        let again = cli.run(&["put", key, "1", "--force"]).await;
        assert_eq!(again.assert_code(0).stderr, "");
    }
    let edited = cli
        .edit(&["edited ", "--create"], &["echo 1 >\"$1\""])
        .await;
    assert!(edited.ran.stderr.contains("ends with a space"));
}

#[tokio::test]
async fn an_import_leaves_alone_what_changes_while_it_replaces() {
    // Each key has one value when it is looked at, and another when it is to be replaced.
    let current = |key: &str, is_first: bool, tag: &str| match key {
        _ if is_first => entry_after(1),
        _ if tag != "\"1-x\"" => panic!("{key} {tag}"),
        "deleted" => Value::Null,
        _ => entry_after(2),
    };
    let refused = |member: &str, value: Value| {
        let body = json!({"error": "precondition_failed", "message": "m", member: value});
        (StatusCode::PRECONDITION_FAILED, axum::Json(body))
    };
    let single = any(async move |uri: Uri, headers: HeaderMap| {
        let key = uri.path().strip_prefix("/kv/").unwrap();
        let is_first = headers.contains_key("if-none-match");
        let tag = headers.get("if-match").map(|tag| tag.to_str().unwrap());
        refused("current", current(key, is_first, tag.unwrap_or_default()))
    });
    let together = any(async move |axum::Json(body): axum::Json<Value>| {
        let operations = body["operations"].as_array().unwrap().iter().zip(0..);
        let failed = operations.map(|(put, index)| {
            let key = put["key"].as_str().unwrap();
            let is_first = put["if_none_match"] == "*";
            let current = current(key, is_first, put["if_match"].as_str().unwrap_or_default());
            json!({"index": index, "key": key, "current": current})
        });
        refused("failed", failed.collect())
    });
    // Another service refuses them together.
    let large = any(async || StatusCode::PAYLOAD_TOO_LARGE);
    let list = any(async || r#"{"items":[],"revision":0,"next":null}"#);
    let export = file_with(
        r#"{"export":{"format":1,"prefix":""}}
{"key":"changed","value":1}
{"key":"deleted","value":1}
{"end":{"entries":2,"revision":1}}
"#,
    );
    let arguments = ["import", "--replace", export.to_str().unwrap()];
    for transactions in [together, large] {
        let router = axum::Router::new().route("/kv", list.clone());
        let router = router.route("/transactions", transactions);
        let address = other_server(router.fallback(single.clone())).await;
        let ran = ask(&address, &arguments).await;
        let report = json!({
            "created": 0, "replaced": 0, "unchanged": [], "different": [], "changed": ["changed", "deleted"],
        });
        assert_eq!(ran.assert_code(4).json(), report);
        ran.assert_says(&[
            "2 keys were changed during the import",
            "run the import again",
        ]);
    }
}

#[tokio::test]
async fn what_the_service_refuses_is_said_in_the_flags_of_the_command_line() {
    for (status, error, parts) in [
        (
            412,
            "precondition_failed",
            ["version 2", "nothing was changed"],
        ),
        (
            428,
            "precondition_required",
            ["--if-match TAG", "nothing was changed"],
        ),
        (504, "outcome_unknown", ["--if-match TAG", "may be applied"]),
    ] {
        let body = json!({"error": error, "message": "send If-Match", "current": entry_after(2)});
        let status = StatusCode::from_u16(status).unwrap();
        let answer = (status, axum::Json(body));
        let router = axum::Router::new().fallback(any(move || async move { answer }));
        let put = ["put", "a", "1", "--if-match", "*"];
        let ran = ask(&other_server(router).await, &put).await;
        assert_ne!(ran.code, 0, "{ran:?}");
        ran.assert_says(&parts);
        assert!(!ran.stderr.contains("If-Match"), "{ran:?}");
    }
}
