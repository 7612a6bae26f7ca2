//! The lines of the log that say who wrote what.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use ifmatch::Store;
use ifmatch::access::{Authority, Tokens};
use serde_json::{Value, json};
use tempfile::tempdir;
use tokio::process::Command;

use super::{ADMIN, file};
use crate::support::api::Api;
use crate::support::binary::{Process, command};
use crate::support::http;
use crate::support::log::Log;
use crate::support::stores::Gated;

const AUDIT: &str = "ifmatch::audit";

fn guarded(folder: &Path, arguments: &[&str]) -> Command {
    let tokens = folder.join("tokens.toml");
    let of = file(&[
        ("ann", &[("doc/", "cu"), ("", "r")]),
        ("ben", &[("doc/", "u")]),
    ]);
    fs::write(&tokens, of).unwrap();
    let mut command = command(folder);
    command
        .args(["--listen", "127.0.0.1:0", "--tokens"])
        .arg(tokens);
    command.args(arguments);
    command
}

async fn send(process: &Process, by: &str, id: &str, method: &str, path: &str, body: &str) -> u16 {
    let method = method.parse().unwrap();
    let mut request = http::client().request(method, process.url(path));
    if !by.is_empty() {
        request = request.bearer_auth(by);
    }
    let request = request.header("content-type", "application/json");
    let request = request.header("x-request-id", id).body(body.to_owned());
    request.send().await.unwrap().status().as_u16()
}

/// The audit lines of a log in JSON, without when they were written.
fn audited(log: &str) -> Vec<Value> {
    let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
    let of_audit = |line: &Value| line["target"] == AUDIT;
    let shortened = |mut line: Value| {
        let members = line.as_object_mut().unwrap();
        for name in ["timestamp", "level", "target"] {
            members.shift_remove(name);
        }
        line
    };
    lines.filter(of_audit).map(shortened).collect()
}

#[tokio::test]
async fn each_write_that_is_done_or_refused_has_a_line() {
    let folder = tempdir().unwrap();
    let command = guarded(folder.path(), &["--log-format", "json"]);
    let process = Process::spawn(command).await;
    let transaction = json!({"operations": [
        {"op": "put", "key": "doc/b", "value": 1},
        {"op": "check", "key": "x"},
        {"op": "put", "key": "doc/a", "value": 1},
    ]});
    let refused = json!({"operations": [
        {"op": "put", "key": "doc/b", "value": 1},
        {"op": "delete", "key": "doc/a"},
    ]});
    for (by, id, method, path, body, status) in [
        ("ann", "r1", "PUT", "/kv/doc/a", "\"secret\"", 201),
        ("ann", "r2", "PUT", "/kv/doc/a", "2", 200),
        ("ann", "r3", "PATCH", "/kv/doc/a", "{}", 200),
        ("ann", "r4", "DELETE", "/kv/doc/a", "", 403),
        ("ann", "r5", "PUT", "/kv/x", "1", 403),
        (
            "ann",
            "r6",
            "POST",
            "/transactions",
            &transaction.to_string(),
            200,
        ),
        (
            "ann",
            "r7",
            "POST",
            "/transactions",
            &refused.to_string(),
            403,
        ),
        ("ben", "r8", "PUT", "/kv/doc/new", "1", 403),
        (ADMIN, "r9", "DELETE", "/kv/doc/a", "", 200),
        // Reads, and what is refused for another reason than rights.
        ("ann", "n1", "GET", "/kv/doc/b", "", 200),
        ("ben", "n2", "GET", "/kv/doc/b", "", 403),
        ("ben", "n3", "GET", "/kv", "", 403),
        ("ann", "n4", "PATCH", "/kv/doc/none", "{}", 404),
        ("", "n5", "PUT", "/kv/doc/a", "1", 401),
        ("ann", "n6", "GET", "/whoami", "", 200),
    ] {
        let got = send(&process, by, id, method, path, body).await;
        assert_eq!(got, status, "{by} {id}");
    }
    let log = process.stop().await.log;
    assert!(!log.contains("secret"), "{log}");
    let done = |who, id, action, key, from: Option<u64>, to: Option<u64>, revision| {
        let mut line = json!({"message": "written", "who": who, "action": action, "key": key});
        for (name, version) in [("from", from), ("to", to)] {
            if let Some(version) = version {
                line[name] = version.into();
            }
        }
        line["revision"] = json!(revision);
        line["request_id"] = json!(id);
        line["address"] = json!("127.0.0.1");
        line
    };
    let refused = |who, id, action, key| {
        let mut line = json!({"message": "refused", "who": who, "action": action, "key": key});
        line["request_id"] = json!(id);
        line["address"] = json!("127.0.0.1");
        line
    };
    assert_eq!(
        audited(&log),
        [
            done("ann", "r1", "create", "doc/a", None, Some(1), 1),
            done("ann", "r2", "update", "doc/a", Some(1), Some(2), 2),
            done("ann", "r3", "update", "doc/a", Some(2), Some(3), 3),
            refused("ann", "r4", "delete", "doc/a"),
            refused("ann", "r5", "create or update", "x"),
            done("ann", "r6", "create", "doc/b", None, Some(1), 4),
            done("ann", "r6", "update", "doc/a", Some(3), Some(4), 4),
            refused("ann", "r7", "delete", "doc/a"),
            refused("ben", "r8", "create", "doc/new"),
            done(ADMIN, "r9", "delete", "doc/a", Some(4), None, 5),
        ]
    );
}

