//! One call on one connection.

use std::marker::PhantomData;

use bytes::{BufMut as _, Bytes};
use hyper::header::{CONTENT_TYPE, HeaderValue, TE};
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, Uri, Version};
use prost::Message;
use tonic::codec::{DecodeBuf, Decoder, Streaming};
use tonic::{Code, Status};

use super::connection::Connection;

/// The longest response, in bytes. The limit of gRPC, 4 MiB, is less than what a page can have.
const RESPONSE_MAX_BYTES: usize = 256 * 1024 * 1024;

/// The longest response to a watch, in bytes. It may have 1000 revisions if it does not come in fragments.
const EVENTS_MAX_BYTES: usize = 32 * 1024 * 1024;

/// A user's token, as it is sent.
pub type Token = HeaderValue;

/// A message as a call sends it: whether it is compressed, its length, itself.
pub fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut framed = Vec::with_capacity(5 + length);
    framed.put_u8(0);
    // No member reads one that is as long as this could not say.
    framed.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // A vector has room for everything.
    let _ = message.encode(&mut framed);
    framed.into()
}

/// A request.
#[derive(Clone, Copy)]
pub struct Outgoing<'a> {
    /// The service and the method.
    pub path: &'static str,
    /// As [`framed`].
    pub message: &'a Bytes,
    pub token: Option<&'a Token>,
    /// A member that is cut off from the others refuses it, and ends it if it is a watch.
    pub needs_leader: bool,
}

impl Outgoing<'_> {
    fn head(&self, origin: &Uri) -> Result<Request<()>, hyper::http::Error> {
        let mut address = origin.clone().into_parts();
        address.path_and_query = Some(PathAndQuery::from_static(self.path));
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = Uri::from_parts(address)?;
        let headers = request.headers_mut();
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        if self.needs_leader {
            headers.insert("hasleader", HeaderValue::from_static("true"));
        }
        if let Some(token) = self.token {
            headers.insert("token", token.clone());
        }
        Ok(request)
    }

    async fn send<R>(
        &self,
        connection: &Connection,
        origin: &Uri,
        is_whole: bool,
        response_max_bytes: usize,
    ) -> Result<Streaming<R>, Status>
    where
        R: Message + Default + 'static,
    {
        let head = self.head(origin);
        let head = head.map_err(|error| Status::internal(error.to_string()))?;
        let response = connection
            .send(head, self.message.clone(), is_whole)
            .await?;
        // An error may come without anything else.
        let refused = Status::from_header_map(response.headers());
        if let Some(refused) = refused.filter(|status| status.code() != Code::Ok) {
            return Err(refused);
        }
        let code = response.status();
        Ok(Streaming::new_response(
            Decoding(PhantomData),
            response.into_body(),
            code,
            None,
            Some(response_max_bytes),
        ))
    }
}

/// One request and its response.
///
/// # Errors
/// etcd's, or how the connection failed.
pub async fn unary<R>(
    connection: &Connection,
    origin: &Uri,
    outgoing: Outgoing<'_>,
) -> Result<R, Status>
where
    R: Message + Default + 'static,
{
    let mut responses = outgoing
        .send(connection, origin, true, RESPONSE_MAX_BYTES)
        .await?;
    let response = responses.message().await?;
    // Its status comes last.
    responses.trailers().await?;
    response.ok_or_else(|| Status::internal("the response is missing"))
}

/// One request and the responses to it. The request ends when the responses are dropped, and not before, so that no
/// member takes its end for that of the watch.
///
/// # Errors
/// etcd's, or how the connection failed.
pub async fn streaming<R>(
    connection: &Connection,
    origin: &Uri,
    outgoing: Outgoing<'_>,
) -> Result<Streaming<R>, Status>
where
    R: Message + Default + 'static,
{
    outgoing
        .send(connection, origin, false, EVENTS_MAX_BYTES)
        .await
}

struct Decoding<R>(PhantomData<R>);

impl<R: Message + Default> Decoder for Decoding<R> {
    type Item = R;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<R>, Status> {
        let decoded = R::decode(buffer);
        decoded
            .map(Some)
            .map_err(|error| Status::internal(format!("the response cannot be decoded: {error}")))
    }
}
