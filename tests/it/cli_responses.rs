//! Responses that are lost, redirected or not from ifmatch.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect};
use axum::routing::any;
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::cli::{Cli, ask, empty_server, file_with, other_server};

/// The message of a write whose outcome is unknown.
const NOT_KNOWN: &str = "It is not known whether the write was applied";

/// A read has no outcome that could be unknown.
async fn assert_a_read_fails(server: &str) {
    let read = ask(server, &["get", "a"]).await;
    read.assert_code(1);
    assert!(!read.stderr.contains("not known"), "{read:?}");
}

/// An export of one entry, as one may write it by hand.
const AN_EXPORT: &str = r#"{"export":{"format":1,"prefix":""}}
{"key":"a","value":1}
{"end":{"entries":1,"revision":1}}
"#;

#[tokio::test]
async fn an_answer_that_is_none_of_ifmatch_is_an_error() {
    let cut_off = "{\"items\":[{\"key\":\"a\"}";
    let router = axum::Router::new()
        .route("/kv", any(move || async move { cut_off }))
        .route(
            "/kv/conflict",
            any(|| async { StatusCode::PRECONDITION_FAILED }),
        )
        .route("/kv/gone", any(|| async { StatusCode::NOT_FOUND }))
        .fallback(any(|| async { "<html>" }));
    let address = other_server(router).await;
    let export = file_with(AN_EXPORT);
    let export = export.to_str().unwrap();
    for arguments in [
        &["get", "a"][..],
        &["get", "gone"],
        &["put", "a", "1"],
        &["put", "conflict", "1"],
        &["put", "a", "1", "--force"],
        &["patch", "a", "{}"],
        &["patch", "a", "[]"],
        &["rm", "a", "--force"],
        &["ls"],
        &["log", "a"],
        &["log", "--prefix", "a"],
        &["show", "a@1"],
        &["diff", "a"],
        &["diff", "a@1"],
        &["revert", "a@1", "--force"],
        &["revert", "a@1", "--if-match", "1-a"],
        &["export"],
        &["import", export],
        &["import", export, "--replace"],
        &["watch"],
        &["edit", "a"],
    ] {
        let ran = ask(&address, arguments).await;
        ran.assert_code(1);
        assert!(
            ran.stderr.contains("not from ifmatch"),
            "{arguments:?}: {ran:?}"
        );
        assert!(!ran.stdout.contains("end"), "{arguments:?}: {ran:?}");
    }
}

#[tokio::test]
async fn an_import_waits_for_a_service_that_is_busy() {
    let asked = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&asked);
    let busy_at_first = any(move || async move {
        let tag = [("etag", "\"1-a\""), ("location", "/kv/a")];
        match counter.fetch_add(1, Ordering::Relaxed) {
            0 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            _ => (StatusCode::NO_CONTENT, tag).into_response(),
        }
    });
    let export = file_with(AN_EXPORT);
    let address = empty_server(busy_at_first).await;
    let ran = ask(&address, &["import", export.to_str().unwrap()]).await;
    assert_eq!(ran.assert_code(0).json()["created"], 1);
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_write_is_not_sent_elsewhere() {
    let cli = Cli::start().await;
    cli.run(&["put", "a", "1"]).await.assert_code(0);
    let elsewhere = cli.server.url("/kv/a");
    let moved = Redirect::to(&elsewhere);
    let router = axum::Router::new().fallback(any(move || async move { moved }));
    let address = other_server(router).await;
    for arguments in [
        &["put", "a", "2", "--force"][..],
        &["rm", "a", "--force"],
        &["get", "a"],
    ] {
        let ran = ask(&address, arguments).await;
        ran.assert_code(1);
        assert!(ran.stderr.contains(&elsewhere), "{ran:?}");
    }
    assert_eq!(cli.value("a").await, "1");
}

#[tokio::test]
async fn a_url_below_that_of_the_service_is_noticed() {
    let cli = Cli::start().await;
    let export = file_with(AN_EXPORT);
    let too_long = cli.server.url("/kv");
    for (arguments, said) in [
        (
            &["import", export.to_str().unwrap()][..],
            "nothing was written",
        ),
        (&["put", "b", "1"], "applied to the key kv/b instead"),
        (&["get", "b"], "it shows the key kv/b"),
        (&["edit", "b"], "it shows the key kv/b"),
        (&["rm", "b", "--force"], "applied to the key kv/b instead"),
    ] {
        let ran = ask(&too_long, arguments).await;
        ran.assert_code(1).assert_says(&[said, "without /kv"]);
        assert!(ran.stdout.is_empty(), "{ran:?}");
    }
    assert_eq!(cli.run(&["ls"]).await.stdout, "");
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_not_called_a_failure() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let lost = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        connection.read(&mut [0; 1000]).await.unwrap()
    });
    let ran = ask(&address, &["put", "a", "1"]).await;
    ran.assert_code(1);
    assert!(ran.stderr.contains("is not known"), "{ran:?}");
    lost.await.unwrap();
}

