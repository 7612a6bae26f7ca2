//! What a caller may do: a union of actions on prefixes of keys. Nothing is denied by name.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::Key;

/// What can be done to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Show it: get, list, watch, check.
    Read,
    /// Write a key that does not exist.
    Create,
    /// Write a key that exists.
    Update,
    /// Delete it.
    Delete,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Read, Self::Create, Self::Update, Self::Delete];

    /// How it is written in a file of tokens and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Actions on all keys with a prefix; the empty prefix is that of all keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// What the keys begin with.
    pub prefix: String,
    /// What may be done to them.
    pub actions: Vec<Action>,
}

impl Grant {
    fn covers(&self, other: &Self) -> bool {
        let has = |action| self.actions.contains(action);
        other.prefix.starts_with(&self.prefix) && other.actions.iter().all(has)
    }
}

/// What a caller may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grants {
    grants: Vec<Grant>,
    /// The shortest readable prefixes, ascending: none begins with another.
    readable: Vec<String>,
}

/// Which part of a range of keys a caller may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readable {
    /// No key that it could have.
    Nothing,
    /// Every key.
    Everything,
    /// The keys with one of these prefixes, which are ascending. None begins with another.
    Prefixes(Vec<String>),
}

impl Grants {
    /// Everything that one of `grants` allows.
    #[must_use]
    pub fn new(grants: Vec<Grant>) -> Self {
        let mut prefixes: Vec<&str> = grants
            .iter()
            .filter(|grant| grant.actions.contains(&Action::Read))
            .map(|grant| grant.prefix.as_str())
            .collect();
        prefixes.sort_unstable();
        let mut readable: Vec<String> = Vec::new();
        for prefix in prefixes {
            // In ascending order, a prefix comes before all that begin with it, with only such in between.
            if !readable.last().is_some_and(|last| prefix.starts_with(last)) {
                readable.push(prefix.to_owned());
            }
        }
        Self { grants, readable }
    }

    /// Every action on every key.
    #[must_use]
    pub fn everything() -> Self {
        Self::everywhere(&Action::ALL)
    }

    /// These actions on every key.
    #[must_use]
    pub fn everywhere(actions: &[Action]) -> Self {
        Self::new(vec![Grant {
            prefix: String::new(),
            actions: actions.to_vec(),
        }])
    }

    /// Everything that these allow, or `others`. What one of these covers already is not added.
    #[must_use]
    pub fn with(&self, others: &Self) -> Self {
        let is_covered = |other: &&Grant| self.grants.iter().any(|grant| grant.covers(other));
        let added = others.grants.iter().filter(|other| !is_covered(other));
        Self::new(self.grants.iter().chain(added).cloned().collect())
    }

    /// What they were made of.
    #[must_use]
    pub fn as_slice(&self) -> &[Grant] {
        &self.grants
    }

    /// Whether `action` may be done to `key`.
    #[must_use]
    pub fn allow(&self, action: Action, key: &Key) -> bool {
        self.grants
            .iter()
            .any(|grant| key.as_str().starts_with(&grant.prefix) && grant.actions.contains(&action))
    }

    /// Which of the keys with `prefix` may be read.
    #[must_use]
    pub fn readable_with_prefix(&self, prefix: &str) -> Readable {
        if self
            .readable
            .iter()
            .any(|granted| prefix.starts_with(granted))
        {
            return Readable::Everything;
        }
        let within = |granted: &&String| granted.starts_with(prefix);
        let prefixes: Vec<_> = self.readable.iter().filter(within).cloned().collect();
        if prefixes.is_empty() {
            Readable::Nothing
        } else {
            Readable::Prefixes(prefixes)
        }
    }

