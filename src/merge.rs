//! Three-way merge of JSON: combines what two people changed in the same value. Pure.
//!
//! | base | mine | theirs | merged |
//! | --- | --- | --- | --- |
//! | | the same as theirs | the same as mine | that |
//! | the same as mine | | | theirs |
//! | the same as theirs | | | mine |
//! | an object | an object | an object | each member by this table |
//! | anything else | | | an overlap |
//!
//! Any of the three may be absent, which is a value like another here: a member that only one side
//! deletes is gone, one that only one side adds is there, and one that a side deletes while the
//! other changes it is an overlap. So is a member that both add, unless they add the same: half of
//! each would be what neither wrote. Arrays are whole: positions do not tell which element is which.
//!
//! Two values are the same if they say the same: numbers by their digits (`1` is not `1.0`), objects
//! whatever the order of their members.

use serde_json::{Map, Value as Tree};

/// One place that both sides changed, and not in the same way.
#[derive(Debug, Clone, PartialEq)]
pub struct Overlap {
    /// Where (RFC 6901); empty for the whole value.
    pub pointer: String,
    /// What both started from.
    pub base: Option<Tree>,
    /// What one side made of it.
    pub mine: Option<Tree>,
    /// What the other side made of it.
    pub theirs: Option<Tree>,
}

/// What both sides made of `base`. The members of an object are in the order of `theirs`, followed by those
/// that only `mine` has.
///
/// # Errors
/// Every overlap, in the order of the members that would have been merged.
pub fn merge(
    base: Option<&Tree>,
    mine: Option<&Tree>,
    theirs: Option<&Tree>,
) -> Result<Option<Tree>, Vec<Overlap>> {
    let mut overlaps = Vec::new();
    let merged = merge_with(base, mine, theirs, |overlap| {
        overlaps.push(overlap.clone());
        None
    });
    if overlaps.is_empty() {
        Ok(merged)
    } else {
        Err(overlaps)
    }
}

/// The same, where `choose` says what becomes of each overlap; `None` leaves the place out.
pub fn merge_with(
    base: Option<&Tree>,
    mine: Option<&Tree>,
    theirs: Option<&Tree>,
    mut choose: impl FnMut(&Overlap) -> Option<Tree>,
) -> Option<Tree> {
    merge_at(&mut String::new(), [base, mine, theirs], &mut choose)
}

fn merge_at(
    pointer: &mut String,
    [base, mine, theirs]: [Option<&Tree>; 3],
    choose: &mut impl FnMut(&Overlap) -> Option<Tree>,
) -> Option<Tree> {
    if base == mine {
        return theirs.cloned();
    }
    if base == theirs || mine == theirs {
        return mine.cloned();
    }
    if let (
        Some(Tree::Object(base)),
        Some(Tree::Object(mine_members)),
        Some(Tree::Object(their_members)),
    ) = (base, mine, theirs)
    {
        let mut merged = Map::new();
        let only_mine = mine_members
            .keys()
            .filter(|name| !their_members.contains_key(*name));
        for name in their_members.keys().chain(only_mine) {
            let above = pointer.len();
            push_token(pointer, name);
            let sides = [base, mine_members, their_members].map(|members| members.get(name));
            if let Some(member) = merge_at(pointer, sides, choose) {
                merged.insert(name.clone(), member);
            }
            pointer.truncate(above);
        }
        return Some(Tree::Object(merged));
    }
    choose(&Overlap {
        pointer: pointer.clone(),
        base: base.cloned(),
        mine: mine.cloned(),
        theirs: theirs.cloned(),
    })
}

