//! The requests of a connection, each in a stream.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody as _};
use axum::http::{HeaderValue, Method, Request, header};
use axum::response::Response;
use h2::Reason;
use hyper::body::Incoming;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tower::Service as _;

use super::super::client::{Client, Connection};
use super::super::connections::Capacity;
use super::super::router::Api;
use super::super::tls::ClientCertificate;
use super::answer::{Begun, Progress, StreamBody};

/// How many streams there are at once, over all connections: as many as there are connections. So HTTP/2 does not
/// multiply what the clients can ask for at once.
#[derive(Clone)]
pub struct StreamCapacity {
    served: Arc<Semaphore>,
    overload: Arc<Semaphore>,
}

impl StreamCapacity {
    /// As many as connections.
    pub fn new(capacity: Capacity) -> Self {
        Self {
            served: Arc::new(Semaphore::new(capacity.served)),
            overload: Arc::new(Semaphore::new(capacity.overload)),
        }
    }
}

/// The requests of one connection.
pub struct Streams {
    /// `None` for a connection past the limit.
    full: Option<RefCell<Api>>,
    overload: RefCell<Api>,
    capacity: StreamCapacity,
    pub(super) connection: Arc<Connection>,
    certificate: Option<ClientCertificate>,
    pub(super) begun: Begun,
    /// Notified when a request has begun on a connection past the limit.
    pub(super) has_asked: Arc<Notify>,
}

impl Streams {
    /// Those of a connection, whose client may have shown a certificate; without `full`, of one past the limit.
    pub fn new(
        full: Option<Api>,
        overload: Api,
        capacity: StreamCapacity,
        connection: Arc<Connection>,
        certificate: Option<ClientCertificate>,
    ) -> Self {
        Self {
            full: full.map(RefCell::new),
            overload: RefCell::new(overload),
            capacity,
            connection,
            certificate,
            begun: Begun::default(),
            has_asked: Arc::default(),
        }
    }

    /// Who answers one more stream: past the limit, those who tell that there is one.
    fn admit(&self) -> Option<(OwnedSemaphorePermit, &RefCell<Api>)> {
        if let Some(full) = &self.full
            && let Ok(permit) = Arc::clone(&self.capacity.served).try_acquire_owned()
        {
            return Some((permit, full));
        }
        let permit = Arc::clone(&self.capacity.overload).try_acquire_owned();
        Some((permit.ok()?, &self.overload))
    }
}

impl hyper::service::Service<Request<Incoming>> for Streams {
    type Response = Response<StreamBody>;
    type Error = h2::Error;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        if self.full.is_none() {
            self.has_asked.notify_one();
        }
        let Some((permit, api)) = self.admit() else {
            return Answering::Refused;
        };
        let Some(stream) = self.connection.begin_stream() else {
            return Answering::Refused;
        };
        let progress = Arc::new(Progress::new(stream, permit));
        *self.begun.lock() = Some(Arc::clone(&progress));
        let is_head = request.method() == Method::HEAD;
        let mut request = request.map(Body::new);
        let client = Client::on_stream(&self.connection);
        request.extensions_mut().insert(client);
        if let Some(certificate) = &self.certificate {
            request.extensions_mut().insert(certificate.clone());
        }
        Answering::Begun {
            answer: api.borrow_mut().call(request),
            is_head,
            progress,
        }
    }
}

/// An answer that is being made.
pub enum Answering {
    Begun {
        answer: <Api as tower::Service<Request<Body>>>::Future,
        is_head: bool,
        progress: Arc<Progress>,
    },
    /// Nothing was done; the client may ask again (RFC 9113 §8.7).
    Refused,
}

impl Future for Answering {
    type Output = Result<Response<StreamBody>, h2::Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self::Begun {
            answer,
            is_head,
            progress,
        } = &mut *self
        else {
            return Poll::Ready(Err(Reason::REFUSED_STREAM.into()));
        };
        let Ok(mut response) = ready!(answer.as_mut().poll(context));
        if *is_head {
            leave_body_out(&mut response);
        }
        let progress = Arc::clone(progress);
        Poll::Ready(Ok(response.map(|body| StreamBody::new(body, progress))))
    }
}

/// The answer to a HEAD has the length of its body and not the body, which hyper leaves out in HTTP/1.1 only.
fn leave_body_out(response: &mut Response) {
    let body = std::mem::take(response.body_mut());
    if let Some(length) = body.size_hint().exact()
        && length > 0
    {
        let headers = response.headers_mut();
        headers
            .entry(header::CONTENT_LENGTH)
            .or_insert_with(|| HeaderValue::from(length));
    }
}
