//! Path, query and body into types that cannot be invalid.

use std::borrow::Cow;
use std::error::Error as _;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Uri, header};
use axum_extra::extract::WithRejection;
use http_body_util::BodyExt as _;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

use super::conditional;
use super::deadline::Deadline;
use super::error::ApiError;
use super::state::{KEY_PATH, Shared};
use crate::model::{Filter, Key, LIST_MAX_LIMIT, Range, ResumeToken, ResumeTokenError, Value};
use crate::patch::{Patch, PatchError};
use crate::precondition::Preconditions;
use crate::service::{Admission, InFlight};

/// How much of a body that is too large is still read, so that its sender sees the answer.
const DISCARDED_BODY_MAX_BYTES: usize = 64 * 1024 * 1024;
/// How much room a body has at first, in bytes; it grows with what comes in.
const FIRST_BODY_BYTES: usize = 16 * 1024;
/// What a value is sent as.
const JSON: &str = "application/json";
/// RFC 7396.
const MERGE_PATCH: &str = "application/merge-patch+json";
/// RFC 6902.
const JSON_PATCH: &str = "application/json-patch+json";
/// Where an event-stream client has come to (WHATWG HTML §9.2.4).
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The key in the path of a request that has no query.
pub struct KeyInPath(pub Key);

impl<S: Sync> FromRequestParts<S> for KeyInPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        check_no_query(&parts.uri)?;
        let encoded = parts.uri.path().strip_prefix(KEY_PATH).unwrap_or_default();
        decode(encoded)?
            .parse()
            .map(Self)
            .map_err(ApiError::InvalidKey)
    }
}

/// A request whose path takes no query and that has none.
pub struct NoQuery;

impl<S: Sync> FromRequestParts<S> for NoQuery {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        check_no_query(&parts.uri).map(|()| Self)
    }
}

/// A parameter that is not known may be a precondition that was meant for a header.
fn check_no_query(uri: &Uri) -> Result<(), ApiError> {
    if uri.query().is_none_or(str::is_empty) {
        return Ok(());
    }
    let reason = "this path takes no query; preconditions and preferences are header fields";
    Err(ApiError::InvalidQuery(reason.to_owned()))
}

/// Percent-decodes, and refuses what a lenient reader would let pass as it is: then two texts
/// would name one key.
fn decode(encoded: &str) -> Result<Cow<'_, str>, ApiError> {
    if !encoded.contains('%') {
        return Ok(Cow::Borrowed(encoded));
    }
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
    pub since: Option<ResumeToken>,
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
            Some(since) => match read_since(&since) {
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
                        .and_then(|id| read_since(id).ok())
                        .unwrap_or_else(ResumeToken::unknown),
                ),
                None => since,
            },
        })
    }
}

/// A point that an event showed as its id, or a list as its `ETag`: also weakened by a proxy, or without its
/// quotes.
fn read_since(text: &str) -> Result<ResumeToken, ResumeTokenError> {
    let tag = text.strip_prefix("W/").unwrap_or(text);
    let opaque = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
    opaque.unwrap_or(tag).parse()
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

/// A JSON value in the body, with the admission of its bytes.
pub struct ValueInBody(pub Value, pub Admission);

impl FromRequest<Shared> for ValueInBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, shared: &Shared) -> Result<Self, ApiError> {
        let deadline = Deadline::of(request.extensions()).0;
        let max_bytes = shared.service.max_value_bytes();
        let (text, admission) = read_json(request, shared, max_bytes).await?;
        let workers = shared.service.workers();
        let read = workers.run(text.len(), deadline, move |_| Value::from_json(&text));
        let value = read.await?.map_err(ApiError::InvalidJson)?;
        Ok(Self(value, admission))
    }
}

/// A patch document in the body, with the admission of its bytes.
pub struct PatchInBody(pub Patch, pub Admission);

impl FromRequest<Shared> for PatchInBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, shared: &Shared) -> Result<Self, ApiError> {
        let read_patch = match media_type(request.headers()).as_deref() {
            Some(MERGE_PATCH) => read_merge_patch,
            Some(JSON_PATCH) => read_json_patch,
            Some(JSON) => read_untyped_patch,
            _ => return Err(ApiError::UnsupportedPatchType),
        };
        check_content(request.headers())?;
        let deadline = Deadline::of(request.extensions()).0;
        let max_bytes = shared.service.max_value_bytes();
        let (text, admission) = read(request, shared, max_bytes).await?;
        let workers = shared.service.workers();
        let patch = workers.run(text.len(), deadline, move |_| read_patch(&text));
        Ok(Self(patch.await??, admission))
    }
}

impl From<PatchError> for ApiError {
    fn from(error: PatchError) -> Self {
        match error {
            PatchError::Syntax(error) => Self::InvalidJson(error),
            other => Self::InvalidPatch(other),
        }
    }
}

