//! Transactions: comparisons, and what is done if they hold or not. Transactions in transactions are left out.

use bytes::Bytes;
use prost::{Enumeration, Message, Oneof};

use super::kv::{
    DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest, RangeResponse,
    ResponseHeader,
};

#[derive(Clone, PartialEq, Eq, Message)]
pub struct TxnRequest {
    #[prost(message, repeated, tag = "1")]
    pub compare: Vec<Compare>,
    #[prost(message, repeated, tag = "2")]
    pub success: Vec<RequestOp>,
    #[prost(message, repeated, tag = "3")]
    pub failure: Vec<RequestOp>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct TxnResponse {
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    #[prost(bool, tag = "2")]
    pub succeeded: bool,
    /// One for each operation, in order.
    #[prost(message, repeated, tag = "3")]
    pub responses: Vec<ResponseOp>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct Compare {
    #[prost(enumeration = "CompareResult", tag = "1")]
    pub result: i32,
    #[prost(enumeration = "CompareTarget", tag = "2")]
    pub target: i32,
    #[prost(bytes = "bytes", tag = "3")]
    pub key: Bytes,
    /// `target_union`.
    #[prost(oneof = "Target", tags = "4, 5, 6, 7, 8")]
    pub target_union: Option<Target>,
    #[prost(bytes = "bytes", tag = "64")]
    pub range_end: Bytes,
}

impl Compare {
    /// Whether the `mod_revision` of a key is in this relation to `revision`; that of an absent key is 0.
    #[must_use]
    pub fn mod_revision(key: Bytes, result: CompareResult, revision: i64) -> Self {
        Self {
            result: result.into(),
            target: CompareTarget::Mod.into(),
            key,
            target_union: Some(Target::ModRevision(revision)),
            range_end: Bytes::new(),
        }
    }

    /// Whether a key has this value; not for an absent key.
    #[must_use]
    pub fn value(key: Bytes, result: CompareResult, value: Bytes) -> Self {
        Self {
            result: result.into(),
            target: CompareTarget::Value.into(),
            key,
            target_union: Some(Target::Value(value)),
            range_end: Bytes::new(),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Oneof)]
pub enum Target {
    #[prost(int64, tag = "4")]
    Version(i64),
    #[prost(int64, tag = "5")]
    CreateRevision(i64),
    #[prost(int64, tag = "6")]
    ModRevision(i64),
    #[prost(bytes = "bytes", tag = "7")]
    Value(Bytes),
    #[prost(int64, tag = "8")]
    Lease(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
pub enum CompareResult {
    Equal = 0,
    Greater = 1,
    Less = 2,
    NotEqual = 3,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
pub enum CompareTarget {
    Version = 0,
    Create = 1,
    Mod = 2,
    Value = 3,
    Lease = 4,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct RequestOp {
    #[prost(oneof = "Operation", tags = "1, 2, 3")]
    pub request: Option<Operation>,
}

#[derive(Clone, PartialEq, Eq, Oneof)]
pub enum Operation {
    #[prost(message, tag = "1")]
    Range(RangeRequest),
    #[prost(message, tag = "2")]
    Put(PutRequest),
    #[prost(message, tag = "3")]
    DeleteRange(DeleteRangeRequest),
}

impl From<Operation> for RequestOp {
    fn from(operation: Operation) -> Self {
        Self {
            request: Some(operation),
        }
    }
}

impl RequestOp {
    /// A put without a lease.
    #[must_use]
    pub fn put(key: Bytes, value: Bytes) -> Self {
        Operation::Put(PutRequest {
            key,
            value,
            ..PutRequest::default()
        })
        .into()
    }

    /// A deletion of one key.
    #[must_use]
    pub fn delete(key: Bytes) -> Self {
        Operation::DeleteRange(DeleteRangeRequest {
            key,
            ..DeleteRangeRequest::default()
        })
        .into()
    }
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct ResponseOp {
    #[prost(oneof = "OperationResponse", tags = "1, 2, 3")]
    pub response: Option<OperationResponse>,
}

#[derive(Clone, PartialEq, Eq, Oneof)]
pub enum OperationResponse {
    #[prost(message, tag = "1")]
    Range(RangeResponse),
    #[prost(message, tag = "2")]
    Put(PutResponse),
    #[prost(message, tag = "3")]
    DeleteRange(DeleteRangeResponse),
}
