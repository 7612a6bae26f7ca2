//! Every row of the contract's precondition table.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::http::Method;
use ifmatch::service::{Policy, Settings};
use ifmatch::storage::memory::MemoryStore;

use crate::support::api::{Answer, Api, LIMITS};

/// A store in which `/kv/there` has had two values; its current tag.
pub async fn with_entry() -> (Api, String) {
    let api = Api::in_memory();
    api.put("/kv/there", "1").send().await;
    let tag = api.put("/kv/there", "2").send().await.etag();
    (api, tag)
}

pub async fn ask(api: &Api, method: &Method, path: &str, headers: &[(&str, String)]) -> Answer {
    let mut call = api.call(method.clone(), path);
    for (name, value) in headers {
        call = call.header(name, value);
    }
    if *method == Method::PUT || *method == Method::POST {
        call = call.json("3");
    }
    call.send().await
}

fn http_date(offset_seconds: i64) -> String {
    let now = SystemTime::now();
    let offset = Duration::from_secs(offset_seconds.unsigned_abs());
    httpdate::fmt_http_date(if offset_seconds < 0 {
        now - offset
    } else {
        now + offset
    })
}

const GET: Method = Method::GET;
const HEAD: Method = Method::HEAD;
const PUT: Method = Method::PUT;
const POST: Method = Method::POST;
const DELETE: Method = Method::DELETE;

