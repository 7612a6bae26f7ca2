//! TLS: a certificate and its key from files, which are read again when they change, and who may be a client.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::vec;

use parking_lot::RwLock;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, ServerConfig, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{InconsistentKeys, RootCertStore};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use tokio::time::{MissedTickBehavior, interval};
use webpki::EndEntityCert;

use super::validity::ValidityWarning;
use crate::changed_file::{CHECK_EVERY, ChangedFile};

/// The longest file, in bytes: room for some hundreds of certificates.
const FILE_MAX_BYTES: u64 = 1024 * 1024;
/// The protocols above TLS (RFC 7301), the preferred one first.
const PROTOCOLS: [&[u8]; 2] = [HTTP2, b"http/1.1"];
/// The name of HTTP/2 (RFC 9113 §3.1).
pub const HTTP2: &[u8] = b"h2";

/// What a service needs for TLS 1.2 and 1.3, from PEM files. They are read again when one of them changes, or
/// when a symbolic link leads to another file; connections go on as they are.
pub struct Tls {
    files: Files,
    current: CurrentTls,
    warning: ValidityWarning,
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Tls").field(&self.files).finish()
    }
}

impl Tls {
    /// With the chain of certificates in the file `certificate`, the service's own first, and the private key
    /// in `key`. With `client_ca`, a client may show a certificate that one of the authorities in this file has
    /// issued; a client with another one is refused, and one without is served.
    ///
    /// A certificate that is not valid at the moment is used and logged.
    ///
    /// # Errors
    /// [`TlsError`].
    pub async fn open(
        certificate: &Path,
        key: &Path,
        client_ca: Option<&Path>,
    ) -> Result<Self, TlsError> {
        let files = Files {
            certificate: open(certificate).await?,
            key: open(key).await?,
            client_ca: match client_ca {
                Some(path) => Some(open(path).await?),
                None => None,
            },
        };
        let (config, mut warning) = files.load().await?;
        warning.log_if_due(certificate);
        Ok(Self {
            files,
            current: CurrentTls(Arc::new(RwLock::new(config))),
            warning,
        })
    }

    /// What new connections use from now on.
    pub(super) fn current(&self) -> CurrentTls {
        self.current.clone()
    }

    /// Reads the files again whenever one of them has changed. What cannot be used leaves everything as it is.
    pub(super) async fn keep_current(mut self) {
        let mut ticks = interval(CHECK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let certificate = self.files.certificate.path();
            self.warning.log_if_due(certificate);
            let loaded = match self.files.have_changed().await {
                Ok(false) => continue,
                Ok(true) => self.files.load().await,
                Err(error) => Err(error),
            };
            match loaded {
                Ok((config, warning)) => {
                    *self.current.0.write() = config;
                    self.warning = warning;
                    let certificate = self.files.certificate.path();
                    tracing::info!(
                        certificate = %certificate.display(),
                        "the files of TLS were read again"
                    );
                    self.warning.log_if_due(certificate);
                }
                Err(error) => tracing::error!(
                    %error,
                    "the files of TLS cannot be used; the certificate and the key of before stay in use"
                ),
            }
        }
    }
}

/// What new connections use at the moment. All of it is replaced at once, so that nobody resumes a session that
/// began with another certificate or another authority.
#[derive(Clone)]
pub struct CurrentTls(Arc<RwLock<Arc<ServerConfig>>>);

impl CurrentTls {
    /// For one connection.
    pub fn get(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.read())
    }
}

/// Why TLS cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file has nothing of what it should have.
    #[error("there is no {what} in PEM format in {}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What it should have.
        what: &'static str,
    },
    /// What a file has cannot be used.
    #[error("{} cannot be used for TLS: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A certificate and a key do not belong together.
    #[error(
        "the key in {} does not belong to the first certificate in {}",
        key.display(),
        certificate.display()
    )]
    Mismatch {
        /// The file with the certificate.
        certificate: PathBuf,
        /// The file with the key.
        key: PathBuf,
    },
}

#[derive(Debug)]
struct Files {
    certificate: ChangedFile,
    key: ChangedFile,
    client_ca: Option<ChangedFile>,
}

impl Files {
    /// Whether one of them has changed.
    ///
    /// # Errors
    /// When one begins to be missing.
    async fn have_changed(&mut self) -> Result<bool, TlsError> {
        let mut has_one = false;
        let mut missing = None;
        for file in [&mut self.certificate, &mut self.key]
            .into_iter()
            .chain(&mut self.client_ca)
        {
            match file.has_changed().await {
                Ok(has_changed) => has_one |= has_changed,
                Err(source) => missing = Some(unreadable(file.path(), source)),
            }
        }
        missing.map_or(Ok(has_one), Err)
    }

