//! Signing in and out, as the console does.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, Request};
use ifmatch::access::{Authority, Tokens};
use ifmatch::storage::memory::MemoryStore;
use serde_json::json;

use super::{ADMIN, Granted, file, put};
use crate::support::api::{Answer, Api};
use crate::support::binary::soon;
use crate::support::events::Events;

const READ: Granted<'_> = &[("", "r")];

fn service() -> (Api, Authority) {
    let tokens = Tokens::parse(&file(&[("ann", READ), ("ben", &[("doc/", "rcud")])])).unwrap();
    let authority = Authority::new(tokens, None);
    let api = Api::guarded_by(Arc::new(MemoryStore::new()), authority.clone());
    (api, authority)
}

async fn sign_in(api: &Api, token: &str, headers: &[(&str, &str)]) -> Answer {
    let body = json!({ "token": token }).to_string();
    let mut call = api.call(Method::POST, "/session").json(&body);
    for (name, value) in headers {
        call = call.header(name, value);
    }
    call.send().await
}

/// The cookie that an answer sets, as a browser sends it, and its attributes.
fn cookie(answer: &Answer) -> (String, Vec<String>) {
    assert_eq!(answer.status, 204, "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let lines: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert_eq!(lines.len(), 1, "{answer:?}");
    let mut parts = lines[0].to_str().unwrap().split("; ").map(str::to_owned);
    (parts.next().unwrap(), parts.collect())
}

async fn status(api: &Api, path: &str, cookie: &str) -> u16 {
    let answer = api.get(path).header("cookie", cookie).send().await;
    answer.status.as_u16()
}

#[tokio::test]
async fn a_cookie_stands_for_the_token() {
    let (api, _) = service();
    put(&api, "a", "1").await;
    put(&api, "doc/a", "1").await;
    let (ann, _) = cookie(&sign_in(&api, "ann", &[]).await);
    let (ben, _) = cookie(&sign_in(&api, "ben", &[]).await);
    assert!(!ann.contains("ann="), "{ann}");
    let who = api.get("/whoami").header("cookie", &ann).send().await;
    assert_eq!(who.json()["name"], "ann");
    assert_eq!(status(&api, "/kv/a", &ann).await, 200);
    assert_eq!(status(&api, "/kv/a", &ben).await, 403);
    assert_eq!(status(&api, "/kv/doc/a", &ben).await, 200);
    let written = api
        .put("/kv/doc/a", "2")
        .header("cookie", &ben)
        .send()
        .await;
    assert_eq!(written.status, 200);
    let refused = api
        .put("/kv/doc/a", "2")
        .header("cookie", &ann)
        .send()
        .await;
    refused.assert_error(403, "forbidden");
    let other = format!("theme=dark; {ann}; lang=de");
    assert_eq!(status(&api, "/kv/a", &other).await, 200);
    // The id is not a token, and the token is not an id.
    let id = ann.split_once('=').unwrap().1;
    assert_eq!(api.get("/kv/a").by(id).send().await.status, 401);
    for wrong in ["ifmatch=ann", "ifmatch=", "ifmatch=x", "__Host-ifmatch=x"] {
        let answer = api.get("/kv/a").header("cookie", wrong).send().await;
        answer.assert_error(401, "unauthorized");
    }
    assert_eq!(status(&api, "/kv/a", &format!("xifmatch={id}")).await, 401);
    // A token in the request counts for more.
    let both = api
        .get("/kv/a")
        .header("cookie", &ann)
        .by("wrong")
        .send()
        .await;
    assert_eq!(both.status, 401);
    let both = api
        .get("/whoami")
        .header("cookie", &ann)
        .by("ben")
        .send()
        .await;
    assert_eq!(both.json()["name"], "ben");
}

#[tokio::test]
async fn a_page_that_came_over_tls_gets_a_cookie_that_only_comes_back_over_tls() {
    let (api, _) = service();
    let all = ["Path=/", "HttpOnly", "SameSite=Strict"];
    for origin in [None, Some("http://localhost")] {
        let headers: Vec<_> = origin.iter().map(|origin| ("origin", *origin)).collect();
        let (plain, attributes) = cookie(&sign_in(&api, "ann", &headers).await);
        assert!(plain.starts_with("ifmatch=ifm_"), "{plain}");
        assert_eq!(attributes, all);
    }
    let tls = [("origin", "https://localhost"), ("host", "localhost:443")];
    let (secure, attributes) = cookie(&sign_in(&api, "ann", &tls).await);
    assert!(secure.starts_with("__Host-ifmatch=ifm_"), "{secure}");
    assert_eq!(attributes, [&all[..], &["Secure"]].concat());
    // A page on a host beside this one can set the other cookie only.
    let (plain, _) = cookie(&sign_in(&api, "ben", &[]).await);
    for cookies in [format!("{plain}; {secure}"), format!("{secure}; {plain}")] {
        let who = api.get("/whoami").header("cookie", &cookies).send().await;
        assert_eq!(who.json()["name"], "ann");
    }
}

#[tokio::test]
async fn who_signs_out_is_out() {
    let (api, _) = service();
    put(&api, "a", "1").await;
    for headers in [
        &[] as &[_],
        &[("origin", "https://localhost"), ("host", "localhost:443")],
    ] {
        let (cookie, _) = cookie(&sign_in(&api, "ann", headers).await);
        assert_eq!(status(&api, "/kv/a", &cookie).await, 200);
        let out = api
            .delete("/session")
            .header("cookie", &cookie)
            .send()
            .await;
        assert_eq!(out.status, 204);
        let removed: Vec<_> = out.headers.get_all("set-cookie").iter().collect();
        assert_eq!(removed.len(), 2);
        for line in removed {
            let line = line.to_str().unwrap();
            let is_empty = line.contains("ifmatch=; ") && line.contains("Max-Age=0");
            assert!(is_empty && line.contains("HttpOnly"), "{line}");
            assert_eq!(
                line.starts_with("__Host-"),
                line.ends_with("; Secure"),
                "{line}"
            );
        }
        assert_eq!(status(&api, "/kv/a", &cookie).await, 401);
    }
    assert_eq!(api.delete("/session").send().await.status, 204);
}

async fn watch(api: &Api, name: &str, value: &str) -> Events {
    let request = Request::get("/watch").header(name, value);
    let response = api.begin(request.body(Body::empty()).unwrap()).await;
    assert_eq!(response.status(), 200);
    let mut events = Events::of(response.into_body());
    events.block().await.unwrap();
    events
}

#[tokio::test]
async fn who_signs_out_loses_the_streams_of_the_session_and_no_others() {
    let (api, authority) = service();
    let tag = put(&api, "a", "1").await.etag();
    let (first, _) = cookie(&sign_in(&api, "ann", &[]).await);
    let (other, _) = cookie(&sign_in(&api, "ann", &[]).await);
    let mut ending = watch(&api, "cookie", &first).await;
    let mut staying = [
        watch(&api, "cookie", &other).await,
        watch(&api, "authorization", "Bearer ann").await,
    ];
    let mut waits = Vec::new();
    for (path, tag) in [
        ("/kv/a", tag),
        ("/kv", api.get("/kv").by("ann").send().await.etag()),
    ] {
        let (api, cookie) = (api.clone(), first.clone());
        waits.push(tokio::spawn(async move {
            let ask = api.get(path).header("cookie", &cookie).if_none_match(&tag);
            ask.header("prefer", "wait=60").send().await
        }));
    }
    // They wait by now, or find no session.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let out = api.delete("/session").header("cookie", &first).send().await;
    assert_eq!(out.status, 204);
    assert_eq!(soon(ending.block()).await, None);
    for wait in waits {
        assert_eq!(soon(wait).await.unwrap().status, 304);
    }
    put(&api, "b", "1").await;
    for events in &mut staying {
        assert_eq!(events.next().await.unwrap().told().1, "b");
    }
    // What ends a token ends its sessions.
    authority.replace(Tokens::parse(&file(&[])).unwrap());
    for events in &mut staying {
        assert_eq!(soon(events.block()).await, None);
    }
}

#[tokio::test]
async fn who_signs_in_again_ends_the_session_of_before() {
    let (api, _) = service();
    put(&api, "a", "1").await;
    let (first, _) = cookie(&sign_in(&api, "ann", &[]).await);
    let (second, _) = cookie(&sign_in(&api, "ann", &[("cookie", &first)]).await);
    assert_ne!(first, second);
    assert_eq!(status(&api, "/kv/a", &first).await, 401);
    assert_eq!(status(&api, "/kv/a", &second).await, 200);
    // A failed attempt ends nothing.
    let failed = sign_in(&api, "wrong", &[("cookie", &second)]).await;
    failed.assert_error(401, "unauthorized");
    assert_eq!(status(&api, "/kv/a", &second).await, 200);
}

#[tokio::test]
async fn a_session_is_worth_what_its_token_is_now() {
    let (api, authority) = service();
    put(&api, "a", "1").await;
    let (cookie, _) = cookie(&sign_in(&api, "ann", &[]).await);
    let replace = |of: &[(&str, Granted<'_>)]| {
        authority.replace(Tokens::parse(&file(of)).unwrap());
    };
    replace(&[("ann", &[("doc/", "r")])]);
    assert_eq!(status(&api, "/kv/a", &cookie).await, 403);
    replace(&[]);
    assert_eq!(status(&api, "/kv/a", &cookie).await, 401);
    replace(&[("ann", READ)]);
    assert_eq!(status(&api, "/kv/a", &cookie).await, 200);
}

#[tokio::test]
async fn only_a_page_of_this_service_signs_in_and_only_with_a_valid_token() {
    let (api, _) = service();
    for headers in [
        [("origin", "https://evil.example"), ("x-none", "")],
        [("sec-fetch-site", "cross-site"), ("x-none", "")],
        [("origin", "null"), ("x-none", "")],
        [("origin", "http://localhost"), ("host", "localhost:81")],
    ] {
        let answer = sign_in(&api, "ann", &headers).await;
        answer.assert_error(403, "forbidden");
        assert_eq!(answer.header("set-cookie"), None);
        let mut out = api.delete("/session");
        for (name, value) in headers {
            out = out.header(name, value);
        }
        assert_eq!(out.send().await.status, 403);
    }
    for (content_type, body, status) in [
        (Some("text/plain"), r#"{"token":"ann"}"#, 415),
        (None, r#"{"token":"ann"}"#, 415),
        (Some("application/x-www-form-urlencoded"), "token=ann", 415),
        (Some("application/json"), "", 400),
        (Some("application/json"), "{}", 400),
        (Some("application/json"), r#"{"token":1}"#, 400),
        (Some("application/json"), r#"["ann"]"#, 400),
        (Some("application/json"), r#"{"token":"ann","more":1}"#, 400),
        (Some("application/json"), r#"{"token":"wrong"}"#, 401),
        (Some("application/json"), r#"{"token":""}"#, 401),
    ] {
        let mut call = api.call(Method::POST, "/session").body(body);
        if let Some(content_type) = content_type {
            call = call.header("content-type", content_type);
        }
        let answer = call.send().await;
        assert_eq!(answer.status, status, "{content_type:?} {body}: {answer:?}");
        assert_eq!(answer.header("set-cookie"), None);
        assert!(!answer.text().contains("wrong"), "{answer:?}");
    }
    let long = format!(r#"{{"token":"{}"}}"#, "x".repeat(5000));
    let answer = api.call(Method::POST, "/session").json(&long).send().await;
    answer.assert_error(413, "value_too_large");
    let answer = api.get("/session").by(ADMIN).send().await;
    answer.assert_error(405, "method_not_allowed");
    let query = api
        .call(Method::POST, "/session?token=ann")
        .json("{}")
        .send()
        .await;
    assert_eq!(query.status, 400);
}
