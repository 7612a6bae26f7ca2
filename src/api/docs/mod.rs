//! The contract as a file, and a page to read and try it, all from the binary.

use std::collections::HashMap;
use std::io::{Cursor, Read as _};
use std::sync::LazyLock;

use axum::body::Bytes;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum_extra::headers::ETag;
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use zip::ZipArchive;

use super::assets;
use super::error::ApiError;
use super::extract::NoQuery;

/// The contract, from the project's root.
const OPENAPI_YAML: &str = include_str!("../../../openapi.yaml");

/// Nothing from anywhere else; the page's own styles are inline.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data:; frame-ancestors 'none'",
);

/// The folder of the Swagger UI archive with the files for browsers.
const FOLDER: &str = "/dist/";
const PAGE: &str = "index.html";
/// What starts the page; the archive's own shows another contract.
const START: &str = "swagger-initializer.js";
/// The files that the page consists of, with their types.
const FILES: [(&str, &str); 7] = [
    (PAGE, "text/html; charset=utf-8"),
    ("index.css", "text/css"),
    ("swagger-ui.css", "text/css"),
    ("swagger-ui-bundle.js", "text/javascript"),
    ("swagger-ui-standalone-preset.js", "text/javascript"),
    ("favicon-16x16.png", "image/png"),
    ("favicon-32x32.png", "image/png"),
];

/// A file of the page, unpacked.
struct Part {
    content_type: &'static str,
    bytes: Bytes,
    tag: ETag,
}

impl Part {
    fn new(content_type: &'static str, bytes: Vec<u8>) -> Self {
        let tag = assets::tag_of([&bytes[..]]);
        Self {
            content_type,
            bytes: bytes.into(),
            tag,
        }
    }
}

/// By their names. They are unpacked when the first of them is asked for.
static PAGE_FILES: LazyLock<HashMap<&str, Part>> = LazyLock::new(|| {
    let Ok(mut archive) = ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED)) else {
        return HashMap::new();
    };
    let unpacked = (0..archive.len()).filter_map(|index| {
        let mut packed = archive.by_index(index).ok()?;
        let path = packed.name().ok()?;
        let (_, asked) = path.split_once(FOLDER)?;
        let (name, content_type) = FILES.into_iter().find(|(name, _)| *name == asked)?;
        drop(path);
        let mut bytes = Vec::new();
        packed.read_to_end(&mut bytes).ok()?;
        if name == PAGE {
            bytes = with_links(&String::from_utf8(bytes).ok()?).into_bytes();
        }
        Some((name, Part::new(content_type, bytes)))
    });
    let start = Part::new("text/javascript", include_bytes!("start.js").to_vec());
    unpacked.chain([(START, start)]).collect()
});

/// The page's links are relative to a folder, but its path is not one.
fn with_links(page: &str) -> String {
    page.replace("\"./", "\"docs/")
        .replace("\"index.css", "\"docs/index.css")
        .replace("<title>Swagger UI", "<title>ifmatch")
}

static OPENAPI_JSON: LazyLock<Option<String>> = LazyLock::new(|| {
    let tree: serde_json::Value = yaml_serde::from_str(OPENAPI_YAML).ok()?;
    Some(tree.to_string())
});

/// The JSON is generated from the YAML, so one tag serves both.
static OPENAPI_TAG: LazyLock<ETag> = LazyLock::new(|| assets::tag_of([OPENAPI_YAML.as_bytes()]));

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

/// The page.
pub async fn page(_: NoQuery, headers: HeaderMap) -> Response {
    part_of_page(&headers, PAGE)
}

/// A file that the page asks for.
pub async fn file(Path(name): Path<String>, _: NoQuery, headers: HeaderMap) -> Response {
    part_of_page(&headers, &name)
}

fn part_of_page(asked: &HeaderMap, name: &str) -> Response {
    let Some(file) = PAGE_FILES.get(name) else {
        return ApiError::NoSuchPath.into_response();
    };
    let content_type = [(header::CONTENT_TYPE, file.content_type)];
    let mut response = assets::answer(asked, &file.tag, (content_type, file.bytes.clone()));
    assets::protect(response.headers_mut(), PAGE_POLICY);
    response
}

fn contract(asked: &HeaderMap, content_type: &'static str, text: &'static str) -> Response {
    let content_type = [(header::CONTENT_TYPE, content_type)];
    assets::answer(asked, &OPENAPI_TAG, (content_type, text))
}
