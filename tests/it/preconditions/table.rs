//! Every row of the contract's precondition table.

use super::{DELETE, GET, HEAD, POST, PUT, ask, http_date, with_entry};

/// Headers; the status of GET, HEAD, PUT, POST, DELETE for an existing key; the same for an absent one.
type Row = (Vec<(&'static str, String)>, [u16; 5], [u16; 5]);

#[allow(clippy::too_many_lines, reason = "a table")]
fn rows(t: &str) -> Vec<Row> {
    let stale = "\"1-0000000000000000\"";
    let (past, future) = (http_date(-3600), http_date(3600));
    let if_match = |value: &str| vec![("if-match", value.to_owned())];
    let if_none_match = |value: &str| vec![("if-none-match", value.to_owned())];
    vec![
        (vec![], [200; 5], [404, 404, 201, 201, 404]),
        (if_match(t), [200; 5], [404, 404, 412, 412, 404]),
        (
            if_match(&format!("{stale}, {t}")),
            [200; 5],
            [404, 404, 412, 412, 404],
        ),
        (
            if_match(&format!(", ,{t},")),
            [200; 5],
            [404, 404, 412, 412, 404],
        ),
        (
            vec![("if-match", stale.to_owned()), ("if-match", t.to_owned())],
            [200; 5],
            [404, 404, 412, 412, 404],
        ),
        (if_match("*"), [200; 5], [404, 404, 412, 412, 404]),
        (if_match(stale), [412; 5], [404, 404, 412, 412, 404]),
        (
            if_match(&format!("W/{t}")),
            [412; 5],
            [404, 404, 412, 412, 404],
        ),
        (
            if_match(&format!("\"x,{}\"", t.trim_matches('"'))),
            [412; 5],
            [404, 404, 412, 412, 404],
        ),
        (
            if_none_match("*"),
            [304, 304, 412, 412, 412],
            [404, 404, 201, 201, 404],
        ),
        (
            if_none_match(t),
            [304, 304, 412, 412, 412],
            [404, 404, 201, 201, 404],
        ),
        (
            if_none_match(&format!("W/{t}")),
            [304, 304, 412, 412, 412],
            [404, 404, 201, 201, 404],
        ),
        (
            vec![
                ("if-none-match", stale.to_owned()),
                ("if-none-match", t.to_owned()),
            ],
            [304, 304, 412, 412, 412],
            [404, 404, 201, 201, 404],
        ),
        (if_none_match(stale), [200; 5], [404, 404, 201, 201, 404]),
        (
            vec![("if-modified-since", future.clone())],
            [304, 304, 200, 200, 200],
            [404, 404, 201, 201, 404],
        ),
        (
            vec![("if-modified-since", past.clone())],
            [200; 5],
            [404, 404, 201, 201, 404],
        ),
        (
            vec![("if-unmodified-since", future.clone())],
            [200; 5],
            [404, 404, 412, 412, 404],
        ),
        (
            vec![("if-unmodified-since", past.clone())],
            [412; 5],
            [404, 404, 412, 412, 404],
        ),
        // What comes first decides.
        (
            vec![
                ("if-match", t.to_owned()),
                ("if-unmodified-since", past.clone()),
            ],
            [200; 5],
            [404, 404, 412, 412, 404],
        ),
        (
            vec![
                ("if-none-match", stale.to_owned()),
                ("if-modified-since", future.clone()),
            ],
            [200; 5],
            [404, 404, 201, 201, 404],
        ),
        (
            vec![
                ("if-match", stale.to_owned()),
                ("if-none-match", t.to_owned()),
            ],
            [412; 5],
            [404, 404, 412, 412, 404],
        ),
        (
            vec![("if-match", t.to_owned()), ("if-none-match", t.to_owned())],
            [304, 304, 412, 412, 412],
            [404, 404, 412, 412, 404],
        ),
        // Dates that cannot be read are ignored.
        (
            vec![("if-unmodified-since", "yesterday".to_owned())],
            [200; 5],
            [404, 404, 201, 201, 404],
        ),
        (
            vec![("if-modified-since", "3".to_owned())],
            [200; 5],
            [404, 404, 201, 201, 404],
        ),
        (
            vec![
                ("if-unmodified-since", past.clone()),
                ("if-unmodified-since", past),
            ],
            [200; 5],
            [404, 404, 201, 201, 404],
        ),
    ]
}

#[tokio::test]
async fn every_row_for_every_method() {
    let (_, t) = with_entry().await;
    let all = [GET, HEAD, PUT, POST, DELETE];
    for (headers, existing, absent) in rows(&t) {
        for (index, method) in all.iter().enumerate() {
            for (path, expected) in [
                ("/kv/there", existing[index]),
                ("/kv/absent", absent[index]),
            ] {
                let (api, tag) = with_entry().await;
                assert_eq!(tag, t, "a tag depends on key, revision and value alone");
                let before = api.get("/kv").send().await;
                let answer = ask(&api, method, path, &headers).await;
                let shown = format!("{method} {path} {headers:?}: {answer:?}");
                assert_eq!(answer.status.as_u16(), expected, "{shown}");
                if matches!(expected, 304 | 404 | 412) {
                    assert_eq!(api.get("/kv").send().await.body, before.body, "{shown}");
                }
                if expected == 412 && *method != HEAD {
                    answer.assert_error(412, "precondition_failed");
                    let current = api.get(path).send().await;
                    if path == "/kv/there" {
                        assert_eq!(answer.json()["current"], current.json(), "{shown}");
                        assert_eq!(answer.etag(), tag, "{shown}");
                        assert_eq!(
                            answer.header("last-modified"),
                            current.header("last-modified")
                        );
                    } else {
                        assert!(answer.json()["current"].is_null(), "{shown}");
                        assert!(answer.json().get("current").is_some(), "{shown}");
                        assert_eq!(answer.header("etag"), None, "{shown}");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn a_304_has_the_headers_of_the_200_and_no_body() {
    let (api, tag) = with_entry().await;
    for path in ["/kv/there", "/kv"] {
        let full = api.get(path).send().await;
        let etag = full.etag();
        let same = api.get(path).if_none_match(&etag).send().await;
        assert_eq!(same.status.as_u16(), 304);
        assert!(same.body.is_empty());
        for name in ["etag", "last-modified", "cache-control", "vary"] {
            assert_eq!(same.header(name), full.header(name), "{path} {name}");
        }
    }
    assert_eq!(api.get("/kv/there").send().await.etag(), tag);
}
