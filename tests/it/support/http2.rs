//! Clients that speak HTTP/2, down to its frames.

use std::io;

use axum::http::{HeaderMap, Method, Request, Response, request};
use bytes::Bytes;
use h2::client::{self, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::binary::soon;

/// What a client begins with, and settings that change nothing.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The kind of a frame that begins a request or an answer, and two of its flags (RFC 9113 §6.2).
pub const HEADERS: u8 = 1;
pub const END_STREAM: u8 = 0x1;
pub const END_HEADERS: u8 = 0x4;

/// A connection.
pub struct Http2 {
    requests: SendRequest<Bytes>,
    serving: JoinHandle<Result<(), h2::Error>>,
    authority: String,
}

/// An answer whose body was read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Http2 {
    /// A connection without TLS, which knows that the service speaks HTTP/2.
    pub async fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        Self::over(stream, &mut client::Builder::new()).await
    }

    /// A connection over what is connected already, set up as `builder` says.
    pub async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        builder: &mut client::Builder,
    ) -> Self {
        let (requests, connection) = soon(builder.handshake(stream)).await.unwrap();
        Self {
            requests,
            serving: tokio::spawn(connection),
            authority: "localhost".to_owned(),
        }
    }

    /// A request for this service, to be built.
    pub fn request(&self, method: Method, path: &str) -> request::Builder {
        let target = format!("http://{}{path}", self.authority);
        let request = Request::builder().method(method).uri(target);
        request.header("content-type", "application/json")
    }

    /// Sends a request, of whose body nothing was sent.
    pub async fn begin(
        &mut self,
        request: Request<()>,
        is_whole: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        let mut requests = self.requests.clone().ready().await?;
        requests.send_request(request, is_whole)
    }

    /// Sends a request; returns its answer.
    pub async fn send(&mut self, request: Request<()>, body: &str) -> Result<Answer, h2::Error> {
        let (answer, mut sending) = self.begin(request, body.is_empty()).await?;
        if !body.is_empty() {
            sending.send_data(Bytes::copy_from_slice(body.as_bytes()), true)?;
        }
        read(answer.await?).await
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        let get = self.request(Method::GET, path).body(()).unwrap();
        soon(self.send(get, "")).await.unwrap()
    }

    pub async fn put(&mut self, path: &str, value: &str) -> Answer {
        let put = self.request(Method::PUT, path).body(()).unwrap();
        soon(self.send(put, value)).await.unwrap()
    }

    /// Begins a request whose answer is a stream; returns its body.
    pub async fn stream(&mut self, path: &str) -> RecvStream {
        let get = self.request(Method::GET, path).body(()).unwrap();
        let (answer, _) = soon(self.begin(get, true)).await.unwrap();
        let answer = soon(answer).await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.into_body()
    }

    /// How the connection ends, when it does.
    pub async fn end(self) -> Result<(), h2::Error> {
        soon(self.serving).await.unwrap()
    }

    /// Ends it as somebody who is gone.
    pub async fn abort(self) {
        self.serving.abort();
        let _ = self.serving.await;
    }
}

/// The rest of an answer.
async fn read(answer: Response<RecvStream>) -> Result<Answer, h2::Error> {
    let (head, mut stream) = answer.into_parts();
    let mut body = Vec::new();
    while let Some(piece) = next(&mut stream).await? {
        body.extend_from_slice(&piece);
    }
    Ok(Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body,
    })
}

/// The next piece of a body.
pub async fn next(stream: &mut RecvStream) -> Result<Option<Bytes>, h2::Error> {
    let Some(piece) = stream.data().await.transpose()? else {
        return Ok(None);
    };
    stream.flow_control().release_capacity(piece.len())?;
    Ok(Some(piece))
}

/// Reads events until one has `text`.
pub async fn event(stream: &mut RecvStream, text: &str) {
    let mut events = String::new();
    while !events.contains(text) {
        let piece = soon(next(stream)).await.unwrap().expect("it goes on");
        events.push_str(std::str::from_utf8(&piece).unwrap());
    }
}

/// A frame (RFC 9113 §4.1).
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()];
    [&head.concat(), payload].concat()
}

/// Reads frames until one is of this kind; returns its flags.
pub async fn flags_of_frame(stream: &mut (impl AsyncRead + Unpin), kind: u8) -> io::Result<u8> {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await?;
        if head[3] == kind {
            return Ok(head[4]);
        }
    }
}

/// Reads to the end of a connection, in whichever way it comes.
pub async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) -> (Vec<u8>, io::Result<usize>) {
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes).await;
    (bytes, end)
}
