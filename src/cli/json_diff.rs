//! Where two JSON values differ, and the JSON Patch (RFC 6902) that makes one of the other. Pure.
//!
//! Objects are compared member by member, whatever their order; arrays by the elements that were put in or taken
//! out. Two values are the same if they say the same, as for [`crate::merge`].

use std::time::Instant;

use serde::Serialize;
use serde_json::Value as Tree;
use similar::{Algorithm, DiffOp, capture_diff_slices_deadline};

/// One place in which two values differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference<'a> {
    /// Where (RFC 6901). The positions of elements are those in the value before; those of new elements, where they
    /// are now.
    pub pointer: String,
    /// What was there; `None` if it is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<&'a Tree>,
    /// What is there now; `None` if it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<&'a Tree>,
}

/// An operation of a JSON Patch.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Operation<'a> {
    op: &'static str,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a Tree>,
}

/// All places in which two values differ, from the beginning to the end. After `deadline` the elements of arrays are
/// compared less closely.
pub fn differences<'a>(
    before: &'a Tree,
    after: &'a Tree,
    deadline: Instant,
) -> Vec<Difference<'a>> {
    let order = Order::Reading;
    Comparison::run([before, after], order, deadline)
}

/// The operations that make `after` of `before`.
pub fn patch<'a>(before: &'a Tree, after: &'a Tree, deadline: Instant) -> Vec<Operation<'a>> {
    let order = Order::Patching;
    let found = Comparison::run([before, after], order, deadline).into_iter();
    let operations = found.map(|difference| Operation {
        op: match (difference.before, difference.after) {
            (None, _) => "add",
            (_, None) => "remove",
            _ => "replace",
        },
        path: difference.pointer,
        value: difference.after,
    });
    operations.collect()
}

/// In which order the elements of an array are compared.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Order {
    /// From the first to the last.
    Reading,
    /// From the last to the first: then an operation does not move the elements of those that follow it, and every
    /// position is that in the value before.
    Patching,
}

struct Comparison<'a> {
    order: Order,
    deadline: Instant,
    pointer: String,
    found: Vec<Difference<'a>>,
}

