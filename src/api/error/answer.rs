//! A failing answer without an entry.

use axum::Json;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::failure::Failure;
use super::kind::ApiError;
use crate::api::reply::NO_STORE;

/// What every failing answer says.
#[derive(Serialize)]
pub struct ErrorBody<'a> {
    pub error: &'static str,
    pub message: &'a str,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let failure = Failure::from(&self);
        let body = Json(ErrorBody {
            error: failure.code,
            message: &failure.message,
        });
        // A 404 may be cached unless it says otherwise, and would hide the entry that comes next.
        let no_store = [(header::CACHE_CONTROL, NO_STORE)];
        let mut response = (failure.status, no_store, body).into_response();
        if let Some((name, value)) = failure.header {
            response.headers_mut().insert(name, value);
        }
        if let Some(logged) = failure.logged {
            response.extensions_mut().insert(logged);
        }
        response
    }
}
