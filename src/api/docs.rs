//! The contract as a file, and a page to read and try it, all from the binary.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum_extra::headers::ETag;
use parking_lot::Mutex;
use utoipa_swagger_ui::Config;

use super::assets;
use super::error::ApiError;
use super::extract::NoQuery;

/// The contract, as it stands in the project's root.
const OPENAPI_YAML: &str = include_str!("../../openapi.yaml");

/// Nothing from anywhere else; the page's own style stands in its elements.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data:; frame-ancestors 'none'",
);

static OPENAPI_JSON: LazyLock<Option<String>> = LazyLock::new(|| {
    let tree: serde_json::Value = serde_saphyr::from_str(OPENAPI_YAML).ok()?;
    Some(tree.to_string())
});

/// The JSON is made of the YAML, so one tag does for both.
static OPENAPI_TAG: LazyLock<ETag> = LazyLock::new(|| assets::tag_of([OPENAPI_YAML.as_bytes()]));

/// The tags of the page's files that were asked for: some are too long to be hashed for each request.
static FILE_TAGS: LazyLock<Mutex<HashMap<String, ETag>>> = LazyLock::new(Mutex::default);

static PAGE: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| {
    // No validator: it would be asked on another host.
    let config = Config::from("/openapi.json").validator_url("none");
    Arc::new(config.try_it_out_enabled(true).deep_linking(true))
});

/// The contract as YAML.
pub async fn yaml(_: NoQuery, headers: HeaderMap) -> Response {
    contract(&headers, "application/yaml", OPENAPI_YAML)
}

/// The contract as JSON.
pub async fn json(_: NoQuery, headers: HeaderMap) -> Response {
    match OPENAPI_JSON.as_deref() {
        Some(json) => contract(&headers, "application/json", json),
        None => ApiError::NoSuchPath.into_response(),
    }
}

/// The page. Its links are relative to a folder, which this path is not.
pub async fn page(_: NoQuery, headers: HeaderMap) -> Response {
    let Ok(Some(page)) = utoipa_swagger_ui::serve("index.html", Arc::clone(&PAGE)) else {
        return ApiError::NoSuchPath.into_response();
    };
    let page = String::from_utf8_lossy(&page.bytes)
        .replace("\"./", "\"/docs/")
        .replace("\"index.css", "\"/docs/index.css")
        .replace("<title>Swagger UI", "<title>ifmatch");
    let content_type = "text/html; charset=utf-8".to_owned();
    part_of_page(&headers, "", content_type, page.into_bytes())
}

/// A file that the page asks for.
pub async fn file(Path(path): Path<String>, _: NoQuery, headers: HeaderMap) -> Response {
    match utoipa_swagger_ui::serve(&path, Arc::clone(&PAGE)) {
        Ok(Some(file)) => part_of_page(&headers, &path, file.content_type, file.bytes.into_owned()),
        Ok(None) | Err(_) => ApiError::NoSuchPath.into_response(),
    }
}

/// `path`: what the part is called below `/docs/`.
fn part_of_page(asked: &HeaderMap, path: &str, content_type: String, bytes: Vec<u8>) -> Response {
    let known = FILE_TAGS.lock().get(path).cloned();
    let tag = known.unwrap_or_else(|| {
        let tag = assets::tag_of([&bytes[..]]);
        FILE_TAGS.lock().insert(path.to_owned(), tag.clone());
        tag
    });
    let content_type = [(header::CONTENT_TYPE, content_type)];
    let mut response = assets::answer(asked, &tag, (content_type, bytes));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, PAGE_POLICY);
    response
}

fn contract(asked: &HeaderMap, content_type: &'static str, text: &'static str) -> Response {
    let content_type = [(header::CONTENT_TYPE, content_type)];
    assets::answer(asked, &OPENAPI_TAG, (content_type, text))
}
