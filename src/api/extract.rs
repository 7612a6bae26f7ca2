//! Path, query and headers into types that cannot be invalid.

use std::borrow::Cow;
use std::error::Error as _;

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Uri};
use axum_extra::extract::WithRejection;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::as_of::as_of;
use super::conditional;
use super::error::ApiError;
use super::freshness::freshness;
use super::state::{HISTORY_PATH, KEY_PATH, REVERT_PATH};
use crate::model::{Filter, Key, LIST_MAX_LIMIT, Range, ResumeToken, ResumeTokenError, Revision};
use crate::precondition::Preconditions;
use crate::service::{AsOf, Freshness};

/// How far an event-stream client has read (WHATWG HTML §9.2.4).
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The key in the path of a request that has no query.
pub struct KeyInPath(pub Key);

impl<S: Sync> FromRequestParts<S> for KeyInPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        check_no_query(&parts.uri)?;
        key_in(&parts.uri).map(Self)
    }
}

/// The key in the path of a request, whatever its query.
///
/// # Errors
/// [`ApiError::InvalidKey`], [`ApiError::InvalidKeyEncoding`].
pub fn key_in(uri: &Uri) -> Result<Key, ApiError> {
    let after = |before: &str| uri.path().strip_prefix(before);
    let mut encoded = [KEY_PATH, HISTORY_PATH, REVERT_PATH]
        .into_iter()
        .filter_map(after);
    let encoded = encoded.next().unwrap_or_default();
    decode(encoded)?.parse().map_err(ApiError::InvalidKey)
}

/// Which state a read asks for.
pub enum When {
    /// The current one, as new as that.
    Now(Freshness),
    /// One of the past.
    Then(AsOf),
}

impl When {
    /// What these parameters of a query ask for, and the headers.
    ///
    /// # Errors
    /// [`ApiError::InvalidQuery`] if they exclude one another, or if `at` cannot be read.
    fn of(
        revision: Option<Revision>,
        at: Option<&str>,
        min_revision: Option<Revision>,
        headers: &HeaderMap,
    ) -> Result<Self, ApiError> {
        match as_of(revision, at)? {
            None => Ok(Self::Now(freshness(min_revision, headers))),
            Some(_) if min_revision.is_some() => {
                let reason = "min_revision is for the current state: not with revision or at";
                Err(ApiError::InvalidQuery(reason.to_owned()))
            }
            Some(as_of) => Ok(Self::Then(as_of)),
        }
    }
}

/// The key in the path, and which of its states the query asks for.
pub struct KeyWhen(pub Key, pub When);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WhenQuery {
    revision: Option<Revision>,
    at: Option<String>,
    min_revision: Option<Revision>,
}

impl<S: Send + Sync> FromRequestParts<S> for KeyWhen {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        if has_no_query(&parts.uri) {
            let when = When::Now(freshness(None, &parts.headers));
            return Ok(Self(key_in(&parts.uri)?, when));
        }
        let WhenQuery {
            revision,
            at,
            min_revision,
        } = query(parts, state).await?;
        if revision.is_none() && at.is_none() && min_revision.is_none() {
            let reason = "the query of an entry must have revision, at or min_revision";
            return Err(ApiError::InvalidQuery(reason.to_owned()));
        }
        let when = When::of(revision, at.as_deref(), min_revision, &parts.headers)?;
        Ok(Self(key_in(&parts.uri)?, when))
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

/// An unknown parameter may be a precondition that was meant for a header.
fn check_no_query(uri: &Uri) -> Result<(), ApiError> {
    if has_no_query(uri) {
        return Ok(());
    }
    let reason = "this path takes no query; preconditions and preferences are header fields";
    Err(ApiError::InvalidQuery(reason.to_owned()))
}

/// Some clients end every target with the question mark.
fn has_no_query(uri: &Uri) -> bool {
    uri.query().is_none_or(str::is_empty)
}

/// Percent-decodes strictly: a lenient decoder would accept two texts for one key.
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

/// The range that the query of a list asks for, and as of when.
pub struct RangeInQuery(pub Range, pub When);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RangeQuery {
    #[serde(default)]
    prefix: String,
    after: Option<String>,
    limit: Option<usize>,
    revision: Option<Revision>,
    at: Option<String>,
    min_revision: Option<Revision>,
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        // The source names the parameter; the outer message is about deserializing.
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
        let (at, headers) = (query.at.as_deref(), &parts.headers);
        let when = When::of(query.revision, at, query.min_revision, headers)?;
        let range = Range {
            prefix: query.prefix,
            after: query.after,
            limit: query.limit,
        };
        Ok(Self(range, when))
    }
}

/// What a watcher asks for, in the query and in `Last-Event-ID`, which an event-stream client sends when it
/// reconnects, so it takes precedence over `since`.
pub struct Watched {
    /// Which events it subscribes to.
    pub filter: Filter,
    /// Where it resumes.
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
                // A client cannot correct an id that it was given, so a malformed one counts as unknown.
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

/// Parses the id of an event or the `ETag` of a list, which a proxy may have weakened and which may lack its
/// quotes.
fn read_since(text: &str) -> Result<ResumeToken, ResumeTokenError> {
    let tag = text.strip_prefix("W/").unwrap_or(text);
    let opaque = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
    opaque.unwrap_or(tag).parse()
}

/// The query as a type of its own.
///
/// # Errors
/// [`ApiError::InvalidQuery`].
pub async fn query<T: DeserializeOwned, S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
) -> Result<T, ApiError> {
    // The form decoder would replace invalid UTF-8 with U+FFFD.
    let query = parts.uri.query().unwrap_or_default();
    if !is_percent_encoded(query) || percent_decode_str(query).decode_utf8().is_err() {
        let reason = "a parameter of the query is not percent-encoded UTF-8 (RFC 3986 §2.1)";
        return Err(ApiError::InvalidQuery(reason.to_owned()));
    }
    let WithRejection(Query(query), _) =
        WithRejection::<Query<T>, ApiError>::from_request_parts(parts, state).await?;
    Ok(query)
}
