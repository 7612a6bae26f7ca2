//! Who asks, where the address matters: wrong tokens are counted for each, and a trusted proxy says who it is.

use std::fs;
use std::path::Path;

use axum::http::Method;
use ifmatch::access::{hash_of, new_token};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::support::binary::{Process, soon};
use crate::support::http;
use crate::support::http2::Http2;

/// A token that somebody could guess.
const WEAK: &str = "sesame";
/// How many wrong tokens an address may send at once.
const FREE_ATTEMPTS: usize = 20;

/// An entry of a file of tokens, which may read everything.
fn entry(name: &str, by: &str) -> String {
    format!(
        "[[token]]\nname = \"{name}\"\n{by}\nallow = [{{ prefix = \"\", actions = [\"read\"] }}]\n"
    )
}

fn by_token(token: &str) -> String {
    format!("sha256 = \"{}\"", hex::encode(hash_of(token.as_bytes())))
}

async fn serve(folder: &Path, tokens: &str, flags: &[&str]) -> (Process, Client) {
    let path = folder.join("tokens.toml");
    fs::write(&path, tokens).unwrap();
    let flags = [&["--tokens", path.to_str().unwrap()], flags].concat();
    (Process::start(folder, &flags).await, http::client())
}

async fn whoami(
    (process, client): &(Process, Client),
    headers: &[(&str, &str)],
) -> (StatusCode, Value) {
    let mut request = client.get(process.url("/whoami"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = soon(request.send()).await.unwrap();
    (response.status(), response.json().await.unwrap())
}

#[tokio::test]
async fn an_address_that_guesses_has_to_wait_and_those_who_cannot_guess_do_not() {
    let strong = new_token().unwrap();
    let tokens = entry("ann", &by_token(&strong)) + &entry("bob", &by_token(WEAK));
    let folder = tempdir().unwrap();
    let service = serve(folder.path(), &tokens, &[]).await;
    let bearer = |token: &str| format!("Bearer {token}");
    let (strong, weak) = (bearer(&strong), bearer(WEAK));
    let cookie = {
        let (process, client) = &service;
        let request = client
            .post(process.url("/session"))
            .json(&json!({"token": WEAK}));
        let response = soon(request.send()).await.unwrap();
        let cookie = response.headers()["set-cookie"].to_str().unwrap();
        cookie.split(';').next().unwrap().to_owned()
    };
    for number in 0..FREE_ATTEMPTS {
        let wrong = bearer(&format!("wrong {number}"));
        let (status, body) = whoami(&service, &[("authorization", &wrong)]).await;
        assert_eq!(
            (status.as_u16(), &body["error"]),
            (401, &json!("unauthorized"))
        );
    }
    // Time passes while they are sent, and with it an attempt is forgotten each second.
    let mut is_refused = false;
    for _ in 0..FREE_ATTEMPTS {
        let (status, body) = whoami(&service, &[("authorization", "Bearer wrong")]).await;
        is_refused = status == StatusCode::TOO_MANY_REQUESTS;
        if is_refused {
            assert_eq!(body["error"], "too_many_attempts");
            break;
        }
    }
    assert!(is_refused, "somebody who guesses has to wait");
    // Nor is it said that this one is right, for a second at least.
    let (status, _) = whoami(&service, &[("authorization", &weak)]).await;
    assert!(matches!(status.as_u16(), 429 | 200), "{status}");
    for headers in [("authorization", &*strong), ("cookie", &*cookie)] {
        let (status, _) = whoami(&service, &[headers]).await;
        assert_eq!(status, StatusCode::OK, "{headers:?}");
    }
}

#[tokio::test]
async fn over_http2_the_address_counts_as_well() {
    let tokens = entry("Ann", "user = \"ann\"");
    let folder = tempdir().unwrap();
    let flags = [
        "--trusted-user-header",
        "X-User",
        "--trusted-proxy",
        "127.0.0.1",
    ];
    let (process, _) = serve(folder.path(), &tokens, &flags).await;
    let mut client = Http2::connect(&process.address).await;
    let mut status_with = async |name: &str, value: &str| {
        let request = client.request(Method::GET, "/whoami").header(name, value);
        let answer = soon(client.send(request.body(()).unwrap(), "")).await;
        answer.unwrap().status
    };
    assert_eq!(status_with("x-user", "ann").await, 200);
    assert_eq!(status_with("x-user", "bob").await, 401);
    let mut wrong = Vec::new();
    for _ in 0..2 * FREE_ATTEMPTS {
        wrong.push(status_with("authorization", "Bearer wrong").await);
        if wrong.ends_with(&[429]) {
            break;
        }
    }
    assert!(
        wrong.len() > FREE_ATTEMPTS && wrong.ends_with(&[429]),
        "{wrong:?}"
    );
}

#[tokio::test]
async fn a_trusted_proxy_names_who_has_signed_in() {
    let tokens = entry("Ann", "user = \"ann@example.org\"");
    let folder = tempdir().unwrap();
    let flags = ["--trusted-user-header", "X-User", "--trusted-proxy"];
    let trusted = [&flags[..], &["127.0.0.0/8"]].concat();
    let service = serve(folder.path(), &tokens, &trusted).await;
    let (status, body) = whoami(&service, &[("x-user", "ann@example.org")]).await;
    assert_eq!((status.as_u16(), &body["name"]), (200, &json!("Ann")));
    for headers in [
        &[("x-user", "bob@example.org")][..],
        &[("x-user", "ann@example.org"), ("x-user", "bob@example.org")],
        &[("x-other", "ann@example.org")],
        // A token that is sent counts, also if it is wrong.
        &[
            ("x-user", "ann@example.org"),
            ("authorization", "Bearer wrong"),
        ],
    ] {
        let (status, _) = whoami(&service, headers).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{headers:?}");
    }

    // Everybody may read: whom the file does not have is known by the name that the proxy sends.
    let other = tempdir().unwrap();
    let with_anonymous = [&trusted[..], &["--anonymous", "read"]].concat();
    let service = serve(other.path(), &tokens, &with_anonymous).await;
    let (_, body) = whoami(&service, &[("x-user", "bob")]).await;
    assert_eq!(body["name"], "bob");
    assert_eq!(body["grants"], json!([{"prefix": "", "actions": ["read"]}]));

    // How entries name who is in the file is for the file to say.
    let dn = format!("ou={}", "x".repeat(200));
    let long = entry("Ann", &format!("user = \"{dn}\""));
    let longer = tempdir().unwrap();
    let service = serve(longer.path(), &long, &with_anonymous).await;
    let (_, body) = whoami(&service, &[("x-user", &dn)]).await;
    assert_eq!(body["name"], "Ann");
    let (status, _) = whoami(&service, &[("x-user", &format!("{dn}x"))]).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);

    // Elsewhere the header says nothing.
    let third = tempdir().unwrap();
    let untrusted = [&flags[..], &["10.0.0.0/8"]].concat();
    let service = serve(third.path(), &tokens, &untrusted).await;
    let (status, _) = whoami(&service, &[("x-user", "ann@example.org")]).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}
