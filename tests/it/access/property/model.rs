//! What each caller may be answered: a plain model of entries, grants and changes.

use std::collections::BTreeMap;

use ifmatch::access::{Action, Grants, Readable};

/// Each key has a mark of its own, which is in each of its values too, so that a text shows of which keys it has
/// anything.
pub const KEYS: [&str; 9] = [
    "a-k0", "a/k1", "a/k2", "ab-k3", "ab/k4", "b-k5", "b/a/k6", "b/b-k7", "c-k8",
];
pub const PREFIXES: [&str; 8] = ["", "a", "a/", "ab", "b", "b/", "b/a/", "x"];

pub fn may(grants: &Grants, action: Action, key: usize) -> bool {
    grants.allow(action, &KEYS[key].parse().unwrap())
}

/// Asserts that a text has nothing of the hidden keys but what was sent.
pub fn assert_hides(text: &str, sent: &str, is_hidden: impl Fn(usize) -> bool) {
    for (at, _) in text.match_indices('k') {
        let Some(key) = text[at + 1..]
            .chars()
            .next()
            .and_then(|digit| digit.to_digit(10))
        else {
            continue;
        };
        let rest = &text[at + 2..];
        let value = rest.strip_prefix("-n").and_then(|rest| rest.find('.'));
        let end = at + 2 + value.map_or(0, |end| end + "-n.".len());
        let mark = &text[at..end];
        assert!(
            !is_hidden(key as usize) || sent.contains(mark),
            "{mark} is shown: {text}"
        );
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    None,
    MatchAny,
    MatchCurrent,
    MatchOther,
    NoneMatchAny,
    NoneMatchCurrent,
    NoneMatchOther,
}

#[derive(Debug, Clone)]
pub struct Entry {
    pub value: String,
    pub version: u64,
    pub tag: String,
}

/// A change: its revision, what it was, and of which key.
pub type Change = (u64, &'static str, usize);

/// The tag of a list, and what it stands for.
#[derive(Debug, Clone)]
pub struct ListTag {
    pub part: Readable,
    pub revision: u64,
    pub text: String,
}

#[derive(Debug, Default)]
pub struct Model {
    pub entries: BTreeMap<usize, Entry>,
    pub revision: u64,
    pub changes: Vec<Change>,
    /// Each tag that an entry ever had.
    pub tags: Vec<(usize, String)>,
}

/// What one of several operations comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Failed,
    NotFound,
    Forbidden,
}

impl Model {
    pub fn current_tag(&self, key: usize) -> String {
        let none = || "\"9-ffffffffffffffff\"".to_owned();
        self.entries
            .get(&key)
            .map_or_else(none, |entry| entry.tag.clone())
    }

    /// The header that a condition is sent with.
    pub fn header(&self, key: usize, condition: Condition) -> Option<(&'static str, String)> {
        let other = "\"1-0000000000000000\"".to_owned();
        match condition {
            Condition::None => None,
            Condition::MatchAny => Some(("if-match", "*".to_owned())),
            Condition::MatchCurrent => Some(("if-match", self.current_tag(key))),
            Condition::MatchOther => Some(("if-match", other)),
            Condition::NoneMatchAny => Some(("if-none-match", "*".to_owned())),
            Condition::NoneMatchCurrent => Some(("if-none-match", self.current_tag(key))),
            Condition::NoneMatchOther => Some(("if-none-match", other)),
        }
    }

    /// Whether a condition holds for a key that exists.
    pub fn holds(condition: Condition) -> bool {
        !matches!(
            condition,
            Condition::MatchOther | Condition::NoneMatchAny | Condition::NoneMatchCurrent
        )
    }

    pub fn put(&self, by: &Grants, key: usize, condition: Condition) -> Outcome {
        let (create, update) = (may(by, Action::Create, key), may(by, Action::Update, key));
        let exists = self.entries.contains_key(&key);
        match condition {
            Condition::MatchAny | Condition::MatchCurrent | Condition::MatchOther => {
                match (update, exists && Self::holds(condition)) {
                    (false, _) => Outcome::Forbidden,
                    (true, true) => Outcome::Done,
                    (true, false) => Outcome::Failed,
                }
            }
            Condition::NoneMatchAny => match (create, exists) {
                (false, _) => Outcome::Forbidden,
                (true, false) => Outcome::Done,
                (true, true) => Outcome::Failed,
            },
            _ if !(if exists { update } else { create }) => Outcome::Forbidden,
            _ if exists && !Self::holds(condition) => Outcome::Failed,
            _ => Outcome::Done,
        }
    }

    /// What becomes of a write, or a read, of an entry that must exist.
    pub fn of_existing(&self, is_granted: bool, key: usize, condition: Condition) -> Outcome {
        match (is_granted, self.entries.contains_key(&key)) {
            (false, _) => Outcome::Forbidden,
            (true, false) => Outcome::NotFound,
            (true, true) if Self::holds(condition) => Outcome::Done,
            (true, true) => Outcome::Failed,
        }
    }

    pub fn check(&self, by: &Grants, key: usize, condition: Condition) -> Outcome {
        if !may(by, Action::Read, key) {
            return Outcome::Forbidden;
        }
        let holds = match (self.entries.contains_key(&key), condition) {
            (true, _) => Self::holds(condition),
            (false, Condition::MatchAny | Condition::MatchCurrent | Condition::MatchOther) => false,
            (false, _) => true,
        };
        if holds {
            Outcome::Done
        } else {
            Outcome::Failed
        }
    }

    /// One commit.
    pub fn commit(&mut self, writes: &[(usize, Option<String>)]) {
        self.revision += 1;
        for (key, value) in writes {
            let before = self.entries.remove(key);
            let Some(value) = value else {
                self.changes.push((self.revision, "delete", *key));
                continue;
            };
            let entry = Entry {
                value: value.clone(),
                version: before.map_or(1, |entry| entry.version + 1),
                tag: String::new(),
            };
            self.entries.insert(*key, entry);
            self.changes.push((self.revision, "put", *key));
        }
    }

    /// The keys of a list and its `next`.
    pub fn list(
        &self,
        by: &Grants,
        prefix: &str,
        after: Option<usize>,
        limit: Option<usize>,
    ) -> (Vec<usize>, Option<usize>) {
        let mut keys: Vec<usize> = self.entries.keys().copied().collect();
        keys.retain(|key| {
            KEYS[*key].starts_with(prefix)
                && may(by, Action::Read, *key)
                && after.is_none_or(|after| KEYS[*key] > KEYS[after])
        });
        keys.sort_by_key(|key| KEYS[*key]);
        match limit.filter(|limit| *limit < keys.len()) {
            Some(limit) => {
                keys.truncate(limit);
                let next = keys.last().copied();
                (keys, next)
            }
            None => (keys, None),
        }
    }

    /// The changes after a revision that match.
    pub fn changes_after(&self, revision: u64, matches: impl Fn(usize) -> bool) -> Vec<Change> {
        let changes = self.changes.iter().copied();
        changes
            .filter(|(at, _, key)| *at > revision && matches(*key))
            .collect()
    }
}
