//! The questions that are asked of etcd more than once.

use bytes::Bytes;

use super::layout::{Layout, etcd_number};
use super::messages::{
    Compare, CompareResult, KeyValue, Operation, RangeRequest, RangeResponse, RequestOp,
    WatchCreateRequest,
};
use crate::model::Revision;

/// How a watch delivers many events that come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// In one response, which must not be too long.
    Whole,
    /// In fragments. The time that etcd needs to cut them grows with the square of the number of events in each:
    /// tens of thousands of small ones take it many seconds, also if nobody waits for them any more.
    InFragments,
}

/// What is stored under one key.
#[must_use]
pub fn get(key: Bytes) -> RangeRequest {
    RangeRequest {
        key,
        ..RangeRequest::default()
    }
}

/// What was stored under one key at a revision.
#[must_use]
pub fn get_at(key: Bytes, revision: Revision) -> RangeRequest {
    RangeRequest {
        key,
        revision: etcd_number(revision),
        ..RangeRequest::default()
    }
}

/// The same as a part of a transaction.
#[must_use]
pub fn get_in_transaction(key: Bytes) -> RequestOp {
    Operation::Range(get(key)).into()
}

/// Nothing is stored under this key.
#[must_use]
pub fn is_absent(key: Bytes) -> Compare {
    Compare::mod_revision(key, CompareResult::Equal, 0)
}

/// What was found under one key.
#[must_use]
pub fn first(response: RangeResponse) -> Option<KeyValue> {
    response.kvs.into_iter().next()
}

/// The newest revision of etcd when it answered; 0 if it does not say.
#[must_use]
pub fn revision_of(response: &RangeResponse) -> i64 {
    response.header.map_or(0, |header| header.revision)
}

/// A watch of the whole content from a revision on.
#[must_use]
pub fn watch(
    layout: &Layout,
    from: i64,
    with_before: bool,
    delivery: Delivery,
) -> WatchCreateRequest {
    let (key, range_end) = layout.content();
    WatchCreateRequest {
        key,
        range_end,
        start_revision: from,
        prev_kv: with_before,
        fragment: delivery == Delivery::InFragments,
        ..WatchCreateRequest::default()
    }
}
