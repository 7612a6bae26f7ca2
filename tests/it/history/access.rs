//! Of the past, everybody sees what they may read now.

use serde_json::Value;

use super::{items, revert};
use crate::support::access::lines;
use crate::support::api::{Answer, Api};

const ROOT: &str = "root";

fn service() -> Api {
    let tokens = [
        (
            ROOT,
            r#"{ prefix = "", actions = ["read", "create", "update", "delete"] }"#,
        ),
        (
            "narrow",
            r#"{ prefix = "doc/", actions = ["read", "create", "update"] }, { prefix = "cfg", actions = ["read"] }"#,
        ),
        (
            "creator",
            r#"{ prefix = "doc/", actions = ["read", "create"] }"#,
        ),
        (
            "updater",
            r#"{ prefix = "doc/", actions = ["read", "update"] }"#,
        ),
        (
            "writer",
            r#"{ prefix = "doc/", actions = ["create", "update", "delete"] }"#,
        ),
        ("reader", r#"{ prefix = "doc/", actions = ["read"] }"#),
    ];
    let tokens = tokens.map(|(name, allow)| lines(name, name, &format!("allow = [{allow}]")));
    Api::guarded(&tokens.concat(), None)
}

/// Writes some keys, then deletes or replaces them.
async fn filled() -> Api {
    let api = service();
    for key in ["doc/a", "secret/a", "cfg", "doc/b", "zzz"] {
        let value = format!("\"of {key}\"");
        let put = api.put(&format!("/kv/{key}"), &value).by(ROOT);
        put.send().await;
    }
    api.delete("/kv/doc/a").by(ROOT).send().await;
    api.delete("/kv/secret/a").by(ROOT).send().await;
    api.put("/kv/doc/b", "\"new\"").by(ROOT).send().await;
    api
}

fn shown(answer: &Answer) -> Vec<String> {
    let shown = |item: &Value| {
        let key = item["key"].as_str().unwrap();
        format!("{} {key}", item["revision"])
    };
    items(answer).iter().map(shown).collect()
}

#[tokio::test]
async fn a_history_shows_what_may_be_read_and_nothing_else() {
    let api = filled().await;
    for (by, path, expected) in [
        (
            "narrow",
            "/history",
            &["8 doc/b", "6 doc/a", "4 doc/b", "3 cfg", "1 doc/a"][..],
        ),
        ("narrow", "/history?prefix=doc/a", &["6 doc/a", "1 doc/a"]),
        (
            "narrow",
            "/history?prefix=d",
            &["8 doc/b", "6 doc/a", "4 doc/b", "1 doc/a"],
        ),
        ("narrow", "/history?prefix=doc/x", &[]),
        ("narrow", "/history/doc/b", &["8 doc/b", "4 doc/b"]),
        ("narrow", "/history/cfg", &["3 cfg"]),
        (
            "reader",
            "/history",
            &["8 doc/b", "6 doc/a", "4 doc/b", "1 doc/a"],
        ),
        (ROOT, "/history?prefix=s", &["7 secret/a", "2 secret/a"]),
    ] {
        let answer = api.get(path).by(by).send().await;
        assert_eq!(shown(&answer), expected, "{by}: {path}");
        assert!(
            by == ROOT || !answer.text().contains("secret"),
            "{answer:?}"
        );
        // In pages, too.
        let first = api.get(&with_limit(path)).by(by).send().await;
        assert_eq!(
            shown(&first).first(),
            shown(&answer).first(),
            "{by}: {path}"
        );
    }
    for (by, path) in [
        ("narrow", "/history/secret/a"),
        ("narrow", "/history?prefix=secret/"),
        ("narrow", "/history/zzz"),
        ("narrow", "/history/never"),
        ("writer", "/history"),
        ("writer", "/history/doc/a"),
    ] {
        let answer = api.get(path).by(by).send().await;
        answer.assert_error(403, "forbidden");
    }
    api.get("/history")
        .send()
        .await
        .assert_error(401, "unauthorized");
}

fn with_limit(path: &str) -> String {
    let separator = if path.contains('?') { '&' } else { '?' };
    format!("{path}{separator}limit=1")
}

#[tokio::test]
async fn lists_and_entries_of_the_past_follow_the_rights_of_now() {
    let api = filled().await;
    let past = api.get("/kv?revision=5").by("narrow").send().await;
    assert_eq!(shown(&past), ["3 cfg", "1 doc/a", "4 doc/b"]);
    assert_eq!(past.json()["revision"], 5);
    let all = api.get("/kv?revision=5").by(ROOT).send().await;
    assert_eq!(items(&all).len(), 5);
    // The tag of a part is not that of the whole, and says nothing of the rest.
    assert_ne!(past.etag(), all.etag());
    let same = api.get("/kv?revision=5").by("narrow");
    let same = same.if_none_match(&past.etag()).send().await;
    assert_eq!(same.status, 304);
    let other = api.get("/kv?revision=5").by("narrow");
    let other = other.if_none_match(&all.etag()).send().await;
    assert_eq!(other.status, 200);
    let entry = api.get("/kv/doc/a?revision=5").by("narrow").send().await;
    assert_eq!(entry.json()["value"], "of doc/a");
    for (by, path) in [
        ("narrow", "/kv/secret/a?revision=5"),
        ("narrow", "/kv/secret/a?revision=999"),
        ("narrow", "/kv?prefix=secret/&revision=5"),
        ("writer", "/kv/doc/a?revision=5"),
        ("writer", "/kv?revision=5"),
    ] {
        let answer = api.get(path).by(by).send().await;
        answer.assert_error(403, "forbidden");
    }
}

#[tokio::test]
async fn a_revert_needs_the_right_to_read_and_that_of_what_it_does() {
    let api = filled().await;
    let before = api.get("/kv").by(ROOT).send().await.body;
    for (by, key, revision) in [
        ("narrow", "secret/a", 5),
        ("narrow", "cfg", 5),
        ("narrow", "zzz", 5),
        // It may write, but not see what it would write.
        ("writer", "doc/a", 5),
        ("writer", "doc/b", 5),
        ("reader", "doc/b", 5),
        // The key exists now, or does not.
        ("creator", "doc/b", 5),
        ("updater", "doc/a", 5),
    ] {
        let answer = revert(&api, key, revision).by(by).send().await;
        answer.assert_error(403, "forbidden");
        assert!(!answer.text().contains("of "), "{answer:?}");
    }
    assert_eq!(api.get("/kv").by(ROOT).send().await.body, before);
    for (by, key, status) in [
        ("creator", "doc/a", 201),
        ("updater", "doc/b", 200),
        ("narrow", "doc/a", 200),
    ] {
        let answer = revert(&api, key, 5).by(by).send().await;
        assert_eq!(answer.status, status, "{by}");
        assert_eq!(answer.json()["value"], format!("of {key}"));
        assert_eq!(answer.json()["modified_by"], by);
    }
}
