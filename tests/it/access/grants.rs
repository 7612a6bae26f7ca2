//! Each action on each key by each token.

use axum::http::Method;

use super::{ADMIN, file, put, transact};
use crate::support::api::{Answer, Api};

/// Who has which right to `doc/`, and nothing else.
const READER: &str = "reader";
const CREATOR: &str = "creator";
const UPDATER: &str = "updater";
const DELETER: &str = "deleter";
const OWNER: &str = "owner";
/// Has nothing at all.
const NOBODY: &str = "nobody";
const CALLERS: [&str; 6] = [READER, CREATOR, UPDATER, DELETER, OWNER, NOBODY];

/// A tag that no entry ever has.
const NO_TAG: &str = "\"1-0000000000000000\"";
const LONG_AGO: &str = "Sat, 01 Jan 2000 00:00:00 GMT";

/// A service with `doc/there` and `x/there`, and the tag of the first.
async fn service() -> (Api, String) {
    let api = Api::guarded(
        &file(&[
            (READER, &[("doc/", "r")]),
            (CREATOR, &[("doc/", "c")]),
            (UPDATER, &[("doc/", "u")]),
            (DELETER, &[("doc/", "d")]),
            (OWNER, &[("doc/", "rcud")]),
            (NOBODY, &[]),
        ]),
        None,
    );
    put(&api, "x/there", "1").await;
    let tag = put(&api, "doc/there", "1").await.etag();
    (api, tag)
}

/// A request and the statuses that [`CALLERS`] get. `TAG` stands for the current tag.
type Row = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
    [u16; 6],
);

const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");
const JSON_PATCH: (&str, &str) = ("content-type", "application/json-patch+json");

#[rustfmt::skip]
const ROWS: &[Row] = &[
    //                                                                    read create update delete all none
    ("GET", "doc/there", &[],                                              [200, 403, 403, 403, 200, 403]),
    ("GET", "doc/new", &[],                                                [404, 403, 403, 403, 404, 403]),
    ("GET", "doc/there", &[("if-none-match", "TAG")],                      [304, 403, 403, 403, 304, 403]),
    ("GET", "doc/there", &[("if-match", NO_TAG)],                          [412, 403, 403, 403, 412, 403]),
    ("HEAD", "doc/there", &[],                                             [200, 403, 403, 403, 200, 403]),
    ("HEAD", "doc/new", &[],                                               [404, 403, 403, 403, 404, 403]),
    ("PUT", "doc/there", &[],                                              [403, 403, 200, 403, 200, 403]),
    ("PUT", "doc/new", &[],                                                [403, 201, 403, 403, 201, 403]),
    ("POST", "doc/there", &[],                                             [403, 403, 200, 403, 200, 403]),
    ("POST", "doc/new", &[],                                               [403, 201, 403, 403, 201, 403]),
    ("PUT", "doc/there", &[("if-match", "TAG")],                           [403, 403, 200, 403, 200, 403]),
    ("PUT", "doc/there", &[("if-match", NO_TAG)],                          [403, 403, 412, 403, 412, 403]),
    ("PUT", "doc/there", &[("if-match", "*")],                             [403, 403, 200, 403, 200, 403]),
    ("PUT", "doc/new", &[("if-match", NO_TAG)],                            [403, 403, 412, 403, 412, 403]),
    ("PUT", "doc/new", &[("if-match", "*")],                               [403, 403, 412, 403, 412, 403]),
    ("PUT", "doc/there", &[("if-none-match", "*")],                        [403, 412, 403, 403, 412, 403]),
    ("PUT", "doc/new", &[("if-none-match", "*")],                          [403, 201, 403, 403, 201, 403]),
    ("PUT", "doc/there", &[("if-none-match", NO_TAG)],                     [403, 403, 200, 403, 200, 403]),
    ("PUT", "doc/there", &[("if-none-match", "TAG")],                      [403, 403, 412, 403, 412, 403]),
    ("PUT", "doc/new", &[("if-none-match", NO_TAG)],                       [403, 201, 403, 403, 201, 403]),
    ("PUT", "doc/there", &[("if-match", "TAG"), ("if-none-match", "*")],   [403, 403, 412, 403, 412, 403]),
    ("PUT", "doc/there", &[("if-unmodified-since", LONG_AGO)],             [403, 403, 412, 403, 412, 403]),
    ("PUT", "doc/new", &[("if-unmodified-since", LONG_AGO)],               [403, 403, 412, 403, 412, 403]),
    ("PATCH", "doc/there", &[MERGE],                                       [403, 403, 204, 403, 200, 403]),
    ("PATCH", "doc/new", &[MERGE],                                         [403, 403, 404, 403, 404, 403]),
    ("PATCH", "doc/there", &[MERGE, ("if-match", NO_TAG)],                 [403, 403, 412, 403, 412, 403]),
    ("PATCH", "doc/there", &[JSON_PATCH],                                  [403, 403, 403, 403, 200, 403]),
    ("PATCH", "doc/new", &[JSON_PATCH],                                    [403, 403, 403, 403, 404, 403]),
    ("DELETE", "doc/there", &[],                                           [403, 403, 403, 204, 200, 403]),
    ("DELETE", "doc/new", &[],                                             [403, 403, 403, 404, 404, 403]),
    ("DELETE", "doc/there", &[("if-match", NO_TAG)],                       [403, 403, 403, 412, 412, 403]),
    ("DELETE", "doc/there", &[("if-match", "TAG")],                        [403, 403, 403, 204, 200, 403]),
];

