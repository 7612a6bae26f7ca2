//! The contract as a file, and a page to read and try it, all from the binary.

use std::sync::{Arc, LazyLock};

use axum::extract::Path;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
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

/// The page's files lie below.
pub async fn page() -> Redirect {
    Redirect::permanent("/docs/")
}

/// A file of the page.
pub async fn file(path: Option<Path<String>>) -> Response {
    let path = path.map(|Path(path)| path).unwrap_or_default();
    match utoipa_swagger_ui::serve(&path, Arc::clone(&PAGE)) {
        Ok(Some(file)) => {
            let headers = [
                (header::CONTENT_TYPE, file.content_type),
                (header::CACHE_CONTROL, "no-cache".to_owned()),
                (header::CONTENT_SECURITY_POLICY, PAGE_POLICY.to_owned()),
            ];
            (headers, file.bytes.into_owned()).into_response()
        }
        Ok(None) | Err(_) => ApiError::NoSuchPath.into_response(),
    }
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
