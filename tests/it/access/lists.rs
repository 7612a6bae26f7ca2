//! What of a list each caller sees, and what its tag is worth to another.

use serde_json::Value;

use super::{ADMIN, Granted, file, grants, put};
use crate::support::api::{Answer, Api};

const KEYS: [&str; 9] = [
    "a", "cfg/a", "cfg/b", "do", "doc/a", "doc/a/1", "doc/b", "docs", "secret/a",
];

async fn service() -> Api {
    service_with(None).await
}

async fn service_with(anonymous: Option<Granted<'_>>) -> Api {
    let api = Api::guarded(
        &file(&[
            ("doc", &[("doc/", "r")]),
            ("both", &[("doc/", "r"), ("cfg/", "r"), ("doc/a", "r")]),
            ("one", &[("doc/a", "r")]),
            ("writer", &[("doc/", "cud")]),
            ("apart", &[("doc/b", "r"), ("cfg/", "r")]),
            ("nobody", &[]),
        ]),
        anonymous.map(grants),
    );
    for key in KEYS {
        put(&api, key, &format!("\"of {key}\"")).await;
    }
    api
}

fn keys(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{answer:?}");
    let list = answer.json();
    let items = list["items"].as_array().unwrap();
    let key = |entry: &Value| entry["key"].as_str().unwrap().to_owned();
    items.iter().map(key).collect()
}

#[tokio::test]
async fn a_list_shows_what_may_be_read_and_nothing_else() {
    let api = service().await;
    let nothing: &[&str] = &[];
    for (by, query, shown) in [
        ("doc", "", &["doc/a", "doc/a/1", "doc/b"] as &[_]),
        ("doc", "?prefix=do", &["doc/a", "doc/a/1", "doc/b"]),
        ("doc", "?prefix=doc", &["doc/a", "doc/a/1", "doc/b"]),
        ("doc", "?prefix=doc/", &["doc/a", "doc/a/1", "doc/b"]),
        ("doc", "?prefix=doc/a", &["doc/a", "doc/a/1"]),
        ("doc", "?prefix=doc/x", nothing),
        ("doc", "?after=a", &["doc/a", "doc/a/1", "doc/b"]),
        ("doc", "?after=doc/a", &["doc/a/1", "doc/b"]),
        ("doc", "?after=doc/b", nothing),
        ("doc", "?after=secret/", nothing),
        ("doc", "?after=docs", nothing),
        ("doc", "?prefix=do&after=doc/a/1", &["doc/b"]),
        ("both", "", &["cfg/a", "cfg/b", "doc/a", "doc/a/1", "doc/b"]),
        (
            "both",
            "?after=cfg/a",
            &["cfg/b", "doc/a", "doc/a/1", "doc/b"],
        ),
        ("both", "?after=cfg/z", &["doc/a", "doc/a/1", "doc/b"]),
        ("both", "?prefix=c", &["cfg/a", "cfg/b"]),
        ("both", "?prefix=c&after=doc", nothing),
        ("one", "", &["doc/a", "doc/a/1"]),
        ("one", "?prefix=doc/", &["doc/a", "doc/a/1"]),
        ("apart", "", &["cfg/a", "cfg/b", "doc/b"]),
        (ADMIN, "", &KEYS),
    ] {
        let answer = api.get(&format!("/kv{query}")).by(by).send().await;
        assert_eq!(keys(&answer), shown, "{by}: {query}");
        assert_eq!(answer.json()["next"], Value::Null, "{by}: {query}");
    }
    for (by, prefix) in [
        ("doc", "secret/"),
        ("doc", "secret"),
        ("doc", "d/"),
        ("doc", "docs"),
        ("doc", "Doc/"),
        ("doc", "none"),
        ("writer", ""),
        ("writer", "doc/"),
        ("nobody", ""),
        ("one", "doc/b"),
        ("apart", "doc/a"),
    ] {
        let answer = api.get(&format!("/kv?prefix={prefix}")).by(by).send().await;
        answer.assert_error(403, "forbidden");
        assert_eq!(answer.header("etag"), None);
        let answer = api
            .get(&format!("/watch?prefix={prefix}"))
            .by(by)
            .send()
            .await;
        answer.assert_error(403, "forbidden");
    }
}

