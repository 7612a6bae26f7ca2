//! One short function per operation: extract, one call, reply.

use axum::extract::State;
use axum::response::Response;

use super::error::ApiError;
use super::extract::{Conditions, KeyInPath, PatchInBody, RangeInQuery, ValueInBody};
use super::prefer::Shown;
use super::transaction::TransactionInBody;
use super::{Shared, listing, reply};

pub async fn read(
    State(shared): State<Shared>,
    KeyInPath(key): KeyInPath,
    Conditions(conditions): Conditions,
) -> Result<Response, ApiError> {
    let reading = shared.service.read(key, &conditions).await?;
    Ok(reply::reading(reading))
}

pub async fn put(
    State(shared): State<Shared>,
    KeyInPath(key): KeyInPath,
    Conditions(conditions): Conditions,
    shown: Shown,
    ValueInBody(value): ValueInBody,
) -> Result<Response, ApiError> {
    let entry = shared.service.put(key, value, conditions).await?;
    Ok(shown.of(reply::written(&entry)))
}

pub async fn patch(
    State(shared): State<Shared>,
    KeyInPath(key): KeyInPath,
    Conditions(conditions): Conditions,
    shown: Shown,
    PatchInBody(patch): PatchInBody,
) -> Result<Response, ApiError> {
    let limit = shared.limits.max_value_bytes;
    let entry = shared.service.patch(key, patch, limit, conditions).await?;
    Ok(shown.of(reply::entry(&entry)))
}

pub async fn delete(
    State(shared): State<Shared>,
    KeyInPath(key): KeyInPath,
    Conditions(conditions): Conditions,
    shown: Shown,
) -> Result<Response, ApiError> {
    let entry = shared.service.delete(key, conditions).await?;
    Ok(shown.of(reply::entry(&entry)))
}

pub async fn transact(
    State(shared): State<Shared>,
    shown: Shown,
    TransactionInBody(operations): TransactionInBody,
) -> Result<Response, ApiError> {
    let transaction = shared.service.transact(operations).await?;
    Ok(shown.of(reply::transaction(&transaction)))
}

pub async fn list(
    State(shared): State<Shared>,
    RangeInQuery(range): RangeInQuery,
    Conditions(conditions): Conditions,
) -> Result<Response, ApiError> {
    let reading = shared.service.list(&conditions).await?;
    listing::listing(reading, range).await
}

pub async fn no_such_path() -> ApiError {
    ApiError::NoSuchPath
}

pub async fn method_not_allowed() -> ApiError {
    ApiError::MethodNotAllowed
}

pub async fn overloaded() -> ApiError {
    ApiError::Overloaded
}
