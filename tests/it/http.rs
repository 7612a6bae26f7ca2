//! Every route, and what its answers carry.

use axum::http::Method;

use crate::support::api::{Answer, Api};

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
        assert_eq!(created.header("location"), Some("/kv/username"));
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
        ("/kv/a/b", "a/b", "/kv/a/b"),
        ("/kv/a%2Fb", "a/b", "/kv/a/b"),
        ("/kv//a//b/", "/a//b/", "/kv//a//b/"),
        ("/kv/%C3%BC%20%25", "ü %", "/kv/%C3%BC%20%25"),
        ("/kv/a+b", "a+b", "/kv/a%2Bb"),
        ("/kv/...", "...", "/kv/..."),
        ("/kv/.a/b.", ".a/b.", "/kv/.a/b."),
        ("/kv/%E2%82%AC%3F%23", "€?#", "/kv/%E2%82%AC%3F%23"),
        ("/kv/%41", "A", "/kv/A"),
        (
            &format!("/kv/{longest}"),
            &longest,
            &format!("/kv/{longest}"),
        ),
    ];
    for (path, key, location) in rows {
        let api = Api::in_memory();
        let created = api.put(path, "true").send().await;
        assert_shows_entry(&created, 201);
        assert_eq!(created.json()["key"], key);
        assert_eq!(created.header("location"), Some(location));
        assert_eq!(
            api.get(location).send().await.body,
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
        serde_json::json!({"engine": "file", "keys": 1, "revision": 1, "writable": true})
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
