//! A client that does not know the service.

use reqwest::{Client, ClientBuilder, Response};

/// A new client.
pub fn client() -> Client {
    builder().build().unwrap()
}

/// The same, to be set up. `reqwest` must be given its cryptography, also for requests without any.
pub fn builder() -> ClientBuilder {
    // Only the first time; then it is there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
}

/// What a new client gets from `url`.
///
/// # Errors
/// As [`reqwest::get`].
pub async fn get(url: impl reqwest::IntoUrl) -> reqwest::Result<Response> {
    client().get(url).send().await
}
