//! Every route, and what its answers carry.

use std::sync::Arc;

use axum::http::Method;
use ifmatch::model::{Change, ChangeSet, Expected, Operation, Value};
use ifmatch::service::Policy;
use ifmatch::storage::Store as _;
use ifmatch::storage::memory::MemoryStore;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Url;
use tokio::time::Instant;

use crate::support::api::{Answer, Api, LIMITS};

/// The path of a key, with every byte percent-encoded that may be: also `/`.
fn path_of(key: &str) -> String {
    format!("/kv/{}", utf8_percent_encode(key, NON_ALPHANUMERIC))
}

/// Asserts what every answer that shows one entry carries.
#[track_caller]
fn assert_shows_entry(answer: &Answer, status: u16) {
    assert_eq!(answer.status.as_u16(), status, "{answer:?}");
    let body = answer.json();
    let members: Vec<&str> = body
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        members,
        ["key", "value", "version", "revision", "etag", "modified_at"]
    );
    assert_eq!(body["etag"], answer.etag());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-cache"));
    let modified_at = humantime::parse_rfc3339(body["modified_at"].as_str().unwrap()).unwrap();
    let last_modified = httpdate::parse_http_date(answer.header("last-modified").unwrap()).unwrap();
    let difference = modified_at.duration_since(last_modified).unwrap();
    assert!(difference.as_millis() < 1000, "{answer:?}");
}

#[tokio::test]
async fn a_key_that_does_not_exist_is_not_found() {
    let api = Api::in_memory();
    for method in [Method::GET, Method::DELETE] {
        let answer = api.call(method, "/kv/username").send().await;
        answer.assert_error(404, "not_found");
        assert_eq!(
            answer.text(),
            r#"{"error":"not_found","message":"key does not exist"}"#
        );
    }
    let head = api.call(Method::HEAD, "/kv/username").send().await;
    assert_eq!((head.status.as_u16(), head.body.len()), (404, 0));
}

#[tokio::test]
async fn put_and_post_create_then_replace() {
    for method in [Method::PUT, Method::POST] {
        let api = Api::in_memory();
        let write = |json| api.call(method.clone(), "/kv/username").json(json).send();
        let created = write("\"alice\"").await;
        assert_shows_entry(&created, 201);
        assert_eq!(created.header("location"), Some("./username"));
        let body = created.json();
        assert_eq!(
            (&body["key"], &body["value"]),
            (&"username".into(), &"alice".into())
        );
        assert_eq!(
            (&body["version"], &body["revision"]),
            (&1.into(), &1.into())
        );

        let replaced = write("{\"name\":\"bob\"}").await;
        assert_shows_entry(&replaced, 200);
        assert_eq!(replaced.header("location"), None);
        assert_eq!(replaced.json()["version"], 2);
        assert_ne!(replaced.etag(), created.etag());

        let read = api.get("/kv/username").send().await;
        assert_shows_entry(&read, 200);
        assert_eq!(read.body, replaced.body);
        assert_eq!(read.etag(), replaced.etag());
    }
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let api = Api::in_memory();
    api.put("/kv/a", "[1]").send().await;
    for path in ["/kv/a", "/kv", "/health", "/health/live", "/health/ready"] {
        let get = api.get(path).send().await;
        let head = api.call(Method::HEAD, path).send().await;
        assert_eq!(head.status, get.status, "{path}");
        assert!(head.body.is_empty(), "{path}");
        for name in ["etag", "last-modified", "cache-control", "content-type"] {
            assert_eq!(head.header(name), get.header(name), "{path} {name}");
        }
        assert_eq!(
            head.header("content-length"),
            Some(&*get.body.len().to_string()),
            "{path}"
        );
    }
}

#[tokio::test]
async fn delete_answers_with_what_it_deleted_and_a_new_life_begins_at_version_1() {
    let api = Api::in_memory();
    api.put("/kv/a", "1").send().await;
    let last = api.put("/kv/a", "2").send().await;
    let deleted = api.delete("/kv/a").send().await;
    assert_shows_entry(&deleted, 200);
    assert_eq!(deleted.body, last.body);
    api.get("/kv/a").send().await.assert_error(404, "not_found");
    let again = api.put("/kv/a", "2").send().await;
    assert_shows_entry(&again, 201);
    assert_eq!(again.json()["version"], 1);
    assert_eq!(again.json()["revision"], 4);
    assert_ne!(again.etag(), last.etag());
}

