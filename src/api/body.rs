//! Bodies into values and patches, within bounds of bytes and time.

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout_at};

use super::deadline::Deadline;
use super::error::{ApiError, BodyError};
use super::state::Shared;
use crate::model::Value;
use crate::patch::Patch;
use crate::service::{Admission, InFlight};

/// How much of a body that is too large is still read, so that its sender sees the answer.
const DISCARDED_BODY_MAX_BYTES: usize = 64 * 1024 * 1024;
/// The initial buffer for a body, in bytes; it grows as data arrives.
const FIRST_BODY_BYTES: usize = 16 * 1024;
/// The media type of a value.
const JSON: &str = "application/json";
/// RFC 7396.
const MERGE_PATCH: &str = "application/merge-patch+json";
/// RFC 6902.
const JSON_PATCH: &str = "application/json-patch+json";

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
        let value = read.await?.map_err(BodyError::InvalidJson)?;
        Ok(Self(value, admission))
    }
}

/// A patch document in the body, with the admission of its bytes.
pub struct PatchInBody(pub Patch, pub Admission);

impl FromRequest<Shared> for PatchInBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, shared: &Shared) -> Result<Self, ApiError> {
        let read_patch = match media_type(request.headers()) {
            Some(it) if it.eq_ignore_ascii_case(MERGE_PATCH) => read_merge_patch,
            Some(it) if it.eq_ignore_ascii_case(JSON_PATCH) => read_json_patch,
            Some(it) if it.eq_ignore_ascii_case(JSON) => read_untyped_patch,
            _ => return Err(BodyError::NotPatchType.into()),
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

fn read_merge_patch(text: &[u8]) -> Result<Patch, BodyError> {
    Ok(Patch::merge(text)?)
}

fn read_json_patch(text: &[u8]) -> Result<Patch, BodyError> {
    Ok(Patch::operations(text)?)
}

/// Generated clients call a merge patch plain JSON. An array is most likely a JSON Patch, which as a merge
/// patch would replace the whole value by itself.
fn read_untyped_patch(text: &[u8]) -> Result<Patch, BodyError> {
    let patch = Patch::merge(text)?;
    if text.trim_ascii_start().starts_with(b"[") {
        return Err(BodyError::UntypedPatch);
    }
    Ok(patch)
}

/// Reads a body of at most `max_bytes` whose media type is JSON. A page of another site can make a browser
/// send other types without a preflight, so they are refused.
///
/// # Errors
/// [`BodyError::NotJsonType`], [`BodyError::Compressed`], those of [`read`].
pub async fn read_json(
    request: Request,
    shared: &Shared,
    max_bytes: usize,
) -> Result<(Vec<u8>, Admission), ApiError> {
    if !media_type(request.headers()).is_some_and(is_json) {
        return Err(BodyError::NotJsonType.into());
    }
    check_content(request.headers())?;
    read(request, shared, max_bytes).await
}

/// Whether it is JSON, or JSON by another name (RFC 6839 §3.1). A patch is not a value: its sender
/// meant PATCH.
fn is_json(media_type: &str) -> bool {
    let is = |other: &str| media_type.eq_ignore_ascii_case(other);
    if is(JSON) {
        return true;
    }
    let (start, end) = ("application/", "+json");
    let bytes = media_type.as_bytes();
    let is_named = bytes.len() > start.len() + end.len()
        && bytes[..start.len()].eq_ignore_ascii_case(start.as_bytes())
        && bytes[bytes.len() - end.len()..].eq_ignore_ascii_case(end.as_bytes());
    is_named && !is(MERGE_PATCH) && !is(JSON_PATCH)
}

/// Whether the body is a JSON Patch.
pub fn is_json_patch(headers: &HeaderMap) -> bool {
    media_type(headers).is_some_and(|it| it.eq_ignore_ascii_case(JSON_PATCH))
}

/// The one media type that the headers name, without its parameters; its case does not matter (RFC 9110 §8.3.1).
fn media_type(headers: &HeaderMap) -> Option<&str> {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let named = types.next()?.to_str().ok()?;
    let essence = named.split(';').next()?.trim();
    types.next().is_none().then_some(essence)
}

/// The body must be complete and not compressed.
fn check_content(headers: &HeaderMap) -> Result<(), ApiError> {
    if headers.contains_key(header::CONTENT_RANGE) {
        return Err(ApiError::PartialContent);
    }
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    if codings.all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        Ok(())
    } else {
        Err(BodyError::Compressed.into())
    }
}

/// Reads the body and stops at `limit` bytes; reads nothing if the declared length is larger.
///
/// # Errors
/// [`BodyError::TooLarge`], [`BodyError::Incomplete`], [`ApiError::TimedOut`]; and
/// [`Unserved::Overloaded`] as soon as there is no room for what has arrived.
async fn read(
    request: Request,
    shared: &Shared,
    limit: usize,
) -> Result<(Vec<u8>, Admission), ApiError> {
    let waits_for_consent = request.headers().contains_key(header::EXPECT);
    let Deadline(deadline) = Deadline::of(request.extensions());
    let mut body = request.into_body();
    let declared_bytes = body.size_hint().lower();
    if declared_bytes > limit as u64 {
        // Reading would be the consent that the client waits for (RFC 9110 §10.1.1).
        if !waits_for_consent {
            discard(body, deadline);
        }
        return Err(BodyError::TooLarge { limit }.into());
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
/// [`BodyError::TooLarge`], [`BodyError::Incomplete`], and [`Unserved::Overloaded`].
async fn gather(
    body: &mut Body,
    in_flight: &InFlight,
    limit: usize,
) -> Result<(Vec<u8>, Admission), ApiError> {
    let mut admission = in_flight.admission();
    // The declared length is only a promise: reserving it would take memory for data that may never come.
    let declared_bytes = usize::try_from(body.size_hint().lower()).unwrap_or(limit);
    let mut text = Vec::with_capacity(declared_bytes.min(FIRST_BODY_BYTES));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| BodyError::Incomplete)?;
        let data = frame.into_data().unwrap_or_default();
        if text.len() + data.len() > limit {
            return Err(BodyError::TooLarge { limit }.into());
        }
        admission.grow(data.len())?;
        text.extend_from_slice(&data);
    }
    Ok((text, admission))
}

/// Keeps reading while the answer is sent: a client that writes everything before it reads would find its
/// connection reset, and never see why.
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
