//! One short function per operation: extract, one call, reply.

use axum::extract::State;
use axum::response::Response;

use super::client::Client;
use super::error::ApiError;
use super::extract::{Conditions, KeyInPath, PatchInBody, RangeInQuery, ValueInBody, Watched};
use super::observe::Deadline;
use super::prefer::{Shown, Wait};
use super::transaction::TransactionInBody;
use super::{Shared, listing, reply, watch};

pub async fn read(
    State(shared): State<Shared>,
    KeyInPath(key): KeyInPath,
    Conditions(conditions): Conditions,
    wait: Wait,
) -> Result<Response, ApiError> {
    let reading = shared.service.read_newer(key, &conditions, wait.0).await?;
    Ok(wait.applied_to(reply::reading(reading)))
}

pub async fn put(
    State(shared): State<Shared>,
    KeyInPath(key): KeyInPath,
    Conditions(conditions): Conditions,
    shown: Shown,
    Deadline(deadline): Deadline,
    ValueInBody(value, _admission): ValueInBody,
) -> Result<Response, ApiError> {
    let entry = shared
        .service
        .put(key, value, &conditions, deadline)
        .await?;
    Ok(shown.of(reply::written(&entry)))
}

pub async fn patch(
    State(shared): State<Shared>,
    KeyInPath(key): KeyInPath,
    Conditions(conditions): Conditions,
    shown: Shown,
    Deadline(deadline): Deadline,
    PatchInBody(patch, _admission): PatchInBody,
) -> Result<Response, ApiError> {
    let patched = shared.service.patch(key, patch, &conditions, deadline);
    let entry = patched.await?;
    Ok(shown.of(reply::entry(&entry)))
}

pub async fn delete(
    State(shared): State<Shared>,
    KeyInPath(key): KeyInPath,
    Conditions(conditions): Conditions,
    shown: Shown,
    Deadline(deadline): Deadline,
) -> Result<Response, ApiError> {
    let entry = shared.service.delete(key, &conditions, deadline).await?;
    Ok(shown.of(reply::entry(&entry)))
}

pub async fn transact(
    State(shared): State<Shared>,
    shown: Shown,
    Deadline(deadline): Deadline,
    TransactionInBody(transaction, _admission): TransactionInBody,
) -> Result<Response, ApiError> {
    let transaction = shared.service.transact(transaction, deadline).await?;
    Ok(shown.of(reply::transaction(&transaction)))
}

pub async fn list(
    State(shared): State<Shared>,
    RangeInQuery(range): RangeInQuery,
    Conditions(conditions): Conditions,
    wait: Wait,
) -> Result<Response, ApiError> {
    let reading = shared.service.list_newer(&range, &conditions, wait.0);
    let listing = listing::listing(reading.await?, range).await?;
    Ok(wait.applied_to(listing))
}

pub async fn watch(
    State(shared): State<Shared>,
    Watched { filter, since }: Watched,
    client: Client,
) -> Result<Response, ApiError> {
    client.watches();
    let watching = shared.service.watch(filter, since.as_ref()).await?;
    Ok(watch::stream(watching, shared.service.drained()))
}

pub async fn no_such_path() -> ApiError {
    ApiError::NoSuchPath
}

pub async fn method_not_allowed() -> ApiError {
    ApiError::MethodNotAllowed
}

pub async fn overloaded() -> ApiError {
    ApiError::TooManyConnections
}
