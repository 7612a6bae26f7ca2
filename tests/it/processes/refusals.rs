//! Nobody is refused because of what another process has changed meanwhile.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::http::Method;
use ifmatch::Store;
use ifmatch::access::{Authority, Tokens, hash_of};
use ifmatch::storage::memory::MemoryStore;
use serde_json::json;

use super::{JSON_PATCH, MERGE_PATCH, patch, transact};
use crate::support::api::Api;
use crate::support::log::Log;
use crate::support::shared::Process;

/// Two processes that know `{"n":1}` at `a` and nothing at `b`, after which the first has written: `{"n":2}` at `a`,
/// and 1 at `b`. Returns the second, and both tags of `a`.
async fn scene() -> (Arc<Process>, Api, [String; 2]) {
    let [(_, first), (process, second)] = Process::two();
    let old = first.put("/kv/a", "{\"n\":1}").send().await.etag();
    second.get("/kv/a").send().await;
    let new = first.put("/kv/a", "{\"n\":2}").send().await.etag();
    first.put("/kv/b", "1").send().await;
    process.take_reads();
    (process, second, [old, new])
}

#[tokio::test]
async fn a_tag_from_another_process_is_current() {
    for way in 0..5 {
        let (process, api, [_, new]) = scene().await;
        let answer = match way {
            0 => api.put("/kv/a", "3").if_match(&new).send().await,
            1 => api.delete("/kv/a").if_match(&new).send().await,
            2 => {
                let patch = patch(&api, "/kv/a", MERGE_PATCH, "{\"m\":1}");
                patch.if_match(&new).send().await
            }
            3 => {
                let put = api.put("/kv/a", "{\"n\":3}").if_match(&new);
                put.header("prefer", "merge").send().await
            }
            _ => {
                let check = json!({"op": "check", "key": "a", "if_match": new});
                transact(&api, &json!([check, {"op": "put", "key": "c", "value": 1}])).await
            }
        };
        assert_eq!(answer.status, 200, "{way}: {answer:?}");
        assert_eq!(answer.header("preference-applied"), None, "{way}");
        assert_eq!(process.take_reads(), 1, "{way}");
    }
}

#[tokio::test]
async fn a_key_that_another_process_has_created_is_found() {
    let (process, api, _) = scene().await;
    let operations = r#"[{"op":"test","path":"","value":1},{"op":"replace","path":"","value":2}]"#;
    let answer = patch(&api, "/kv/b", JSON_PATCH, operations).send().await;
    assert_eq!(answer.json()["value"], 2);
    assert_eq!(process.take_reads(), 1);
    for way in 0..2 {
        let (_, api, _) = scene().await;
        let answer = match way {
            0 => api.delete("/kv/b").send().await,
            _ => transact(&api, &json!([{"op": "delete", "key": "b"}])).await,
        };
        assert_eq!(answer.status, 200, "{way}: {answer:?}");
    }
    let (_, api, _) = scene().await;
    let put = api.put("/kv/b", "2").if_match("*").send().await;
    assert_eq!(put.json()["version"], 2);
}

#[tokio::test]
async fn a_key_that_another_process_has_deleted_can_be_created() {
    for way in 0..2 {
        let [(_, first), (_, api)] = Process::two();
        first.put("/kv/a", "1").send().await;
        api.get("/kv/a").send().await;
        first.delete("/kv/a").send().await;
        let answer = match way {
            0 => api.put("/kv/a", "2").if_none_match("*").send().await,
            _ => {
                let put = json!({"op": "put", "key": "a", "value": 2, "if_none_match": "*"});
                transact(&api, &json!([put])).await
            }
        };
        assert!(answer.status.is_success(), "{way}: {answer:?}");
        let entry = first.get("/kv/a").send().await.json();
        assert_eq!((&entry["value"], &entry["version"]), (&2.into(), &1.into()));
    }
}

#[tokio::test]
async fn a_patch_that_fits_what_another_process_has_written_is_applied() {
    let (process, api, _) = scene().await;
    let operations = r#"[{"op":"test","path":"/n","value":2},{"op":"add","path":"/m","value":1}]"#;
    let answer = patch(&api, "/kv/a", JSON_PATCH, operations).send().await;
    assert_eq!(answer.json()["value"], json!({"n": 2, "m": 1}));
    assert_eq!(process.take_reads(), 1);
    // One that fits neither is refused once it is known that nothing has changed.
    let operations = operations.replace(":2}", ":1}");
    let answer = patch(&api, "/kv/a", JSON_PATCH, &operations).send().await;
    answer.assert_error(409, "patch_conflict");
    assert_eq!(process.take_reads(), 1);
}

#[tokio::test]
async fn a_merge_is_one_with_what_another_process_has_written() {
    let (process, api, [old, _]) = scene().await;
    let put = api.put("/kv/a", "{\"n\":1,\"m\":1}").if_match(&old);
    let answer = put.header("prefer", "merge").send().await;
    assert_eq!(answer.header("preference-applied"), Some("merge"));
    assert_eq!(answer.json()["value"], json!({"n": 2, "m": 1}));
    assert_eq!(answer.json()["version"], 3);
    // The tag was current as far as it knew, so the commit was refused, which is as good as a read.
    assert_eq!(process.take_reads(), 0);

    // A merge that gives what this process knows is one with something else by now.
    let [(_, first), (_, api)] = Process::two();
    let old = first.put("/kv/a", "{\"n\":1}").send().await.etag();
    first.put("/kv/a", "{\"n\":1,\"m\":1}").send().await;
    api.get("/kv/a").send().await;
    first.put("/kv/a", "{\"n\":1}").send().await;
    let put = api.put("/kv/a", "{\"n\":1,\"m\":1}").if_match(&old);
    let answer = put.header("prefer", "merge").send().await;
    let value = first.get("/kv/a").send().await.json()["value"].clone();
    assert_eq!(answer.json()["value"], value);
    assert_eq!(value, json!({"n": 1, "m": 1}));
}

