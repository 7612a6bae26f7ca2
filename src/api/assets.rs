//! Files that are built into the binary, sent with an entity tag so that browsers can cache them.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum_extra::headers::{ETag, HeaderMapExt as _, IfNoneMatch};
use sha2::{Digest as _, Sha256};

/// The tag of these texts together: the first 64 bits of a SHA-256 over them.
///
/// # Panics
/// Never: digits between quotes are a tag.
pub fn tag_of<'a>(texts: impl IntoIterator<Item = &'a [u8]>) -> ETag {
    let mut digest = Sha256::new();
    for text in texts {
        digest.update(text);
    }
    let digits = hex::encode(&digest.finalize()[..8]);
    format!("\"{digits}\"").parse().expect("digits are a tag")
}

/// What a browser must not do with a page: run or load what `policy` does not name, tell other sites where it was,
/// or show it in a frame.
pub fn protect(headers: &mut HeaderMap, policy: HeaderValue) {
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
}

/// 200 with `content`, which sets its own type and maybe policy, or 304 for a client that has this tag.
pub fn answer(asked: &HeaderMap, tag: &ETag, content: impl IntoResponse) -> Response {
    let has_it = asked
        .typed_get::<IfNoneMatch>()
        .is_some_and(|tags| !tags.precondition_passes(tag));
    let mut response = if has_it {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        content.into_response()
    };
    let headers = response.headers_mut();
    headers.typed_insert(tag.clone());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
