//! Why a request got no response.

use std::error::Error;
use std::path::Path;

/// Within the error about a certificate that nobody known has signed (`rustls::CertificateError`).
const UNKNOWN_ISSUER: &str = "UnknownIssuer";

/// Within every error about a certificate (`rustls::Error`).
pub const CERTIFICATE: &str = "invalid peer certificate";

/// The innermost cause: the outer ones only repeat the request.
pub fn cause(error: &reqwest::Error) -> String {
    let mut innermost: &dyn Error = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}

/// What to do about a certificate that is not trusted.
pub fn untrusted(reason: &str, ca: Option<&Path>) -> String {
    match ca {
        Some(ca) => format!(
            "\nThe service answers, but no authority in {} vouches for its certificate with this name. Check the name \
             in --server; if the service has a certificate of another authority, name the file of that: --ca FILE",
            ca.display()
        ),
        None if reason.contains(UNKNOWN_ISSUER) => {
            "\nIf the service has a certificate of your own authority, name that authority's file: --ca FILE"
                .to_owned()
        }
        None => "\nThe service answers, but its certificate is not valid for this URL, or not signed by an authority \
                 that this command trusts. Check the name in --server; if the certificate was renewed, name its \
                 authority's file: --ca FILE"
            .to_owned(),
    }
}
