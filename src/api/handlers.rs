//! One short function per operation: extract, one call, reply.

use axum::extract::State;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};

use super::body::{PatchInBody, ValueInBody};
use super::client::Client;
use super::deadline::Deadline;
use super::error::{ApiError, Refused, refused};
use super::extract::{Conditions, KeyInPath, NoQuery, RangeInQuery, Watched};
use super::prefer::{ReturnPreference, Wait};
use super::state::Shared;
use super::transaction::TransactionInBody;
use super::{listing, reply, watch};
use crate::service::Error;

pub async fn read(
    State(shared): State<Shared>,
    KeyInPath(key): KeyInPath,
    Conditions(conditions): Conditions,
    wait: Wait,
) -> Result<Response, Refused> {
    let service = &shared.service;
    let reading = match wait.end() {
        None => service.read(key, &conditions).await,
        // Boxed, so that the futures of other reads need no room for it.
        Some(end) => Box::pin(service.read_newer(key, &conditions, end)).await,
    };
    let reading = or_refused(&shared, reading)?;
    let response = reply::reading(service, reading);
    Ok(wait.applied_to(response))
}

pub async fn put(
    State(shared): State<Shared>,
    KeyInPath(key): KeyInPath,
    Conditions(conditions): Conditions,
    preference: ReturnPreference,
    Deadline(deadline): Deadline,
    uri: Uri,
    ValueInBody(value, _admission): ValueInBody,
) -> Result<Response, Refused> {
    let put = shared.service.put(key, value, &conditions, deadline);
    let entry = or_refused(&shared, put.await)?;
    Ok(reply::written(&shared.service, &uri, &entry, preference))
}

pub async fn patch(
    State(shared): State<Shared>,
    KeyInPath(key): KeyInPath,
    Conditions(conditions): Conditions,
    preference: ReturnPreference,
    Deadline(deadline): Deadline,
    PatchInBody(patch, _admission): PatchInBody,
) -> Result<Response, Refused> {
    let patched = shared.service.patch(key, patch, &conditions, deadline);
    let entry = or_refused(&shared, patched.await)?;
    Ok(reply::entry(&shared.service, &entry, preference))
}

pub async fn delete(
    State(shared): State<Shared>,
    KeyInPath(key): KeyInPath,
    Conditions(conditions): Conditions,
    preference: ReturnPreference,
    Deadline(deadline): Deadline,
) -> Result<Response, Refused> {
    let deleted = shared.service.delete(key, &conditions, deadline);
    let entry = or_refused(&shared, deleted.await)?;
    Ok(reply::entry(&shared.service, &entry, preference))
}

pub async fn transact(
    _: NoQuery,
    State(shared): State<Shared>,
    preference: ReturnPreference,
    Deadline(deadline): Deadline,
    TransactionInBody(transaction, _admission): TransactionInBody,
) -> Result<Response, Refused> {
    let transacted = shared.service.transact(transaction, deadline);
    let transacted = or_refused(&shared, transacted.await)?;
    Ok(reply::transaction(&shared.service, &transacted, preference))
}

pub async fn list(
    State(shared): State<Shared>,
    RangeInQuery(range): RangeInQuery,
    Conditions(conditions): Conditions,
    wait: Wait,
) -> Result<Response, Refused> {
    let service = &shared.service;
    let reading = match wait.end() {
        None => service.list(&conditions).await,
        Some(end) => Box::pin(service.list_newer(&range, &conditions, end)).await,
    };
    let reading = or_refused(&shared, reading)?;
    let listing = listing::listing(reading, range).await?;
    Ok(wait.applied_to(listing))
}

pub async fn watch(
    State(shared): State<Shared>,
    Watched { filter, since }: Watched,
    client: Client,
) -> Result<Response, Refused> {
    let watching = shared.service.watch(filter, since.as_ref()).await;
    let watching = or_refused(&shared, watching)?;
    client.watches();
    Ok(watch::stream(watching, shared.service.drained()))
}

/// What the service did, or the answer that says why not.
fn or_refused<T>(shared: &Shared, done: Result<T, Error>) -> Result<T, Refused> {
    done.map_err(|error| refused(&shared.service, error))
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
