//! The console: a page to see and edit entries, all from the binary.
//!
//! What it consists of stands in `console/` as it is sent. There is no step that builds it, and its
//! policy lets it run nothing else and speak to nobody else.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum_extra::headers::{ETag, HeaderMapExt as _, IfNoneMatch};
use sha2::{Digest as _, Sha256};

use super::error::ApiError;

const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// A file of the page, by the name after `/console/`.
struct File {
    name: &'static str,
    media_type: &'static str,
    text: &'static str,
}

macro_rules! file {
    ($name:literal, $media_type:expr) => {
        File {
            name: $name,
            media_type: $media_type,
            text: include_str!(concat!("console/", $name)),
        }
    };
}

const PAGE: &str = "index.html";

const FILES: &[File] = &[
    file!("index.html", HTML),
    file!("style.css", CSS),
    file!("icon.svg", SVG),
    file!("app.js", SCRIPT),
    file!("json.js", SCRIPT),
    file!("merge.js", SCRIPT),
    file!("overlaps.js", SCRIPT),
    file!("api.js", SCRIPT),
    file!("watch.js", SCRIPT),
    file!("drafts.js", SCRIPT),
    file!("session.js", SCRIPT),
    file!("editor.js", SCRIPT),
    file!("dom.js", SCRIPT),
    file!("list.js", SCRIPT),
    file!("document.js", SCRIPT),
    file!("conflict.js", SCRIPT),
];

/// One tag for all of them, so that a browser never runs one file of an old page with another of a
/// new one for longer than it takes to ask.
static TAG: LazyLock<ETag> = LazyLock::new(|| {
    let mut digest = Sha256::new();
    for file in FILES {
        digest.update(file.text);
    }
    let digits = hex::encode(&digest.finalize()[..8]);
    format!("\"{digits}\"").parse().expect("digits are a tag")
});

/// The page.
pub async fn page(headers: HeaderMap) -> Response {
    answer(&headers, PAGE)
}

/// A file that the page asks for.
pub async fn file(Path(name): Path<String>, headers: HeaderMap) -> Response {
    answer(&headers, &name)
}

fn answer(asked: &HeaderMap, name: &str) -> Response {
    const NO_SNIFF: (HeaderName, HeaderValue) = (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    let Some(file) = FILES.iter().find(|file| file.name == name) else {
        return ApiError::NoSuchPath.into_response();
    };
    let has_it = asked
        .typed_get::<IfNoneMatch>()
        .is_some_and(|tags| !tags.precondition_passes(&TAG));
    let mut response = if has_it {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let media_type = HeaderValue::from_static(file.media_type);
        ([(header::CONTENT_TYPE, media_type)], file.text).into_response()
    };
    let headers = response.headers_mut();
    headers.typed_insert(TAG.clone());
    headers.extend([
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        NO_SNIFF,
    ]);
    response
}
