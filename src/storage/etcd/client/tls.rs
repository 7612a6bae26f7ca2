//! What connections trust, and how this service shows who it is.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use crate::storage::etcd::credentials::{Certificates, CredentialFiles, Renewed};
use crate::storage::etcd::error::SetupError;
use crate::storage::etcd::settings::EtcdSettings;

/// HTTP/2, which gRPC needs (RFC 9113 §3.2).
const PROTOCOL: &[u8] = b"h2";

/// What connections trust and show.
pub struct Tls {
    files: CredentialFiles,
    current: Renewed<Arc<Identity>>,
}

/// Some certificates, and the connector that is made from them.
struct Identity {
    certificates: Certificates,
    connector: Option<TlsConnector>,
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.certificates == other.certificates
    }
}

impl Identity {
    fn new(certificates: Certificates) -> Result<Self, SetupError> {
        let connector = connector(&certificates)?;
        Ok(Self {
            certificates,
            connector,
        })
    }
}

impl Tls {
    /// # Errors
    /// [`SetupError`] if the settings contradict each other, or what is in PEM cannot be used.
    pub fn new(settings: &EtcdSettings) -> Result<Self, SetupError> {
        let identity = Identity::new(settings.certificates())?;
        Ok(Self {
            files: settings.files.clone(),
            current: Renewed::new("certificate or key", Arc::new(identity)),
        })
    }

    /// Whether connections are encrypted.
    pub fn is_used(&self) -> bool {
        self.current.last().connector.is_some()
    }

    /// What the next connection is made with: as it is in the files now, if that can be used. `None` without TLS.
    pub async fn connector(&self) -> Option<TlsConnector> {
        let last = self.current.last();
        if self.files.ca.is_none() {
            return last.connector.clone();
        }
        let read = self.files.read_certificates().await;
        let read = read.and_then(|certificates| {
            if certificates == last.certificates {
                return Ok(last);
            }
            let identity = Identity::new(certificates);
            identity.map(Arc::new).map_err(|error| error.to_string())
        });
        self.current.renew(read).connector.clone()
    }
}

/// `None` if there are none.
fn connector(from: &Certificates) -> Result<Option<TlsConnector>, SetupError> {
    let identity = match (&from.certificate, &from.key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some((certificate, key)),
        _ => return Err(SetupError::Identity),
    };
    let Some(ca) = &from.ca else {
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
