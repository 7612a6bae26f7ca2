//! One short function per operation: extract, one call, reply.

use std::time::Duration;

use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};

use super::body::{PatchInBody, ValueInBody};
use super::caller::Call;
use super::client::Client;
use super::deadline::Deadline;
use super::error::{ApiError, Refused, refused};
use super::extract::{Conditions, KeyInPath, KeyWhen, NoQuery, RangeInQuery, Watched, When};
use super::history::{self, HistoryInQuery, KeyHistory};
use super::once::{NoBody, Once};
use super::prefer::{PutPreferences, ReturnPreference, Wait};
use super::revert::RevisionInBody;
use super::transaction::TransactionInBody;
use super::{freshness, listing, reply, watch};
use crate::model::Filter;
use crate::service::{Aged, Error, Freshness};

pub async fn read(
    call: Call,
    KeyWhen(key, when): KeyWhen,
    Conditions(conditions): Conditions,
    wait: Wait,
) -> Result<Response, Refused> {
    let operations = call.operations();
    // All but the first are boxed, so that its future needs no room for them.
    let aged = match (when, wait.end()) {
        (When::Now(Freshness::Strict), None) => operations.read(key, &conditions).await.into(),
        (When::Now(Freshness::Strict), Some(end)) => {
            let newer = Box::pin(operations.read_newer(key, &conditions, end));
            newer.await.into()
        }
        (When::Now(freshness), end) => {
            Box::pin(operations.read_aged(key, freshness, &conditions, end)).await
        }
        (When::Then(as_of), _) => {
            // Nothing comes that is newer, so it is not waited for.
            let reading = Box::pin(operations.read_as_of(key, as_of, &conditions)).await;
            let reading = or_refused(&call, reading)?;
            return Ok(reply::reading(call.service(), reading));
        }
    };
    let (reading, age) = aged_or_refused(&call, aged)?;
    let response = reply::reading(call.service(), reading);
    Ok(freshness::answer(response, &wait, age))
}

pub async fn put(
    call: Call,
    KeyInPath(key): KeyInPath,
    Conditions(conditions): Conditions,
    PutPreferences { shown, merges }: PutPreferences,
    Deadline(deadline): Deadline,
    uri: Uri,
    Once(ValueInBody(value, _admission), request): Once<ValueInBody>,
) -> Result<Response, Refused> {
    let operations = call.operations().for_request(request.as_ref());
    let put = if merges {
        // Boxed, so that the futures of other writes need no room for it.
        Box::pin(operations.put_or_merge(key, value, &conditions, deadline)).await
    } else {
        operations.put(key, value, &conditions, deadline).await
    };
    let written = or_refused(&call, put)?;
    Ok(reply::put(call.service(), &uri, &written, shown))
}

pub async fn patch(
    call: Call,
    KeyInPath(key): KeyInPath,
    Conditions(conditions): Conditions,
    preference: ReturnPreference,
    Deadline(deadline): Deadline,
    Once(PatchInBody(patch, _admission), request): Once<PatchInBody>,
) -> Result<Response, Refused> {
    let operations = call.operations().for_request(request.as_ref());
    let patched = operations.patch(key, patch, &conditions, deadline);
    let written = or_refused(&call, patched.await)?;
    Ok(reply::written(call.service(), &written, preference))
}

pub async fn delete(
    call: Call,
    KeyInPath(key): KeyInPath,
    Conditions(conditions): Conditions,
    preference: ReturnPreference,
    Deadline(deadline): Deadline,
    Once(NoBody, request): Once<NoBody>,
) -> Result<Response, Refused> {
    let operations = call.operations().for_request(request.as_ref());
    let deleted = operations.delete(key, &conditions, deadline);
    let written = or_refused(&call, deleted.await)?;
    Ok(reply::written(call.service(), &written, preference))
}

pub async fn transact(
    _: NoQuery,
    call: Call,
    preference: ReturnPreference,
    Deadline(deadline): Deadline,
    Once(TransactionInBody(transaction, _admission), request): Once<TransactionInBody>,
) -> Result<Response, Refused> {
    let operations = call.operations().for_request(request.as_ref());
    let transacted = operations.transact(transaction, deadline);
    let transacted = or_refused(&call, transacted.await)?;
    Ok(reply::transaction(call.service(), &transacted, preference))
}