#[tokio::test]
async fn a_proxy_that_gives_up_on_a_write_does_not_make_it_a_failure() {
    let address = empty_server(any(async || (StatusCode::BAD_GATEWAY, "<html>"))).await;
    let export = file_with(AN_EXPORT);
    let writes = [
        &["put", "a", "1"][..],
        &["rm", "a", "--force"],
        &["patch", "a", "[]"],
        &["import", export.to_str().unwrap()],
    ];
    for ran in join_all(writes.map(|arguments| ask(&address, arguments))).await {
        ran.assert_code(1).assert_says(&["status 502", NOT_KNOWN]);
    }
    assert_a_read_fails(&address).await;
}

#[tokio::test]
async fn only_a_server_error_of_ifmatch_itself_says_that_nothing_was_written() {
    let checks = [
        (500, r#"{"error":"io","message":"m"}"#, true),
        (503, r#"{"error":"unavailable","message":"m"}"#, true),
        (500, r#"{"error":"Internal","message":"m"}"#, false),
        (502, r#"{"error":"Bad Gateway","message":"m"}"#, false),
        (502, r#"{"error":"io","message":"m"}"#, false),
        (503, "<html>", false),
        (503, "", false),
        (503, r#"{"error":"Unavailable","message":"m"}"#, false),
        (504, r#"{"error":"Gateway Timeout","message":"m"}"#, false),
        (507, r#"{"error":"io","message":"m"}"#, false),
    ]
    .map(async |(status, body, is_ours)| {
        let answer = (StatusCode::from_u16(status).unwrap(), body);
        let address = other_server(axum::Router::new().fallback(any(async move || answer))).await;
        let writes = [
            &["put", "a", "1"][..],
            &["put", "a", "1", "--force"],
            &["rm", "a", "--force"],
            &["patch", "a", "[]"],
        ];
        // They try for some seconds.
        let ran = join_all(writes.map(|arguments| ask(&address, arguments))).await;
        for ran in ran {
            ran.assert_code(1);
            let is_unknown = ran.stderr.contains(NOT_KNOWN);
            assert_eq!(is_unknown, !is_ours, "{status} {body}: {ran:?}");
        }
        assert_a_read_fails(&address).await;
    });
    join_all(checks).await;
    let body = r#"{"error":"outcome_unknown","message":"m"}"#;
    let answer = (StatusCode::GATEWAY_TIMEOUT, body);
    let address = other_server(axum::Router::new().fallback(any(async move || answer))).await;
    let ran = ask(&address, &["put", "a", "1"]).await;
    assert!(
        ran.assert_code(1).stderr.contains("it may be applied"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn a_write_whose_error_response_breaks_off_is_not_called_a_failure() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let part = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 100\r\n\r\n{";
    let broken = tokio::spawn(async move {
        for _ in 0..2 {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") && !request.ends_with(b"\r\n\r\n1") {
                connection.read_buf(&mut request).await.unwrap();
            }
            connection.write_all(part).await.unwrap();
            connection.shutdown().await.unwrap();
            // All of the request is read before the connection ends, which would otherwise be reset.
            connection.read_to_end(&mut request).await.unwrap();
        }
    });
    let write = ask(&address, &["put", "a", "1"]).await;
    assert!(write.assert_code(1).stderr.contains(NOT_KNOWN), "{write:?}");
    assert_a_read_fails(&address).await;
    broken.await.unwrap();
}

#[tokio::test]
async fn nothing_that_a_server_says_speaks_to_the_terminal() {
    let body = r#"{"error":"not_found","message":"a\u001b[2Jb"}"#;
    let answer = (StatusCode::NOT_FOUND, body);
    let router = axum::Router::new().fallback(any(move || async move { answer }));
    let ran = ask(&other_server(router).await, &["get", "a"]).await;
    assert_eq!(ran.assert_code(3).stderr, "ifmatch: a\\u001b[2Jb\n");
}
