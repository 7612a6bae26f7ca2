//! One short function per operation: extract, one call, reply.

use axum::extract::State;
use axum::response::Response;

use super::error::ApiError;
use super::extract::{Conditions, KeyInPath, RangeInQuery, ValueInBody};
use super::{Shared, reply};

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
    ValueInBody(value): ValueInBody,
) -> Result<Response, ApiError> {
    let entry = shared.service.put(key, value, conditions).await?;
    Ok(reply::written(&entry))
}

pub async fn delete(
    State(shared): State<Shared>,
    KeyInPath(key): KeyInPath,
    Conditions(conditions): Conditions,
) -> Result<Response, ApiError> {
    let entry = shared.service.delete(key, conditions).await?;
    Ok(reply::deleted(&entry))
}

pub async fn list(
    State(shared): State<Shared>,
    RangeInQuery(range): RangeInQuery,
    Conditions(conditions): Conditions,
) -> Result<Response, ApiError> {
    let reading = shared.service.list(&range, &conditions).await?;
    Ok(reply::listing(reading))
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
