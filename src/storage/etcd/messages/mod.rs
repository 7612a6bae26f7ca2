//! The messages of etcd's API v3 that the client sends and receives, by the names and the numbers of their
//! fields: `etcdserverpb` and `mvccpb`. Fields that nobody here needs are left out; prost skips them.
//!
//! Keys and values share the memory of the whole message that they came in, so whoever keeps one for long
//! copies it.

#![allow(
    missing_docs,
    reason = "the names are those of etcd, which documents them"
)]

mod cluster;
mod kv;
mod txn;
mod watch;

pub use self::cluster::{
    AlarmMember, AlarmRequest, AlarmResponse, AlarmType, LeaseGrantRequest, LeaseGrantResponse,
    LeaseRevokeRequest, LeaseRevokeResponse, StatusRequest, StatusResponse,
};
pub(super) use self::cluster::{AuthenticateRequest, AuthenticateResponse};
pub use self::kv::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, KeyValue,
    PutRequest, PutResponse, RangeRequest, RangeResponse, ResponseHeader, SortOrder, SortTarget,
};
pub use self::txn::{
    Compare, CompareResult, CompareTarget, Operation, OperationResponse, RequestOp, ResponseOp,
    Target, TxnRequest, TxnResponse,
};
pub use self::watch::{
    Event, EventType, FilterType, WatchCreateRequest, WatchRequest, WatchRequestKind, WatchResponse,
};
