//! A clock that was set back.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::*;
use crate::storage::file::FileStore;
use crate::{AllowedHosts, Limits, Service, router};

const HOUR_MILLIS: u64 = 60 * 60 * 1000;

async fn get(app: &axum::Router, path: &str) -> (StatusCode, serde_json::Value) {
    let request = Request::get(path).header(header::HOST, "localhost");
    let request = request.body(Body::empty()).unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn what_was_committed_is_not_still_to_come() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path(), SMALL);
    let now = Timestamp::from(SystemTime::now()).millis();
    let ahead = Timestamp::from_millis(now + HOUR_MILLIS);
    store.commit_group(&[&[("a", Some("1"))]], ahead);
    store.commit_group(&[&[("b", Some("1"))]], ahead);
    // Dated after the one before.
    store.commit(&[("a", Some("2"))]);
    store.commit(&[("c", Some("1"))]);
    store.close();
    let store = FileStore::open(&data(folder.path()), SMALL).await.unwrap();
    let service = Service::new(Arc::new(store), crate::Settings::default());
    let app = router(Arc::new(service), Limits::default(), AllowedHosts::any());
    let (_, list) = get(&app, "/kv").await;
    let items = list["items"].as_array().unwrap();
    assert_eq!(items.len(), 3);
    for entry in items {
        let key = entry["key"].as_str().unwrap();
        let at = entry["modified_at"].as_str().unwrap();
        let (status, then) = get(&app, &format!("/kv/{key}?at={at}")).await;
        if key == "c" {
            // By the clock it was there before the others.
            assert_eq!(status, StatusCode::NOT_FOUND, "{then}");
        } else {
            assert_eq!((status, &then), (StatusCode::OK, entry));
        }
        let (status, then) = get(&app, &format!("/kv?at={at}")).await;
        assert_eq!(status, StatusCode::OK, "{then}");
    }
    let later = Timestamp::from_millis(ahead.millis() + 10_000);
    for path in ["/kv/a", "/kv"] {
        let (status, error) = get(&app, &format!("{path}?at={later}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(error["error"], "invalid_query");
        assert_eq!(error["message"], "at is still to come");
    }
    let (status, then) = get(&app, &format!("/kv/a?at={ahead}")).await;
    assert_eq!((status, &then["value"]), (StatusCode::OK, &1.into()));
}