#[tokio::test]
async fn a_json_patch_that_is_refused_has_a_line_too() {
    let folder = tempdir().unwrap();
    let process = Process::spawn(guarded(folder.path(), &["--log-format", "json"])).await;
    let patch = http::client()
        .patch(process.url("/kv/doc/a"))
        .bearer_auth("ben");
    let patch = patch
        .header("content-type", "application/json-patch+json")
        .body("[]");
    assert_eq!(patch.send().await.unwrap().status(), 403);
    let lines = audited(&process.stop().await.log);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0]["action"], "update");
}

#[tokio::test]
async fn behind_a_trusted_proxy_a_line_has_the_address_of_its_client() {
    let folder = tempdir().unwrap();
    let log = ["--log-format", "json"];
    let trusted = ["--trusted-proxy", "127.0.0.1"];
    for (flags, addresses) in [
        (&log[..], ["127.0.0.1"; 3]),
        (
            &[log, trusted].concat(),
            ["203.0.113.9", "203.0.113.9", "2001:db8::9"],
        ),
    ] {
        let process = Process::spawn(guarded(folder.path(), flags)).await;
        for forwarded in ["203.0.113.9", "203.0.113.9:4711", "[2001:db8::9]:4711"] {
            let put = http::client().put(process.url("/kv/doc/a"));
            let put = put.header("content-type", "application/json").body("1");
            let put = put.header("x-forwarded-for", forwarded).bearer_auth("ann");
            assert!(put.send().await.unwrap().status().is_success());
        }
        let lines = audited(&process.stop().await.log);
        let found: Vec<_> = lines.iter().map(|line| &line["address"]).collect();
        assert_eq!(found, addresses);
    }
}

async fn written_with(mut command: Command, by: &str, level: Option<&str>) -> String {
    if let Some(level) = level {
        command.env("RUST_LOG", level);
    }
    let process = Process::spawn(command).await;
    for key in ["doc/a", "x"] {
        send(&process, by, "r", "PUT", &format!("/kv/{key}"), "1").await;
    }
    process.stop().await.log
}

#[tokio::test]
async fn there_is_no_line_where_nobody_wants_one() {
    let folder = tempdir().unwrap();
    for (level, count) in [
        (None, 2),
        (Some("info"), 2),
        (Some("warn"), 0),
        (Some("ifmatch::audit=off,info"), 0),
        (Some("ifmatch::audit=info"), 2),
    ] {
        let log = written_with(guarded(folder.path(), &[]), "ann", level).await;
        assert_eq!(log.matches(AUDIT).count(), count, "{level:?}: {log}");
        assert_eq!(
            log.contains("started"),
            matches!(level, None | Some("info" | "ifmatch::audit=off,info"))
        );
    }
    for arguments in [
        &[] as &[&str],
        &["--anonymous", "read"],
        &["--anonymous", "write"],
    ] {
        let mut command = command(folder.path());
        command.args(["--listen", "127.0.0.1:0"]).args(arguments);
        let log = written_with(command, "", None).await;
        assert!(!log.contains(AUDIT), "{arguments:?}: {log}");
    }
}

