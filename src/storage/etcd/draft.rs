//! A transaction that is being put together. Pure, but for its random digits.

use std::sync::Arc;

use bytes::Bytes;

use super::format::Format;
use super::layout::{Layout, etcd_number};
use super::messages::{
    Compare, CompareResult, Operation as EtcdOperation, PutRequest, RequestOp, TxnRequest,
};
use super::query;
use super::text::{Digits, DoneRequest, Marker};
use crate::model::{ChangeSet, Expected, Key, Operation, Record, Timestamp};
use crate::token::random_token;

/// A transaction.
#[derive(Debug)]
pub struct Plan {
    /// It, with the marker last.
    pub transaction: TxnRequest,
    /// Its digits.
    pub digits: Digits,
    /// The lease of its request, if it has one.
    pub lease: Option<i64>,
}

/// A transaction that is being put together.
#[derive(Debug)]
pub struct Draft {
    now: Timestamp,
    at: Timestamp,
    compare: Vec<Compare>,
    success: Vec<RequestOp>,
    /// The records that are only checked, in the order of the changes.
    pub found: Vec<Option<Arc<Record>>>,
    changed: Vec<Key>,
}

impl Draft {
    /// Nothing yet, of a commit that is made at `now`, where the last one was made at `last_at`.
    #[must_use]
    pub fn begun_at(now: Timestamp, last_at: Timestamp) -> Self {
        Self {
            now,
            at: Timestamp::of_write(now, None).max(last_at),
            compare: Vec::new(),
            success: Vec::new(),
            found: Vec::new(),
            changed: Vec::new(),
        }
    }

    /// Compares so that the commit is made only if `expected` holds, and a record that is only checked is the current
    /// one.
    pub fn compare(
        &mut self,
        place: &Bytes,
        expected: Expected,
        operation: &Operation,
        current: Option<&Arc<Record>>,
    ) {
        let current = current.map_or(0, |record| record.revision);
        let (result, revision) = match (operation, expected) {
            (Operation::Check, _) => (CompareResult::Equal, current),
            (_, Expected::At(revision)) => (CompareResult::Equal, revision),
            (_, Expected::Absent) => (CompareResult::Equal, 0),
            (_, Expected::Present) | (Operation::Delete, Expected::Any) => {
                (CompareResult::Greater, 0)
            }
            (Operation::Put(_), Expected::Any) => return,
        };
        let compare = Compare::mod_revision(place.clone(), result, etcd_number(revision));
        self.compare.push(compare);
    }

    /// When a state is written whose key's last state is from `dated`. The commit is not made before that.
    pub fn date(&mut self, dated: Option<Timestamp>, last_at: Timestamp) -> Timestamp {
        let at = Timestamp::of_write(self.now, dated);
        // A date that was edited by hand is not that of a commit.
        if dated.is_some_and(|dated| dated <= last_at) {
            self.at = self.at.max(at);
        }
        at
    }

    /// Puts an entry.
    pub fn put(&mut self, place: Bytes, key: &Key, text: Bytes) {
        self.success.push(RequestOp::put(place, text));
        self.changed.push(key.clone());
    }

    /// Deletes an entry.
    pub fn delete(&mut self, place: Bytes, key: &Key) {
        self.success.push(RequestOp::delete(place));
        self.changed.push(key.clone());
    }

    /// Whether nothing is written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty()
    }

    /// The transaction: what is compared, also that the format is still the same, what is put, and last the marker. If
    /// a comparison fails it finds the marker, the format, and the request.
    #[must_use]
    pub fn into_plan(
        self,
        (layout, format): (&Layout, &Format),
        changes: &ChangeSet,
        lease: Option<i64>,
    ) -> Plan {
        let digits = random_digits();
        let Draft {
            at,
            mut compare,
            mut success,
            changed,
            ..
        } = self;
        compare.push(format.is_unchanged(layout));
        let mut failure = vec![
            query::get_in_transaction(layout.marker()),
            query::get_in_transaction(layout.format()),
        ];
        if let Some(request) = changes.request() {
            let place = layout.request(changes.writer(), &request.key);
            let done = DoneRequest {
                fingerprint: request.fingerprint,
                at,
                origin: changes.origin(),
                changed,
            };
            compare.push(query::is_absent(place.clone()));
            failure.push(query::get_in_transaction(place.clone()));
            success.push(put_with_lease(
                place,
                done.text(),
                lease.unwrap_or_default(),
            ));
        }
        let marker = Marker {
            digits,
            at,
            by: changes.writer().cloned(),
            request: changes.request().cloned(),
            origin: changes.origin(),
        };
        success.push(RequestOp::put(layout.marker(), marker.text()));
        Plan {
            transaction: TxnRequest {
                compare,
                success,
                failure,
            },
            digits,
            lease,
        }
    }
}

fn put_with_lease(key: Bytes, value: Bytes, lease: i64) -> RequestOp {
    EtcdOperation::Put(PutRequest {
        key,
        value,
        lease,
        ..PutRequest::default()
    })
    .into()
}

/// Digits that no other commit has.
fn random_digits() -> Digits {
    let token = random_token();
    Digits::parse(&token).unwrap_or_else(|| Digits::from_bits(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_not_repeated() {
        let digits: std::collections::HashSet<_> = (0..1000).map(|_| random_digits()).collect();
        assert_eq!(digits.len(), 1000);
        assert!(!digits.contains(&Digits::from_bits(0)));
    }
}
