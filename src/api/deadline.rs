//! The time that a write has.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::Extensions;
use axum::http::request::Parts;
use tokio::time::Instant;

/// When the time of a write is over. (That of a read is looked after by [`Observe`](super::observe::Observe) alone.)
#[derive(Debug, Clone, Copy)]
pub struct Deadline(pub Instant);

impl<S: Sync> FromRequestParts<S> for Deadline {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.extensions))
    }
}

impl Deadline {
    /// As `Observe` has noted it.
    pub fn of(extensions: &Extensions) -> Self {
        let noted = extensions.get().copied();
        // Without `Observe` around the routes there is no limit to go by; nothing is put off then.
        noted.unwrap_or_else(|| Self(Instant::now()))
    }
}
