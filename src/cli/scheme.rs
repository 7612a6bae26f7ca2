//! Whether a port speaks https although it was asked over http, or the reverse.

use std::time::Duration;

use reqwest::redirect::Policy;

use super::cause::{CERTIFICATE, cause};
use super::server::Server;

/// How long the port may take to show what it speaks.
const TIMEOUT: Duration = Duration::from_secs(5);

/// In the error about bytes that are not TLS (`rustls::Error`).
const NO_TLS: &str = "InvalidContentType";
/// Within the error about a response that is not HTTP (`hyper::Error`), such as an alert of TLS.
const NO_HTTP: &str = "invalid HTTP version";
/// Within the error about an alert of TLS (`rustls::Error`).
const ALERT: &str = "fatal alert";

/// Whether a failure with this reason can come of the wrong scheme. The service has then done nothing: it was not
/// able to read the request.
pub fn may_come_of_scheme(reason: &str) -> bool {
    reason.contains(NO_TLS) || reason.contains(NO_HTTP)
}

/// The URL of the service with the other scheme, if its port speaks that. The port is asked for it, without a token
/// or a password.
pub async fn speaks_other_scheme(server: &Server) -> Option<String> {
    let other = server.with_other_scheme()?;
    let http = reqwest::Client::builder()
        .timeout(TIMEOUT)
        .redirect(Policy::none());
    let url = format!("{}/health/live", other.name());
    let answer = http.build().ok()?.get(url).send().await;
    let speaks_it = match answer {
        Ok(_) => true,
        Err(error) => {
            let reason = cause(&error);
            other.is_https()
                && [CERTIFICATE, ALERT]
                    .iter()
                    .any(|part| reason.contains(part))
        }
    };
    speaks_it.then(|| other.name())
}
