//! Certificates, and clients that speak TLS.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType, date_time_ymd,
};
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::binary::Process;

/// Who issues certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate.
    pub pem: String,
    certificate: CertificateDer<'static>,
}

/// A certificate and its key, in PEM format.
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self {
            pem: certificate.pem(),
            certificate: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    /// For a service on this machine.
    pub fn issue(&self) -> Pair {
        self.issue_for(&["localhost", "127.0.0.1"])
    }

    /// For a client with these names.
    pub fn issue_for(&self, names: &[&str]) -> Pair {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        self.sign(&CertificateParams::new(names).unwrap())
    }

    /// For a client that a URI identifies.
    pub fn issue_for_uri(&self, uri: &str) -> Pair {
        let mut params = CertificateParams::default();
        let uri = SanType::URI(uri.try_into().unwrap());
        params.subject_alt_names.push(uri);
        self.sign(&params)
    }

    /// One that was valid long ago.
    pub fn issue_expired(&self) -> Pair {
        self.issue_dated("ann.example", 2001, 2002)
    }

    /// One for this name that is valid from the first day of a year to that of another.
    pub fn issue_dated(&self, name: &str, from: i32, until: i32) -> Pair {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        self.sign(&params)
    }

    /// One for a service on this machine that is valid for so long from now on.
    pub fn issue_lasting(&self, time: Duration) -> Pair {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        params.not_after = date_time_ymd(1970, 1, 1) + now + time;
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// A client that trusts this authority and has no certificate.
    pub fn client(&self) -> Client {
        Client::new(self, None, rustls::ALL_VERSIONS)
    }

    /// A client that trusts this authority and has a certificate.
    pub fn client_with(&self, pair: &Pair) -> Client {
        Client::new(self, Some(pair), rustls::ALL_VERSIONS)
    }

    /// A client that speaks one version of TLS.
    pub fn client_of_version(&self, version: &'static SupportedProtocolVersion) -> Client {
        Client::new(self, None, &[version])
    }
}

impl Pair {
    pub fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }

    /// Writes both into `folder`.
    pub fn write(&self, folder: &Path) {
        fs::write(folder.join("tls.crt"), &self.certificate).unwrap();
        fs::write(folder.join("tls.key"), &self.key).unwrap();
    }

    /// Renames files with both into `folder`.
    pub fn replace(&self, folder: &Path) {
        let new = folder.join("new");
        fs::create_dir(&new).unwrap();
        self.write(&new);
        for name in ["tls.crt", "tls.key"] {
            fs::rename(new.join(name), folder.join(name)).unwrap();
        }
        fs::remove_dir(new).unwrap();
    }
}

/// The flags for a pair in `folder`.
pub fn flags(folder: &Path) -> Vec<String> {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let flags = ["--tls-cert", "tls.crt", "--tls-key", "tls.key"];
    let flags = flags.chunks(2);
    flags
        .flat_map(|flag| [flag[0].to_owned(), path(flag[1])])
        .collect()
}

/// A service that speaks TLS with a certificate of `authority`.
pub async fn start(authority: &Authority, folder: &Path, arguments: &[&str]) -> Process {
    authority.issue().write(folder);
    let flags = flags(folder);
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    Process::start(folder, &[&flags, arguments].concat()).await
}

/// The same, which also takes certificates of clients that `clients` has issued.
pub async fn start_for(
    authority: &Authority,
    clients: &Authority,
    folder: &Path,
    arguments: &[&str],
) -> Process {
    let path: PathBuf = folder.join("clients.crt");
    fs::write(&path, &clients.pem).unwrap();
    let clients = ["--tls-client-ca", path.to_str().unwrap()];
    start(authority, folder, &[&clients, arguments].concat()).await
}

/// A client that speaks TLS.
#[derive(Clone)]
pub struct Client(Arc<ClientConfig>);

impl Client {
    fn new(
        authority: &Authority,
        pair: Option<&Pair>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate.clone()).unwrap();
        let verifier =
            WebPkiServerVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_webpki_verifier(verifier.build().unwrap());
        let config = match pair {
            None => config.with_no_client_auth(),
            Some(pair) => {
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                config.with_client_auth_cert(vec![pair.der()], key).unwrap()
            }
        };
        Self(Arc::new(config))
    }

    /// The same, which speaks `protocol` above TLS.
    pub fn speaking(&self, protocol: &str) -> Self {
        let mut config = (*self.0).clone();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        Self(Arc::new(config))
    }

    pub async fn connect(&self, address: &str) -> io::Result<TlsStream<TcpStream>> {
        self.over(TcpStream::connect(address).await?).await
    }

    /// The same over a connection that is there.
    pub async fn over<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> io::Result<TlsStream<S>> {
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::clone(&self.0));
        connector.connect(name, stream).await
    }
}

/// The certificate that the service has shown.
pub fn shown<S>(stream: &TlsStream<S>) -> CertificateDer<'static> {
    let (_, session) = stream.get_ref();
    session.peer_certificates().unwrap()[0].clone().into_owned()
}
