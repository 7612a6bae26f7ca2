//! What is between a process and etcd: a proxy that can be cut.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A proxy of one member on a port of its own.
pub struct Proxy {
    address: SocketAddr,
    is_cut: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// A proxy of the member at `endpoint`.
    pub async fn of(endpoint: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (is_cut, seen) = watch::channel(false);
        let accepting = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(forward(client, endpoint.clone(), seen.clone()));
            }
        });
        Self {
            address,
            is_cut,
            accepting,
        }
    }

    /// As `host:port`.
    pub fn endpoint(&self) -> String {
        self.address.to_string()
    }

    /// Ends all connections, and each new one at once.
    pub fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    /// Forwards again.
    pub fn mend(&self) {
        self.is_cut.send_replace(false);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn forward(mut client: TcpStream, endpoint: String, mut is_cut: watch::Receiver<bool>) {
    if *is_cut.borrow() {
        return;
    }
    let Ok(mut member) = TcpStream::connect(endpoint).await else {
        return;
    };
    tokio::select! {
        // Either side may have ended the connection.
        _ = copy_bidirectional(&mut client, &mut member) => {}
        _ = is_cut.wait_for(|is_cut| *is_cut) => {}
    }
}
