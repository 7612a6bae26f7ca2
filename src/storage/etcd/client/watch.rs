//! A watch, on a connection of its own: big reads on the same connection would hold up its events.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};
use tonic::Status;
use tonic::codec::Streaming;

use super::cluster::{Cluster, token_in};
use super::connection::Connection;
use super::members::Member;
use super::rpc::{self, Outgoing, Token};
use super::verdict::{Failure, Verdict, is_too_long, text, verdict};
use crate::storage::etcd::error::ClientError;
use crate::storage::etcd::messages::{
    ResponseHeader, WatchCreateRequest, WatchRequest, WatchRequestKind, WatchResponse,
};

/// The responses to a watch. Dropping it ends the watch.
pub struct WatchStream {
    responses: Streaming<WatchResponse>,
    created: ResponseHeader,
    /// The connection lives as long as this.
    _connection: Connection,
    cluster: Arc<Cluster>,
    /// The member's name.
    member: String,
}

impl fmt::Debug for WatchStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("WatchStream")
            .field("member", &self.member)
            .finish_non_exhaustive()
    }
}

impl WatchStream {
    /// What etcd said when it confirmed the watch. Without a `start_revision` it has what comes after this
    /// revision.
    #[must_use]
    pub fn created(&self) -> &ResponseHeader {
        &self.created
    }

    /// The member that is watched, as `host:port`.
    #[must_use]
    pub fn member(&self) -> &str {
        &self.member
    }

    /// The next response, which may have no event. Nothing is lost if the future is dropped.
    ///
    /// # Errors
    /// [`ClientError`] if the watch has ended, or the member is not there any more; [`ClientError::Compacted`]
    /// if what it should begin with is; [`ClientError::TooLarge`] if a response is too long.
    pub async fn next(&mut self) -> Result<WatchResponse, ClientError> {
        let error = match self.responses.message().await {
            Ok(Some(response)) if response.canceled || response.compact_revision != 0 => {
                canceled(&self.member, &response)
            }
            Ok(Some(response)) => return Ok(response),
            Ok(None) => ClientError::Unavailable(format!("{}: the watch ended", self.member)),
            Err(status) => failure(&self.member, &status),
        };
        if matches!(error, ClientError::Unavailable(_)) {
            let members = self.cluster.members.in_order().into_iter();
            members
                .filter(|member| member.name == self.member)
                .for_each(|member| member.failed());
        }
        Err(error)
    }
}

/// One attempt, on the member that is asked first.
pub async fn open(
    cluster: &Arc<Cluster>,
    request: WatchCreateRequest,
) -> Result<WatchStream, ClientError> {
    let until = Instant::now() + cluster.connector.connect_timeout + cluster.request_timeout;
    let Some(member) = cluster.members.in_order().into_iter().next() else {
        return Err(ClientError::Unavailable("there is no member".to_owned()));
    };
    let request = WatchRequest {
        request_union: Some(WatchRequestKind::Create(request)),
    };
    let message = rpc::framed(&request);
    let opened = with_token(cluster, member, &message, until).await;
    if let Err(ClientError::Unavailable(_)) = &opened {
        member.failed();
    }
    opened
}

async fn with_token(
    cluster: &Arc<Cluster>,
    member: &Arc<Member>,
    message: &Bytes,
    until: Instant,
) -> Result<WatchStream, ClientError> {
    let token = cluster.token(member, None, until).await;
    let token = token.map_err(Failure::into_error)?;
    let first = confirmed(cluster, member, message, token_in(token.as_ref()), until).await;
    match first {
        // Up to 3.5 etcd calls it denied also when it does not know the token any more.
        Err(ClientError::Denied(_)) if token.is_some() => {
            let token = cluster.token(member, token.as_ref(), until).await;
            let token = token.map_err(Failure::into_error)?;
            confirmed(cluster, member, message, token_in(token.as_ref()), until).await
        }
        first => first,
    }
}

async fn confirmed(
    cluster: &Arc<Cluster>,
    member: &Arc<Member>,
    message: &Bytes,
    token: Option<&Token>,
    until: Instant,
) -> Result<WatchStream, ClientError> {
    let connected = cluster
        .connector
        .connect(&member.name, &member.server_name, Some(cluster.keep_alive))
        .await;
    let connection = connected
        .map_err(|reason| ClientError::Unavailable(format!("{}: {reason}", member.name)))?;
    let opened = async {
        let outgoing = Outgoing {
            path: "/etcdserverpb.Watch/Watch",
            message,
            token,
            needs_leader: true,
        };
        let mut responses: Streaming<WatchResponse> =
            rpc::streaming(&connection, &member.origin, outgoing).await?;
        let first = responses.message().await?;
        Ok::<_, Status>((responses, first))
    };
    let (responses, first) = match timeout_at(until, opened).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(status)) => return Err(failure(&member.name, &status)),
        Err(_) => {
            let text = format!("{}: no answer in time", member.name);
            return Err(ClientError::Unavailable(text));
        }
    };
    match first {
        Some(response) if response.canceled => Err(canceled(&member.name, &response)),
        Some(response) => Ok(WatchStream {
            responses,
            created: response.header.unwrap_or_default(),
            _connection: connection,
            cluster: Arc::clone(cluster),
            member: member.name.clone(),
        }),
        None => Err(ClientError::Unavailable(format!(
            "{}: the watch ended",
            member.name
        ))),
    }
}

/// Why etcd has ended a watch.
fn canceled(member: &str, response: &WatchResponse) -> ClientError {
    if response.compact_revision != 0 {
        return ClientError::Compacted {
            revision: response.compact_revision,
        };
    }
    let reason = &response.cancel_reason;
    let text = format!("{member}: the watch was canceled: {reason}");
    let is_denied = [
        "permission denied",
        "auth token",
        "auth store",
        "user name is empty",
    ]
    .iter()
    .any(|denied| reason.contains(denied));
    if is_denied {
        ClientError::Denied(text)
    } else {
        ClientError::Unavailable(text)
    }
}

/// What an error means for a watch, of which nothing can be half done.
fn failure(member: &str, status: &Status) -> ClientError {
    match verdict(member, status) {
        Verdict::NotDone | Verdict::Unknown => ClientError::Unavailable(text(member, status)),
        Verdict::Token => ClientError::Denied(text(member, status)),
        Verdict::Final(ClientError::Unknown(text)) if is_too_long(status) => {
            ClientError::TooLarge(text)
        }
        Verdict::Final(ClientError::Unknown(text)) => ClientError::Unavailable(text),
        Verdict::Final(error) => error,
    }
}