async fn ask(api: &Api, tag: &str, row: &Row, key: &str, by: &str) -> Answer {
    let (method, _, headers, _) = row;
    let method: Method = method.parse().unwrap();
    let mut call = api.call(method.clone(), &format!("/kv/{key}")).by(by);
    for (name, value) in *headers {
        call = call.header(name, &value.replace("TAG", tag));
    }
    let call = match method.as_str() {
        "PUT" | "POST" => call.json("2"),
        "PATCH" if headers.contains(&JSON_PATCH) => {
            call.body(r#"[{"op":"replace","path":"","value":2}]"#)
        }
        "PATCH" => call.body("{}"),
        _ => call,
    };
    call.send().await
}

#[tokio::test]
async fn each_action_needs_its_grant() {
    for row in ROWS {
        for (by, status) in CALLERS.iter().zip(row.3) {
            let (api, tag) = service().await;
            let before = api.get("/kv").by(ADMIN).send().await;
            let answer = ask(&api, &tag, row, row.1, by).await;
            assert_eq!(answer.status, status, "{by}: {row:?}: {answer:?}");
            let after = api.get("/kv").by(ADMIN).send().await;
            let writes = answer.status.is_success() && !matches!(row.0, "GET" | "HEAD");
            assert_eq!(before.text() != after.text(), writes, "{by}: {row:?}");
        }
    }
}

#[tokio::test]
async fn a_grant_is_worth_nothing_outside_its_prefix() {
    let (api, tag) = service().await;
    put(&api, "doc", "1").await;
    let before = api.get("/kv").by(ADMIN).send().await;
    for row in ROWS {
        for key in [
            "x/there",
            "x/new",
            "doc",
            "do",
            "docs",
            "Doc/there",
            "DOC%2Fthere",
            "/doc/there",
            "x/doc/there",
            "do%C3%A7/there",
            "doc%EF%BC%8Fthere",
            "%EF%BD%84oc/there",
        ] {
            for by in CALLERS {
                let answer = ask(&api, &tag, row, key, by).await;
                assert_eq!(answer.status, 403, "{by}: {key}: {row:?}: {answer:?}");
            }
        }
    }
    let after = api.get("/kv").by(ADMIN).send().await;
    assert_eq!(before.text(), after.text());
}

#[tokio::test]
async fn the_refusal_names_the_action_and_the_key() {
    let (api, tag) = service().await;
    let message = async |method: &str, headers: &'static [(&str, &str)], key: &'static str| {
        let row = (method.to_owned(), headers);
        let method: &'static str = Box::leak(row.0.into_boxed_str());
        let row: Row = (method, key, row.1, [403; 6]);
        let answer = ask(&api, &tag, &row, key, NOBODY).await;
        answer.assert_error(403, "forbidden");
        answer.message()
    };
    for (method, headers, needed) in [
        ("GET", &[] as &'static [_], "read"),
        ("PUT", &[], "create or update"),
        ("PUT", &[("if-match", "TAG")], "update"),
        ("PUT", &[("if-none-match", "*")], "create"),
        ("PATCH", &[MERGE], "update"),
        ("DELETE", &[], "delete"),
    ] {
        let said = message(method, headers, "doc/there").await;
        let wanted = format!("you may not {needed} the key \"doc/there\"");
        assert!(said.contains(&wanted), "{method}: {said}");
    }
    let list = api.get("/kv?prefix=doc/").by(NOBODY).send().await;
    list.assert_error(403, "forbidden");
    let wanted = "you may not read any key with the prefix \"doc/\"";
    assert!(list.message().contains(wanted), "{}", list.message());
}

const PUT_THERE: &str = r#"{"op":"put","key":"doc/there","value":2}"#;
const PUT_NEW: &str = r#"{"op":"put","key":"doc/new","value":2}"#;
const CREATE_NEW: &str = r#"{"op":"put","key":"doc/new","value":2,"if_none_match":"*"}"#;
const CREATE_THERE: &str = r#"{"op":"put","key":"doc/there","value":2,"if_none_match":"*"}"#;
const UPDATE_NEW: &str = r#"{"op":"put","key":"doc/new","value":2,"if_match":"*"}"#;
const UPDATE_THERE: &str = r#"{"op":"put","key":"doc/there","value":2,"if_match":"TAG"}"#;
const DELETE_THERE: &str = r#"{"op":"delete","key":"doc/there"}"#;
const CHECK_THERE: &str = r#"{"op":"check","key":"doc/there"}"#;
const CHECK_X: &str = r#"{"op":"check","key":"x/there"}"#;
const PUT_X: &str = r#"{"op":"put","key":"x/there","value":2}"#;
const DELETE_X: &str = r#"{"op":"delete","key":"x/there"}"#;

#[tokio::test]
async fn each_operation_of_a_transaction_needs_its_grant() {
    #[rustfmt::skip]
    let rows: &[(&[&str], [u16; 6])] = &[
        //                              read create update delete all none
        (&[CHECK_THERE],                [200, 403, 403, 403, 200, 403]),
        (&[PUT_THERE],                  [403, 403, 200, 403, 200, 403]),
        (&[PUT_NEW],                    [403, 200, 403, 403, 200, 403]),
        (&[CREATE_NEW],                 [403, 200, 403, 403, 200, 403]),
        (&[CREATE_THERE],               [403, 412, 403, 403, 412, 403]),
        (&[UPDATE_NEW],                 [403, 403, 412, 403, 412, 403]),
        (&[UPDATE_THERE],               [403, 403, 200, 403, 200, 403]),
        (&[DELETE_THERE],               [403, 403, 403, 200, 200, 403]),
        (&[PUT_NEW, PUT_THERE],         [403, 403, 403, 403, 200, 403]),
        (&[PUT_NEW, CHECK_THERE],       [403, 403, 403, 403, 200, 403]),
        (&[PUT_NEW, DELETE_THERE],      [403, 403, 403, 403, 200, 403]),
        (&[CHECK_THERE, CHECK_X],       [403, 403, 403, 403, 403, 403]),
        (&[PUT_NEW, PUT_X],             [403, 403, 403, 403, 403, 403]),
        (&[PUT_THERE, DELETE_X],        [403, 403, 403, 403, 403, 403]),
        (&[CREATE_THERE, CHECK_X],      [403, 403, 403, 403, 403, 403]),
    ];
    for (operations, statuses) in rows {
        for (by, status) in CALLERS.iter().zip(statuses) {
            let (api, tag) = service().await;
            let before = api.get("/kv").by(ADMIN).send().await;
            let text = operations
                .join(",")
                .replace("TAG", &tag.replace('"', "\\\""));
            let answer = transact(&api, by, &text).await;
            assert_eq!(answer.status, *status, "{by}: {text}: {answer:?}");
            let after = api.get("/kv").by(ADMIN).send().await;
            let writes = *status == 200 && !text.starts_with(r#"{"op":"check"#);
            assert_eq!(before.text() != after.text(), writes, "{by}: {text}");
        }
    }
}

#[tokio::test]
async fn grants_add_up() {
    let api = Api::guarded(
        &file(&[("ann", &[("doc/", "c"), ("doc/ann/", "u"), ("", "r")])]),
        None,
    );
    put(&api, "doc/ann/a", "1").await;
    put(&api, "doc/b", "1").await;
    for (method, key, status) in [
        ("PUT", "doc/ann/a", 200),
        ("PUT", "doc/ann/new", 201),
        ("PUT", "doc/new", 201),
        ("PUT", "doc/b", 403),
        ("DELETE", "doc/ann/a", 403),
        ("GET", "doc/b", 200),
        ("PUT", "x", 403),
    ] {
        let call = api.call(method.parse().unwrap(), &format!("/kv/{key}"));
        let answer = call.json("1").by("ann").send().await;
        assert_eq!(answer.status, status, "{method} {key}");
    }
}