#[tokio::test]
async fn what_is_refused_shows_what_is_current() {
    for way in 0..4 {
        let (_, api, [old, new]) = scene().await;
        let answer = match way {
            0 => api.put("/kv/a", "3").if_match(&old).send().await,
            1 => api.delete("/kv/a").if_match(&old).send().await,
            2 => api.put("/kv/b", "3").if_none_match("*").send().await,
            _ => {
                let stale = json!({"op": "put", "key": "a", "value": 3, "if_match": old});
                let exists = json!({"op": "put", "key": "b", "value": 3, "if_none_match": "*"});
                transact(&api, &json!([exists, stale])).await
            }
        };
        answer.assert_error(412, "precondition_failed");
        let body = answer.json();
        let currents = match way {
            0 | 1 => vec![&body["current"]],
            2 => {
                assert_eq!(body["current"]["value"], 1);
                continue;
            }
            _ => {
                assert_eq!(body["failed"].as_array().map(Vec::len), Some(2), "{body}");
                assert_eq!(body["failed"][0]["current"]["value"], 1);
                vec![&body["failed"][1]["current"]]
            }
        };
        for current in currents {
            assert_eq!(current["etag"], new, "{way}");
        }
        if way == 0 {
            assert_eq!(body["changed"], json!(["/n"]));
        }
    }
}

/// A service on each of two processes in which `creator` may only create, `updater` only update.
fn guarded() -> [Api; 2] {
    let shared = Arc::new(MemoryStore::new());
    let token = |(name, actions): (&str, &str)| {
        let hash = hex::encode(hash_of(name.as_bytes()));
        format!(
            "[[token]]\nname = \"{name}\"\nsha256 = \"{hash}\"\n\
             allow = [{{ prefix = \"\", actions = [{actions}] }}]\n"
        )
    };
    let all = "\"read\", \"create\", \"update\", \"delete\"";
    let tokens = [
        ("admin", all),
        ("creator", "\"create\""),
        ("updater", "\"update\""),
    ];
    let tokens: String = tokens.into_iter().map(token).collect();
    [(); 2].map(|()| {
        let store: Arc<dyn Store> = Process::on(&shared);
        Api::guarded_by(store, Authority::new(Tokens::parse(&tokens).unwrap(), None))
    })
}

#[tokio::test]
async fn rights_are_those_to_what_is_there_now() {
    let log = Log::default();
    let _logging = log.of_this_thread();
    let [first, api] = guarded();
    let put = async |api: &Api, by: &str, value: &str| {
        let put = api.put("/kv/a", value).by(by);
        put.send().await.status.as_u16()
    };
    let put_in_transaction = async |by: &str, value: u64| {
        let body = json!({"operations": [{"op": "put", "key": "a", "value": value}]});
        let call = api
            .call(Method::POST, "/transactions")
            .json(&body.to_string());
        call.by(by).send().await.status.as_u16()
    };
    // It does not know that there is one.
    assert_eq!(put(&first, "admin", "1").await, 201);
    assert_eq!(put(&api, "creator", "2").await, 403);
    first.delete("/kv/a").by("admin").send().await;
    // It does not know that there is none.
    assert_eq!(put(&api, "updater", "3").await, 403);
    assert_eq!(put(&first, "admin", "1").await, 201);
    assert_eq!(put(&api, "updater", "4").await, 200);
    first.delete("/kv/a").by("admin").send().await;
    assert_eq!(put(&api, "creator", "5").await, 201);
    first.delete("/kv/a").by("admin").send().await;
    assert_eq!(put_in_transaction("creator", 6).await, 200);
    first.delete("/kv/a").by("admin").send().await;
    assert_eq!(put_in_transaction("updater", 7).await, 403);
    // Each refusal is audited once, and what was not refused in the end is not.
    let log = log.text();
    let refused: Vec<_> = log
        .lines()
        .filter(|line| line.contains("refused"))
        .collect();
    assert_eq!(refused.len(), 3, "{log}");
    for (line, who) in refused.iter().zip(["creator", "updater", "updater"]) {
        assert!(line.contains(&format!("who={who}")), "{line}");
    }
}

#[tokio::test]
async fn a_revision_of_another_process_is_not_to_come() {
    let [(_, first), (_, api)] = Process::two();
    let written = first.put("/kv/a", "1").send().await.json();
    first.put("/kv/a", "2").send().await;
    let body = json!({"revision": written["revision"]}).to_string();
    let call = api.call(Method::POST, "/revert/a").json(&body);
    assert_eq!(call.send().await.json()["value"], 1);
    let then = api.get(&format!("/kv/a?revision={}", written["revision"]));
    assert_eq!(then.send().await.json(), written);
}

#[tokio::test]
async fn a_moment_of_another_process_is_not_to_come() {
    let [(_, first), (process, api)] = Process::two();
    let entry = first.put("/kv/a", "1").send().await.json();
    api.get("/kv/a").send().await;
    let soon = SystemTime::now() + Duration::from_secs(30);
    let soon = humantime::format_rfc3339_seconds(soon);
    let path = format!("/kv/a?at={soon}");
    let answer = api.get(&path).send().await;
    answer.assert_error(400, "invalid_query");
    process.set_ahead(Duration::from_secs(60));
    assert_eq!(api.get(&path).send().await.json(), entry);
}
