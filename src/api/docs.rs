//! The contract as a file, and a page to read and try it, all from the binary.

use std::sync::{Arc, LazyLock};

use axum::extract::Path;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use utoipa_swagger_ui::Config;

use super::error::ApiError;

/// The contract, as it stands in the project's root.
const OPENAPI_YAML: &str = include_str!("../../openapi.yaml");

/// Nothing from anywhere else; the page's own style stands in its elements.
const PAGE_POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; \
                           img-src 'self' data:; frame-ancestors 'none'";

static OPENAPI_JSON: LazyLock<Option<String>> = LazyLock::new(|| {
    let tree: serde_json::Value = serde_saphyr::from_str(OPENAPI_YAML).ok()?;
    Some(tree.to_string())
});

static PAGE: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| {
    // No validator: it would be asked on another host.
    let config = Config::from("/openapi.json").validator_url("none");
    Arc::new(config.try_it_out_enabled(true).deep_linking(true))
});

/// The contract as YAML.
pub async fn yaml() -> Response {
    text("application/yaml", OPENAPI_YAML)
}

/// The contract as JSON.
pub async fn json() -> Response {
    match OPENAPI_JSON.as_deref() {
        Some(json) => text("application/json", json),
        None => ApiError::NoSuchPath.into_response(),
    }
}

/// The page. Its links are relative to a folder, which this path is not.
pub async fn page() -> Response {
    let Ok(Some(page)) = utoipa_swagger_ui::serve("index.html", Arc::clone(&PAGE)) else {
        return ApiError::NoSuchPath.into_response();
    };
    let page = String::from_utf8_lossy(&page.bytes)
        .replace("\"./", "\"/docs/")
        .replace("\"index.css", "\"/docs/index.css")
        .replace("<title>Swagger UI", "<title>ifmatch");
    part_of_page("text/html; charset=utf-8".to_owned(), page.into_bytes())
}

/// A file that the page asks for.
pub async fn file(Path(path): Path<String>) -> Response {
    match utoipa_swagger_ui::serve(&path, Arc::clone(&PAGE)) {
        Ok(Some(file)) => part_of_page(file.content_type, file.bytes.into_owned()),
        Ok(None) | Err(_) => ApiError::NoSuchPath.into_response(),
    }
}

fn part_of_page(content_type: String, bytes: Vec<u8>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-cache".to_owned()),
        (header::CONTENT_SECURITY_POLICY, PAGE_POLICY.to_owned()),
    ];
    (headers, bytes).into_response()
}

fn text(content_type: &'static str, body: &'static str) -> Response {
    const NO_SNIFF: (HeaderName, HeaderValue) = (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        NO_SNIFF,
    ];
    (headers, body).into_response()
}
