//! Path, query and body into types that cannot be invalid.

use std::borrow::Cow;
use std::error::Error as _;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};
use axum_extra::extract::WithRejection;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::conditional;
use super::error::ApiError;
use super::{Limits, Shared};
use crate::blocking::work_on;
use crate::model::{Bookmark, Filter, Key, LIST_MAX_LIMIT, Range, Value};
use crate::patch::{Patch, PatchError};
use crate::precondition::Preconditions;

/// How much of a body that is too large is still read, so that its sender sees the answer.
const DISCARDED_BODY_MAX_BYTES: usize = 64 * 1024 * 1024;
/// What a value is sent as.
const JSON: &str = "application/json";
/// RFC 7396.
const MERGE_PATCH: &str = "application/merge-patch+json";
/// RFC 6902.
const JSON_PATCH: &str = "application/json-patch+json";
/// What `Accept-Patch` lists.
pub const PATCH_TYPES: &str =
    "application/merge-patch+json, application/json-patch+json, application/json";
/// Where an event-stream client has come to (WHATWG HTML §9.2.4).
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// The path that keys follow.
const KEY_PATH: &str = "/kv/";

/// The key in the path.
pub struct KeyInPath(pub Key);

impl<S: Sync> FromRequestParts<S> for KeyInPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let encoded = parts.uri.path().strip_prefix(KEY_PATH).unwrap_or_default();
        decode(encoded)?
            .parse()
            .map(Self)
            .map_err(ApiError::InvalidKey)
    }
}

/// Percent-decodes, and refuses what a lenient reader would let pass as it is: then two texts
/// would name one key.
fn decode(encoded: &str) -> Result<Cow<'_, str>, ApiError> {
    match percent_decode_str(encoded).decode_utf8() {
        Ok(text) if is_percent_encoded(encoded) => Ok(text),
        _ => Err(ApiError::InvalidKeyEncoding),
    }
}

/// Whether two hexadecimal digits follow each `%`.
fn is_percent_encoded(text: &str) -> bool {
    let parts = text.as_bytes().split(|&byte| byte == b'%');
    parts.skip(1).all(|after| {
        let digits = after.iter().take_while(|byte| byte.is_ascii_hexdigit());
        digits.take(2).count() == 2
    })
}

/// The preconditions in the headers.
pub struct Conditions(pub Preconditions);

impl<S: Sync> FromRequestParts<S> for Conditions {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        conditional::preconditions(&parts.headers).map(Self)
    }
}

/// The range that the query of a list asks for.
pub struct RangeInQuery(pub Range);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RangeQuery {
    #[serde(default)]
    prefix: String,
    after: Option<String>,
    limit: Option<usize>,
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        // The source names the parameter; the text around it speaks of deserializing.
        let reason = match rejection.source() {
            Some(source) => source.to_string(),
            None => rejection.body_text(),
        };
        Self::InvalidQuery(format!("the query cannot be read: {reason}"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RangeInQuery {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query: RangeQuery = query(parts, state).await?;
        if query
            .limit
            .is_some_and(|limit| !(1..=LIST_MAX_LIMIT).contains(&limit))
        {
            let reason = format!("limit must be from 1 to {LIST_MAX_LIMIT}");
            return Err(ApiError::InvalidQuery(reason));
        }
        Ok(Self(Range {
            prefix: query.prefix,
            after: query.after,
            limit: query.limit,
        }))
    }
}

/// What a watcher asks for, in the query and in `Last-Event-ID`, which an event-stream client sends
/// when it comes again and so goes before `since`.
pub struct Watched {
    /// What it is told of.
    pub filter: Filter,
    /// What it has seen.
    pub since: Option<Bookmark>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WatchQuery {
    prefix: Option<String>,
    key: Option<String>,
    since: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Watched {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query: WatchQuery = query(parts, state).await?;
        let invalid = |reason: String| ApiError::InvalidQuery(reason);
        let filter = match (query.key, query.prefix) {
            (Some(_), Some(_)) => {
                return Err(invalid("key and prefix exclude one another".to_owned()));
            }
            (Some(key), None) => Filter::Key(key.parse().map_err(ApiError::InvalidKey)?),
            (None, prefix) => Filter::Prefix(prefix.unwrap_or_default()),
        };
        let since = match query.since {
            None => None,
            // As the ETag of a list shows it, or without its quotes.
            Some(since) => match since.trim_matches('"').parse() {
                Ok(since) => Some(since),
                Err(error) => return Err(invalid(format!("since cannot be read: {error}"))),
            },
        };
        let last = parts.headers.get(LAST_EVENT_ID).filter(|id| !id.is_empty());
        Ok(Self {
            filter,
            since: match last {
                // A client cannot mend what it was once given, so what cannot be read is not known.
                Some(id) => Some(
                    id.to_str()
                        .ok()
                        .and_then(|id| id.parse().ok())
                        .unwrap_or_else(Bookmark::unknown),
                ),
                None => since,
            },
        })
    }
}

/// The query as a type of its own.
async fn query<T: DeserializeOwned, S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
) -> Result<T, ApiError> {
    // The form decoder would put U+FFFD in the place of what is not UTF-8.
    let query = parts.uri.query().unwrap_or_default();
    if !is_percent_encoded(query) || percent_decode_str(query).decode_utf8().is_err() {
        let reason = "a parameter of the query is not percent-encoded UTF-8 (RFC 3986 §2.1)";
        return Err(ApiError::InvalidQuery(reason.to_owned()));
    }
    let WithRejection(Query(query), _) =
        WithRejection::<Query<T>, ApiError>::from_request_parts(parts, state).await?;
    Ok(query)
}

/// A JSON value in the body.
pub struct ValueInBody(pub Value);

impl FromRequest<Shared> for ValueInBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, shared: &Shared) -> Result<Self, ApiError> {
        let text = read_json(request, shared.limits, shared.limits.max_value_bytes).await?;
        work_on(text.len(), move || Value::from_json(&text))
            .await?
            .map(Self)
            .map_err(ApiError::InvalidJson)
    }
}