#[tokio::test]
async fn no_key_and_no_id_forges_a_line() {
    for format in ["text", "json"] {
        let folder = tempdir().unwrap();
        let arguments = ["--log-format", format];
        let process = Process::spawn(guarded(folder.path(), &arguments)).await;
        let forged = "2030-01-01T00:00:00Z  INFO ifmatch::audit: written who=admin";
        let mut sent = 0;
        for break_of_line in [
            "\" ",
            "\\n",
            "\u{85}",
            "\u{2028}",
            "\u{9b}31m",
            "\u{1b}[31m",
            "\n",
            "\r\n",
        ] {
            let key = format!("doc/{break_of_line}{forged}");
            let key =
                percent_encoding::utf8_percent_encode(&key, percent_encoding::NON_ALPHANUMERIC);
            let id = "r\" who=admin action=\"delete";
            let status = send(&process, "ann", id, "PUT", &format!("/kv/{key}"), "1").await;
            sent += usize::from(status != 400);
        }
        let log = process.stop().await.log;
        let lines = log.lines().filter(|line| line.contains(AUDIT)).count();
        assert_eq!(lines, sent, "{log}");
        assert!(!log.contains('\u{1b}'), "{log}");
        if format == "text" {
            assert!(
                log.split(['\n', '\u{85}', '\u{2028}'])
                    .all(|line| !line.starts_with(forged)),
                "{log}"
            );
            assert!(!log.contains(['\u{85}', '\u{9b}', '\u{2028}']), "{log}");
            assert!(!log.contains("r\" who=admin"), "{log}");
        } else {
            assert_eq!(audited(&log).len(), sent);
        }
    }
}

/// Who hangs up does not undo a write that was begun, and must not keep it out of the log either.
#[tokio::test]
async fn a_write_whose_sender_is_gone_has_a_line() {
    let log = Log::default();
    let _logging = log.of_this_thread();
    let store = Arc::new(Gated::default());
    let tokens = Tokens::parse(&file(&[("ann", &[("", "rcud")])])).unwrap();
    let authority = Authority::new(tokens, None);
    let api = Api::guarded_by(Arc::clone(&store) as Arc<dyn Store>, authority);
    let body = r#"{"operations":[{"op":"put","key":"b","value":1},{"op":"check","key":"c"}]}"#;
    for (method, path, body) in [
        ("PUT", "/kv/a", "1"),
        ("POST", "/transactions", body),
        ("DELETE", "/kv/a", ""),
    ] {
        let caller = api.clone();
        let request = tokio::spawn(async move {
            let call = caller
                .call(method.parse().unwrap(), path)
                .json(body)
                .by("ann");
            call.header("x-request-id", method).send().await
        });
        store.waiting.acquire().await.unwrap().forget();
        request.abort();
        assert!(request.await.unwrap_err().is_cancelled());
        let revision = store.store.status().await.position.revision;
        store.open.add_permits(1);
        while store.store.status().await.position.revision == revision {
            tokio::task::yield_now().await;
        }
    }
    let log = log.text();
    let lines: Vec<_> = log.lines().filter(|line| line.contains(AUDIT)).collect();
    assert_eq!(lines.len(), 3, "{log}");
    for (line, (action, key, id)) in lines.iter().zip([
        ("create", "a", "PUT"),
        ("create", "b", "POST"),
        ("delete", "a", "DELETE"),
    ]) {
        for part in [
            "not known",
            "who=ann",
            &format!("action=\"{action}"),
            &format!("key={key:?}"),
            &format!("request_id={id:?}"),
        ] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
}
