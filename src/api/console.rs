//! The console: a page to see and edit entries, all from the binary.
//!
//! Its files are in `console/` in the project's root, as they are sent. There is no build step, and its
//! policy lets it run no other code and connect to no other host.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum_extra::headers::ETag;

use super::assets;
use super::error::ApiError;
use super::extract::NoQuery;

const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; connect-src 'self'; \
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
            text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/console/", $name)),
        }
    };
}

const PAGE: &str = "index.html";

const FILES: &[File] = &[
    file!("index.html", HTML),
    file!("base.css", CSS),
    file!("page.css", CSS),
    file!("list.css", CSS),
    file!("document.css", CSS),
    file!("banners.css", CSS),
    file!("editor.css", CSS),
    file!("conflict.css", CSS),
    file!("history.css", CSS),
    file!("diff.css", CSS),
    file!("sign-in.css", CSS),
    file!("icon.svg", SVG),
    file!("app.js", SCRIPT),
    file!("json.js", SCRIPT),
    file!("merge.js", SCRIPT),
    file!("overlaps.js", SCRIPT),
    file!("api.js", SCRIPT),
    file!("place.js", SCRIPT),
    file!("watch.js", SCRIPT),
    file!("hub.js", SCRIPT),
    file!("shared.js", SCRIPT),
    file!("drafts.js", SCRIPT),
    file!("store.js", SCRIPT),
    file!("session.js", SCRIPT),
    file!("state.js", SCRIPT),
    file!("draft-keeper.js", SCRIPT),
    file!("saver.js", SCRIPT),
    file!("editor.js", SCRIPT),
    file!("checker.js", SCRIPT),
    file!("check-worker.js", SCRIPT),
    file!("dom.js", SCRIPT),
    file!("list.js", SCRIPT),
    file!("document.js", SCRIPT),
    file!("conflict.js", SCRIPT),
    file!("toast.js", SCRIPT),
    file!("account.js", SCRIPT),
    file!("caller.js", SCRIPT),
    file!("grants.js", SCRIPT),
    file!("sign-in.js", SCRIPT),
    file!("address.js", SCRIPT),
    file!("sending.js", SCRIPT),
    file!("past.js", SCRIPT),
    file!("versions.js", SCRIPT),
    file!("timeline.js", SCRIPT),
    file!("history.js", SCRIPT),
    file!("comparison.js", SCRIPT),
    file!("deletions.js", SCRIPT),
    file!("deleted.js", SCRIPT),
    file!("delete-dialog.js", SCRIPT),
    file!("sequence.js", SCRIPT),
    file!("words.js", SCRIPT),
    file!("diff.js", SCRIPT),
    file!("differ.js", SCRIPT),
    file!("diff-worker.js", SCRIPT),
    file!("diff-view.js", SCRIPT),
];

/// One tag for all of them, so that a browser never runs one file of an old page with another of a
/// new one for longer than it takes to ask.
static TAG: LazyLock<ETag> =
    LazyLock::new(|| assets::tag_of(FILES.iter().map(|file| file.text.as_bytes())));

/// The page.
pub async fn page(_: NoQuery, headers: HeaderMap) -> Response {
    answer(&headers, PAGE)
}

/// A file that the page asks for.
pub async fn file(Path(name): Path<String>, _: NoQuery, headers: HeaderMap) -> Response {
    answer(&headers, &name)
}

fn answer(asked: &HeaderMap, name: &str) -> Response {
    let Some(file) = FILES.iter().find(|file| file.name == name) else {
        return ApiError::NoSuchPath.into_response();
    };
    let content_type = [(header::CONTENT_TYPE, file.media_type)];
    let mut response = assets::answer(asked, &TAG, (content_type, file.text));
    assets::protect(response.headers_mut(), POLICY);
    response
}
