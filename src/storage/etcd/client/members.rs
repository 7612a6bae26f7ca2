//! The members of a cluster: which is asked first, and which is left alone for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::Uri;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokio::time::Instant;

use super::connection::{Connection, Connector};
use super::joint::Joint;
use super::verdict::Failure;
use crate::storage::etcd::error::SetupError;

/// How long a member that failed is asked only if no other one is left.
const AVOIDED_FOR: Duration = Duration::from_secs(10);

/// All members, in the order of the address.
pub struct Members {
    all: Vec<Arc<Member>>,
    /// The one that answered last.
    preferred: AtomicUsize,
}

impl Members {
    /// # Errors
    /// [`SetupError`] if there is none, or one is not `host:port`.
    pub fn new(endpoints: &[String], scheme: &str) -> Result<Self, SetupError> {
        if endpoints.is_empty() {
            return Err(SetupError::NoEndpoint);
        }
        let all = endpoints.iter().map(|endpoint| {
            let member = Member::new(endpoint, scheme);
            member
                .map(Arc::new)
                .ok_or_else(|| SetupError::Endpoint(endpoint.clone()))
        });
        Ok(Self {
            all: all.collect::<Result<_, _>>()?,
            preferred: AtomicUsize::new(0),
        })
    }

    /// The order in which they are asked: the one that answered last, then those after it; but those that failed
    /// a while ago last, the one that failed first before the others.
    pub fn in_order(&self) -> Vec<&Arc<Member>> {
        let now = Instant::now();
        let first = self.preferred.load(Ordering::Relaxed);
        let (before, after) = self.all.split_at(first.min(self.all.len()));
        let mut order: Vec<_> = after
            .iter()
            .chain(before)
            .map(|member| (member.avoided_until().filter(|until| *until > now), member))
            .collect();
        order.sort_by_key(|(avoided_until, _)| *avoided_until);
        order.into_iter().map(|(_, member)| member).collect()
    }

    /// `member` has answered: it is the first one from now on.
    pub fn answered(&self, member: &Arc<Member>) {
        let mut avoided_until = member.avoided_until.lock();
        if avoided_until.take().is_some() || self.first_is_not(member) {
            let index = self.all.iter().position(|other| other.name == member.name);
            self.preferred.store(index.unwrap_or(0), Ordering::Relaxed);
        }
    }

    fn first_is_not(&self, member: &Arc<Member>) -> bool {
        let first = self.all.get(self.preferred.load(Ordering::Relaxed));
        first.is_none_or(|first| !Arc::ptr_eq(first, member))
    }
}

/// One member.
pub struct Member {
    /// `host:port`.
    pub name: String,
    /// The same as the beginning of a URL.
    pub origin: Uri,
    /// What its certificate has to name.
    pub server_name: ServerName<'static>,
    avoided_until: Mutex<Option<Instant>>,
    /// For all calls but watches.
    connection: Mutex<Option<Connection>>,
    connecting: Joint<Result<Connection, String>>,
    /// A login there, which gives a token.
    pub logging_in: Joint<Result<(), Failure>>,
}

impl Member {
    fn new(endpoint: &str, scheme: &str) -> Option<Self> {
        let origin: Uri = format!("{scheme}://{endpoint}").parse().ok()?;
        let authority = origin.authority()?;
        authority.port_u16()?;
        if origin.path() != "/" {
            return None;
        }
        let host = origin.host()?.trim_matches(['[', ']']).to_owned();
        Some(Self {
            name: endpoint.to_owned(),
            server_name: ServerName::try_from(host).ok()?,
            origin,
            avoided_until: Mutex::default(),
            connection: Mutex::default(),
            connecting: Joint::default(),
            logging_in: Joint::default(),
        })
    }

    fn avoided_until(&self) -> Option<Instant> {
        *self.avoided_until.lock()
    }

    /// It has not answered: others are asked first for a while.
    pub fn failed(&self) {
        *self.avoided_until.lock() = Some(Instant::now() + AVOIDED_FOR);
    }

    /// The connection for calls; if there is none yet, all who ask wait for one attempt together.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn connection(
        self: &Arc<Self>,
        connector: &Arc<Connector>,
    ) -> Result<Connection, String> {
        if let Some(connection) = self.current() {
            return Ok(connection);
        }
        let (member, connector) = (Arc::clone(self), Arc::clone(connector));
        let connecting = async move {
            if let Some(connection) = member.current() {
                return Ok(connection);
            }
            let connected = connector.connect(&member.name, &member.server_name, None);
            let connection = connected.await?;
            *member.connection.lock() = Some(connection.clone());
            Ok(connection)
        };
        let connected = self.connecting.join(connecting).await;
        connected.unwrap_or_else(|| Err("cannot connect".to_owned()))
    }

    fn current(&self) -> Option<Connection> {
        let connection = self.connection.lock();
        connection.as_ref().filter(|it| !it.is_closed()).cloned()
    }

    /// The next call makes a connection of its own. What is under way on `connection` goes on.
    pub fn leave(&self, connection: &Connection) {
        let mut current = self.connection.lock();
        if current
            .as_ref()
            .is_some_and(|current| current.is(connection))
        {
            *current = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(members: &Members) -> Vec<&str> {
        let order = members.in_order().into_iter();
        order.map(|member| member.name.as_str()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_that_failed_comes_last_for_a_while() {
        let endpoints = ["a:1", "b:1", "c:1"].map(str::to_owned);
        let members = Members::new(&endpoints, "http").unwrap();
        assert_eq!(names(&members), ["a:1", "b:1", "c:1"]);
        members.all[0].failed();
        assert_eq!(names(&members), ["b:1", "c:1", "a:1"]);
        members.answered(&members.all[2]);
        assert_eq!(names(&members), ["c:1", "b:1", "a:1"]);
        tokio::time::advance(Duration::from_secs(1)).await;
        members.all[2].failed();
        members.all[1].failed();
        assert_eq!(names(&members)[0], "a:1");
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(names(&members)[0], "a:1");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(names(&members), ["c:1", "a:1", "b:1"]);
        members.all[1].failed();
        members.answered(&members.all[1]);
        assert_eq!(names(&members), ["b:1", "c:1", "a:1"]);
    }

    #[test]
    fn an_endpoint_is_a_host_and_a_port() {
        let member = Member::new("[::1]:2379", "https").unwrap();
        assert_eq!(member.origin, "https://[::1]:2379");
        assert!(matches!(member.server_name, ServerName::IpAddress(_)));
        for wrong in ["", "a", "a:", "a b:1", ":1", "a:1/x"] {
            assert!(Member::new(wrong, "http").is_none(), "{wrong}");
        }
        let none = Members::new(&[], "http").err();
        assert_eq!(none, Some(SetupError::NoEndpoint));
    }
}
