//! Where the service listens.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

use super::hosts::is_loopback;
use super::tls::Tls;

/// How many connections the system queues before they are accepted, if its own limit allows as many. Past
/// that a client gets no response, and retries after a second.
const BACKLOG: u32 = 4096;

/// A socket that listens, and how its connections are secured.
#[derive(Debug)]
pub struct Listener {
    pub(super) tcp: TcpListener,
    pub(super) tls: Option<Tls>,
}

impl From<TcpListener> for Listener {
    /// Without TLS.
    fn from(tcp: TcpListener) -> Self {
        Self { tcp, tls: None }
    }
}

impl Listener {
    /// With TLS, and nothing else, on every connection.
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }
}

/// Listens on a `host:port`; of several addresses of a host, on the first that can be bound.
///
/// # Errors
/// If the host is not known, or binding to each of its addresses fails.
pub async fn listen(address: &str) -> io::Result<TcpListener> {
    let mut failed = io::Error::new(ErrorKind::NotFound, "the host has no address");
    for address in tokio::net::lookup_host(address).await? {
        match listen_on(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Whether every address of a `host:port` is a loopback address; one that is not known has none.
pub async fn is_within_loopback(address: &str) -> bool {
    match tokio::net::lookup_host(address).await {
        Ok(mut addresses) => addresses.all(|address| is_loopback(address.ip())),
        // Listening will fail, and say why.
        Err(_) => true,
    }
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // After a restart, old connections in TIME_WAIT must not keep the port busy.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
