//! `Prefer` (RFC 7240): what a client would like, but does not require.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::future::BoxFuture;
use tokio::time::sleep;

use super::client::Client;
use super::fields::{unquoted_split, word};

/// The request field.
const PREFER: HeaderName = HeaderName::from_static("prefer");
/// The field that says which preferences were followed.
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The longest that an answer is held, in seconds.
const WAIT_MAX_SECONDS: u64 = 60;

/// What the answer to a write should show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReturnPreference {
    /// What was written.
    Representation,
    /// Its headers alone (RFC 7240 §4.2).
    Minimal,
}

/// 204 with `Preference-Applied`. An error is always sent in full.
pub fn minimal() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let minimal = HeaderValue::from_static("return=minimal");
    let headers = response.headers_mut();
    headers.insert(PREFERENCE_APPLIED, minimal);
    response
}

/// What a client would like of a put.
pub struct PutPreferences {
    /// What the answer should show.
    pub shown: ReturnPreference,
    /// Whether it is to be merged with what others have written, if it is stale.
    pub merges: bool,
}

/// Whether the headers ask for a merge.
pub fn wants_merge(headers: &HeaderMap) -> bool {
    preference(headers, "merge").is_some_and(|value| value.is_empty())
}

/// Adds to `Preference-Applied` that a merge was made.
pub fn add_merge_applied(headers: &mut HeaderMap) {
    let applied = if headers.contains_key(PREFERENCE_APPLIED) {
        "return=minimal, merge"
    } else {
        "merge"
    };
    headers.insert(PREFERENCE_APPLIED, HeaderValue::from_static(applied));
}

impl<S: Sync> FromRequestParts<S> for PutPreferences {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        Ok(Self {
            shown: ReturnPreference::from_request_parts(parts, state).await?,
            merges: wants_merge(&parts.headers),
        })
    }
}

impl<S: Sync> FromRequestParts<S> for ReturnPreference {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(match preference(&parts.headers, "return") {
            Some(value) if value == "minimal" => Self::Minimal,
            _ => Self::Representation,
        })
    }
}

/// How long a reader whose copy is current would wait for a newer state (RFC 7240 §4.3).
pub struct Wait {
    time: Duration,
    /// The default if there is no wait.
    client: Client,
}

impl Wait {
    /// The wait in the headers: zero if there is none, and at most `WAIT_MAX_SECONDS`.
    pub fn time_of_headers(headers: &HeaderMap) -> Duration {
        let seconds = preference(headers, "wait").and_then(|wait| wait.parse().ok());
        Duration::from_secs(seconds.map_or(0, |seconds: u64| seconds.min(WAIT_MAX_SECONDS)))
    }

    /// Ready when the answer has been held long enough; `None` if it is not to be held. The client counts as
    /// waiting from the first poll.
    pub fn end(&self) -> Option<BoxFuture<'static, ()>> {
        let time = self.time;
        if time.is_zero() {
            return None;
        }
        let client = self.client.clone();
        Some(Box::pin(async move {
            client.waits();
            sleep(time).await;
        }))
    }

    /// Adds `Preference-Applied` if the client asked to wait.
    pub fn applied_to(&self, mut response: Response) -> Response {
        if self.time.is_zero() {
            return response;
        }
        // Digits are allowed in a header.
        if let Ok(held) = HeaderValue::try_from(format!("wait={}", self.time.as_secs())) {
            response.headers_mut().insert(PREFERENCE_APPLIED, held);
        }
        response
    }
}

impl<S: Sync> FromRequestParts<S> for Wait {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let conditional = parts.headers.contains_key(header::IF_NONE_MATCH);
        let time = if conditional {
            Self::time_of_headers(&parts.headers)
        } else {
            Duration::ZERO
        };
        let client = if time.is_zero() {
            Client::default()
        } else {
            Client::of(&parts.extensions)
        };
        Ok(Self { time, client })
    }
}

/// The value of a preference; of several with one name the first counts (RFC 7240 §2). Malformed and unknown
/// preferences are ignored.
fn preference(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get_all(PREFER)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| unquoted_split(line, ','))
        .find_map(|preference| {
            // Parameters of the preference follow a semicolon.
            let preference = unquoted_split(preference, ';').next().unwrap_or_default();
            let (token, value) = preference.split_once('=').unwrap_or((preference, ""));
            let is_asked_for = token.trim().eq_ignore_ascii_case(name);
            is_asked_for.then(|| word(value.trim()))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_preference_of_a_name_counts_however_it_is_written() {
        for (lines, value) in [
            (&["return=minimal"][..], Some("minimal")),
            (&["RETURN = \"minimal\" ; x=1"], Some("minimal")),
            (&["respond-async, return=minimal"], Some("minimal")),
            (
                &["respond-async", "wait=10 ,return=minimal"],
                Some("minimal"),
            ),
            (
                &["return=representation, return=minimal"],
                Some("representation"),
            ),
            (&["returns=minimal", "minimal"], None),
            (&["return"], Some("")),
            // Text inside a quoted string is not a preference.
            (&["x=\"a, return=minimal\""], None),
            (
                &["x=\"a, return=minimal, b\", return=representation"],
                Some("representation"),
            ),
            (&["x=\"a\\\", return=minimal, b\""], None),
            (&["x; y=\", return=minimal\""], None),
            (&["return=\"mini,mal\""], Some("mini,mal")),
            (&["return=\"mini\\mal\"; a=\"b;c\""], Some("minimal")),
            (&["return=\"\\\"\""], Some("\"")),
            (
                &["x=\"open, return=minimal", "return=minimal"],
                Some("minimal"),
            ),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(PREFER, HeaderValue::from_static(line));
            }
            assert_eq!(
                preference(&headers, "return").as_deref(),
                value,
                "{lines:?}"
            );
        }
    }
}