fn read_merge_patch(text: &[u8]) -> Result<Patch, ApiError> {
    Ok(Patch::merge(text)?)
}

fn read_json_patch(text: &[u8]) -> Result<Patch, ApiError> {
    Ok(Patch::operations(text)?)
}

/// Generated clients call a merge patch plain JSON. An array is most likely a JSON Patch, which as a merge
/// patch would replace the whole value by itself.
fn read_untyped_patch(text: &[u8]) -> Result<Patch, ApiError> {
    let patch = Patch::merge(text)?;
    if text.trim_ascii_start().starts_with(b"[") {
        return Err(ApiError::UntypedPatch);
    }
    Ok(patch)
}

/// A body that is said to be JSON, of at most so many bytes. A browser on another site can send
/// the other types without asking, so they are not taken.
///
/// # Errors
/// [`ApiError::UnsupportedMediaType`], [`ApiError::UnsupportedContentCoding`], those of [`read`].
pub async fn read_json(
    request: Request,
    shared: &Shared,
    max_bytes: usize,
) -> Result<(Vec<u8>, Admission), ApiError> {
    if !media_type(request.headers()).is_some_and(|media_type| is_json(&media_type)) {
        return Err(ApiError::UnsupportedMediaType);
    }
    check_content(request.headers())?;
    read(request, shared, max_bytes).await
}

/// Whether it is JSON, or JSON by another name (RFC 6839 §3.1). A patch is no value: who sends one here means
/// another method.
fn is_json(media_type: &str) -> bool {
    let name = media_type.strip_prefix("application/");
    let is_named = name
        .and_then(|name| name.strip_suffix("+json"))
        .is_some_and(|name| !name.is_empty());
    media_type == JSON || (is_named && ![MERGE_PATCH, JSON_PATCH].contains(&media_type))
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

/// The body must be the whole of what it says, and as it is.
fn check_content(headers: &HeaderMap) -> Result<(), ApiError> {
    if headers.contains_key(header::CONTENT_RANGE) {
        return Err(ApiError::PartialContent);
    }
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    if codings.all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        Ok(())
    } else {
        Err(ApiError::UnsupportedContentCoding)
    }
}

/// Reads the body and stops at `limit` bytes; does not even begin where its length is told before.
///
/// # Errors
/// [`ApiError::ValueTooLarge`], [`ApiError::IncompleteBody`], [`ApiError::TimedOut`]; and
/// [`Error::Overloaded`] as soon as there is no room for what has come in.
async fn read(
    request: Request,
    shared: &Shared,
    limit: usize,
) -> Result<(Vec<u8>, Admission), ApiError> {
    let waits_for_consent = request.headers().contains_key(header::EXPECT);
    let Deadline(deadline) = Deadline::of(request.extensions());
    let mut body = request.into_body();
    let told_bytes = body.size_hint().lower();
    if told_bytes > limit as u64 {
        // Reading would be the consent that the client waits for (RFC 9110 §10.1.1).
        if !waits_for_consent {
            discard(body, deadline);
        }
        return Err(ApiError::ValueTooLarge { limit });
    }
    let in_flight = shared.service.in_flight();
    let gathered = timeout_at(deadline, gather(&mut body, in_flight, limit)).await;
    match gathered {
        Ok(Ok(gathered)) => Ok(gathered),
        Err(_) => Err(ApiError::TimedOut),
        Ok(Err(error)) => {
            discard(body, deadline);
            Err(error)
        }
    }
}

/// All of a body, with the admission of its bytes.
///
/// # Errors
/// [`ApiError::ValueTooLarge`], [`ApiError::IncompleteBody`], and [`Error::Overloaded`].
async fn gather(
    body: &mut Body,
    in_flight: &InFlight,
    limit: usize,
) -> Result<(Vec<u8>, Admission), ApiError> {
    let mut admission = in_flight.admission();
    // What is told is only promised: many promises would take memory that nobody has sent.
    let told_bytes = usize::try_from(body.size_hint().lower()).unwrap_or(limit);
    let mut text = Vec::with_capacity(told_bytes.min(FIRST_BODY_BYTES));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ApiError::IncompleteBody)?;
        let data = frame.into_data().unwrap_or_default();
        if text.len() + data.len() > limit {
            return Err(ApiError::ValueTooLarge { limit });
        }
        admission.grow(data.len())?;
        text.extend_from_slice(&data);
    }
    Ok((text, admission))
}

/// Goes on reading while the answer is sent: a client that writes all before it reads would find
/// its connection reset, and never see why.
fn discard(mut body: Body, deadline: Instant) {
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
    tokio::spawn(timeout_at(deadline, reading));
}
