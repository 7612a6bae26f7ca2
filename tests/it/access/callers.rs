//! Who asks: with a token, with one that is not valid, without one.

use std::sync::Arc;

use axum::http::Method;
use ifmatch::access::{Authority, Tokens, hash_of};
use ifmatch::storage::memory::MemoryStore;
use serde_json::json;

use super::{ADMIN, file, grants, put, token};
use crate::support::api::{Answer, Api};

const OPERATIONS: [(&str, &str); 9] = [
    ("GET", "/kv/a"),
    ("HEAD", "/kv/a"),
    ("PUT", "/kv/a"),
    ("POST", "/kv/a"),
    ("PATCH", "/kv/a"),
    ("DELETE", "/kv/a"),
    ("GET", "/kv"),
    ("GET", "/watch"),
    ("POST", "/transactions"),
];

#[track_caller]
fn assert_unauthorized(answer: &Answer, asked: &str) {
    assert_eq!(answer.status, 401, "{asked}: {answer:?}");
    let challenge = answer.header("www-authenticate").expect(asked);
    assert!(
        challenge.starts_with("Bearer realm=\"ifmatch\""),
        "{asked}: {challenge}"
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{asked}");
}

fn with_an_expired_token() -> String {
    let expired = token("late", &[("", "rcud")], "expires = 2020-01-01");
    let valid = token("early", &[("", "r")], "expires = 9000-01-01");
    format!("{}{expired}{valid}", file(&[("ann", &[("", "r")])]))
}

#[tokio::test]
async fn every_operation_needs_a_valid_token() {
    let api = Api::guarded(&with_an_expired_token(), None);
    put(&api, "a", "\"secret\"").await;
    for (method, path) in OPERATIONS {
        for authorization in [
            None,
            Some("Bearer wrong"),
            Some("Bearer late"),
            Some("Bearer"),
            Some("Bearer "),
            Some("ann"),
            Some("Basic YW5uOmFubg=="),
            Some("Token ann"),
            Some("Bearer ANN"),
            Some("Bearer \"ann\""),
            Some("Bearer ann ann"),
            Some("Bearer ann, Bearer ann"),
            Some("Bearer ann,ann"),
            Some("Bearer\tann"),
            Some("Bearerann"),
            Some("Bearer%20ann"),
            Some(""),
        ] {
            let mut call = api.call(method.parse().unwrap(), path).json("1");
            if let Some(authorization) = authorization {
                call = call.header("authorization", authorization);
            }
            let answer = call.send().await;
            let asked = format!("{method} {path} {authorization:?}");
            assert_unauthorized(&answer, &asked);
            assert!(!answer.text().contains("secret"), "{asked}: {answer:?}");
        }
        // A hash is not a token.
        let hash = hex::encode(hash_of(b"ann"));
        let answer = api
            .call(method.parse().unwrap(), path)
            .by(&hash)
            .send()
            .await;
        assert_unauthorized(&answer, method);
    }
    let unchanged = api.get("/kv/a").by(ADMIN).send().await;
    assert_eq!(unchanged.json()["version"], 1);
}

#[tokio::test]
async fn a_token_is_sent_as_the_rfc_says() {
    let api = Api::guarded(&with_an_expired_token(), None);
    put(&api, "a", "1").await;
    for authorization in [
        "Bearer ann",
        "bearer ann",
        "BEARER ann",
        "Bearer  ann ",
        "Bearer early",
    ] {
        let call = api.get("/kv/a").header("authorization", authorization);
        assert_eq!(call.send().await.status, 200, "{authorization}");
    }
}

#[tokio::test]
async fn two_lines_of_authorization_are_none() {
    let api = Api::guarded(&with_an_expired_token(), Some(grants(&[("", "r")])));
    put(&api, "a", "1").await;
    for (one, other) in [
        ("ann", "ann"),
        ("ann", "wrong"),
        ("wrong", "ann"),
        (ADMIN, "ann"),
    ] {
        let answer = api.get("/kv/a").by(one).by(other).send().await;
        assert_unauthorized(&answer, one);
    }
}

#[tokio::test]
async fn an_error_says_whether_a_token_is_missing_or_wrong() {
    let api = Api::guarded(&with_an_expired_token(), None);
    let missing = api.get("/kv/a").send().await;
    missing.assert_error(401, "unauthorized");
    let wrong = api.get("/kv/a").by("wrong").send().await;
    wrong.assert_error(401, "unauthorized");
    assert_ne!(missing.message(), wrong.message());
    // RFC 6750 §3.1: a request without a token gets no error code.
    let challenge = |answer: &Answer| answer.header("www-authenticate").unwrap().to_owned();
    assert!(!challenge(&missing).contains("error"));
    assert!(challenge(&wrong).contains("error=\"invalid_token\""));
}

#[tokio::test]
async fn who_has_no_token_may_do_what_anonymous_grants() {
    let tokens = with_an_expired_token();
    let api = Api::guarded(&tokens, Some(grants(&[("", "r")])));
    put(&api, "a", "1").await;
    assert_eq!(api.get("/kv/a").send().await.status, 200);
    assert_eq!(api.get("/kv").send().await.status, 200);
    api.put("/kv/a", "2")
        .send()
        .await
        .assert_error(403, "forbidden");
    api.delete("/kv/a")
        .send()
        .await
        .assert_error(403, "forbidden");
    // Who shows a token wants to be known by it.
    for token in ["wrong", "late"] {
        assert_unauthorized(&api.get("/kv/a").by(token).send().await, token);
        assert_unauthorized(&api.put("/kv/a", "2").by(token).send().await, token);
    }
    let everything = Api::guarded(&tokens, Some(grants(&[("", "rcud")])));
    assert_eq!(everything.put("/kv/a", "2").send().await.status, 201);
}

#[tokio::test]
async fn who_sends_a_token_may_do_what_anonymous_grants_as_well() {
    let tokens = file(&[("writer", &[("doc/", "cu")]), ("none", &[])]);
    let authority = Authority::new(Tokens::parse(&tokens).unwrap(), Some(grants(&[("", "r")])));
    let api = Api::guarded_by(Arc::new(MemoryStore::new()), authority.clone());
    put(&api, "a", "1").await;
    let assert_both = async || {
        for by in ["", "writer", "none"] {
            assert_eq!(api.get("/kv/a").by(by).send().await.status, 200, "{by}");
            let list = api.get("/kv").by(by).send().await.json();
            assert_eq!(list["items"][0]["key"], "a", "{by}");
            let health = api.get("/health").by(by).send().await.json();
            assert!(health["store"]["keys"].is_u64(), "{by}: {health}");
            let refused = api.put("/kv/a", "2").by(by).send().await;
            refused.assert_error(403, "forbidden");
        }
        let written = api.put("/kv/doc/a", "1").by("writer").send().await;
        assert!(written.status.is_success(), "{written:?}");
        let sign_in = json!({"token": "writer"}).to_string();
        let sign_in = api.call(Method::POST, "/session").json(&sign_in);
        let signed_in = sign_in.send().await;
        let cookie = signed_in.header("set-cookie").unwrap();
        let cookie = cookie.split(';').next().unwrap();
        let of_session = api.get("/whoami").header("cookie", cookie).send().await;
        let of_token = api.get("/whoami").by("writer").send().await.json();
        assert_eq!(of_session.json(), of_token);
        assert_eq!(
            of_token["grants"],
            json!([
                {"prefix": "doc/", "actions": ["create", "update"]},
                {"prefix": "", "actions": ["read"]},
            ])
        );
    };
    assert_both().await;
    let changed = file(&[("writer", &[("doc/", "cu")]), ("none", &[]), ("new", &[])]);
    authority.replace(Tokens::parse(&changed).unwrap());
    assert_both().await;
    assert_eq!(api.get("/kv/a").by("new").send().await.status, 200);

    let everything = Api::guarded(&tokens, Some(grants(&[("", "rcud")])));
    for by in ["", "writer", "none"] {
        let path = format!("/kv/of-{by}");
        let written = everything.put(&path, "1").by(by).send().await;
        assert_eq!(written.status, 201, "{by}");
        let name = written.json()["modified_by"].clone();
        assert_eq!(name.as_str(), (!by.is_empty()).then_some(by));
    }
}

#[tokio::test]
async fn everyone_can_see_who_they_are() {
    let api = Api::guarded(&with_an_expired_token(), Some(grants(&[("doc/", "r")])));
    let whoami = async |token: &str| {
        let answer = api.get("/whoami").by(token).send().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        answer.json()
    };
    assert_eq!(
        whoami("ann").await,
        json!({"name": "ann", "grants": [{"prefix": "", "actions": ["read"]}], "expires_at": null})
    );
    assert_eq!(
        whoami("").await,
        json!({"name": null, "grants": [{"prefix": "doc/", "actions": ["read"]}], "expires_at": null})
    );
    assert_eq!(
        whoami("early").await["expires_at"],
        "9000-01-01T00:00:00.000Z"
    );
    for token in ["wrong", "late"] {
        assert_unauthorized(&api.get("/whoami").by(token).send().await, token);
    }
    let nobody = Api::guarded(&with_an_expired_token(), None);
    assert_unauthorized(&nobody.get("/whoami").send().await, "no token");
    let open = Api::in_memory().get("/whoami").send().await.json();
    assert_eq!(open["name"], json!(null));
    assert_eq!(open["grants"][0]["prefix"], "");
}

#[tokio::test]
async fn a_token_in_the_query_or_the_body_counts_for_nothing() {
    let api = Api::guarded(&with_an_expired_token(), None);
    put(&api, "a", "1").await;
    for path in [
        "/kv?access_token=ann",
        "/kv/a?access_token=ann",
        "/whoami?access_token=ann",
    ] {
        let status = api.get(path).send().await.status.as_u16();
        assert!(matches!(status, 400 | 401), "{path}: {status}");
    }
    let form = api
        .call(Method::POST, "/kv/a")
        .header("content-type", "application/x-www-form-urlencoded")
        .body("access_token=admin");
    assert_unauthorized(&form.send().await, "a form");
}
