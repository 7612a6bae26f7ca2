//! One call on one connection.

use std::marker::PhantomData;

use bytes::{BufMut as _, Bytes};
use futures_util::{StreamExt as _, stream};
use hyper::Uri;
use hyper::http::uri::PathAndQuery;
use prost::Message;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder, Streaming};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Request, Status};

use super::connection::Connection;

/// The longest response, in bytes. The limit of gRPC, 4 MiB, is less than what a page or the fragment of a
/// watch can have.
const RESPONSE_MAX_BYTES: usize = 256 * 1024 * 1024;

/// A user's token, as it is sent.
pub type Token = MetadataValue<Ascii>;

/// A request.
#[derive(Clone, Copy)]
pub struct Outgoing<'a> {
    /// The service and the method.
    pub path: &'static str,
    /// As encoded.
    pub message: &'a Bytes,
    pub token: Option<&'a Token>,
    /// A member that is cut off from the others refuses it, and ends it if it is a watch.
    pub needs_leader: bool,
}

impl Outgoing<'_> {
    fn with_metadata<T>(&self, body: T) -> Request<T> {
        let mut request = Request::new(body);
        let metadata = request.metadata_mut();
        if self.needs_leader {
            metadata.insert("hasleader", MetadataValue::from_static("true"));
        }
        if let Some(token) = self.token {
            metadata.insert("token", token.clone());
        }
        request
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
    let response = grpc(connection, origin)
        .unary(
            outgoing.with_metadata(outgoing.message.clone()),
            PathAndQuery::from_static(outgoing.path),
            Plain::<R>(PhantomData),
        )
        .await?;
    Ok(response.into_inner())
}

/// One request and the responses to it. The request ends when the responses are dropped.
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
    // The request has no end, so that no member takes its end for that of the watch.
    let messages = stream::iter([outgoing.message.clone()]).chain(stream::pending());
    let response = grpc(connection, origin)
        .streaming(
            outgoing.with_metadata(messages),
            PathAndQuery::from_static(outgoing.path),
            Plain::<R>(PhantomData),
        )
        .await?;
    Ok(response.into_inner())
}

fn grpc(connection: &Connection, origin: &Uri) -> Grpc<Connection> {
    Grpc::with_origin(connection.clone(), origin.clone())
        .max_decoding_message_size(RESPONSE_MAX_BYTES)
}

/// Requests are encoded already, so that one that is sent again is not encoded again.
struct Plain<R>(PhantomData<R>);

impl<R: Message + Default + 'static> Codec for Plain<R> {
    type Encode = Bytes;
    type Decode = R;
    type Encoder = Encoded;
    type Decoder = Decoding<R>;

    fn encoder(&mut self) -> Encoded {
        Encoded
    }

    fn decoder(&mut self) -> Decoding<R> {
        Decoding(PhantomData)
    }
}

struct Encoded;

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
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
