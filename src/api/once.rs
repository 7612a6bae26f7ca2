//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): a request that is done once, however often it is
//! sent.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Error as BodyError;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use hyper::body::{Frame, SizeHint};
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use sha2::{Digest as _, Sha256};

use super::body::is_json_patch;
use super::error::ApiError;
use super::prefer;
use super::state::Shared;
use crate::model::{Fingerprint, IdempotencyKey, IdempotencyKeyError, Request as NamedRequest};

/// The request field.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The field of an answer that was given before.
pub const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// What a handler takes from the body, and the request if it is to be done once:
/// [`Operations::for_request`](crate::service::Operations::for_request) takes that.
pub struct Once<T>(pub T, pub Option<NamedRequest>);

/// The body of a request that needs none, which is not read.
pub struct NoBody;

impl<T: FromRequest<Shared, Rejection = ApiError>> FromRequest<Shared> for Once<T> {
    type Rejection = ApiError;

    async fn from_request(mut request: Request, shared: &Shared) -> Result<Self, ApiError> {
        let key = key_in(request.headers()).map_err(ApiError::InvalidIdempotencyKey)?;
        let hash = key.is_some().then(|| hash_body(&mut request));
        let taken = T::from_request(request, shared).await?;
        let fingerprint = hash.and_then(|hash| hash.lock().take().map(fingerprint_of));
        let named = key.zip(fingerprint);
        let named = named.map(|(key, fingerprint)| NamedRequest { key, fingerprint });
        Ok(Self(taken, named))
    }
}

impl<S: Sync> FromRequest<S> for NoBody {
    type Rejection = ApiError;

    async fn from_request(_: Request, _: &S) -> Result<Self, ApiError> {
        Ok(Self)
    }
}

/// The key in the headers.
///
/// # Errors
/// What is wrong with it, in words for a person.
fn key_in(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, String> {
    let mut lines = headers.get_all(IDEMPOTENCY_KEY).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Ok(None),
        (Some(line), None) => key_of(line).map(Some),
        (Some(_), Some(_)) => Err("it is there more than once".to_owned()),
    }
}

fn key_of(line: &HeaderValue) -> Result<IdempotencyKey, String> {
    let characters = || IdempotencyKeyError::Characters.to_string();
    let text = line.to_str().map_err(|_| characters())?.trim();
    let key = match text.strip_prefix('"') {
        Some(quoted) => unquoted(quoted).ok_or("it is not one string in double quotes")?,
        None if text.contains([' ', '\t', '"', '\\', ',', ';']) => {
            return Err("it needs double quotes, or other characters".to_owned());
        }
        None => text.to_owned(),
    };
    IdempotencyKey::new(&key).map_err(|error| error.to_string())
}

/// What a string says whose first quote was read (RFC 8941 §4.2.5).
fn unquoted(text: &str) -> Option<String> {
    let mut string = String::with_capacity(text.len());
    let mut characters = text.chars();
    loop {
        match characters.next()? {
            '"' => return characters.as_str().is_empty().then_some(string),
            '\\' => match characters.next()? {
                escaped @ ('"' | '\\') => string.push(escaped),
                _ => return None,
            },
            character => string.push(character),
        }
    }
}

/// Hashes what the request is, and has its body add itself as it is read.
fn hash_body(request: &mut Request) -> Arc<Mutex<Option<Sha256>>> {
    let hash = Arc::new(Mutex::new(Some(hash_of_head(request))));
    let body = std::mem::take(request.body_mut());
    *request.body_mut() = Body::new(Hashed {
        body,
        hash: Arc::clone(&hash),
    });
    hash
}

/// The hash of all of a request that says what it does, without its body.
fn hash_of_head(request: &Request) -> Sha256 {
    let mut hash = Sha256::new();
    // The length keeps apart what would otherwise run into one another.
    let mut add = |text: &[u8]| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    };
    let (uri, headers) = (request.uri(), request.headers());
    add(request.method().as_str().as_bytes());
    let path: Vec<u8> = percent_decode_str(uri.path()).collect();
    add(&path);
    add(uri.query().unwrap_or_default().as_bytes());
    // All other types of a body that is taken mean the same.
    add(&[u8::from(is_json_patch(headers))]);
    for name in [
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        header::IF_UNMODIFIED_SINCE,
    ] {
        let lines = headers.get_all(name).iter();
        let lines: Vec<&[u8]> = lines.map(|line| line.as_bytes().trim_ascii()).collect();
        add(&lines.join(&b", "[..]));
    }
    add(&[u8::from(prefer::wants_merge(headers))]);
    hash
}

