//! The calls that there are.

use std::fmt;
use std::sync::Arc;

use tokio::time::Instant;

use super::cluster::{Call, Cluster, Repeat};
use super::watch::{self, WatchStream};
use crate::storage::etcd::error::{ClientError, SetupError};
use crate::storage::etcd::messages::{
    AlarmMember, AlarmRequest, AlarmResponse, CompactionRequest, CompactionResponse,
    LeaseGrantRequest, LeaseGrantResponse, LeaseRevokeRequest, LeaseRevokeResponse, RangeRequest,
    RangeResponse, StatusRequest, StatusResponse, TxnRequest, TxnResponse, WatchCreateRequest,
};
use crate::storage::etcd::settings::EtcdSettings;

/// A client of one cluster. Clones share their connections, which are made when they are needed.
#[derive(Clone)]
pub struct Client {
    cluster: Arc<Cluster>,
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    /// A client of the cluster whose members are at `endpoints`, each `host:port`.
    ///
    /// # Errors
    /// [`SetupError`] if the settings cannot be used.
    pub fn new(endpoints: &[String], settings: &EtcdSettings) -> Result<Self, SetupError> {
        Ok(Self {
            cluster: Arc::new(Cluster::new(endpoints, settings)?),
        })
    }

    /// Reads keys.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn range(
        &self,
        request: &RangeRequest,
        deadline: Instant,
    ) -> Result<RangeResponse, ClientError> {
        let call = Call::new("/etcdserverpb.KV/Range", request, Repeat::Always);
        self.cluster.call(&call, deadline).await
    }

    /// Does one transaction. It is sent again only while it is certain that it was not done.
    ///
    /// # Errors
    /// [`ClientError`]; with [`Unknown`](ClientError::Unknown) and [`NoSpace`](ClientError::NoSpace) it
    /// may have been done.
    pub async fn txn(
        &self,
        request: &TxnRequest,
        deadline: Instant,
    ) -> Result<TxnResponse, ClientError> {
        let call = Call::new("/etcdserverpb.KV/Txn", request, Repeat::IfNotDone);
        self.cluster.call(&call, deadline).await
    }

    /// Watches keys, on a connection of its own. One attempt on one member; the next call goes to another one.
    /// Returns when etcd has confirmed it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn watch(&self, request: WatchCreateRequest) -> Result<WatchStream, ClientError> {
        watch::open(&self.cluster, request).await
    }

    /// Grants a lease. If an answer is lost there may be a second one, which nobody keeps alive.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn lease_grant(
        &self,
        ttl_seconds: i64,
        deadline: Instant,
    ) -> Result<i64, ClientError> {
        let request = LeaseGrantRequest {
            ttl: ttl_seconds,
            id: 0,
        };
        let call = Call::new("/etcdserverpb.Lease/LeaseGrant", &request, Repeat::Always);
        let response: LeaseGrantResponse = self.cluster.call(&call, deadline).await?;
        Ok(response.id)
    }

    /// Revokes a lease, if it is still there.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn lease_revoke(&self, id: i64, deadline: Instant) -> Result<(), ClientError> {
        let request = LeaseRevokeRequest { id };
        let call = Call::new("/etcdserverpb.Lease/LeaseRevoke", &request, Repeat::Always);
        let response: Result<LeaseRevokeResponse, _> = self.cluster.call(&call, deadline).await;
        match response {
            Err(ClientError::Rejected(text)) if text.contains("lease not found") => Ok(()),
            response => response.map(drop),
        }
    }

    /// Forgets what was before `revision`, if it is not forgotten already.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn compact(&self, revision: i64, deadline: Instant) -> Result<(), ClientError> {
        let request = CompactionRequest {
            revision,
            physical: false,
        };
        let call = Call::new("/etcdserverpb.KV/Compact", &request, Repeat::Always);
        let response: Result<CompactionResponse, _> = self.cluster.call(&call, deadline).await;
        match response {
            Err(ClientError::Compacted { .. }) => Ok(()),
            response => response.map(drop),
        }
    }

    /// The status of the member that answers, also if nobody leads.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn status(&self, deadline: Instant) -> Result<StatusResponse, ClientError> {
        let path = "/etcdserverpb.Maintenance/Status";
        let call = Call::new(path, &StatusRequest {}, Repeat::Always);
        self.cluster.call(&call.without_leader(), deadline).await
    }

    /// The alarms of all members.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn alarms(&self, deadline: Instant) -> Result<Vec<AlarmMember>, ClientError> {
        let path = "/etcdserverpb.Maintenance/Alarm";
        let call = Call::new(path, &AlarmRequest::default(), Repeat::Always);
        let response: AlarmResponse = self.cluster.call(&call, deadline).await?;
        Ok(response.alarms)
    }
}
