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

/// One request and its response. `message` is the request as encoded.
///
/// # Errors
/// etcd's, or how the connection failed.
pub async fn unary<R>(
    connection: &Connection,
    origin: &Uri,
    path: &'static str,
    message: Bytes,
    token: Option<&Token>,
) -> Result<R, Status>
where
    R: Message + Default + 'static,
{
    let response = grpc(connection, origin)
        .unary(
            request(message, token),
            PathAndQuery::from_static(path),
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
    path: &'static str,
    message: Bytes,
    token: Option<&Token>,
) -> Result<Streaming<R>, Status>
where
    R: Message + Default + 'static,
{
    // etcd ends a watch when its client has said all that it has to say.
    let messages = stream::iter([message]).chain(stream::pending());
    let response = grpc(connection, origin)
        .streaming(
            request(messages, token),
            PathAndQuery::from_static(path),
            Plain::<R>(PhantomData),
        )
        .await?;
    Ok(response.into_inner())
}

fn grpc(connection: &Connection, origin: &Uri) -> Grpc<Connection> {
    Grpc::with_origin(connection.clone(), origin.clone())
        .max_decoding_message_size(RESPONSE_MAX_BYTES)
}

fn request<T>(message: T, token: Option<&Token>) -> Request<T> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    // A member that is cut off from the others says so then, and ends its watches.
    metadata.insert("hasleader", MetadataValue::from_static("true"));
    if let Some(token) = token {
        metadata.insert("token", token.clone());
    }
    request
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