impl<'a> Comparison<'a> {
    fn run(sides: [&'a Tree; 2], order: Order, deadline: Instant) -> Vec<Difference<'a>> {
        let mut comparison = Self {
            order,
            deadline,
            pointer: String::new(),
            found: Vec::new(),
        };
        comparison.compare(sides.map(Some));
        comparison.found
    }

    fn compare(&mut self, [before, after]: [Option<&'a Tree>; 2]) {
        if before == after {
            return;
        }
        match (before, after) {
            (Some(Tree::Object(before)), Some(Tree::Object(after))) => {
                let only_before = before.keys().filter(|name| !after.contains_key(*name));
                for name in after.keys().chain(only_before) {
                    self.compare_at(name, [before.get(name), after.get(name)]);
                }
            }
            (Some(Tree::Array(before)), Some(Tree::Array(after))) => {
                self.compare_elements(before, after);
            }
            _ => self.found.push(Difference {
                pointer: self.pointer.clone(),
                before,
                after,
            }),
        }
    }

    fn compare_at(&mut self, name: &str, sides: [Option<&'a Tree>; 2]) {
        let above = self.pointer.len();
        self.pointer.push('/');
        self.pointer
            .push_str(&name.replace('~', "~0").replace('/', "~1"));
        self.compare(sides);
        self.pointer.truncate(above);
    }

    fn compare_elements(&mut self, before: &'a [Tree], after: &'a [Tree]) {
        let mut pairs = Vec::new();
        for operation in edits(before, after, self.deadline) {
            let (_, old, new) = operation.as_tag_tuple();
            if matches!(operation, DiffOp::Equal { .. }) {
                continue;
            }
            let both = old.len().min(new.len());
            for at in 0..old.len().max(new.len()) {
                let sides = [before.get(old.start + at), after.get(new.start + at)];
                let [before, after] = [(at < old.len()), (at < new.len())];
                let position = match self.order {
                    Order::Reading if at >= both && after => new.start + at,
                    // All of them are put in at the same place, the last one first.
                    Order::Patching if at >= both && after => old.end,
                    _ => old.start + at,
                };
                let [old, new] = sides;
                pairs.push((position, [old.filter(|_| before), new.filter(|_| after)]));
            }
        }
        if self.order == Order::Patching {
            pairs.reverse();
        }
        for (position, sides) in pairs {
            self.compare_at(&position.to_string(), sides);
        }
    }
}

fn edits(before: &[Tree], after: &[Tree], deadline: Instant) -> Vec<DiffOp> {
    capture_diff_slices_deadline(Algorithm::Myers, before, after, Some(deadline))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::json;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    fn shown(before: &Tree, after: &Tree) -> Tree {
        json!(differences(before, after, soon()))
    }

    #[test]
    fn each_difference_has_its_place() {
        for (before, after, expected) in [
            (json!({"a": 1, "b": 2}), json!({"b": 2, "a": 1}), json!([])),
            (
                json!(1),
                json!(2),
                json!([{"pointer": "", "before": 1, "after": 2}]),
            ),
            (
                json!({"a": {"b/~": 1}, "gone": null}),
                json!({"a": {"b/~": 2}, "new": []}),
                json!([
                    {"pointer": "/a/b~1~0", "before": 1, "after": 2},
                    {"pointer": "/new", "after": []},
                    {"pointer": "/gone", "before": null},
                ]),
            ),
            (
                json!(["a", "b", "c", "d"]),
                json!(["new", "a", "c", "x", "y", "z"]),
                json!([
                    {"pointer": "/0", "after": "new"},
                    {"pointer": "/1", "before": "b"},
                    {"pointer": "/3", "before": "d", "after": "x"},
                    {"pointer": "/4", "after": "y"},
                    {"pointer": "/5", "after": "z"},
                ]),
            ),
            (
                json!([{"id": 1, "n": 1}, {"id": 2}]),
                json!([{"id": 1, "n": 2}, {"id": 2}]),
                json!([{"pointer": "/0/n", "before": 1, "after": 2}]),
            ),
        ] {
            assert_eq!(shown(&before, &after), expected, "{before} {after}");
        }
        // By their digits.
        let [one, other] = ["1.0", "1.00"].map(|text| json::parse(text.as_bytes()).unwrap());
        assert_eq!(differences(&one, &other, soon()).len(), 1);
    }

    #[test]
    fn large_arrays_without_anything_in_common_are_compared_in_time() {
        let numbers = |from: u32| (from..from + 100_000).map(Tree::from).collect::<Tree>();
        let begun = Instant::now();
        let deadline = begun + Duration::from_millis(100);
        let (before, after) = (numbers(0), numbers(1_000_000));
        assert_eq!(differences(&before, &after, deadline).len(), 100_000);
        assert!(begun.elapsed() < Duration::from_secs(20));
    }

    fn tree() -> impl Strategy<Value = Tree> {
        let leaf = prop_oneof![
            Just(Tree::Null),
            (0..3).prop_map(Tree::from),
            "[a-c]?".prop_map(Tree::from),
        ];
        leaf.prop_recursive(4, 48, 6, |inner| {
            let name = prop_oneof![Just("a"), Just("b"), Just("c/~"), Just(""), Just("0")];
            prop_oneof![
                prop::collection::vec((name, inner.clone()), 0..4).prop_map(|members| {
                    members
                        .into_iter()
                        .map(|(name, member)| (name.to_owned(), member))
                        .collect()
                }),
                prop::collection::vec(inner, 0..6).prop_map(Tree::Array),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_patch_makes_one_value_of_the_other(before in tree(), after in tree()) {
            let operations = json!(patch(&before, &after, soon()));
            let operations: json_patch::Patch = serde_json::from_value(operations).unwrap();
            let mut patched = before.clone();
            json_patch::patch(&mut patched, &operations).unwrap();
            prop_assert_eq!(&patched, &after);
            prop_assert_eq!(differences(&before, &after, soon()).is_empty(), before == after);
        }

        #[test]
        fn both_ways_find_the_same_places(before in tree(), after in tree()) {
            let there = differences(&before, &after, soon());
            let operations = patch(&before, &after, soon());
            prop_assert_eq!(there.len(), operations.len());
        }
    }
}
