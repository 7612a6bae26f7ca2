//! A front for a service that speaks TLS, with a certificate of an authority of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::serve::Listener;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::http;

/// A front for a service.
pub struct Front {
    /// Its URL.
    pub url: String,
    /// The certificate of its authority.
    pub ca: PathBuf,
}

struct TlsListener {
    tcp: TcpListener,
    tls: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, peer) = self.tcp.accept().await.unwrap();
            // A client that does not know the authority hangs up.
            if let Ok(stream) = self.tls.accept(stream).await {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

impl Front {
    /// A front for the service at `to`, with its files in `folder`. `None` if there is no `openssl` to make them.
    pub async fn start(to: &str, folder: &Path) -> Option<Self> {
        let ca = folder.join("ca.pem");
        let (chain, key) = certificate(folder).await?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = tcp.local_addr().unwrap().port();
        let listener = TlsListener {
            tcp,
            tls: Arc::new(config).into(),
        };
        let router = axum::Router::new()
            .fallback(hand_on)
            .with_state(to.to_owned());
        tokio::spawn(async { axum::serve(listener, router).await });
        Some(Self {
            url: format!("https://localhost:{port}"),
            ca,
        })
    }
}

/// A certificate for `localhost`, of an authority whose own certificate is in `ca.pem`.
async fn certificate(
    folder: &Path,
) -> Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
    let authority = format!("openssl {new} -keyout ca.key -out ca.pem -subj /CN=authority");
    let leaf = format!(
        "openssl {new} -CA ca.pem -CAkey ca.key -keyout leaf.key -out leaf.pem -subj /CN=localhost -addext \
         subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE"
    );
    let made = Command::new("sh")
        .args(["-c", &format!("{authority} && {leaf}")])
        .current_dir(folder)
        .output()
        .await
        .unwrap();
    if !made.status.success() {
        println!("skipped: it needs openssl 3: {made:?}");
        return None;
    }
    let chain = CertificateDer::pem_file_iter(folder.join("leaf.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("leaf.key")).unwrap();
    Some((chain.map(Result::unwrap).collect(), key))
}

async fn hand_on(State(to): State<String>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().unwrap().as_str();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let mut headers = parts.headers;
    headers.remove("host");
    let request = http::client().request(parts.method, format!("{to}{path}"));
    let answer = request.headers(headers).body(body).send().await.unwrap();
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        if name != "transfer-encoding" {
            response = response.header(name, value);
        }
    }
    response
        .body(Body::from_stream(answer.bytes_stream()))
        .unwrap()
}
