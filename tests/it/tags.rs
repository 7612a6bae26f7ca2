//! How entity tags are written in preconditions, of entries and of lists.

use axum::http::Method;

use crate::preconditions::{ask, with_entry};

const GET: Method = Method::GET;
const HEAD: Method = Method::HEAD;
const PUT: Method = Method::PUT;
const POST: Method = Method::POST;
const DELETE: Method = Method::DELETE;

#[tokio::test]
async fn a_list_of_tags_may_be_written_in_many_ways() {
    // Header lines, `T` for the current tag without its quotes; whether a line names it, by weak
    // and by strong comparison.
    let rows: &[(&[&str], bool, bool)] = &[
        (&["\"T\",\"x\""], true, true),
        (&["W/\"T\", \"T\""], true, true),
        (&["\"x\", W/\"T\""], true, false),
        (&["\"a,b\" ,\t\"T\""], true, true),
        (&["", "\"T\""], true, true),
        (&["\"T\"", "\"x\""], true, true),
        (&["\"x\"", "W/\"T\""], true, false),
        (&["\"x\"", "\"y\""], false, false),
        (&["\"\""], false, false),
        (&["\"*\""], false, false),
        // Whoever splits at every comma, or joins without one, finds the current tag in these.
        (&["\"x,T,y\""], false, false),
        (&["\"x,W/\",\"y\""], false, false),
        (&["\"W/T\""], false, false),
    ];
    for (lines, weak, strong) in rows {
        for method in [GET, HEAD, PUT, POST, DELETE] {
            let reads = matches!(method, GET | HEAD);
            for (name, expected) in [
                ("if-match", if *strong { 200 } else { 412 }),
                (
                    "if-none-match",
                    match (weak, reads) {
                        (false, _) => 200,
                        (true, true) => 304,
                        (true, false) => 412,
                    },
                ),
            ] {
                let (api, tag) = with_entry().await;
                let opaque = tag.trim_matches('"');
                let headers: Vec<_> = lines
                    .iter()
                    .map(|line| (name, line.replace('T', opaque)))
                    .collect();
                let answer = ask(&api, &method, "/kv/there", &headers).await;
                let shown = format!("{method} {name} {lines:?}: {answer:?}");
                assert_eq!(answer.status.as_u16(), expected, "{shown}");
                let stays = reads || expected == 412;
                let now = api.get("/kv/there").send().await;
                assert_eq!(now.header("etag") == Some(&tag), stays, "{shown}");
            }
        }
    }
}

#[tokio::test]
async fn one_line_that_cannot_be_read_spoils_the_others() {
    for lines in [
        &[("if-match", "T"), ("if-match", "3")][..],
        &[("if-match", "3"), ("if-match", "T")],
        &[("if-match", "*"), ("if-match", "T")],
        &[("if-match", "*"), ("if-match", "*")],
        &[("if-match", "T"), ("if-none-match", "3")],
        &[("if-match", "3"), ("if-none-match", "\"x\"")],
        &[("if-match", "T;\"x\"")],
        &[("if-match", "Tx")],
        &[("if-match", "W/ T")],
        &[("if-none-match", "T, *")],
    ] {
        for method in [GET, PUT, POST, DELETE] {
            let (api, tag) = with_entry().await;
            let headers: Vec<_> = lines
                .iter()
                .map(|(name, line)| (*name, line.replace('T', &tag)))
                .collect();
            let answer = ask(&api, &method, "/kv/there", &headers).await;
            answer.assert_error(400, "invalid_precondition");
            assert_eq!(api.get("/kv/there").send().await.etag(), tag, "{lines:?}");
        }
    }
}

#[tokio::test]
async fn every_way_to_name_the_tag_of_a_list_is_honoured() {
    let (api, _) = with_entry().await;
    let full = api.get("/kv").send().await;
    let tag = full.etag();
    for (named, status) in [
        (tag.clone(), 304),
        (format!("W/{tag}"), 304),
        (format!("\"x\", {tag}"), 304),
        ("*".to_owned(), 304),
        ("\"x\"".to_owned(), 200),
    ] {
        for method in [GET, HEAD] {
            let headers = [("if-none-match", named.clone())];
            let answer = ask(&api, &method, "/kv", &headers).await;
            assert_eq!(answer.status.as_u16(), status, "{method} {named}");
            assert_eq!(answer.etag(), tag);
            assert_eq!(answer.header("cache-control"), full.header("cache-control"));
        }
    }
}

#[tokio::test]
async fn of_a_list_as_of_an_entry_if_none_match_is_evaluated_after_an_if_match_that_holds() {
    let (api, tag) = with_entry().await;
    let list = api.get("/kv").send().await.etag();
    for (path, tag) in [("/kv/there", tag), ("/kv", list)] {
        for if_match in ["*", &tag] {
            let headers = [
                ("if-match", if_match.to_owned()),
                ("if-none-match", tag.clone()),
            ];
            let answer = ask(&api, &GET, path, &headers).await;
            assert_eq!(answer.status.as_u16(), 304, "{path} {headers:?}");
        }
    }
}
