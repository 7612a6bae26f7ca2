//! Preconditions that cannot be read, and what comes before them.

use std::sync::Arc;

use ifmatch::service::{Policy, Settings};
use ifmatch::storage::memory::MemoryStore;

use super::{DELETE, GET, POST, PUT, ask, http_date, with_entry};
use crate::support::api::{Api, LIMITS};

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
                    let message = answer.message().to_lowercase();
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
            let message = answer.message();
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
