//! The service below a path of another program's router, or of a proxy that takes its own path away.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt as _;
use ifmatch::{AllowedHosts, Limits, MemoryStore, Service, Settings};
use tower::ServiceExt as _;

fn below_a_path() -> Router {
    let store = Arc::new(MemoryStore::new());
    let service = Arc::new(Service::new(store, Settings::default()));
    let kv = ifmatch::router(service, Limits::default(), AllowedHosts::any());
    Router::new().nest_service("/team/kv", kv)
}

async fn ask(app: &Router, method: &str, path: &str, body: &str) -> Response<Body> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "docs.example")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_owned()))
        .unwrap();
    app.clone().oneshot(request).await.unwrap()
}

async fn text(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The path that a reference names to somebody who has asked for `path` (RFC 3986 §5.2.3, §5.2.4; no
/// reference here has a scheme or a host).
fn resolved(path: &str, reference: &str) -> String {
    if reference.starts_with('/') {
        return reference.to_owned();
    }
    let mut segments: Vec<_> = path.split('/').collect();
    segments.pop();
    for segment in reference.split('/') {
        match segment {
            "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    segments.join("/")
}

#[tokio::test]
async fn a_new_entry_is_found_by_its_location_below_a_path() {
    let app = below_a_path();
    for (asked, found) in [
        ("/team/kv/kv/plan", "/team/kv/kv/plan"),
        ("/team/kv/kv/doc/a/b", "/team/kv/kv/doc/a/b"),
        ("/team/kv/kv/doc%2Fc", "/team/kv/kv/doc/c"),
        ("/team/kv/kv/%2Fd", "/team/kv/kv//d"),
    ] {
        let created = ask(&app, "PUT", asked, "1").await;
        assert_eq!(created.status(), StatusCode::CREATED, "{asked}");
        let location = created.headers()[header::LOCATION].to_str().unwrap();
        assert!(location.parse::<Uri>().is_ok() || location.starts_with('.'));
        let location = resolved(asked, location);
        assert_eq!(location, found);
        let read = ask(&app, "GET", &location, "").await;
        assert_eq!(text(read).await, text(created).await);
    }
}

/// What a page's elements name with `attribute`.
fn links(page: &str, attribute: &str) -> Vec<String> {
    let begin = format!(" {attribute}=\"");
    page.split(&begin)
        .skip(1)
        .filter_map(|rest| rest.split_once('"'))
        .map(|(value, _)| value.to_owned())
        .collect()
}

#[tokio::test]
async fn the_pages_name_nothing_outside_of_their_path() {
    let app = below_a_path();
    for page in ["/team/kv/", "/team/kv/docs"] {
        let answer = ask(&app, "GET", page, "").await;
        assert_eq!(answer.status(), StatusCode::OK, "{page}");
        let html = text(answer).await;
        let links = [links(&html, "href"), links(&html, "src")].concat();
        assert!(links.len() >= 5, "{links:?}");
        for link in links.iter().filter(|link| !link.starts_with('#')) {
            let path = resolved(page, link);
            assert!(path.starts_with("/team/kv/"), "{link}");
            let answer = ask(&app, "GET", &path, "").await;
            assert_eq!(answer.status(), StatusCode::OK, "{link}");
        }
    }
    let start = ask(&app, "GET", "/team/kv/docs/swagger-initializer.js", "").await;
    assert!(text(start).await.contains("url: \"openapi.json\""));
}

#[tokio::test]
async fn what_is_not_there_is_told_as_ever_and_other_paths_are_the_program_s_own() {
    let app = below_a_path().route("/other", axum::routing::get(async || "mine"));
    let missing = ask(&app, "GET", "/team/kv/kv/none", "").await;
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    assert!(text(missing).await.contains("\"error\":\"not_found\""));
    assert_eq!(text(ask(&app, "GET", "/other", "").await).await, "mine");
    let probe = ask(&app, "GET", "/team/kv/health/live", "").await;
    assert_eq!(probe.status(), StatusCode::OK);
    let stale = ask(&app, "DELETE", "/team/kv/kv/none", "").await;
    assert_eq!(stale.status(), StatusCode::NOT_FOUND);
}
