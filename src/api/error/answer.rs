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
        Failure::from(&self).into_response()
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = Json(ErrorBody {
            error: self.code,
            message: &self.message,
        });
        // A 404 may be cached unless it says otherwise, and would hide the entry that comes next.
        let no_store = [(header::CACHE_CONTROL, NO_STORE)];
        let mut response = (self.status, no_store, body).into_response();
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, value);
        }
        if let Some(logged) = self.logged {
            response.extensions_mut().insert(logged);
        }
        response
    }
}