/// A patch document in the body.
pub struct PatchInBody(pub Patch);

impl FromRequest<Shared> for PatchInBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, shared: &Shared) -> Result<Self, ApiError> {
        let read_patch = match media_type(request.headers()).as_deref() {
            // Generated clients call a merge patch so.
            Some(MERGE_PATCH | JSON) => Patch::merge,
            Some(JSON_PATCH) => Patch::operations,
            _ => return Err(ApiError::UnsupportedPatchType),
        };
        check_content_coding(request.headers())?;
        let text = read(request, shared.limits, shared.limits.max_value_bytes).await?;
        let patch = work_on(text.len(), move || read_patch(&text)).await?;
        patch.map(Self).map_err(|error| match error {
            PatchError::Syntax(error) => ApiError::InvalidJson(error),
            other => ApiError::InvalidPatch(other),
        })
    }
}

/// A body that is said to be JSON, of at most so many bytes. A browser on another site can send
/// the other types without asking, so they are not taken.
///
/// # Errors
/// [`ApiError::UnsupportedMediaType`], [`ApiError::UnsupportedContentCoding`],
/// [`ApiError::ValueTooLarge`], [`ApiError::IncompleteBody`].
pub async fn read_json(
    request: Request,
    limits: Limits,
    max_bytes: usize,
) -> Result<Bytes, ApiError> {
    if media_type(request.headers()).as_deref() != Some(JSON) {
        return Err(ApiError::UnsupportedMediaType);
    }
    check_content_coding(request.headers())?;
    read(request, limits, max_bytes).await
}

/// The one media type that the headers name, without its parameters.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let named = types.next()?.to_str().ok()?;
    let essence = named.split(';').next()?.trim();
    match types.next() {
        None => Some(essence.to_ascii_lowercase()),
        Some(_) => None,
    }
}

fn check_content_coding(headers: &HeaderMap) -> Result<(), ApiError> {
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    if codings.all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        Ok(())
    } else {
        Err(ApiError::UnsupportedContentCoding)
    }
}

/// Reads the body and stops at `limit` bytes; does not even begin where its length is told before.
async fn read(request: Request, limits: Limits, limit: usize) -> Result<Bytes, ApiError> {
    let waits_for_consent = request.headers().contains_key(header::EXPECT);
    let mut body = request.into_body();
    let too_large = ApiError::ValueTooLarge { limit };
    if body.size_hint().lower() > limit as u64 {
        // Reading would be the consent that the client waits for (RFC 9110 §10.1.1).
        if !waits_for_consent {
            discard(body, limits.request_timeout);
        }
        return Err(too_large);
    }
    match Limited::new(&mut body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            discard(body, limits.request_timeout);
            Err(too_large)
        }
        Err(_) => Err(ApiError::IncompleteBody),
    }
}

/// Goes on reading while the answer is sent: a client that writes all before it reads would find
/// its connection reset, and never see why.
fn discard(mut body: Body, at_most: Duration) {
    let reading = async move {
        let mut left = DISCARDED_BODY_MAX_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            let read = frame.data_ref().map_or(0, Bytes::len);
            if read > left {
                return;
            }
            left -= read;
        }
    };
    tokio::spawn(tokio::time::timeout(at_most, reading));
}
