//! What connections trust, and how this service shows who it is.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use crate::storage::etcd::error::SetupError;
use crate::storage::etcd::settings::EtcdSettings;

/// HTTP/2, which gRPC needs (RFC 9113 §3.2).
const PROTOCOL: &[u8] = b"h2";

/// `None` if the settings are for connections without TLS.
///
/// # Errors
/// [`SetupError`] if the settings contradict each other, or what is in PEM cannot be used.
pub fn connector(settings: &EtcdSettings) -> Result<Option<TlsConnector>, SetupError> {
    let identity = match (&settings.certificate, &settings.key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some((certificate, key)),
        _ => return Err(SetupError::Identity),
    };
    let Some(ca) = &settings.ca else {
        return match identity {
            Some(_) => Err(SetupError::NoCa),
            None => Ok(None),
        };
    };
    let mut authorities = RootCertStore::empty();
    for certificate in certificates("certificate of the authority", ca)? {
        let added = authorities.add(certificate);
        added.map_err(|error| unusable("certificate of the authority", &error))?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable("certificate of the authority", &error))?
        .with_root_certificates(authorities);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates("client certificate", certificate)?;
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
                pem::Error::NoItemsFound => unusable("key", &"there is no private key in it"),
                error => unusable("key", &error),
            })?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| unusable("client certificate", &error))?
        }
    };
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Some(TlsConnector::from(Arc::new(config))))
}

fn certificates(
    what: &'static str,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, SetupError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| unusable(what, &error))?;
    if found.is_empty() {
        return Err(unusable(what, &"there is no certificate in it"));
    }
    Ok(found)
}

fn unusable(what: &'static str, reason: &dyn fmt::Display) -> SetupError {
    SetupError::Pem {
        what,
        reason: reason.to_string(),
    }
}
