//! The body of `POST /transactions` → operations that cannot be invalid.

mod read;

use axum::extract::{FromRequest, Request};
use axum::http::header;

use self::read::{ReadError, read};
use super::body::read_json;
use super::conditional;
use super::deadline::Deadline;
use super::error::{ApiError, BodyError};
use super::state::Shared;
use crate::service::{Admission, TRANSACTION_MAX_VALUES, Transaction};

/// The transaction in the body, with the admission of its bytes.
pub struct TransactionInBody(pub Transaction, pub Admission);

impl FromRequest<Shared> for TransactionInBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, shared: &Shared) -> Result<Self, ApiError> {
        for field in [
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            header::IF_UNMODIFIED_SINCE,
        ] {
            if request.headers().contains_key(&field) {
                return Err(ApiError::InvalidPrecondition {
                    field: conditional::name_of(&field),
                    reason: "the conditions of a transaction belong in its operations",
                });
            }
        }
        let Deadline(deadline) = Deadline::of(request.extensions());
        let max_bytes = shared.service.max_value_bytes() * TRANSACTION_MAX_VALUES;
        let (text, admission) = read_json(request, shared, max_bytes).await?;
        let workers = shared.service.workers();
        let transaction = workers.run(text.len(), deadline, move |stop| {
            read(&text, &|| stop.is_due())
        });
        match transaction.await? {
            Ok(transaction) => Ok(Self(transaction, admission)),
            Err(ReadError::Syntax(error)) => Err(BodyError::InvalidJson(error).into()),
            Err(ReadError::Invalid(reason)) => Err(BodyError::InvalidTransaction(reason).into()),
            Err(ReadError::Stopped) => Err(ApiError::TimedOut),
        }
    }
}
