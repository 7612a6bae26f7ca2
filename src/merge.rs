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
    merge_sides([base, mine, theirs], |pointer, [base, mine, theirs]| {
        choose(&Overlap {
            pointer: pointer.to_owned(),
            base: base.cloned(),
            mine: mine.cloned(),
            theirs: theirs.cloned(),
        })
    })
}

/// The same as [`merge`], but of the overlaps it says only where they are: of the first [`POINTERS_MAX`], and no
/// more than fit into [`POINTERS_MAX_BYTES`], but of one in any case.
///
/// # Errors
/// The pointers (RFC 6901).
pub fn merge_or_conflicts(
    base: Option<&Tree>,
    mine: Option<&Tree>,
    theirs: Option<&Tree>,
) -> Result<Option<Tree>, Vec<String>> {
    let mut found = Pointers::default();
    let merged = merge_sides([base, mine, theirs], |pointer, _| {
        found.push(pointer);
        None
    });
    if found.list.is_empty() {
        Ok(merged)
    } else {
        Err(found.list)
    }
}

/// Where `after` differs from `before`, as pointers (RFC 6901): the deepest members that both have, or that one of
/// them has; arrays are whole. They are in the order of `after`, followed by what only `before` has, and as many as
/// [`merge_or_conflicts`] would give.
#[must_use]
pub fn changed(before: &Tree, after: &Tree) -> Vec<String> {
    let mut found = Pointers::default();
    changed_at(&mut String::new(), [Some(before), Some(after)], &mut found);
    found.list
}

/// How many pointers an answer has at the most.
pub const POINTERS_MAX: usize = 100;
/// How long they may be together, in bytes.
pub const POINTERS_MAX_BYTES: usize = 64 * 1024;

/// The first pointers of what may be many.
#[derive(Default)]
struct Pointers {
    list: Vec<String>,
    bytes: usize,
    is_full: bool,
}

impl Pointers {
    fn push(&mut self, pointer: &str) {
        self.bytes += pointer.len();
        let has_room = self.list.len() < POINTERS_MAX && self.bytes <= POINTERS_MAX_BYTES;
        self.is_full |= !has_room;
        if !self.is_full || self.list.is_empty() {
            self.list.push(pointer.to_owned());
        }
    }
}

fn changed_at(pointer: &mut String, [before, after]: [Option<&Tree>; 2], found: &mut Pointers) {
    if found.is_full {
        return;
    }
    let (Some(Tree::Object(members_before)), Some(Tree::Object(members_after))) = (before, after)
    else {
        if before != after {
            found.push(pointer);
        }
        return;
    };
    for name in names([members_after, members_before]) {
        let above = pointer.len();
        push_token(pointer, name);
        let sides = [members_before.get(name), members_after.get(name)];
        changed_at(pointer, sides, found);
        pointer.truncate(above);
    }
}

/// Base, mine and theirs.
type Sides<'a> = [Option<&'a Tree>; 3];

/// The names in the first object, followed by those that only the second has.
fn names([first, second]: [&Map<String, Tree>; 2]) -> impl Iterator<Item = &String> {
    let only_second = second.keys().filter(|name| !first.contains_key(*name));
    first.keys().chain(only_second)
}

/// The members of three objects.
fn members(sides: Sides<'_>) -> Option<[&Map<String, Tree>; 3]> {
    match sides {
        [
            Some(Tree::Object(base)),
            Some(Tree::Object(mine)),
            Some(Tree::Object(theirs)),
        ] => Some([base, mine, theirs]),
        _ => None,
    }
}

/// Which sides are the same. It is found from the bottom up, so that the work grows with the texts and not with
/// their depth, too.
struct Comparison {
    base_is_mine: bool,
    base_is_theirs: bool,
    mine_is_theirs: bool,
    /// The members of three objects, in the order of [`names`] in theirs and mine.
    members: Vec<Comparison>,
}

impl Comparison {
    fn of(sides: Sides<'_>) -> Self {
        let Some([base, mine, theirs]) = members(sides) else {
            let [base, mine, theirs] = sides;
            return Self {
                base_is_mine: base == mine,
                base_is_theirs: base == theirs,
                mine_is_theirs: mine == theirs,
                members: Vec::new(),
            };
        };
        let members: Vec<_> = names([theirs, mine])
            .map(|name| Self::of([base, mine, theirs].map(|side| side.get(name))))
            .collect();
        let is_deleted = |name: &String| !mine.contains_key(name) && !theirs.contains_key(name);
        let both_delete = base.keys().any(is_deleted);
        Self {
            base_is_mine: !both_delete && members.iter().all(|member| member.base_is_mine),
            base_is_theirs: !both_delete && members.iter().all(|member| member.base_is_theirs),
            mine_is_theirs: members.iter().all(|member| member.mine_is_theirs),
            members,
        }
    }
}

