//! Preconditions (RFC 9110 §13) against a record. Pure: what the headers said comes in as
//! [`Preconditions`], what the store must check goes out as [`Expected`].

use std::mem;

use crate::model::{EntityTag, Expected, Record, Timestamp};

/// One entity tag of a client's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedTag {
    /// It came with `W/`.
    pub weak: bool,
    /// What is between the quotes.
    pub opaque: String,
}

/// The least length of our entity tags between the quotes, in bytes: a digit, a hyphen, 16 hexadecimal
/// digits.
const OUR_TAG_MIN_BYTES: usize = 1 + 1 + 16;

/// What `If-Match` or `If-None-Match` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tags {
    /// `*`: any current representation.
    Any,
    /// These tags.
    Listed(Vec<ListedTag>),
}

impl Tags {
    /// Drops tags that are too short to match anything, but keeps one strong one, so that the rest does not
    /// look all weak. A list of 16 KiB has room for 5,000 empty tags, which would take ten times its text in
    /// memory while its request waits.
    #[must_use]
    pub fn without_impossible(self) -> Self {
        match self {
            Self::Any => Self::Any,
            Self::Listed(mut tags) => {
                let mut has_strong = false;
                tags.retain(|tag| {
                    tag.opaque.len() >= OUR_TAG_MIN_BYTES
                        || (!tag.weak && !mem::replace(&mut has_strong, true))
                });
                tags.shrink_to_fit();
                Self::Listed(tags)
            }
        }
    }

    /// Strong comparison (RFC 9110 §8.8.3.2): a weak tag never matches.
    #[must_use]
    pub fn match_strongly(&self, current: &EntityTag) -> bool {
        self.any(|tag| !tag.weak && tag.opaque == current.opaque())
    }

    /// Weak comparison (RFC 9110 §8.8.3.2): weak or not makes no difference.
    #[must_use]
    pub fn match_weakly(&self, current: &EntityTag) -> bool {
        self.any(|tag| tag.opaque == current.opaque())
    }

    /// Whether there are tags and every one is weak, so that none can match strongly.
    fn are_weak(&self) -> bool {
        match self {
            Self::Any => false,
            Self::Listed(tags) => !tags.is_empty() && tags.iter().all(|tag| tag.weak),
        }
    }

    fn any(&self, matches: impl Fn(&ListedTag) -> bool) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(tags) => tags.iter().any(matches),
        }
    }
}

/// The preconditions of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preconditions {
    /// `If-Match` (RFC 9110 §13.1.1).
    pub if_match: Option<Tags>,
    /// `If-None-Match` (RFC 9110 §13.1.2).
    pub if_none_match: Option<Tags>,
    /// `If-Modified-Since` (RFC 9110 §13.1.3).
    pub if_modified_since: Option<Timestamp>,
    /// `If-Unmodified-Since` (RFC 9110 §13.1.4).
    pub if_unmodified_since: Option<Timestamp>,
}

impl Preconditions {
    /// Requires that the entry still has this tag.
    #[must_use]
    pub fn if_match(etag: &EntityTag) -> Self {
        let tag = ListedTag {
            weak: false,
            opaque: etag.opaque().to_owned(),
        };
        Self {
            if_match: Some(Tags::Listed(vec![tag])),
            ..Self::default()
        }
    }
}

impl Preconditions {
    /// Whether a write with them cannot overwrite a state that its client has not seen: it names the state
    /// that it replaces, or only creates. `If-Match: *` allows any state, `If-None-Match: "a"` all but one,
    /// and a date all states within its second.
    #[must_use]
    pub fn rule_out_lost_updates(&self) -> bool {
        matches!(self.if_match, Some(Tags::Listed(_))) || self.if_none_match == Some(Tags::Any)
    }
}

impl Preconditions {
    /// What is between the quotes of the tag in `If-Match`, if there is one and it is strong: it names the state
    /// from which the client began.
    #[must_use]
    pub fn named_state(&self) -> Option<&str> {
        match self.if_match.as_ref()? {
            Tags::Listed(tags) => match &tags[..] {
                [tag] if !tag.weak => Some(&tag.opaque),
                _ => None,
            },
            Tags::Any => None,
        }
    }
}

/// Why preconditions do not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mismatch {
    /// The current state is not the required one.
    State,
    /// `If-Match` has only weak tags, which match no state.
    WeakTags,
}

