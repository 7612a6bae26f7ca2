//! The deadline of a write.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::Extensions;
use axum::http::request::Parts;
use tokio::time::Instant;

/// The deadline of a write. (That of a read is enforced by [`Observe`](super::observe::Observe) alone.)
#[derive(Debug, Clone, Copy)]
pub struct Deadline(pub Instant);

impl<S: Sync> FromRequestParts<S> for Deadline {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.extensions))
    }
}

impl Deadline {
    /// The deadline that `Observe` has set.
    pub fn of(extensions: &Extensions) -> Self {
        let noted = extensions.get().copied();
        // Without `Observe` around the routes there is no known limit, so nothing may wait.
        noted.unwrap_or_else(|| Self(Instant::now()))
    }
}
