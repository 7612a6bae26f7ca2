//! An entry's validators, sent back in the ways that the precondition table leaves open.

use axum::http::Method;

use crate::preconditions::{ask, with_entry};
use crate::support::api::Api;

const GET: Method = Method::GET;
const HEAD: Method = Method::HEAD;
const PUT: Method = Method::PUT;
const POST: Method = Method::POST;
const DELETE: Method = Method::DELETE;

/// The headers that RFC 9110 §15.4.5 wants of a 304 as the 200 has them.
const OF_A_304: [&str; 4] = ["etag", "last-modified", "cache-control", "vary"];
const STALE: &str = "\"1-0000000000000000\"";

#[tokio::test]
async fn last_modified_sent_back_is_the_date_of_the_entry_to_the_second() {
    for (name, statuses) in [
        ("if-modified-since", [304, 304, 200, 200, 200]),
        ("if-unmodified-since", [200; 5]),
    ] {
        for (method, status) in [GET, HEAD, PUT, POST, DELETE].iter().zip(statuses) {
            let (api, _) = with_entry().await;
            let read = api.get("/kv/there").send().await;
            let date = read.header("last-modified").unwrap().to_owned();
            let answer = ask(&api, method, "/kv/there", &[(name, date)]).await;
            assert_eq!(answer.status.as_u16(), status, "{method} {name}");
        }
    }
}

#[tokio::test]
async fn a_304_is_the_same_by_whatever_way_it_came_about() {
    let (api, tag) = with_entry().await;
    let full = api.get("/kv/there").send().await;
    let date = full.header("last-modified").unwrap();
    for (name, value) in [
        ("if-none-match", tag.as_str()),
        ("if-none-match", "*"),
        ("if-modified-since", date),
    ] {
        for method in [GET, HEAD] {
            let headers = [(name, value.to_owned())];
            let same = ask(&api, &method, "/kv/there", &headers).await;
            let shown = format!("{method} {name}: {same:?}");
            assert_eq!(same.status.as_u16(), 304, "{shown}");
            assert!(same.body.is_empty(), "{shown}");
            for of_the_200 in OF_A_304 {
                let expected = full.header(of_the_200);
                assert_eq!(same.header(of_the_200), expected, "{shown}");
            }
        }
    }
}

#[tokio::test]
async fn head_fails_as_get_does_and_says_so_in_headers_alone() {
    let (api, tag) = with_entry().await;
    for (value, status, etag) in [(STALE, 412, Some(tag.as_str())), ("3", 400, None)] {
        let headers = [("if-match", value.to_owned())];
        let get = ask(&api, &GET, "/kv/there", &headers).await;
        let head = ask(&api, &HEAD, "/kv/there", &headers).await;
        assert_eq!(head.status.as_u16(), status);
        assert_eq!(head.status, get.status);
        assert!(head.body.is_empty(), "{head:?}");
        assert_eq!(head.header("etag"), etag);
        for name in OF_A_304 {
            assert_eq!(head.header(name), get.header(name), "{value} {name}");
        }
    }
}

/// The old tag, and an API on which `/kv/a` was deleted and created anew with the same value.
async fn recreated() -> (Api, String) {
    let api = Api::in_memory();
    let old = api.put("/kv/a", "1").send().await.etag();
    api.delete("/kv/a").send().await;
    api.put("/kv/a", "1").send().await;
    (api, old)
}

#[tokio::test]
async fn the_tag_of_an_entry_that_was_deleted_is_not_that_of_its_successor() {
    for method in [GET, HEAD, PUT, POST, DELETE] {
        for (name, status) in [("if-match", 412), ("if-none-match", 200)] {
            let (api, old) = recreated().await;
            let answer = ask(&api, &method, "/kv/a", &[(name, old)]).await;
            assert_eq!(answer.status.as_u16(), status, "{method} {name}");
        }
    }
}