fn merge_sides(
    sides: Sides<'_>,
    mut choose: impl FnMut(&str, Sides<'_>) -> Option<Tree>,
) -> Option<Tree> {
    let comparison = Comparison::of(sides);
    merge_at(&mut String::new(), sides, &comparison, &mut choose)
}

fn merge_at(
    pointer: &mut String,
    sides: Sides<'_>,
    comparison: &Comparison,
    choose: &mut impl FnMut(&str, Sides<'_>) -> Option<Tree>,
) -> Option<Tree> {
    let [_, mine, theirs] = sides;
    if comparison.base_is_mine {
        return theirs.cloned();
    }
    if comparison.base_is_theirs || comparison.mine_is_theirs {
        return mine.cloned();
    }
    let Some(objects) = members(sides) else {
        return choose(pointer, sides);
    };
    let [_, mine, theirs] = objects;
    let mut merged = Map::new();
    for (name, comparison) in names([theirs, mine]).zip(&comparison.members) {
        let above = pointer.len();
        push_token(pointer, name);
        let sides = objects.map(|members| members.get(name));
        if let Some(member) = merge_at(pointer, sides, comparison, choose) {
            merged.insert(name.clone(), member);
        }
        pointer.truncate(above);
    }
    Some(Tree::Object(merged))
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

    #[test]
    fn what_has_changed_is_named_by_its_deepest_member() {
        let before = json!({"a": {"b": 1, "c": [1, 2]}, "d": 1, "e~/": {}, "same": [{}]});
        for (after, expected) in [
            (before.clone(), vec![]),
            (
                json!({"same": [{}], "e~/": {}, "d": 1, "a": {"c": [1, 2], "b": 1}}),
                vec![],
            ),
            (
                json!({"a": {"b": 2, "c": [1, 3]}, "d": 1, "e~/": {}, "same": [{}]}),
                vec!["/a/b", "/a/c"],
            ),
            (
                json!({"new": 1, "a": 1, "e~/": {"f": 1}, "same": [{}]}),
                vec!["/new", "/a", "/e~0~1/f", "/d"],
            ),
            (json!([]), vec![""]),
        ] {
            assert_eq!(changed(&before, &after), expected, "{after}");
        }
    }

    #[test]
    fn pointers_are_few_however_many_places_there_are() {
        let tree = |value: i32, name: &str| {
            let members = (0..1000).map(|number| (format!("{name}{number}"), json!(value)));
            Tree::Object(members.collect())
        };
        let short = changed(&tree(1, ""), &tree(2, ""));
        assert_eq!(short.len(), POINTERS_MAX);
        assert_eq!(short[99], "/99");
        let longer = "n".repeat(POINTERS_MAX_BYTES / 10);
        let sides = [1, 2, 3].map(|value| tree(value, &longer));
        assert_eq!(changed(&sides[0], &sides[1]).len(), 9);
        let [base, mine, theirs] = sides.each_ref().map(Some);
        assert_eq!(merge_or_conflicts(base, mine, theirs).unwrap_err().len(), 9);
        let longest = "n".repeat(POINTERS_MAX_BYTES);
        assert_eq!(changed(&tree(1, &longest), &tree(2, &longest)).len(), 1);
    }

    #[test]
    fn the_work_does_not_grow_with_the_depth() {
        // The difference is what is compared last, at every level.
        let deep = |value: i32| {
            let wide = || Tree::from(vec![0; 100]);
            (0..100).fold(json!(value), |inner, _| json!({"wide": wide(), "z": inner}))
        };
        let [base, mine, theirs] = [1, 2, 3].map(deep);
        let sides = [Some(&base), Some(&mine), Some(&theirs)];
        let compared = Comparison::of(sides);
        let mut comparisons = 0;
        let mut left = vec![&compared];
        while let Some(next) = left.pop() {
            comparisons += 1;
            left.extend(&next.members);
        }
        assert_eq!(comparisons, 201);
        let pointer = "/z".repeat(100);
        let [base, mine, theirs] = sides;
        assert_eq!(merge_or_conflicts(base, mine, theirs), Err(vec![pointer]));
    }

    proptest! {
        #[test]
        fn conflicts_are_where_the_overlaps_are(
            base in prop::option::of(tree()), mine in tree(), theirs in tree(),
        ) {
            let sides = (base.as_ref(), Some(&mine), Some(&theirs));
            let overlaps = merge(sides.0, sides.1, sides.2)
                .map_err(|overlaps| overlaps.into_iter().map(|of| of.pointer).collect::<Vec<_>>());
            prop_assert_eq!(merge_or_conflicts(sides.0, sides.1, sides.2), overlaps);
            prop_assert_eq!(changed(&mine, &theirs).is_empty(), mine == theirs);
        }

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
