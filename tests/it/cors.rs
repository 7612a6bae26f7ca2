//! Pages of other origins (WHATWG Fetch, CORS protocol): the allowed ones may use the service with a session or a
//! token, all others may not.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use ifmatch::api::{AllowedOrigins, Origin};
use ifmatch::{AllowedHosts, Guard, Limits, MemoryStore, Service, Settings};
use tower::ServiceExt as _;

const APP: &str = "https://app.example";

fn service_for(origins: &[&str]) -> Router {
    let origins: Vec<Origin> = origins.iter().map(|of| of.parse().unwrap()).collect();
    let service = Service::new(Arc::new(MemoryStore::new()), Settings::default());
    let guard = Guard::new(AllowedHosts::any()).with_origins(AllowedOrigins::new(&origins));
    ifmatch::router(Arc::new(service), Limits::default(), guard)
}

async fn ask(
    app: &Router,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> (StatusCode, HeaderMap) {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "kv.example")
        .header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from("1")).unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    (response.status(), response.headers().clone())
}

/// The members of a list field, in lower case.
fn members(headers: &HeaderMap, name: &str) -> Vec<String> {
    let lines = headers.get_all(name).iter();
    let members = lines.flat_map(|line| line.to_str().unwrap().split(','));
    members
        .map(|member| member.trim().to_ascii_lowercase())
        .collect()
}

const CROSS_SITE: (&str, &str) = ("sec-fetch-site", "cross-site");

#[tokio::test]
async fn a_page_of_an_allowed_origin_reads_writes_and_sees_the_tag() {
    let app = service_for(&["http://localhost:3000", APP]);
    let from_app = [("origin", APP), CROSS_SITE];
    for (method, path, status) in [
        ("PUT", "/kv/a", StatusCode::CREATED),
        ("GET", "/kv/a", StatusCode::OK),
        ("GET", "/kv/absent", StatusCode::NOT_FOUND),
        ("GET", "/kv?limit=0", StatusCode::BAD_REQUEST),
        ("DELETE", "/kv/a", StatusCode::OK),
    ] {
        let (answered, headers) = ask(&app, method, path, &from_app).await;
        assert_eq!(answered, status, "{method} {path}");
        assert_eq!(headers["access-control-allow-origin"], APP);
        assert_eq!(headers["access-control-allow-credentials"], "true");
        let exposed = members(&headers, "access-control-expose-headers");
        for name in [
            "etag",
            "location",
            "last-modified",
            "preference-applied",
            "idempotency-replayed",
            "retry-after",
        ] {
            assert!(exposed.contains(&name.to_owned()), "{name}: {exposed:?}");
        }
        // A cache must not give the answer for one origin to the page of another.
        assert!(members(&headers, "vary").contains(&"origin".to_owned()));
    }
}

#[tokio::test]
async fn a_preflight_allows_what_the_contract_takes() {
    let app = service_for(&[APP]);
    let asked = [
        ("origin", APP),
        ("access-control-request-method", "PATCH"),
        ("access-control-request-headers", "authorization,if-match"),
    ];
    let (status, headers) = ask(&app, "OPTIONS", "/kv/a", &asked).await;
    assert!(status.is_success(), "{status}");
    assert_eq!(headers["access-control-allow-origin"], APP);
    assert_eq!(headers["access-control-allow-credentials"], "true");
    let methods = members(&headers, "access-control-allow-methods");
    for method in ["get", "head", "post", "put", "patch", "delete"] {
        assert!(
            methods.contains(&method.to_owned()),
            "{method}: {methods:?}"
        );
    }
    let allowed = members(&headers, "access-control-allow-headers");
    for name in [
        "authorization",
        "content-type",
        "if-match",
        "if-none-match",
        "if-modified-since",
        "if-unmodified-since",
        "prefer",
        "idempotency-key",
        "last-event-id",
    ] {
        assert!(allowed.contains(&name.to_owned()), "{name}: {allowed:?}");
    }
}

#[tokio::test]
async fn what_is_no_preflight_asks_for_the_methods() {
    for app in [service_for(&[APP]), service_for(&[])] {
        for headers in [&[][..], &[("origin", APP)]] {
            let (status, headers) = ask(&app, "OPTIONS", "/kv/a", headers).await;
            assert_eq!(status, StatusCode::NO_CONTENT);
            assert!(members(&headers, "allow").contains(&"patch".to_owned()));
            assert!(headers.contains_key("x-request-id"));
        }
    }
}

#[tokio::test]
async fn a_page_of_another_origin_is_told_nothing_and_writes_nothing() {
    for app in [service_for(&[APP]), service_for(&[])] {
        for origin in [
            "https://evil.example",
            "https://app.example.evil.example",
            "http://app.example",
            "https://app.example:8443",
            "null",
        ] {
            let headers = [("origin", origin), CROSS_SITE];
            let (status, _) = ask(&app, "PUT", "/kv/a", &headers).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{origin}");
            let (_, headers) = ask(&app, "GET", "/kv/a", &headers).await;
            assert!(
                !headers.contains_key("access-control-allow-origin"),
                "{origin}"
            );
            let preflight = [("origin", origin), ("access-control-request-method", "PUT")];
            let (_, headers) = ask(&app, "OPTIONS", "/kv/a", &preflight).await;
            assert!(
                !headers.contains_key("access-control-allow-origin"),
                "{origin}"
            );
        }
        // Two origins are none.
        let two = [("origin", APP), ("origin", "https://evil.example")];
        let (status, _) = ask(&app, "PUT", "/kv/a", &two).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        let (status, _) = ask(&app, "GET", "/kv/a", &[]).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "nothing was written");
    }
}
