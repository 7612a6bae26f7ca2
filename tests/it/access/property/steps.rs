//! What callers do, by chance.

use ifmatch::access::{Action, Grant};
use proptest::prelude::*;

use super::model::{Condition, KEYS, PREFIXES};

/// What a caller does next.
#[derive(Debug, Clone)]
pub enum Step {
    Put(usize, Condition),
    Patch(usize, Condition, bool),
    Delete(usize, Condition),
    Get(usize, Condition, bool),
    List {
        prefix: usize,
        after: Option<usize>,
        limit: Option<usize>,
        /// Which of the tags of before, whoever got it.
        tag: Option<usize>,
        wait: bool,
    },
    Transact(Vec<(u8, usize, Condition)>),
    Watch {
        prefix: usize,
        key: Option<usize>,
        since: Option<usize>,
    },
    Health,
    /// The caller gets other grants.
    Regrant(Vec<Grant>),
}

pub fn some_grants() -> impl Strategy<Value = Vec<Grant>> {
    let actions = prop_oneof![
        Just(vec![Action::Read]),
        prop::sample::subsequence(Action::ALL.to_vec(), 1..=4),
    ];
    let prefix = prop::sample::select(PREFIXES.to_vec());
    let grant = (prefix, actions).prop_map(|(prefix, actions)| Grant {
        prefix: prefix.to_owned(),
        actions,
    });
    prop::collection::vec(grant, 0..5)
}

fn condition() -> impl Strategy<Value = Condition> {
    prop::sample::select(vec![
        Condition::None,
        Condition::None,
        Condition::None,
        Condition::MatchAny,
        Condition::MatchCurrent,
        Condition::MatchOther,
        Condition::NoneMatchAny,
        Condition::NoneMatchCurrent,
        Condition::NoneMatchOther,
    ])
}

pub fn step() -> impl Strategy<Value = Step> {
    let key = || 0..KEYS.len();
    let maybe = proptest::option::of::<std::ops::Range<usize>>;
    let operations = prop::collection::vec((0..3_u8, key(), condition()), 1..4);
    prop_oneof![
        8 => (key(), condition()).prop_map(|(key, condition)| Step::Put(key, condition)),
        3 => (key(), condition(), any::<bool>())
            .prop_map(|(key, condition, is_json)| Step::Patch(key, condition, is_json)),
        3 => (key(), condition()).prop_map(|(key, condition)| Step::Delete(key, condition)),
        3 => (key(), condition(), any::<bool>())
            .prop_map(|(key, condition, head)| Step::Get(key, condition, head)),
        6 => (0..PREFIXES.len(), maybe(key()), maybe(1..4), maybe(0..8), any::<bool>())
            .prop_map(|(prefix, after, limit, tag, wait)| {
                Step::List { prefix, after, limit, tag, wait }
            }),
        3 => operations.prop_map(|mut operations| {
            operations.sort_by_key(|operation| operation.1);
            operations.dedup_by_key(|operation| operation.1);
            Step::Transact(operations)
        }),
        5 => (0..PREFIXES.len(), maybe(key()), maybe(0..8))
            .prop_map(|(prefix, key, since)| Step::Watch { prefix, key, since }),
        1 => Just(Step::Health),
        1 => some_grants().prop_map(Step::Regrant),
    ]
}
