//! Signing in and out, and who one is.

use std::time::SystemTime;

use axum::Json;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};

use super::body::read_json;
use super::caller::{Call, ClientAddress, PLAIN_COOKIE, SECURE_COOKIE, refusal, session_of};
use super::client::Client;
use super::error::{ApiError, BodyError};
use super::extract::NoQuery;
use super::reply::NO_STORE;
use super::state::Shared;
use crate::access::{Grant, SignInError};
use crate::model::{Name, Timestamp};

/// The longest request to sign in, in bytes.
const SIGN_IN_MAX_BYTES: usize = 4096;

/// 200 with who asks, and what that caller may do.
pub async fn whoami(_: NoQuery, call: Call) -> Response {
    let caller = call.caller();
    let body = WhoamiBody {
        name: caller.name(),
        grants: caller.grants().as_slice(),
        expires_at: caller.expires_at(),
    };
    ([(header::CACHE_CONTROL, NO_STORE)], Json(body)).into_response()
}

#[derive(Serialize)]
struct WhoamiBody<'a> {
    name: Option<&'a Name>,
    grants: &'a [Grant],
    expires_at: Option<Timestamp>,
}

/// 204 with the cookie of a new session.
pub async fn sign_in(
    _: NoQuery,
    State(shared): State<Shared>,
    headers: HeaderMap,
    client: Client,
    address: ClientAddress,
    TokenInBody(token): TokenInBody,
) -> Result<Response, ApiError> {
    let authority = &shared.access.authority;
    let now = SystemTime::now().into();
    let id = match authority.sign_in(token.as_bytes(), address.0, now) {
        Ok(id) => id,
        Err(SignInError::Unauthorized(error)) => return Err(refusal(error).await),
        Err(SignInError::Random(error)) => return Err(ApiError::NoRandomness(error.to_string())),
    };
    if let Some(before) = session_of(&headers, client.peer()) {
        authority.sign_out(before);
    }
    // A proxy may speak TLS in front of the service.
    let is_of_tls = |origin: &HeaderValue| origin.as_bytes().starts_with(b"https:");
    let came_over_tls =
        client.peer().is_secured || headers.get(header::ORIGIN).is_some_and(is_of_tls);
    Ok(signed(cookie(&id, came_over_tls)))
}

/// 204, and the session is over.
pub async fn sign_out(
    _: NoQuery,
    State(shared): State<Shared>,
    headers: HeaderMap,
    client: Client,
) -> Response {
    if let Some(id) = session_of(&headers, client.peer()) {
        shared.access.authority.sign_out(id);
    }
    let mut response = signed(removed(SECURE_COOKIE, "; Secure"));
    let headers = response.headers_mut();
    headers.append(header::SET_COOKIE, removed(PLAIN_COOKIE, ""));
    response
}

fn signed(cookie: HeaderValue) -> Response {
    let headers = [
        (header::CACHE_CONTROL, NO_STORE),
        (header::SET_COOKIE, cookie),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

fn cookie(id: &str, is_secure: bool) -> HeaderValue {
    let (name, secure) = if is_secure {
        (SECURE_COOKIE, "; Secure")
    } else {
        (PLAIN_COOKIE, "")
    };
    field(format!(
        "{name}={id}; Path=/; HttpOnly; SameSite=Strict{secure}"
    ))
}

fn removed(name: &str, secure: &str) -> HeaderValue {
    field(format!(
        "{name}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict{secure}"
    ))
}

/// Ids have letters and digits, which are all allowed.
fn field(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

/// The token in the body of a request to sign in.
pub struct TokenInBody(String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignInBody {
    token: String,
}

impl FromRequest<Shared> for TokenInBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, shared: &Shared) -> Result<Self, ApiError> {
        let (text, _admission) = read_json(request, shared, SIGN_IN_MAX_BYTES).await?;
        // An array of the members would be taken for the object.
        let is_object = text.trim_ascii_start().starts_with(b"{");
        match serde_json::from_slice(&text) {
            Ok(SignInBody { token }) if is_object => Ok(Self(token)),
            _ => Err(BodyError::InvalidSignIn.into()),
        }
    }
}