#[tokio::test]
async fn a_restart_preserves_value_version_tag_and_revision() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::in_folder(folder.path()).await;
    api.put("/kv/doc/a", "{\"n\":1.50}").send().await;
    api.put("/kv/doc/a", "{\"n\":2.50}").send().await;
    api.put("/kv/gone", "0").send().await;
    api.delete("/kv/gone").send().await;
    let before = api.get("/kv/doc/a").send().await;
    api.close().await;

    let api = Api::in_folder(folder.path()).await;
    let after = api.get("/kv/doc/a").send().await;
    assert_shows_entry(&after, 200);
    assert_eq!(after.body, before.body);
    assert_eq!(after.etag(), before.etag());
    assert_eq!(
        after.header("last-modified"),
        before.header("last-modified")
    );
    api.get("/kv/gone")
        .send()
        .await
        .assert_error(404, "not_found");
    // The revision of the deletion is not used again.
    assert_eq!(api.put("/kv/b", "1").send().await.json()["revision"], 5);
    api.close().await;
}

#[tokio::test]
async fn any_key_that_the_contract_allows_is_stored_and_found_by_its_location() {
    let longest = "k".repeat(512);
    let rows = [
        ("/kv/a/b", "a/b", "../a/b"),
        ("/kv/a%2Fb", "a/b", "./a/b"),
        ("/kv//a//b/", "/a//b/", "../../../..//a//b/"),
        ("/kv/%2Fa", "/a", ".//a"),
        ("/kv/%C3%BC%20%25", "ü %", "./%C3%BC%20%25"),
        ("/kv/a+b", "a+b", "./a%2Bb"),
        ("/kv/a:b", "a:b", "./a%3Ab"),
        ("/kv/...", "...", "./..."),
        ("/kv/.a/b.", ".a/b.", "../.a/b."),
        ("/kv/%E2%82%AC%3F%23", "€?#", "./%E2%82%AC%3F%23"),
        ("/kv/%41", "A", "./A"),
        (&format!("/kv/{longest}"), &longest, &format!("./{longest}")),
    ];
    for (path, key, location) in rows {
        let api = Api::in_memory();
        let created = api.put(path, "true").send().await;
        assert_shows_entry(&created, 201);
        assert_eq!(created.json()["key"], key);
        assert_eq!(created.header("location"), Some(location));
        let asked = Url::parse("http://localhost").unwrap().join(path).unwrap();
        let found = asked.join(location).unwrap();
        assert_eq!(
            api.get(found.path()).send().await.body,
            created.body,
            "{location}"
        );
        let listed = api.get("/kv").send().await;
        assert_eq!(listed.json()["items"][0]["key"], key);
    }
}