impl Mismatch {
    /// Why these preconditions do not hold.
    #[must_use]
    pub fn of(conditions: &Preconditions) -> Self {
        match &conditions.if_match {
            Some(tags) if tags.are_weak() => Self::WeakTags,
            _ => Self::State,
        }
    }
}

/// What a request does with its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// GET, HEAD.
    Read,
    /// POST, PUT: creates what is not there.
    Write,
    /// DELETE, PATCH: an absent key is not found, whatever the preconditions.
    WriteExisting,
}

/// The result of evaluating preconditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Proceed, if this still holds at the moment of the commit.
    Proceed(Expected),
    /// 412.
    Failed,
    /// 304, for a read.
    NotModified,
    /// 404.
    NotFound,
}

/// Evaluates preconditions in the order of RFC 9110 §13.2.2.
///
/// | request | existing key | absent key |
/// | --- | --- | --- |
/// | If-Match, a strong tag is current, or `*` | proceed | `Write` failed, else not found |
/// | If-Match, none is current | failed | as above |
/// | else If-Unmodified-Since before the last change | failed | as above |
/// | If-None-Match, a tag is current, or `*` | `Read` not modified, else failed | proceed, `Read` not found |
/// | else If-Modified-Since at or after the last change | `Read` not modified | `Read` not found |
///
/// An absent key fails If-Unmodified-Since: its sender has seen the entry, which was deleted since then.
#[must_use]
pub fn decide(conditions: &Preconditions, purpose: Purpose, current: Option<&Record>) -> Decision {
    let Some(record) = current else {
        return decide_absent(conditions, purpose);
    };
    let holds = match (&conditions.if_match, conditions.if_unmodified_since) {
        (Some(tags), _) => tags.match_strongly(&record.etag()),
        (None, Some(date)) => record.modified_at.seconds() <= date.seconds(),
        (None, None) => true,
    };
    if !holds {
        return Decision::Failed;
    }
    let unchanged = match (&conditions.if_none_match, conditions.if_modified_since) {
        (Some(tags), _) => tags.match_weakly(&record.etag()),
        (None, Some(date)) if purpose == Purpose::Read => {
            record.modified_at.seconds() <= date.seconds()
        }
        (None, _) => false,
    };
    match (unchanged, purpose) {
        (true, Purpose::Read) => Decision::NotModified,
        (true, _) => Decision::Failed,
        (false, _) => Decision::Proceed(expected_of(conditions, purpose, record)),
    }
}

fn decide_absent(conditions: &Preconditions, purpose: Purpose) -> Decision {
    if purpose != Purpose::Write {
        return Decision::NotFound;
    }
    if conditions.if_match.is_some() || conditions.if_unmodified_since.is_some() {
        return Decision::Failed;
    }
    Decision::Proceed(if conditions.if_none_match.is_some() {
        Expected::Absent
    } else {
        Expected::Any
    })
}