fn fingerprint_of(hash: Sha256) -> Fingerprint {
    let mut bytes = [0; Fingerprint::BYTES];
    bytes.copy_from_slice(&hash.finalize()[..Fingerprint::BYTES]);
    Fingerprint::from_bytes(bytes)
}

/// A body that adds itself to a hash as it is read, until that is taken.
struct Hashed {
    body: Body,
    hash: Arc<Mutex<Option<Sha256>>>,
}

impl HttpBody for Hashed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && let Some(hash) = &mut *self.hash.lock()
        {
            hash.update(data);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Method;

    use super::*;

    fn key(lines: &[&str]) -> Result<Option<String>, String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            let line = HeaderValue::from_bytes(line.as_bytes()).unwrap();
            headers.append(IDEMPOTENCY_KEY, line);
        }
        key_in(&headers).map(|key| key.map(|key| key.as_str().to_owned()))
    }

    #[test]
    fn a_key_is_a_string_or_a_bare_token() {
        let longest = "x".repeat(255);
        for (line, text) in [
            ("\"8e03978e-40d5\"", "8e03978e-40d5"),
            ("8e03978e-40d5", "8e03978e-40d5"),
            (" \"a b\" ", "a b"),
            (r#""a\"b\\c""#, r#"a"b\c"#),
            ("a/b+c==", "a/b+c=="),
            ("\",;\"", ",;"),
            (&longest, &longest),
        ] {
            assert_eq!(key(&[line]), Ok(Some(text.to_owned())), "{line}");
        }
        assert_eq!(key(&[]), Ok(None));
        let too_long = "x".repeat(256);
        for lines in [
            &[""][..],
            &["\"\""],
            &["\""],
            &["\"a"],
            &["a\""],
            &["a b"],
            &["a, b"],
            &["a;b=c"],
            &["\"a\"; b=c"],
            &["\"a\", \"b\""],
            &[r#""a\b""#],
            &[r#""a\"#],
            &["\"ä\""],
            &["\"a\tb\""],
            &[&too_long],
            &["a", "a"],
        ] {
            assert!(key(lines).is_err(), "{lines:?}");
        }
    }

    fn head(method: Method, path: &str, headers: &[(&str, &str)]) -> Fingerprint {
        let mut request = axum::http::Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        fingerprint_of(hash_of_head(&request.body(Body::empty()).unwrap()))
    }

    #[test]
    fn a_fingerprint_depends_on_all_that_says_what_is_done_and_on_nothing_else() {
        let put = |headers| head(Method::PUT, "/kv/a/b", headers);
        let plain = put(&[("content-type", "application/json")]);
        for same in [
            head(Method::PUT, "/kv/a%2Fb", &[]),
            put(&[("content-type", "application/x+json; charset=utf-8")]),
            put(&[("prefer", "return=minimal"), ("x-request-id", "2")]),
            put(&[("idempotency-key", "other"), ("if-modified-since", "x")]),
        ] {
            assert_eq!(same, plain);
        }
        for other in [
            head(Method::POST, "/kv/a/b", &[]),
            head(Method::PUT, "/kv/a/c", &[]),
            head(Method::PUT, "/kv/a/b?c", &[]),
            put(&[("content-type", "application/json-patch+json")]),
            put(&[("if-match", "\"a\"")]),
            put(&[("if-none-match", "\"a\"")]),
            put(&[("if-unmodified-since", "x")]),
            put(&[("prefer", "merge")]),
        ] {
            assert_ne!(other, plain);
        }
        let lines = [("if-match", "\"a\""), ("if-match", "\"b\"")];
        assert_eq!(put(&lines), put(&[("if-match", "\"a\", \"b\"")]));
    }
}
