//! The same as the `json-patch` crate and the parser of trees, on random values.

use proptest::prelude::*;

use super::*;

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-c]",
        1 => prop_oneof![Just(""), Just("~"), Just("/"), Just("0"), Just("-"), Just("\"\n")]
            .prop_map(str::to_owned),
    ]
}

fn value() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        Just(Tree::Null),
        any::<bool>().prop_map(Tree::from),
        (0..3).prop_map(Tree::from),
        "[a\"\n]{0,2}".prop_map(Tree::from),
    ];
    leaf.prop_recursive(4, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec((name(), inner.clone()), 0..6)
                .prop_map(|members| Tree::Object(members.into_iter().collect())),
            prop::collection::vec(inner, 0..6).prop_map(Tree::Array),
        ]
    })
}

/// A path that is often there: `dice` choose the steps in a value.
fn path_in(value: &Tree, dice: &[u8]) -> String {
    let mut path = String::new();
    let mut here = Some(value);
    for die in dice {
        let (token, below) = match here {
            Some(Tree::Object(members)) if !members.is_empty() && die % 8 > 0 => {
                let (name, below) = members
                    .iter()
                    .nth(usize::from(*die) % members.len())
                    .unwrap();
                (name.clone(), Some(below))
            }
            Some(Tree::Array(items)) if die % 8 > 0 => {
                let position = usize::from(*die) % (items.len() + 1);
                (position.to_string(), items.get(position))
            }
            _ if *die < 16 => (
                ["a", "-", "00", "~/"][usize::from(die % 4)].to_owned(),
                None,
            ),
            _ => break,
        };
        path = format!("{path}/{}", token.replace('~', "~0").replace('/', "~1"));
        here = below;
    }
    path
}

/// What the `json-patch` crate makes of it, except that a move to where it comes from does nothing.
fn oracle(mut tree: Tree, operations: &Tree) -> Option<Tree> {
    for operation in operations.as_array().unwrap() {
        let in_place = operation["op"] == "move" && operation["from"] == operation["path"];
        if in_place && operation["path"] != "" {
            let path = operation["path"].as_str().unwrap();
            tree.pointer(path)?;
            continue;
        }
        let operation = serde_json::from_value(operation.clone()).unwrap();
        json_patch::patch(&mut tree, &[operation]).ok()?;
    }
    Some(tree)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn it_does_what_the_json_patch_crate_does(
        before in value(),
        made in prop::collection::vec(
            (0..6_usize, prop::collection::vec(any::<u8>(), 0..4),
             prop::collection::vec(any::<u8>(), 0..4), value(), any::<bool>()),
            0..8,
        ),
    ) {
        let mut tree = before.clone();
        let mut operations = Vec::new();
        for (kind, path, from, value, spaced) in made {
            let kind = ["add", "remove", "replace", "move", "copy", "test"][kind];
            let path = path_in(&tree, &path);
            let value = match tree.pointer(&path) {
                Some(found) if kind == "test" && spaced => found.clone(),
                _ => value,
            };
            let operation = serde_json::json!({
                "op": kind, "path": path, "from": path_in(&tree, &from), "value": value,
            });
            operations.push(operation.clone());
            match oracle(tree.clone(), &Tree::from(vec![operation])) {
                Some(after) => tree = after,
                None => break,
            }
        }
        let operations = Tree::from(operations);
        let expected = oracle(before.clone(), &operations);
        // Spaced, so that nothing is kept as its text, and compact.
        let pretty = serde_json::to_string_pretty(&operations).unwrap();
        for text in [operations.to_string(), pretty] {
            match (patched(&before.to_string(), &text, MIB), &expected) {
                (Ok(found), Some(expected)) => {
                    let found_tree = json::parse(found.as_bytes()).unwrap();
                    prop_assert_eq!(found_tree.to_string(), found);
                    prop_assert_eq!(&found_tree, expected);
                }
                (Err(ApplyError::Conflict { .. }), None) => {}
                (found, expected) => prop_assert!(false, "{found:?}, not {expected:?}"),
            }
        }
    }

    #[test]
    fn it_merges_as_the_json_patch_crate_does(before in value(), patch in value()) {
        let mut expected = before.clone();
        json_patch::merge(&mut expected, &patch);
        let found = merged(&before.to_string(), &patch.to_string()).unwrap();
        let found_tree = json::parse(found.as_bytes()).unwrap();
        prop_assert_eq!(found_tree.to_string(), found);
        prop_assert_eq!(&found_tree, &expected);
        // Those that stay keep their order and come before those that are new.
        if let (Tree::Object(before), Tree::Object(after), true) =
            (&before, &found_tree, patch.is_object())
        {
            let kept = before.keys().filter(|name| after.contains_key(*name));
            let new = after.keys().filter(|name| !before.contains_key(*name));
            prop_assert!(after.keys().eq(kept.chain(new)));
        }
    }

    #[test]
    fn a_patch_of_nothing_writes_what_the_tree_of_the_text_is_written_as(
        text in "[\\[\\]{}\",:0-1eE.+\\-a-b\\\\ \n]{0,20}|\\{(\"[ab]{0,2}\": ?[01],?){0,4}\\}",
    ) {
        let patch = Patch::operations(b"[]").unwrap();
        match (json::parse(text.as_bytes()), patch.apply(&text, MIB, || false)) {
            (Ok(tree), Ok(patched)) => prop_assert_eq!(tree.to_string(), patched),
            (Err(expected), Err(ApplyError::NotJson(error))) => prop_assert_eq!(expected, error),
            (expected, found) => prop_assert!(false, "{expected:?} {found:?}"),
        }
    }
}