    async fn load(&self) -> Result<(Arc<ServerConfig>, ValidityWarning), TlsError> {
        let provider = Arc::new(ring::default_provider());
        let (certificate, chain) = certificates(&self.certificate).await?;
        let warning = ValidityWarning::new(certificate.clone());
        let chain = [certificate].into_iter().chain(chain).collect();
        let key = self.load_key(chain, &provider).await?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| invalid(&self.key, &error))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let mut authorities = RootCertStore::empty();
                let (first, others) = certificates(file).await?;
                for certificate in [first].into_iter().chain(others) {
                    let added = authorities.add(certificate);
                    added.map_err(|error| invalid(file, &error))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(authorities.into(), provider)
                        // Others have a token.
                        .allow_unauthenticated()
                        .build()
                        .map_err(|error| invalid(file, &error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        if self.client_ca.is_some() {
            // A session that is resumed keeps the client's certificate, also one that has expired meanwhile.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok((Arc::new(config), warning))
    }

    async fn load_key(
        &self,
        chain: Vec<CertificateDer<'static>>,
        provider: &rustls::crypto::CryptoProvider,
    ) -> Result<CertifiedKey, TlsError> {
        let pem = read(&self.key).await?;
        let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| match error {
            pem::Error::NoItemsFound => TlsError::Missing {
                path: self.key.path().to_owned(),
                what: "private key without a password",
            },
            error => invalid(&self.key, &error),
        })?;
        let certified = CertifiedKey::from_der(chain, key, provider);
        certified.map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::Mismatch {
                certificate: self.certificate.path().to_owned(),
                key: self.key.path().to_owned(),
            },
            rustls::Error::InvalidCertificate(_) => invalid(&self.certificate, &error),
            error => invalid(&self.key, &error),
        })
    }
}

/// The first certificate in a file, and all others.
async fn certificates(
    file: &ChangedFile,
) -> Result<
    (
        CertificateDer<'static>,
        vec::IntoIter<CertificateDer<'static>>,
    ),
    TlsError,
> {
    let pem = read(file).await?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let mut certificates = certificates
        .map_err(|error| invalid(file, &error))?
        .into_iter();
    let first = certificates.next().ok_or_else(|| TlsError::Missing {
        path: file.path().to_owned(),
        what: "certificate",
    })?;
    Ok((first, certificates))
}

async fn open(path: &Path) -> Result<ChangedFile, TlsError> {
    let file = ChangedFile::open(path.to_owned()).await;
    file.map_err(|source| unreadable(path, source))
}

async fn read(file: &ChangedFile) -> Result<Vec<u8>, TlsError> {
    let bytes = file.read(FILE_MAX_BYTES).await;
    bytes.map_err(|source| unreadable(file.path(), source))
}

fn unreadable(path: &Path, source: io::Error) -> TlsError {
    TlsError::Io {
        path: path.to_owned(),
        source,
    }
}

fn invalid(file: &ChangedFile, reason: &dyn fmt::Display) -> TlsError {
    TlsError::Invalid {
        path: file.path().to_owned(),
        reason: reason.to_string(),
    }
}

/// The certificate that a client has shown, and whose key it has. Each of its requests has this as an
/// extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The SHA-256 of the whole certificate.
    pub fingerprint: [u8; 32],
    /// The DNS names and URIs in its `subjectAltName` (RFC 5280 §4.2.1.6), the DNS names first.
    pub names: Arc<[String]>,
}

impl ClientCertificate {
    /// What a verified certificate says.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        let names = EndEntityCert::try_from(certificate).map(|certificate| {
            let names = certificate.valid_dns_names();
            let names = names.chain(certificate.valid_uri_names());
            names.map(str::to_owned).collect()
        });
        Self {
            fingerprint: Sha256::digest(certificate).into(),
            // It was read for the handshake already.
            names: names.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    #[test]
    fn a_client_is_known_by_the_names_in_its_certificate() {
        let mut params = CertificateParams::new(vec!["ann.example".to_owned()]).unwrap();
        let uri = SanType::URI("spiffe://example/ann".try_into().unwrap());
        params.subject_alt_names.insert(0, uri);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let client = ClientCertificate::of(certificate.der());
        assert_eq!(*client.names, ["ann.example", "spiffe://example/ann"]);
        let fingerprint: [u8; 32] = Sha256::digest(certificate.der()).into();
        assert_eq!(client.fingerprint, fingerprint);
    }
}