/// Appends a reference token (RFC 6901 §4).
fn push_token(pointer: &mut String, name: &str) {
    pointer.push('/');
    for character in name.chars() {
        match character {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            other => pointer.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;
    use crate::patch::Patch;
    use proptest::prelude::*;
    use serde_json::json;

    /// The vectors that the console's merge is tested with, too.
    const VECTORS: &str = include_str!("../tests/vectors/merge.json");

    #[test]
    fn every_vector() {
        let vectors = json::parse(VECTORS.as_bytes()).unwrap();
        let vectors = vectors.as_array().unwrap();
        assert!(vectors.len() > 40);
        for vector in vectors {
            let [base, mine, theirs] = ["base", "mine", "theirs"].map(|side| vector.get(side));
            let merged = merge(base, mine, theirs).map_err(|overlaps| {
                let pointers = overlaps.into_iter().map(|overlap| overlap.pointer);
                Tree::from(pointers.collect::<Vec<_>>())
            });
            match vector.get("overlaps") {
                Some(overlaps) => assert_eq!(merged.as_ref(), Err(overlaps), "{vector}"),
                // As texts, so that the order of members counts.
                None => assert_eq!(
                    merged.unwrap().map(|merged| merged.to_string()),
                    vector.get("merged").map(Tree::to_string),
                    "{vector}"
                ),
            }
        }
    }

    #[test]
    fn an_overlap_becomes_what_is_chosen() {
        let (base, mine, theirs) = (
            json!({"a": 1, "b": 1, "c": 1, "d": 1}),
            json!({"a": 2, "b": 2, "c": 2, "d": 2}),
            json!({"a": 3, "b": 3, "c": 3, "d": 1}),
        );
        let chosen = merge_with(
            Some(&base),
            Some(&mine),
            Some(&theirs),
            |overlap| match overlap.pointer.as_str() {
                "/a" => overlap.mine.clone(),
                "/b" => overlap.theirs.clone(),
                _ => None,
            },
        );
        assert_eq!(chosen, Some(json!({"a": 2, "b": 3, "d": 2})));
    }

    fn leaf() -> impl Strategy<Value = Tree> {
        prop_oneof![
            Just(Tree::Null),
            any::<bool>().prop_map(Tree::from),
            (0..3).prop_map(Tree::from),
            "[a-c]?".prop_map(Tree::from),
        ]
    }

    /// Small enough that two of them often have something in common.
    fn tree() -> impl Strategy<Value = Tree> {
        leaf().prop_recursive(4, 32, 4, |inner| {
            let name = prop_oneof![Just("a"), Just("b"), Just("c/~"), Just("")];
            prop_oneof![
                3 => prop::collection::vec((name, inner.clone()), 0..4).prop_map(|members| {
                    members.into_iter().map(|(name, member)| (name.to_owned(), member)).collect()
                }),
                1 => prop::collection::vec(inner, 0..3).prop_map(Tree::Array),
            ]
        })
    }

    /// Every member of every object, as a pointer, from the top down.
    fn members(tree: &Tree, pointer: &str, found: &mut Vec<String>) {
        if let Tree::Object(object) = tree {
            for (name, member) in object {
                let mut pointer = pointer.to_owned();
                push_token(&mut pointer, name);
                found.push(pointer.clone());
                members(member, &pointer, found);
            }
        }
    }

    fn apply(operations: &[Tree], tree: &Tree) -> Tree {
        let text = Tree::from(operations).to_string();
        let patch = Patch::operations(text.as_bytes()).unwrap();
        let patched = patch.apply(&tree.to_string(), 1 << 20, || false).unwrap();
        json::parse(patched.as_bytes()).unwrap()
    }

    fn pointers(overlaps: &[Overlap]) -> Vec<&str> {
        let mut pointers: Vec<_> = overlaps
            .iter()
            .map(|overlap| overlap.pointer.as_str())
            .collect();
        pointers.sort_unstable();
        pointers
    }

    proptest! {
        #[test]
        fn an_unchanged_side_gives_the_other(
            base in prop::option::of(tree()), other in prop::option::of(tree()),
        ) {
            let (base, other) = (base.as_ref(), other.as_ref());
            prop_assert_eq!(merge(base, base, other), Ok(other.cloned()));
            prop_assert_eq!(merge(base, other, base), Ok(other.cloned()));
            prop_assert_eq!(merge(base, other, other), Ok(other.cloned()));
        }

        #[test]
        fn swapping_the_sides_makes_no_difference(
            base in prop::option::of(tree()),
            one in prop::option::of(tree()),
            other in prop::option::of(tree()),
        ) {
            let (base, one, other) = (base.as_ref(), one.as_ref(), other.as_ref());
            match (merge(base, one, other), merge(base, other, one)) {
                (Ok(merged), Ok(again)) => prop_assert_eq!(merged, again),
                (Err(overlaps), Err(again)) => {
                    prop_assert_eq!(pointers(&overlaps), pointers(&again));
                }
                (merged, again) => prop_assert!(false, "{merged:?} and {again:?}"),
            }
        }

        #[test]
        fn changes_in_different_places_are_all_kept(
            base in tree(), dice in prop::collection::vec((0..4_u8, tree()), 32),
        ) {
            let mut places = Vec::new();
            members(&base, "", &mut places);
            let mut sides = [Vec::new(), Vec::new()];
            let mut changed: Vec<String> = Vec::new();
            for (place, (die, value)) in places.iter().zip(dice) {
                let within = |above: &String| place.strip_prefix(above.as_str())
                    .is_some_and(|rest| rest.starts_with('/'));
                if changed.iter().any(within) {
                    continue;
                }
                changed.push(place.clone());
                match die {
                    0 => { changed.pop(); }
                    1 => sides[0].push(json!({"op": "replace", "path": place, "value": value})),
                    2 => sides[1].push(json!({"op": "replace", "path": place, "value": value})),
                    _ => sides[changed.len() % 2].push(json!({"op": "remove", "path": place})),
                }
            }
            let [mine, theirs] = [&sides[0], &sides[1]].map(|side| apply(side, &base));
            let both = apply(&sides[1], &mine);
            prop_assert_eq!(merge(Some(&base), Some(&mine), Some(&theirs)), Ok(Some(both)));
        }
    }
}