    /// Whether every key may be read.
    #[must_use]
    pub fn read_everything(&self) -> bool {
        self.readable_with_prefix("") == Readable::Everything
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn grants(of: &[(&str, &[Action])]) -> Grants {
        let grant = |(prefix, actions): &(&str, &[Action])| Grant {
            prefix: (*prefix).to_owned(),
            actions: actions.to_vec(),
        };
        Grants::new(of.iter().map(grant).collect())
    }

    #[test]
    fn what_grants_allow() {
        use Action::{Create, Delete, Read, Update};
        let ann = grants(&[
            ("doc/", &[Read, Create, Update]),
            ("doc/ann/", &[Delete]),
            ("cfg", &[Read]),
        ]);
        for (action, key, allowed) in [
            (Read, "doc/a", true),
            (Read, "doc/", true),
            (Read, "doc", false),
            (Read, "do", false),
            (Read, "docs", false),
            (Read, "Doc/a", false),
            (Read, "cfg", true),
            (Read, "cfg/a", true),
            (Read, "cfgx", true),
            (Read, "x", false),
            (Create, "doc/a", true),
            (Create, "cfg", false),
            (Update, "doc/ann/a", true),
            (Delete, "doc/a", false),
            (Delete, "doc/ann/a", true),
            (Delete, "doc/anna", false),
        ] {
            assert_eq!(
                ann.allow(action, &key.parse().unwrap()),
                allowed,
                "{action} {key}"
            );
        }
        assert!(!grants(&[]).allow(Read, &"a".parse().unwrap()));
        for action in Action::ALL {
            assert!(Grants::everything().allow(action, &"a".parse().unwrap()));
        }
    }

    #[test]
    fn which_part_of_a_prefix_may_be_read() {
        use Action::{Read, Update};
        let prefixes =
            |of: &[&str]| Readable::Prefixes(of.iter().map(ToString::to_string).collect());
        let ann = grants(&[
            ("doc/", &[Read]),
            ("doc/a/", &[Read]),
            ("cfg/", &[Read]),
            ("docs", &[Read]),
            ("secret/", &[Update]),
        ]);
        for (prefix, readable) in [
            ("", prefixes(&["cfg/", "doc/", "docs"])),
            ("do", prefixes(&["doc/", "docs"])),
            ("doc", prefixes(&["doc/", "docs"])),
            ("doc/", Readable::Everything),
            ("doc/a", Readable::Everything),
            ("docs/x", Readable::Everything),
            ("c", prefixes(&["cfg/"])),
            ("d/", Readable::Nothing),
            ("secret/", Readable::Nothing),
            ("secret", Readable::Nothing),
        ] {
            assert_eq!(ann.readable_with_prefix(prefix), readable, "{prefix:?}");
        }
        assert!(!ann.read_everything());
        assert!(Grants::everything().read_everything());
        assert_eq!(grants(&[]).readable_with_prefix(""), Readable::Nothing);
    }

    #[test]
    fn a_union_does_not_repeat_what_it_covers() {
        use Action::{Create, Read};
        let everyone = grants(&[("", &[Read])]);
        let ann = grants(&[("doc/", &[Create])]);
        let both = grants(&[("doc/", &[Create]), ("", &[Read])]);
        assert_eq!(ann.with(&everyone), both);
        assert_eq!(both.with(&everyone), both);
        assert_eq!(both.with(&grants(&[("doc/a", &[Read])])), both);
        assert_eq!(grants(&[]).with(&everyone), everyone);
        assert_eq!(ann.with(&grants(&[])), ann);
    }

    fn some_grants() -> impl Strategy<Value = Vec<Grant>> {
        let actions = prop::sample::subsequence(Action::ALL.to_vec(), 0..=4);
        let grant = ("[ab/]{0,3}", actions).prop_map(|(prefix, actions)| Grant { prefix, actions });
        prop::collection::vec(grant, 0..5)
    }

    proptest! {
        #[test]
        fn a_union_allows_what_one_of_both_does(
            one in some_grants(),
            other in some_grants(),
            key in "[ab/]{1,5}",
        ) {
            let (one, other) = (Grants::new(one), Grants::new(other));
            let key: Key = key.parse().unwrap();
            for action in Action::ALL {
                let allowed = one.allow(action, &key) || other.allow(action, &key);
                prop_assert_eq!(one.with(&other).allow(action, &key), allowed);
            }
        }

        /// Whatever the grants are: a key is in the readable part of a prefix exactly if it has the prefix
        /// and may be read, and the parts are ascending and apart.
        #[test]
        fn the_readable_part_is_what_may_be_read(
            granted in some_grants(),
            prefix in "[ab/]{0,3}",
            key in "[ab/]{1,5}",
        ) {
            let grants = Grants::new(granted.clone());
            let key: Key = key.parse().unwrap();
            let may_read = granted.iter().any(|grant| {
                grant.actions.contains(&Action::Read) && key.as_str().starts_with(&grant.prefix)
            });
            prop_assert_eq!(grants.allow(Action::Read, &key), may_read);
            let has_prefix = key.as_str().starts_with(&prefix);
            let in_part = match grants.readable_with_prefix(&prefix) {
                Readable::Nothing => false,
                Readable::Everything => has_prefix,
                Readable::Prefixes(parts) => {
                    for (one, next) in parts.iter().zip(&parts[1..]) {
                        prop_assert!(one < next && !next.starts_with(one.as_str()));
                    }
                    let count = parts.iter().filter(|part| key.as_str().starts_with(*part)).count();
                    prop_assert!(count <= 1);
                    count == 1
                }
            };
            prop_assert_eq!(in_part, has_prefix && may_read);
        }
    }
}
