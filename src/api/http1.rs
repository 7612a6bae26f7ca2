//! The requests of a connection that speaks HTTP/1.1, one after another.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::Request;
use axum::response::Response;
use hyper::body::{Frame, Incoming, SizeHint};
use thiserror::Error;
use tower::Service as _;

use super::client::{Client, Connection};
use super::router::Api;
use super::tls::ClientCertificate;

/// The requests of one connection.
pub struct Requests {
    /// The connection's own copy: with one per request, all processors would contend for its reference
    /// counts.
    api: RefCell<Api>,
    connection: Arc<Connection>,
    certificate: Option<ClientCertificate>,
}

impl Requests {
    /// Those of a connection, whose client may have shown a certificate.
    pub fn new(
        api: Api,
        connection: Arc<Connection>,
        certificate: Option<ClientCertificate>,
    ) -> Self {
        Self {
            api: RefCell::new(api),
            connection,
            certificate,
        }
    }
}

impl hyper::service::Service<Request<Incoming>> for Requests {
    type Response = Response<AnswerBody>;
    type Error = Closed;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        let connection = Arc::clone(&self.connection);
        if !connection.begin() {
            return Answering::Closed;
        }
        let mut request = request.map(Body::new);
        let client = Client::on(Arc::clone(&connection));
        request.extensions_mut().insert(client);
        if let Some(certificate) = &self.certificate {
            request.extensions_mut().insert(certificate.clone());
        }
        Answering::Begun {
            answer: self.api.borrow_mut().call(request),
            connection,
        }
    }
}

/// The connection was closed before its request was begun.
#[derive(Debug, Error)]
#[error("the connection was closed for a new one")]
pub struct Closed;

/// An answer that is being made.
pub enum Answering {
    Begun {
        answer: <Api as tower::Service<Request<Body>>>::Future,
        connection: Arc<Connection>,
    },
    Closed,
}

impl Future for Answering {
    type Output = Result<Response<AnswerBody>, Closed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self::Begun { answer, connection } = &mut *self else {
            return Poll::Ready(Err(Closed));
        };
        let Ok(response) = ready!(answer.as_mut().poll(context));
        connection.begin_sending();
        let connection = Arc::clone(connection);
        Poll::Ready(Ok(response.map(|body| AnswerBody { body, connection })))
    }
}

/// The body of an answer. Dropping it, sent or abandoned, ends the request.
pub struct AnswerBody {
    body: Body,
    connection: Arc<Connection>,
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.connection.end();
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
