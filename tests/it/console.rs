//! The console's files, as a browser asks for them. What the page does is told by
//! `tests/e2e/console`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use axum::http::Method;

use crate::support::api::{Answer, Api};

fn names() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("console");
    let files = fs::read_dir(folder).unwrap();
    files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        // The unit tests are not part of the page.
        .filter(|name| name != "tests")
        .collect()
}

/// What an answer with a part of the page says of itself, whatever the status.
fn assert_guarded(answer: &Answer) {
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(answer.header("x-frame-options"), Some("DENY"));
    let policy = answer.header("content-security-policy").unwrap();
    let directives: BTreeSet<&str> = policy.split(';').map(str::trim).collect();
    let expected = [
        "default-src 'none'",
        "script-src 'self'",
        "worker-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ];
    assert_eq!(directives, BTreeSet::from(expected));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.header("cache-control"), Some("no-cache"));
    assert!(answer.header("etag").unwrap().starts_with('"'));
}

#[tokio::test]
async fn the_page_and_every_file_of_it_come_from_the_binary() {
    let api = Api::in_memory();
    let page = api.get("/").send().await;
    assert_eq!(page.status.as_u16(), 200);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_guarded(&page);
    for name in names() {
        let file = api.get(&format!("/console/{name}")).send().await;
        assert_eq!(file.status.as_u16(), 200, "{name}");
        assert_guarded(&file);
        let media_type = match name.rsplit('.').next() {
            Some("html") => "text/html; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            _ => "image/svg+xml",
        };
        assert_eq!(file.header("content-type"), Some(media_type), "{name}");
    }
}

#[tokio::test]
async fn a_copy_that_is_current_is_not_sent_again() {
    let api = Api::in_memory();
    for path in ["/", "/console/app.js"] {
        let tag = api
            .get(path)
            .send()
            .await
            .header("etag")
            .unwrap()
            .to_owned();
        let again = api.get(path).if_none_match(&tag).send().await;
        assert_eq!(again.status.as_u16(), 304);
        assert!(again.text().is_empty());
        assert_guarded(&again);
        let other = api.get(path).if_none_match("\"other\"").send().await;
        assert_eq!(other.status.as_u16(), 200);
    }
}

#[tokio::test]
async fn head_says_what_get_would() {
    let api = Api::in_memory();
    for path in ["/", "/console/base.css"] {
        let get = api.get(path).send().await;
        let head = api.call(Method::HEAD, path).send().await;
        assert_eq!(head.status.as_u16(), 200);
        assert!(head.text().is_empty());
        assert_guarded(&head);
        assert_eq!(head.header("content-type"), get.header("content-type"));
        assert_eq!(head.header("etag"), get.header("etag"));
    }
}

#[tokio::test]
async fn what_is_no_part_of_the_page_is_not_found() {
    let api = Api::in_memory();
    for path in [
        "/console/nothing.js",
        "/console/../docs.rs",
        "/console/tests",
        "/console/tests/json.test.js",
        "/console/",
        "/console",
    ] {
        let answer = api.get(path).send().await;
        answer.assert_error(404, "not_found");
    }
}

#[test]
fn no_file_names_another_host_or_brings_script_or_style_into_the_page() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("console");
    for name in names() {
        let text = fs::read_to_string(folder.join(&name)).unwrap();
        // The one name of a namespace.
        let text = text.replace("http://www.w3.org/2000/svg", "");
        for word in [
            "http:",
            "https:",
            "\"//",
            "'//",
            "url(",
            "eval(",
            "innerHTML",
        ] {
            assert!(!text.contains(word), "{name}: {word}");
        }
    }
    let page = fs::read_to_string(folder.join("index.html")).unwrap();
    for word in ["<style", " style=", " onclick=", "javascript:"] {
        assert!(!page.contains(word), "{word}");
    }
    assert_eq!(page.matches("<script").count(), 1);
    assert!(page.contains("<script type=\"module\" src=\"console/app.js\"></script>"));
}

#[tokio::test]
async fn every_file_that_another_imports_is_served() {
    let api = Api::in_memory();
    let mut imported = 0;
    for name in names() {
        let script = api.get(&format!("/console/{name}")).send().await;
        let text = format!("\n{}", script.text());
        for import in text.split("\nimport ").skip(1) {
            let other = import.split('"').nth(1).unwrap();
            let other = other.strip_prefix("./").unwrap();
            let answer = api.get(&format!("/console/{other}")).send().await;
            assert_eq!(answer.status.as_u16(), 200, "{name} imports {other}");
            imported += 1;
        }
    }
    assert!(imported > 10, "{imported}");
}