/// The weakest requirement under which the preconditions still hold, so that as few lost races as possible
/// have to be retried.
fn expected_of(conditions: &Preconditions, purpose: Purpose, record: &Record) -> Expected {
    match conditions {
        Preconditions {
            if_match: None,
            if_none_match: None,
            if_unmodified_since: None,
            ..
        } if purpose == Purpose::Write => Expected::Any,
        Preconditions {
            if_match: None | Some(Tags::Any),
            if_none_match: None,
            if_unmodified_since: None,
            ..
        } => Expected::Present,
        _ => Expected::At(record.revision),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Key, Stamp, Value};
    use Decision::{Failed, NotFound, NotModified, Proceed};
    use Expected::{Absent, Any, At, Present};
    use Purpose::{Read, Write, WriteExisting};

    const REVISION: u64 = 9;

    fn current() -> Record {
        let key: Key = "k".parse().unwrap();
        let value = Value::from_json(b"1").unwrap();
        let stamp = Stamp {
            version: 3,
            revision: REVISION,
            modified_at: Timestamp::from_millis(10_500),
            modified_by: None,
        };
        Record::new(&key, value, stamp)
    }

    fn listed(weak: bool, opaque: &str) -> ListedTag {
        ListedTag {
            weak,
            opaque: opaque.to_owned(),
        }
    }

    fn other() -> Tags {
        Tags::Listed(vec![listed(false, "2-0000000000000000")])
    }

    fn same() -> Tags {
        let tag = current().etag();
        Tags::Listed(vec![listed(false, "x"), listed(false, tag.opaque())])
    }

    fn weak() -> Tags {
        Tags::Listed(vec![listed(true, current().etag().opaque())])
    }

    fn seconds(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn every_row_of_the_table() {
        let none = Preconditions::default;
        let if_match = |tags| Preconditions {
            if_match: Some(tags),
            ..none()
        };
        let if_none_match = |tags| Preconditions {
            if_none_match: Some(tags),
            ..none()
        };
        let unmodified = |date| Preconditions {
            if_unmodified_since: Some(date),
            ..none()
        };
        let modified = |date| Preconditions {
            if_modified_since: Some(date),
            ..none()
        };
        let any = || Tags::Any;
        // conditions, purpose, decision for an existing key, decision for an absent key
        let rows = [
            (none(), Read, Proceed(Present), NotFound),
            (none(), Write, Proceed(Any), Proceed(Any)),
            (none(), WriteExisting, Proceed(Present), NotFound),
            (if_match(same()), Read, Proceed(At(REVISION)), NotFound),
            (if_match(same()), Write, Proceed(At(REVISION)), Failed),
            (
                if_match(same()),
                WriteExisting,
                Proceed(At(REVISION)),
                NotFound,
            ),
            (if_match(weak()), Write, Failed, Failed),
            (if_match(other()), Read, Failed, NotFound),
            (if_match(other()), Write, Failed, Failed),
            (if_match(other()), WriteExisting, Failed, NotFound),
            (if_match(any()), Write, Proceed(Present), Failed),
            (if_match(any()), WriteExisting, Proceed(Present), NotFound),
            (if_none_match(any()), Write, Failed, Proceed(Absent)),
            (if_none_match(any()), WriteExisting, Failed, NotFound),
            (if_none_match(any()), Read, NotModified, NotFound),
            (if_none_match(same()), Read, NotModified, NotFound),
            (if_none_match(weak()), Read, NotModified, NotFound),
            (if_none_match(weak()), Write, Failed, Proceed(Absent)),
            (
                if_none_match(other()),
                Read,
                Proceed(At(REVISION)),
                NotFound,
            ),
            (
                if_none_match(other()),
                Write,
                Proceed(At(REVISION)),
                Proceed(Absent),
            ),
            (
                unmodified(seconds(10)),
                Write,
                Proceed(At(REVISION)),
                Failed,
            ),
            (unmodified(seconds(9)), Write, Failed, Failed),
            (unmodified(seconds(9)), WriteExisting, Failed, NotFound),
            (unmodified(seconds(9)), Read, Failed, NotFound),
            (modified(seconds(10)), Read, NotModified, NotFound),
            (modified(seconds(9)), Read, Proceed(Present), NotFound),
            (modified(seconds(10)), Write, Proceed(Any), Proceed(Any)),
        ];
        let record = current();
        for (conditions, purpose, existing, absent) in rows {
            let case = format!("{purpose:?} {conditions:?}");
            assert_eq!(
                decide(&conditions, purpose, Some(&record)),
                existing,
                "{case}"
            );
            assert_eq!(decide(&conditions, purpose, None), absent, "{case}");
        }
    }

    #[test]
    fn tags_come_before_dates_and_if_match_before_if_none_match() {
        let record = current();
        let tag_over_date = Preconditions {
            if_match: Some(same()),
            if_unmodified_since: Some(seconds(1)),
            ..Preconditions::default()
        };
        assert_eq!(
            decide(&tag_over_date, Write, Some(&record)),
            Proceed(At(REVISION))
        );
        let none_match_over_date = Preconditions {
            if_none_match: Some(other()),
            if_modified_since: Some(seconds(10)),
            ..Preconditions::default()
        };
        assert_eq!(
            decide(&none_match_over_date, Read, Some(&record)),
            Proceed(At(REVISION))
        );
        let stale_and_unchanged = Preconditions {
            if_match: Some(other()),
            if_none_match: Some(same()),
            ..Preconditions::default()
        };
        assert_eq!(decide(&stale_and_unchanged, Read, Some(&record)), Failed);
        let both_hold = Preconditions {
            if_match: Some(Tags::Any),
            if_none_match: Some(same()),
            ..Preconditions::default()
        };
        assert_eq!(decide(&both_hold, Write, Some(&record)), Failed);
    }
}