pub async fn list(
    call: Call,
    RangeInQuery(range, when): RangeInQuery,
    Conditions(conditions): Conditions,
    wait: Wait,
) -> Result<Response, Refused> {
    let operations = call.operations();
    let aged = match (when, wait.end()) {
        (When::Now(Freshness::Strict), None) => operations.list(&range, &conditions).await.into(),
        (When::Now(Freshness::Strict), Some(end)) => {
            let newer = Box::pin(operations.list_newer(&range, &conditions, end));
            newer.await.into()
        }
        (When::Now(freshness), end) => {
            Box::pin(operations.list_aged(&range, freshness, &conditions, end)).await
        }
        (When::Then(as_of), _) => {
            let reading = operations.list_as_of(&range, as_of, &conditions).await;
            let reading = or_refused(&call, reading)?;
            return Ok(listing::listing(reading, range).await?);
        }
    };
    let (reading, age) = aged_or_refused(&call, aged)?;
    let response = listing::listing(reading, range).await?;
    Ok(freshness::answer(response, &wait, age))
}

pub async fn watch(
    call: Call,
    Watched { filter, since }: Watched,
    client: Client,
) -> Result<Response, Refused> {
    let operations = call.operations();
    let watching = operations.watch(filter, since).await;
    let watching = or_refused(&call, watching)?;
    client.watches();
    Ok(watch::stream(watching, call.service().drained()))
}

pub async fn key_history(
    call: Call,
    KeyHistory(key, asked): KeyHistory,
) -> Result<Response, Refused> {
    let history = call.operations().history(Filter::Key(key));
    let history = or_refused(&call, history)?;
    Ok(history::answer(history, asked).await?)
}

pub async fn history(
    call: Call,
    HistoryInQuery { prefix, asked }: HistoryInQuery,
) -> Result<Response, Refused> {
    let history = call.operations().history(Filter::Prefix(prefix));
    let history = or_refused(&call, history)?;
    Ok(history::answer(history, asked).await?)
}

pub async fn revert(
    call: Call,
    KeyInPath(key): KeyInPath,
    Conditions(conditions): Conditions,
    preference: ReturnPreference,
    Deadline(deadline): Deadline,
    uri: Uri,
    Once(RevisionInBody(revision), request): Once<RevisionInBody>,
) -> Result<Response, Refused> {
    let operations = call.operations().for_request(request.as_ref());
    let reverted = operations.revert(key, revision, &conditions, deadline);
    let written = or_refused(&call, reverted.await)?;
    Ok(reply::put(call.service(), &uri, &written, preference))
}

/// What the service did, or the answer that says why not.
fn or_refused<T>(call: &Call, done: Result<T, Error>) -> Result<T, Refused> {
    done.map_err(|error| refused(call.service(), error))
}

/// What a read gave with its age, or the answer that says why it gave nothing.
fn aged_or_refused<T>(
    call: &Call,
    Aged { reading, age }: Aged<T>,
) -> Result<(T, Option<Duration>), Refused> {
    match reading {
        Ok(reading) => Ok((reading, age)),
        Err(error) => Err(refused(call.service(), error).with_age(age)),
    }
}

/// 404; 204 for `OPTIONS *`, which asks for the service as a whole (RFC 9110 §9.3.7).
pub async fn no_such_path(method: Method, uri: Uri) -> Response {
    if method == Method::OPTIONS && uri.path() == "*" {
        let every_method = HeaderValue::from_static("GET,HEAD,POST,PUT,PATCH,DELETE");
        return (StatusCode::NO_CONTENT, [(header::ALLOW, every_method)]).into_response();
    }
    ApiError::NoSuchPath.into_response()
}

/// 405; 204 for `OPTIONS`, which asks for the methods. The router adds `Allow` to both.
pub async fn method_not_allowed(method: Method) -> Response {
    if method == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    ApiError::MethodNotAllowed.into_response()
}

pub async fn overloaded() -> ApiError {
    ApiError::TooManyConnections
}
