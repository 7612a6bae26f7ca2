//! The body of `POST /revert/{key}`.

use axum::extract::{FromRequest, Request};
use serde::Deserialize;

use super::body::read_json;
use super::error::{ApiError, BodyError};
use super::state::Shared;
use crate::model::Revision;

/// The longest such body, in bytes.
const REVERT_MAX_BYTES: usize = 4096;

/// The revision whose value is to be brought back.
pub struct RevisionInBody(pub Revision);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RevertBody {
    revision: Revision,
}

impl FromRequest<Shared> for RevisionInBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, shared: &Shared) -> Result<Self, ApiError> {
        let (text, _admission) = read_json(request, shared, REVERT_MAX_BYTES).await?;
        // An array of the members would be taken for the object.
        let is_object = text.trim_ascii_start().starts_with(b"{");
        match serde_json::from_slice(&text) {
            Ok(RevertBody { revision }) if is_object => Ok(Self(revision)),
            _ => Err(BodyError::InvalidRevert.into()),
        }
    }
}