#[tokio::test]
async fn a_list_shows_what_anybody_may_read_and_what_a_token_adds() {
    let api = service_with(Some(&[("doc/b", "r"), ("cfg/", "r")])).await;
    for (by, shown) in [
        ("", &["cfg/a", "cfg/b", "doc/b"] as &[_]),
        ("nobody", &["cfg/a", "cfg/b", "doc/b"]),
        ("writer", &["cfg/a", "cfg/b", "doc/b"]),
        ("one", &["cfg/a", "cfg/b", "doc/a", "doc/a/1", "doc/b"]),
        ("doc", &["cfg/a", "cfg/b", "doc/a", "doc/a/1", "doc/b"]),
        (ADMIN, &KEYS),
    ] {
        let answer = api.get("/kv").by(by).send().await;
        assert_eq!(keys(&answer), shown, "{by}");
    }
    let refused = api.get("/kv?prefix=secret/").by("doc").send().await;
    refused.assert_error(403, "forbidden");
}

#[tokio::test]
async fn pages_of_every_size_put_together_are_the_list() {
    let api = service().await;
    for (by, query) in [
        ("both", ""),
        ("doc", "prefix=do&"),
        ("apart", ""),
        ("one", "prefix=doc/&"),
    ] {
        let whole = api.get(&format!("/kv?{query}")).by(by).send().await;
        let whole = keys(&whole);
        for limit in 1..=whole.len() + 1 {
            let (mut listed, mut after) = (Vec::new(), String::new());
            loop {
                let path = format!("/kv?{query}limit={limit}{after}");
                let answer = api.get(&path).by(by).send().await;
                let page = keys(&answer);
                listed.extend_from_slice(&page);
                let next = answer.json()["next"].clone();
                if next.is_null() {
                    break;
                }
                assert_eq!(page.len(), limit, "{path}");
                assert_eq!(next, *page.last().unwrap(), "{path}");
                // It is only said that there is more if there is.
                assert!(listed.len() < whole.len(), "{path}");
                after = format!("&after={}", next.as_str().unwrap());
            }
            assert_eq!(listed, whole, "{by}: {limit}");
        }
    }
}

#[tokio::test]
async fn the_tag_of_one_part_is_not_that_of_another() {
    let api = service().await;
    let callers = ["doc", "both", "one", "apart", ADMIN];
    for (index, by) in callers.iter().enumerate() {
        let own = api.get("/kv").by(by).send().await.etag();
        let again = api.get("/kv").by(by).if_none_match(&own).send().await;
        assert_eq!(again.status, 304, "{by}");
        assert_eq!(again.etag(), own);
        for other in callers.iter().enumerate().filter(|other| other.0 != index) {
            let asked = api.get("/kv").by(other.1).if_none_match(&own).send().await;
            assert_eq!(asked.status, 200, "{} with the tag of {by}", other.1);
            assert_ne!(asked.etag(), own);
            let asked = api.get("/kv").by(other.1).if_match(&own).send().await;
            assert_eq!(asked.status, 412, "{} with the tag of {by}", other.1);
        }
    }
}

#[tokio::test]
async fn an_item_that_is_streamed_in_pieces_is_cut_at_the_grant_too() {
    let api = service().await.unchecked();
    for number in 0..400 {
        let value = format!("\"of doc {number}{}\"", "x".repeat(200));
        put(&api, &format!("doc/{number:03}"), &value).await;
        put(&api, &format!("docs/{number:03}"), "\"of docs\"").await;
        put(&api, &format!("cfg/{number:03}"), "\"of cfg\"").await;
    }
    let listed = keys(&api.get("/kv").by("both").send().await);
    assert_eq!(listed.len(), 805);
    assert!(listed.is_sorted());
    let limited = api.get("/kv?limit=700").by("both").send().await;
    assert_eq!(keys(&limited), listed[..700]);
    assert_eq!(limited.json()["next"], listed[699]);
    let strange = |key: &&String| !key.starts_with("doc/") && !key.starts_with("cfg/");
    assert_eq!(listed.iter().find(strange), None);
}
