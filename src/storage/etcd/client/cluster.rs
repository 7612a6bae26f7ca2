//! A cluster: requests go to one member after another, with a token that it accepts.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::connection::Connector;
use super::login::Login;
use super::members::{Member, Members};
use super::rpc::{self, Outgoing, Token};
use super::tls::Tls;
use super::verdict::{Failure, Verdict};
use crate::storage::etcd::error::{ClientError, SetupError};
use crate::storage::etcd::messages::AuthenticateResponse;
use crate::storage::etcd::settings::EtcdSettings;

/// A member that has not answered for so long is not asked first any more, even if the request had no more time.
const SLOW: Duration = Duration::from_millis(500);
/// How often a token is renewed for one request.
const RENEWALS_MAX: usize = 2;
/// The pause after all members have failed, and how far it grows.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// The members of a cluster, and how they are reached.
pub struct Cluster {
    pub members: Members,
    pub connector: Arc<Connector>,
    /// How often a member that is watched is asked whether it is there.
    pub keep_alive: Duration,
    login: Option<Arc<Login>>,
    pub request_timeout: Duration,
}

/// When a request may be sent again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Whenever it was not answered.
    Always,
    /// While it is certain that it was not done.
    IfNotDone,
}

/// One request, framed.
pub struct Call {
    path: &'static str,
    message: Bytes,
    repeat: Repeat,
    needs_leader: bool,
}

impl Call {
    /// `path` is the service and the method.
    pub fn new(path: &'static str, request: &impl Message, repeat: Repeat) -> Self {
        Self {
            path,
            message: rpc::framed(request),
            repeat,
            needs_leader: true,
        }
    }

    /// The same, which a member answers also if nobody leads.
    pub fn without_leader(mut self) -> Self {
        self.needs_leader = false;
        self
    }

    fn with<'a>(&'a self, token: Option<&'a Arc<Option<Token>>>) -> Outgoing<'a> {
        Outgoing {
            path: self.path,
            message: &self.message,
            token: token_in(token),
            needs_leader: self.needs_leader,
        }
    }
}

impl Cluster {
    /// # Errors
    /// [`SetupError`] if the settings cannot be used.
    pub fn new(endpoints: &[String], settings: &EtcdSettings) -> Result<Self, SetupError> {
        let tls = Tls::new(settings)?;
        let scheme = if tls.is_used() { "https" } else { "http" };
        Ok(Self {
            members: Members::new(endpoints, scheme)?,
            connector: Arc::new(Connector {
                tls,
                connect_timeout: settings.connect_timeout,
            }),
            keep_alive: settings.keep_alive,
            login: Login::new(settings)?.map(Arc::new),
            request_timeout: settings.request_timeout,
        })
    }

