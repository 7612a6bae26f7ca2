//! Clients on bare sockets, which can do what a client library never does: send half a request,
//! leave an answer unread, hang up in whichever way.

use std::io;
use std::net::SocketAddr;

use serde_json::Value;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// How many bytes the system takes for a client that hardly reads.
const SMALL_BUFFER_BYTES: u32 = 16 * 1024;
/// The segments of an Ethernet, in bytes. The system takes some ten of them from the service before
/// any was read; over loopback, whose segments are 64 KiB, it would be megabytes, and little of what
/// is unread would be with the service.
const SEGMENT_BYTES: u32 = 1460;

/// A request with a body.
pub fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    let mut request = head(method, path, headers, body.len());
    request.push_str(body);
    request
}

/// The head of a request whose body has so many bytes.
pub fn head(method: &str, path: &str, headers: &str, length: usize) -> String {
    let content_type = if headers.contains("Content-Type:") {
        ""
    } else {
        "Content-Type: application/json\r\n"
    };
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{content_type}\
         Content-Length: {length}\r\n{headers}\r\n"
    )
}

/// A request without a body.
pub fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
}

pub async fn connect(address: &str) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// A connection for a client that hardly reads.
pub async fn connect_slow_reader(address: &str) -> TcpStream {
    connect_with_buffer(address, SMALL_BUFFER_BYTES).await
}

/// A connection for a client for which the system takes so many bytes.
pub async fn connect_with_buffer(address: &str, bytes: u32) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(bytes).unwrap();
    SockRef::from(&socket).set_tcp_mss(SEGMENT_BYTES).unwrap();
    let address: SocketAddr = address.parse().unwrap();
    socket.connect(address).await.unwrap()
}

/// Sends a request and leaves its answer unread; returns once the answer has begun.
pub async fn leave_unread(address: &str, request: &str) -> TcpStream {
    let mut stream = connect_slow_reader(address).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.readable().await.unwrap();
    stream
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    /// As it was sent: one whose length was not known is in pieces (RFC 9112 §7.1).
    pub body: Vec<u8>,
}

impl Answer {
    pub fn read(bytes: &[u8]) -> io::Result<Self> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let status = head.get(9..12).and_then(|status| status.parse().ok());
        Ok(Self {
            status: status.ok_or(io::ErrorKind::InvalidData)?,
            body: bytes[end + 4..].to_vec(),
            head,
        })
    }

    /// Asserts that it is one of those that a service under load may give, and no other.
    #[track_caller]
    pub fn assert_is_one_of(&self, statuses: &[u16]) {
        let codes: &[&str] = match self.status {
            413 => &["request_too_large", "value_too_large"],
            503 => &["unavailable"],
            504 => &["outcome_unknown"],
            _ => &[],
        };
        let said = String::from_utf8_lossy(&self.body);
        let said = said.chars().take(400).collect::<String>();
        assert!(statuses.contains(&self.status), "{}\n{said}", self.head);
        if !codes.is_empty() {
            let body: Value = serde_json::from_slice(&self.body).expect("the one shape");
            let code = body["error"].as_str().unwrap_or_default();
            assert!(
                codes.contains(&code),
                "{}
{said}",
                self.head
            );
        }
        if self.status == 503 {
            let head = self.head.to_ascii_lowercase();
            assert!(head.contains("\r\nretry-after: "), "{head}");
        }
    }
}

/// Sends a request, whose end is that of the connection, and returns the answer. It reads while it
/// sends: a refusal may come before everything was sent.
pub async fn ask(address: &str, request: &str) -> io::Result<Answer> {
    exchange(TcpStream::connect(address).await?, request).await
}

/// The same on a connection that is there already.
pub async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &str,
) -> io::Result<Answer> {
    let request = request.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    let (mut reading, mut writing) = tokio::io::split(stream);
    let mut bytes = Vec::new();
    let send = async {
        // A service that has refused need not take the rest.
        if writing.write_all(request.as_bytes()).await.is_ok() {
            let _ = writing.flush().await;
        }
    };
    let ((), read) = tokio::join!(send, reading.read_to_end(&mut bytes));
    match Answer::read(&bytes) {
        Ok(answer) => Ok(answer),
        Err(error) => Err(read.err().unwrap_or(error)),
    }
}

/// Reads until the head of an answer is there; the connection stays.
pub async fn status(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<u16> {
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|four| four == b"\r\n\r\n") {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Answer::read(&bytes).map(|answer| answer.status)
}

/// Hangs up with a reset, as a client does that ends with an answer unread.
pub fn reset(stream: TcpStream) {
    stream.set_zero_linger().unwrap();
    drop(stream);
}