/// Headers; the status of GET, HEAD, PUT, POST, DELETE for an existing key; the same for an absent one.
type Row = (Vec<(&'static str, String)>, [u16; 5], [u16; 5]);

#[allow(clippy::too_many_lines, reason = "a table")]
fn rows(t: &str) -> Vec<Row> {
    let stale = "\"1-0000000000000000\"";
    let (past, future) = (http_date(-3600), http_date(3600));
    let if_match = |value: &str| vec![("if-match", value.to_owned())];
    let if_none_match = |value: &str| vec![("if-none-match", value.to_owned())];
    vec![
        (vec![], [200; 5], [404, 404, 201, 201, 404]),
        (if_match(t), [200; 5], [404, 404, 412, 412, 404]),
        (
            if_match(&format!("{stale}, {t}")),
            [200; 5],
            [404, 404, 412, 412, 404],
        ),
        (
            if_match(&format!(", ,{t},")),
            [200; 5],
            [404, 404, 412, 412, 404],
        ),
        (
            vec![("if-match", stale.to_owned()), ("if-match", t.to_owned())],
            [200; 5],
            [404, 404, 412, 412, 404],
        ),
        (if_match("*"), [200; 5], [404, 404, 412, 412, 404]),
        (if_match(stale), [412; 5], [404, 404, 412, 412, 404]),
        (
            if_match(&format!("W/{t}")),
            [412; 5],
            [404, 404, 412, 412, 404],
        ),
        (
            if_match(&format!("\"x,{}\"", t.trim_matches('"'))),
            [412; 5],
            [404, 404, 412, 412, 404],
        ),
        (
            if_none_match("*"),
            [304, 304, 412, 412, 412],
            [404, 404, 201, 201, 404],
        ),
        (
            if_none_match(t),
            [304, 304, 412, 412, 412],
            [404, 404, 201, 201, 404],
        ),
        (
            if_none_match(&format!("W/{t}")),
            [304, 304, 412, 412, 412],
            [404, 404, 201, 201, 404],
        ),
        (
            vec![
                ("if-none-match", stale.to_owned()),
                ("if-none-match", t.to_owned()),
            ],
            [304, 304, 412, 412, 412],
            [404, 404, 201, 201, 404],
        ),
        (if_none_match(stale), [200; 5], [404, 404, 201, 201, 404]),
        (
            vec![("if-modified-since", future.clone())],
            [304, 304, 200, 200, 200],
            [404, 404, 201, 201, 404],
        ),
        (
            vec![("if-modified-since", past.clone())],
            [200; 5],
            [404, 404, 201, 201, 404],
        ),
        (
            vec![("if-unmodified-since", future.clone())],
            [200; 5],
            [404, 404, 412, 412, 404],
        ),
        (
            vec![("if-unmodified-since", past.clone())],
            [412; 5],
            [404, 404, 412, 412, 404],
        ),
        // What comes first decides.
        (
            vec![
                ("if-match", t.to_owned()),
                ("if-unmodified-since", past.clone()),
            ],
            [200; 5],
            [404, 404, 412, 412, 404],
        ),
        (
            vec![
                ("if-none-match", stale.to_owned()),
                ("if-modified-since", future.clone()),
            ],
            [200; 5],
            [404, 404, 201, 201, 404],
        ),
        (
            vec![
                ("if-match", stale.to_owned()),
                ("if-none-match", t.to_owned()),
            ],
            [412; 5],
            [404, 404, 412, 412, 404],
        ),
        (
            vec![("if-match", t.to_owned()), ("if-none-match", t.to_owned())],
            [304, 304, 412, 412, 412],
            [404, 404, 412, 412, 404],
        ),
        // Dates that cannot be read are ignored.
        (
            vec![("if-unmodified-since", "yesterday".to_owned())],
            [200; 5],
            [404, 404, 201, 201, 404],
        ),
        (
            vec![("if-modified-since", "3".to_owned())],
            [200; 5],
            [404, 404, 201, 201, 404],
        ),
        (
            vec![
                ("if-unmodified-since", past.clone()),
                ("if-unmodified-since", past),
            ],
            [200; 5],
            [404, 404, 201, 201, 404],
        ),
    ]
}

#[tokio::test]
async fn every_row_for_every_method() {
    let (_, t) = with_entry().await;
    let all = [GET, HEAD, PUT, POST, DELETE];
    for (headers, existing, absent) in rows(&t) {
        for (index, method) in all.iter().enumerate() {
            for (path, expected) in [
                ("/kv/there", existing[index]),
                ("/kv/absent", absent[index]),
            ] {
                let (api, tag) = with_entry().await;
                assert_eq!(tag, t, "a tag depends on key, revision and value alone");
                let before = api.get("/kv").send().await;
                let answer = ask(&api, method, path, &headers).await;
                let shown = format!("{method} {path} {headers:?}: {answer:?}");
                assert_eq!(answer.status.as_u16(), expected, "{shown}");
                if matches!(expected, 304 | 404 | 412) {
                    assert_eq!(api.get("/kv").send().await.body, before.body, "{shown}");
                }
                if expected == 412 && *method != HEAD {
                    answer.assert_error(412, "precondition_failed");
                    let current = api.get(path).send().await;
                    if path == "/kv/there" {
                        assert_eq!(answer.json()["current"], current.json(), "{shown}");
                        assert_eq!(answer.etag(), tag, "{shown}");
                        assert_eq!(
                            answer.header("last-modified"),
                            current.header("last-modified")
                        );
                    } else {
                        assert!(answer.json()["current"].is_null(), "{shown}");
                        assert!(answer.json().get("current").is_some(), "{shown}");
                        assert_eq!(answer.header("etag"), None, "{shown}");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn a_304_has_the_headers_of_the_200_and_no_body() {
    let (api, tag) = with_entry().await;
    for path in ["/kv/there", "/kv"] {
        let full = api.get(path).send().await;
        let etag = full.etag();
        let same = api.get(path).if_none_match(&etag).send().await;
        assert_eq!(same.status.as_u16(), 304);
        assert!(same.body.is_empty());
        for name in ["etag", "last-modified", "cache-control", "vary"] {
            assert_eq!(same.header(name), full.header(name), "{path} {name}");
        }
    }
    assert_eq!(api.get("/kv/there").send().await.etag(), tag);
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_and_nothing_is_written() {
    let (api, _) = with_entry().await;
    let before = api.get("/kv").send().await;
    for value in [
        "3",
        "\"T",
        "T\"",
        "*, \"T\"",
        "\"T\" \"U\"",
        "w/\"T\"",
        "W/",
        "",
        ",",
        "'T'",
    ] {
        for header in ["if-match", "if-none-match"] {
            for method in [GET, PUT, POST, DELETE] {
                for path in ["/kv/there", "/kv/absent"] {
                    let answer = ask(&api, &method, path, &[(header, value.to_owned())]).await;
                    answer.assert_error(400, "invalid_precondition");
                    let message = answer.json()["message"].as_str().unwrap().to_lowercase();
                    assert!(message.contains(header), "{message}");
                }
            }
            let list = ask(&api, &GET, "/kv", &[(header, value.to_owned())]).await;
            list.assert_error(400, "invalid_precondition");
        }
    }
    assert_eq!(api.get("/kv").send().await.body, before.body);
}

#[tokio::test]
async fn other_faults_of_a_request_come_before_its_preconditions() {
    let (api, _) = with_entry().await;
    let stale = "\"1-0000000000000000\"";
    let not_json = api.put("/kv/there", "{").if_match(stale).send().await;
    not_json.assert_error(400, "invalid_json");
    let plain = api
        .call(PUT, "/kv/there")
        .if_match(stale)
        .body("1")
        .send()
        .await;
    plain.assert_error(415, "unsupported_media_type");
    let bad_key = api.put("/kv/..", "1").if_match(stale).send().await;
    bad_key.assert_error(400, "invalid_key");
}

#[tokio::test]
async fn a_tag_that_a_proxy_made_weak_is_refused_with_what_to_send_instead() {
    let (api, tag) = with_entry().await;
    let long = format!("\"{}\"", "x".repeat(100_000));
    let long_tag = api.put("/kv/long", &long).send().await.etag();
    for (path, tags) in [
        ("/kv/there", format!("W/{tag}")),
        ("/kv/there", format!("W/\"x\", W/{tag}")),
        ("/kv/long", format!("W/{long_tag}")),
    ] {
        for method in [GET, PUT, POST, DELETE] {
            let answer = ask(&api, &method, path, &[("if-match", tags.clone())]).await;
            answer.assert_error(412, "precondition_failed");
            let message = answer.json()["message"].as_str().unwrap().to_owned();
            for said in ["weak", "in the body", "Cache-Control: no-transform"] {
                assert!(message.contains(said), "{tags}: {message}");
            }
            // What it says to send is there, and is taken.
            let etag = answer.json()["current"]["etag"].clone();
            assert_eq!(etag, answer.etag());
        }
    }
    let list = api.get("/kv").send().await.etag();
    let refused = api.get("/kv").if_match(&format!("W/{list}")).send().await;
    refused.assert_error(412, "precondition_failed");
    assert!(refused.text().contains("weak"), "{refused:?}");
    let check = |tag: &str| {
        let check = serde_json::json!({"op": "check", "key": "there", "if_match": tag});
        let body = serde_json::json!({"operations": [check]}).to_string();
        api.call(POST, "/transactions").json(&body)
    };
    let failed = check(&format!("W/{tag}")).send().await;
    failed.assert_error(412, "precondition_failed");
    assert!(failed.text().contains("weak"), "{failed:?}");
    // With a strong one among them, it is the state that does not match.
    for tags in ["\"x\"".to_owned(), format!("W/{tag}, \"x\"")] {
        let stale = api.put("/kv/there", "3").if_match(&tags).send().await;
        stale.assert_error(412, "precondition_failed");
        assert!(!stale.text().contains("weak"), "{stale:?}");
        assert!(!check(&tags).send().await.text().contains("weak"));
    }
}

#[tokio::test]
async fn several_dates_are_none() {
    let (api, _) = with_entry().await;
    let (past, future) = (http_date(-3600), http_date(3600));
    for (first, second) in [(&past, &future), (&future, &past), (&past, &past)] {
        for name in ["if-unmodified-since", "if-modified-since"] {
            let dates = [(name, first.clone()), (name, second.clone())];
            for method in [GET, PUT] {
                let answer = ask(&api, &method, "/kv/there", &dates).await;
                assert_eq!(answer.status.as_u16(), 200, "{method} {dates:?}");
            }
            let in_one = [(name, format!("{first}, {second}"))];
            let answer = ask(&api, &GET, "/kv/there", &in_one).await;
            assert_eq!(answer.status.as_u16(), 200, "{in_one:?}");
        }
    }
}

#[tokio::test]
async fn a_transaction_has_no_date_to_compare_with() {
    let (api, _) = with_entry().await;
    let body = r#"{"operations":[{"op":"put","key":"there","value":9}]}"#;
    for date in [http_date(-3600), http_date(3600), "yesterday".to_owned()] {
        let call = api.call(POST, "/transactions").json(body);
        let answer = call.header("if-unmodified-since", &date).send().await;
        answer.assert_error(400, "invalid_precondition");
        assert!(answer.text().contains("If-Unmodified-Since"), "{answer:?}");
    }
    assert_eq!(api.get("/kv/there").send().await.json()["value"], 2);
}

/// An entry whose date is an hour ahead: the clock was set back since it was written.
async fn with_clock_set_back() -> (tempfile::TempDir, Api, String) {
    let folder = tempfile::tempdir().unwrap();
    let ahead = SystemTime::now() + Duration::from_secs(3600);
    let moment = humantime::format_rfc3339_millis(ahead);
    let text = format!(
        "{{\"format\":1,\"revision\":1,\"entries\":{{\n\"a\":{{\"value\":1,\"version\":1,\
         \"revision\":1,\"modified_at\":\"{moment}\"}}\n}}}}\n"
    );
    std::fs::write(folder.path().join("data.json"), text).unwrap();
    let api = Api::in_folder(folder.path()).await;
    (folder, api, httpdate::fmt_http_date(ahead))
}

#[tokio::test]
async fn after_the_clock_was_set_back_a_changed_value_is_not_taken_for_the_old_one() {
    let (folder, mut api, date) = with_clock_set_back().await;
    let since = |api: &Api, name: &'static str| {
        let (api, date) = (api.clone(), date.clone());
        async move {
            let read = api.get("/kv/a").header(name, &date).send().await;
            read.status.as_u16()
        }
    };
    assert_eq!(since(&api, "if-modified-since").await, 304);
    assert_eq!(since(&api, "if-unmodified-since").await, 200);
    for value in 2..5 {
        let changed = api.put("/kv/a", &value.to_string()).send().await;
        assert_eq!(changed.status.as_u16(), 200);
        assert_eq!(since(&api, "if-modified-since").await, 200, "{value}");
        let lost = api.put("/kv/a", "9").header("if-unmodified-since", &date);
        lost.send().await.assert_error(412, "precondition_failed");
        api.close().await;
        api = Api::in_folder(folder.path()).await;
        assert_eq!(since(&api, "if-modified-since").await, 200, "{value}");
        assert_eq!(since(&api, "if-unmodified-since").await, 412, "{value}");
        assert_eq!(api.get("/kv/a").send().await.json()["value"], value);
    }
    api.close().await;
}

#[tokio::test]
async fn last_modified_is_never_still_to_come() {
    let (_folder, api, _) = with_clock_set_back().await;
    let tag = api.get("/kv/a").send().await.etag();
    for (call, status) in [
        (api.get("/kv/a"), 200),
        (api.get("/kv/a").if_none_match(&tag), 304),
        (api.put("/kv/a", "2").if_match("\"x\""), 412),
        (api.put("/kv/a", "2"), 200),
        (api.delete("/kv/a").header("prefer", "return=minimal"), 204),
    ] {
        let answer = call.send().await;
        assert_eq!(answer.status.as_u16(), status);
        let shown = answer.header("last-modified").unwrap();
        let shown = httpdate::parse_http_date(shown).unwrap();
        assert!(shown <= SystemTime::now(), "{answer:?}");
    }
    api.close().await;
}

#[tokio::test]
async fn a_list_has_a_tag_that_any_commit_changes() {
    let (api, _) = with_entry().await;
    let mut tags = vec![api.get("/kv").send().await.etag()];
    for call in [
        api.put("/kv/a", "1"),
        api.put("/kv/a", "1"),
        api.delete("/kv/a"),
    ] {
        let last = tags.last().unwrap();
        let same = api.get("/kv?prefix=x").if_none_match(last).send().await;
        assert_eq!(same.status.as_u16(), 304);
        assert!(call.send().await.status.is_success());
        let answer = api.get("/kv").if_none_match(last).send().await;
        assert_eq!(answer.status.as_u16(), 200);
        let revision = answer.json()["revision"].to_string();
        let tag = answer.etag();
        let (shown, history) = tag.trim_matches('"').split_once('-').unwrap();
        assert_eq!(shown, revision);
        assert!(!history.is_empty());
        assert!(!tags.contains(&tag));
        tags.push(tag);
    }
    let last = tags.last().unwrap();
    assert_eq!(
        api.get("/kv").if_match(last).send().await.status.as_u16(),
        200
    );
    let stale = api.get("/kv").if_match(&tags[0]).send().await;
    stale.assert_error(412, "precondition_failed");
}

#[tokio::test]
async fn a_tag_never_comes_back_also_not_across_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::in_folder(folder.path()).await;
    let old = api.put("/kv/a", "{\"same\":true}").send().await.etag();
    api.delete("/kv/a").send().await;
    api.put("/kv/a", "{\"same\":true}").send().await;
    let stale = api.put("/kv/a", "0").if_match(&old).send().await;
    stale.assert_error(412, "precondition_failed");
    let old_list = api.get("/kv").send().await.etag();
    api.delete("/kv/a").send().await;
    api.close().await;

    let api = Api::in_folder(folder.path()).await;
    let again = api.put("/kv/a", "{\"same\":true}").send().await;
    assert_eq!(again.json()["version"], 1);
    let stale = api.put("/kv/a", "0").if_match(&old).send().await;
    stale.assert_error(412, "precondition_failed");
    let list = api.get("/kv").if_none_match(&old_list).send().await;
    assert_eq!(list.status.as_u16(), 200);
    api.close().await;
}

#[tokio::test]
async fn a_file_edited_by_hand_makes_old_tags_stale() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::in_folder(folder.path()).await;
    let old = api.put("/kv/a", "\"before\"").send().await.etag();
    api.close().await;
    let file = folder.path().join("data.json");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("before", "edited")).unwrap();
    let api = Api::in_folder(folder.path()).await;
    let stale = api.put("/kv/a", "0").if_match(&old).send().await;
    stale.assert_error(412, "precondition_failed");
    assert_eq!(stale.json()["current"]["value"], "edited");
    api.close().await;
}

#[tokio::test]
async fn where_preconditions_are_required_a_write_without_one_is_told_what_to_send() {
    let api = Api::with(
        Arc::new(MemoryStore::new()),
        Policy::ConditionalWrites,
        LIMITS,
    );
    for (method, path) in [(PUT, "/kv/a"), (POST, "/kv/a"), (DELETE, "/kv/a")] {
        let answer = ask(&api, &method, path, &[]).await;
        answer.assert_error(428, "precondition_required");
        assert!(answer.text().contains("If-Match"), "{answer:?}");
        let dated = ask(
            &api,
            &method,
            path,
            &[("if-unmodified-since", http_date(3600))],
        )
        .await;
        dated.assert_error(428, "precondition_required");
    }
    let created = api.put("/kv/a", "1").if_none_match("*").send().await;
    assert_eq!(created.status.as_u16(), 201);
    let replaced = api.put("/kv/a", "2").if_match(&created.etag()).send().await;
    assert_eq!(replaced.status.as_u16(), 200);
    assert_eq!(api.get("/kv/a").send().await.status.as_u16(), 200);
    let deleted = api.delete("/kv/a").if_match(&replaced.etag()).send().await;
    assert_eq!(deleted.status.as_u16(), 200);
}

#[tokio::test]
async fn where_preconditions_are_required_one_that_lets_an_update_be_lost_is_none() {
    let api = Api::with(
        Arc::new(MemoryStore::new()),
        Policy::ConditionalWrites,
        LIMITS,
    );
    let created = api.put("/kv/a", "{}").if_none_match("*").send().await;
    for headers in [
        &[("if-match", "*")][..],
        &[("if-none-match", "\"bogus\"")],
        &[("if-none-match", "W/\"1-0000000000000000\", \"x\"")],
        &[("if-match", "*"), ("if-none-match", "\"bogus\"")],
        &[
            ("if-match", "*"),
            ("if-unmodified-since", "Fri, 31 Dec 2100 23:59:59 GMT"),
        ],
    ] {
        for method in [PUT, POST, DELETE, Method::PATCH] {
            for path in ["/kv/a", "/kv/absent"] {
                let mut call = api.call(method.clone(), path).json("{}");
                for (name, value) in headers {
                    call = call.header(name, value);
                }
                let answer = call.send().await;
                answer.assert_error(428, "precondition_required");
                for what_to_send in ["If-Match with the etag", "If-None-Match: *"] {
                    assert!(answer.text().contains(what_to_send), "{answer:?}");
                }
            }
        }
        let members: Vec<_> = headers
            .iter()
            .filter(|(name, _)| name.ends_with("match"))
            .collect();
        let mut operation = serde_json::json!({"op": "put", "key": "a", "value": 1});
        for (name, value) in members {
            operation[name.replace('-', "_")] = (*value).into();
        }
        let body = serde_json::json!({"operations": [operation]}).to_string();
        let answer = api.call(POST, "/transactions").json(&body).send().await;
        answer.assert_error(428, "precondition_required");
    }
    assert_eq!(api.get("/kv/a").send().await.body, created.body);
    // With one tag among others, or to create, nothing can be lost.
    let tag = format!("\"bogus\", {}", created.etag());
    let replaced = api.put("/kv/a", "1").if_match(&tag).send().await;
    assert_eq!(replaced.status.as_u16(), 200);
    let weak = api.put("/kv/a", "2").if_match("W/\"x\"").send().await;
    weak.assert_error(412, "precondition_failed");
    let both = api.put("/kv/b", "1").if_match("*").if_none_match("*");
    both.send().await.assert_error(412, "precondition_failed");
}

#[tokio::test]
async fn too_large_or_not_json_or_a_bad_query_comes_before_any_precondition() {
    for (policy, name, value) in [
        (Policy::AllWrites, "if-match", "\"x\""),
        (Policy::AllWrites, "if-none-match", "*"),
        (Policy::ConditionalWrites, "x-none", ""),
    ] {
        let settings = Settings {
            policy,
            max_value_bytes: 10,
            ..Settings::default()
        };
        let api = Api::with_settings(Arc::new(MemoryStore::new()), settings, LIMITS);
        let created = api.put("/kv/a", "1").if_none_match("*").send().await;
        assert_eq!(created.status.as_u16(), 201);
        let put = |json| api.put("/kv/a", json).header(name, value).send();
        put("{").await.assert_error(400, "invalid_json");
        put("[1,2,3,4,5]")
            .await
            .assert_error(413, "value_too_large");
        let untyped = api.call(PUT, "/kv/a").header(name, value).body("2");
        let untyped = untyped.send().await;
        untyped.assert_error(415, "unsupported_media_type");
        let bad_key = api.delete("/kv/..").header(name, value).send().await;
        bad_key.assert_error(400, "invalid_key");
        let bad_query = api.get("/kv?limit=0").header(name, value).send().await;
        bad_query.assert_error(400, "invalid_query");
        assert_eq!(api.get("/kv/a").send().await.etag(), created.etag());
    }
}

#[tokio::test]
async fn where_preconditions_are_required_they_are_still_read_and_evaluated() {
    let api = Api::with(
        Arc::new(MemoryStore::new()),
        Policy::ConditionalWrites,
        LIMITS,
    );
    let created = api.put("/kv/a", "1").if_none_match("*").send().await;
    for (header, value, status, code) in [
        ("if-match", "3", 400, "invalid_precondition"),
        ("if-match", "\"x\"", 412, "precondition_failed"),
        ("if-none-match", "*", 412, "precondition_failed"),
        (
            "if-modified-since",
            "yesterday",
            428,
            "precondition_required",
        ),
    ] {
        for method in [PUT, POST, DELETE] {
            let answer = ask(&api, &method, "/kv/a", &[(header, value.to_owned())]).await;
            answer.assert_error(status, code);
        }
    }
    assert_eq!(api.get("/kv/a").send().await.body, created.body);
}

#[tokio::test]
async fn an_older_file_that_is_restored_makes_newer_tags_stale() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("data.json");
    let api = Api::in_folder(folder.path()).await;
    api.put("/kv/a", "1").send().await;
    let older = std::fs::read(&file).unwrap();
    let newer = api.put("/kv/a", "2").send().await.etag();
    api.close().await;
    std::fs::write(&file, older).unwrap();
    let api = Api::in_folder(folder.path()).await;
    // The same version and revision as the one that is forgotten.
    let other = api.put("/kv/a", "3").send().await;
    assert_eq!(other.json()["version"], 2);
    let stale = api.put("/kv/a", "4").if_match(&newer).send().await;
    stale.assert_error(412, "precondition_failed");
    assert_eq!(stale.json()["current"], other.json());
    api.close().await;
}