#[tokio::test]
async fn a_list_is_ascending_by_key_bytes_and_pages_meet() {
    let api = Api::in_memory();
    let empty = api.get("/kv").send().await;
    assert_eq!(empty.text(), r#"{"items":[],"revision":0,"next":null}"#);
    for path in [
        "/kv/b",
        "/kv/a%2F2",
        "/kv/Z",
        "/kv/a",
        "/kv/%C3%BC",
        "/kv/a%2F1",
        "/kv/a0",
    ] {
        api.put(path, "0").send().await;
    }
    let page = |query: &'static str| {
        let api = api.clone();
        async move {
            let answer = api.get(&format!("/kv{query}")).send().await;
            assert_eq!(answer.status.as_u16(), 200, "{query}: {answer:?}");
            assert_eq!(answer.header("cache-control"), Some("no-cache"));
            let body = answer.json();
            let keys: Vec<String> = body["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["key"].as_str().unwrap().to_owned())
                .collect();
            assert_eq!(body["revision"], 7);
            (keys.join(" "), body["next"].as_str().map(str::to_owned))
        }
    };
    for (query, keys, next) in [
        ("", "Z a a/1 a/2 a0 b ü", None),
        ("?limit=7", "Z a a/1 a/2 a0 b ü", None),
        ("?limit=3", "Z a a/1", Some("a/1")),
        ("?limit=3&after=a/1", "a/2 a0 b", Some("b")),
        ("?limit=3&after=b", "ü", None),
        ("?prefix=a/", "a/1 a/2", None),
        ("?prefix=a%2F&limit=1", "a/1", Some("a/1")),
        ("?prefix=a/&limit=1&after=a/1", "a/2", None),
        ("?prefix=a&after=a/15", "a/2 a0", None),
        ("?prefix=b&after=a", "b", None),
        ("?prefix=a&after=b", "", None),
        ("?prefix=x", "", None),
        ("?prefix=&after=%C3%BC", "", None),
    ] {
        assert_eq!(
            page(query).await,
            (keys.to_owned(), next.map(str::to_owned)),
            "{query}"
        );
    }
    let listed = api.get("/kv?prefix=b").send().await.json();
    let read = api.get("/kv/b").send().await.json();
    assert_eq!(listed["items"][0], read, "an entry has one shape");
}

#[tokio::test]
async fn health_says_how_the_service_is_and_is_never_stored() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::in_folder(folder.path()).await;
    api.put("/kv/a", "1").send().await;
    let report = api.get("/health").send().await;
    let body = report.json();
    assert_eq!(report.status.as_u16(), 200);
    assert_eq!(body["status"], "ok");
    assert_eq!(body["version"], env!("CARGO_PKG_VERSION"));
    assert!(body["uptime_seconds"].is_u64());
    assert_eq!(
        body["store"],
        serde_json::json!({
            "engine": "file", "keys": 1, "revision": 1, "readable": true, "writable": true
        })
    );
    for path in ["/health", "/health/live", "/health/ready"] {
        let answer = api.get(path).send().await;
        assert_eq!(answer.status.as_u16(), 200);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    api.service.start_draining();
    for (path, status) in [
        ("/health", 503),
        ("/health/live", 200),
        ("/health/ready", 503),
    ] {
        assert_eq!(api.get(path).send().await.status.as_u16(), status, "{path}");
    }
    assert_eq!(
        api.get("/health").send().await.json()["status"],
        "unavailable"
    );
    api.close().await;
}

#[tokio::test]
async fn a_request_has_an_id_which_the_answer_repeats() {
    let api = Api::in_memory();
    let echoed = api.get("/kv").header("x-request-id", "abc").send().await;
    assert_eq!(echoed.header("x-request-id"), Some("abc"));
    let first = api.get("/kv").send().await;
    let second = api.get("/nothing").send().await;
    let id = |answer: &Answer| answer.header("x-request-id").unwrap().to_owned();
    assert_ne!(id(&first), id(&second));
}

#[tokio::test]
async fn a_key_may_be_written_in_several_ways() {
    for (paths, key) in [
        (
            &["/kv/a/b", "/kv/a%2Fb", "/kv/a%2fb", "/kv/%61%2F%62"][..],
            "a/b",
        ),
        (&["/kv/%C3%BC", "/kv/%c3%bc"], "ü"),
        (&["/kv/a+b", "/kv/a%2Bb"], "a+b"),
        (&["/kv//", "/kv/%2F", "/kv/%2f"], "/"),
        // Decoded once, and no more.
        (&["/kv/%252F", "/kv/%25%32%46"], "%2F"),
        (&["/kv/%252e%252e"], "%2e%2e"),
        // The C1 controls are none of the contract's control characters.
        (&["/kv/%C2%85", "/kv/%c2%85"], "\u{85}"),
    ] {
        let api = Api::in_memory();
        for write in paths {
            api.put(write, "1").send().await;
            for read in paths {
                let entry = api.get(read).send().await;
                assert_shows_entry(&entry, 200);
                assert_eq!(entry.json()["key"], key, "{write} {read}");
            }
        }
        let all = api.get("/kv").send().await.json();
        assert_eq!(all["items"].as_array().unwrap().len(), 1, "{key}");
        assert_eq!(all["items"][0]["version"], paths.len(), "{key}");
    }
}

#[tokio::test]
async fn versions_count_per_key_revisions_per_commit_and_what_fails_takes_no_number() {
    let api = Api::in_memory();
    let mut tags = Vec::new();
    // Each with version and revision of the entry that is shown, if one is.
    for (method, path, if_match, shown) in [
        (Method::PUT, "/kv/a", None, Some((1, 1))),
        (Method::PUT, "/kv/a", Some("*"), Some((2, 2))),
        (Method::PUT, "/kv/a", Some("\"x\""), None),
        (Method::POST, "/kv/b", None, Some((1, 3))),
        (Method::PUT, "/kv/c", Some("*"), None),
        (Method::DELETE, "/kv/c", None, None),
        (Method::PUT, "/kv/a/../b", None, None),
        (Method::DELETE, "/kv/a", None, Some((2, 2))),
        (Method::PUT, "/kv/a", None, Some((1, 5))),
        (Method::PUT, "/kv/a", None, Some((2, 6))),
    ] {
        let mut call = api.call(method.clone(), path).json("1");
        if let Some(tag) = if_match {
            call = call.if_match(tag);
        }
        let answer = call.send().await;
        let entry = answer.json();
        let numbers = entry["version"].as_u64().zip(entry["revision"].as_u64());
        assert_eq!(numbers, shown, "{method} {path} {if_match:?}");
        if shown.is_some() && method != Method::DELETE {
            assert!(!tags.contains(&answer.etag()), "the value is the same");
            tags.push(answer.etag());
        }
    }
    assert_eq!(api.get("/kv").send().await.json()["revision"], 6);
}

#[tokio::test]
async fn a_list_is_in_the_order_of_bytes_and_its_next_leads_on_until_all_were_seen() {
    let api = Api::in_memory();
    // UTF-16 would put the crab before U+FFFD, and a path `a/1` might come before `a-`.
    let keys = ["B", "a", "a b", "a%+&", "a-", "a/1", "ä", "\u{FFFD}", "🦀"];
    for key in keys.iter().rev() {
        let created = api.put(&path_of(key), "1").send().await;
        assert_shows_entry(&created, 201);
    }
    for limit in [1, 2, 3, 8, 9, 10] {
        let (mut seen, mut pages, mut after) = (Vec::new(), 0, String::new());
        loop {
            let page = api.get(&format!("/kv?limit={limit}{after}")).send().await;
            let page = page.json();
            let items = page["items"].as_array().unwrap();
            seen.extend(items.iter().map(|item| item["key"].clone()));
            pages += 1;
            assert!(pages <= keys.len(), "limit={limit}: it goes round");
            let Some(next) = page["next"].as_str() else {
                assert!(page["next"].is_null());
                break;
            };
            after = format!("&after={}", &path_of(next)["/kv/".len()..]);
        }
        assert_eq!(seen, keys, "limit={limit}");
        assert_eq!(pages, keys.len().div_ceil(limit), "limit={limit}");
    }
}

#[tokio::test]
async fn without_a_limit_a_list_shows_everything() {
    let put = |number: u32| Change {
        key: format!("{number:05}").parse().unwrap(),
        expected: Expected::Any,
        operation: Operation::Put(Value::from_json(b"1").unwrap()),
    };
    let store = MemoryStore::new();
    let changes = ChangeSet::new((0..10_001).map(put).collect()).unwrap();
    let deadline = Instant::now() + LIMITS.request_timeout;
    store.commit(changes, deadline).await.unwrap();
    let api = Api::with(Arc::new(store), Policy::AllWrites, LIMITS);
    for (query, count, next) in [("", 10_001, None), ("?limit=10000", 10_000, Some("09999"))] {
        let list = api.get(&format!("/kv{query}")).send().await.json();
        assert_eq!(list["items"].as_array().unwrap().len(), count);
        assert_eq!(list["next"].as_str(), next);
    }
}

#[tokio::test]
async fn a_store_that_is_closed_is_live_but_not_ready() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::in_folder(folder.path()).await;
    api.service.close().await.unwrap();
    for (path, status) in [
        ("/health", 503),
        ("/health/live", 200),
        ("/health/ready", 503),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let answer = api.call(method, path).send().await;
            assert_eq!(answer.status.as_u16(), status, "{path}");
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        }
    }
    let health = api.get("/health").send().await.json();
    let store = &health["store"];
    assert_eq!(
        (&store["readable"], &store["writable"]),
        (&true.into(), &false.into())
    );
    assert_eq!(store.get("problem"), None, "it was closed on purpose");
}