    /// Asks one member after another, again and again until `deadline`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn call<R>(self: &Arc<Self>, call: &Call, deadline: Instant) -> Result<R, ClientError>
    where
        R: Message + Default + 'static,
    {
        let mut pause = PAUSE;
        let mut last = "the deadline has passed".to_owned();
        loop {
            let members = self.members.in_order();
            let count = members.len();
            for (index, member) in members.into_iter().enumerate() {
                let begun = Instant::now();
                if begun >= deadline {
                    return Err(ClientError::Unavailable(last));
                }
                let left = deadline - begun;
                // If there are others that may be asked then, they get a part of the time.
                let has_next = index + 1 < count && call.repeat == Repeat::Always;
                let part = if has_next { left / 2 } else { left };
                let until = begun + part.min(self.request_timeout);
                let failure = match self.attempt(member, call, until).await {
                    Ok(response) => {
                        self.members.answered(member);
                        return Ok(response);
                    }
                    Err(failure) => failure,
                };
                if failure.is_answer {
                    self.members.answered(member);
                    return Err(failure.into_error());
                }
                if Instant::now() < until || begun.elapsed() >= SLOW {
                    member.failed();
                }
                if failure.verdict == Verdict::Unknown && call.repeat == Repeat::IfNotDone {
                    return Err(failure.into_error());
                }
                last = failure.text;
            }
            sleep_until(deadline.min(Instant::now() + pause)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Asks one member, with a token that it accepts.
    async fn attempt<R>(
        self: &Arc<Self>,
        member: &Arc<Member>,
        call: &Call,
        until: Instant,
    ) -> Result<R, Failure>
    where
        R: Message + Default + 'static,
    {
        let mut stale = None;
        for _ in 0..RENEWALS_MAX {
            let token = self.token(member, stale.as_ref(), until).await?;
            match self.ask(member, call.with(token.as_ref()), until).await {
                Err(failure) if failure.verdict == Verdict::Token && token.is_some() => {
                    stale = token;
                }
                response => return response,
            }
        }
        let token = self.token(member, stale.as_ref(), until).await?;
        self.ask(member, call.with(token.as_ref()), until).await
    }

    /// The token of the user, if there is one; not `stale`, which is renewed.
    pub async fn token(
        self: &Arc<Self>,
        member: &Arc<Member>,
        stale: Option<&Arc<Option<Token>>>,
        until: Instant,
    ) -> Result<Option<Arc<Option<Token>>>, Failure> {
        let Some(login) = &self.login else {
            return Ok(None);
        };
        let authenticate = || {
            let (cluster, login) = (Arc::clone(self), Arc::clone(login));
            cluster.authenticate(login, Arc::clone(member))
        };
        let token = login.token(stale, &member.logging_in, authenticate);
        match timeout_at(until, token).await {
            Ok(token) => token.map(Some),
            Err(_) => Err(Failure::late(&member.name, Verdict::NotDone)),
        }
    }

    /// A new token. `None` if etcd does not want to know users.
    async fn authenticate(
        self: Arc<Self>,
        login: Arc<Login>,
        member: Arc<Member>,
    ) -> Result<Option<Token>, Failure> {
        let until = Instant::now() + self.connector.connect_timeout + self.request_timeout;
        let message = login.request().await;
        let outgoing = Outgoing {
            path: "/etcdserverpb.Auth/Authenticate",
            message: &message,
            token: None,
            needs_leader: true,
        };
        match self
            .ask::<AuthenticateResponse>(&member, outgoing, until)
            .await
        {
            Ok(response) => response.token.parse().map(Some).map_err(|_| Failure {
                verdict: Verdict::Final(ClientError::Denied(
                    "etcd's token cannot be sent".to_owned(),
                )),
                text: String::new(),
                is_answer: true,
            }),
            Err(failure) if failure.text.ends_with("authentication is not enabled") => Ok(None),
            Err(mut failure) => {
                // The request that needs the token was not sent.
                if failure.verdict == Verdict::Unknown {
                    failure.verdict = Verdict::NotDone;
                }
                Err(failure)
            }
        }
    }

    /// Sends one request to one member.
    async fn ask<R>(
        &self,
        member: &Arc<Member>,
        outgoing: Outgoing<'_>,
        until: Instant,
    ) -> Result<R, Failure>
    where
        R: Message + Default + 'static,
    {
        let mut is_first = true;
        loop {
            let connection = match timeout_at(until, member.connection(&self.connector)).await {
                Ok(Ok(connection)) => connection,
                Ok(Err(reason)) => {
                    return Err(Failure {
                        verdict: Verdict::NotDone,
                        text: format!("{}: {reason}", member.name),
                        is_answer: false,
                    });
                }
                Err(_) => return Err(Failure::late(&member.name, Verdict::NotDone)),
            };
            let sent = rpc::unary(&connection, &member.origin, outgoing);
            match timeout_at(until, sent).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(status)) => {
                    let failure = Failure::of(&member.name, &status);
                    // The connection's, and not etcd's.
                    if status.source().is_some() {
                        member.leave(&connection);
                        // The member may have been started again since the connection was made.
                        if is_first && failure.verdict == Verdict::NotDone {
                            is_first = false;
                            continue;
                        }
                    }
                    return Err(failure);
                }
                Err(_) => {
                    // It may be frozen, or its packets get lost; then only a new connection shows that it is back.
                    member.leave(&connection);
                    return Err(Failure::late(&member.name, Verdict::Unknown));
                }
            }
        }
    }
}

/// What is sent of a token.
pub fn token_in(token: Option<&Arc<Option<Token>>>) -> Option<&Token> {
    token.and_then(|token| Option::as_ref(token))
}
