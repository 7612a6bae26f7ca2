//! What a patch makes of a value.

mod costs;
mod oracle;

use serde_json::Value as Tree;

use super::*;
use crate::json::{self, MAX_DEPTH_LEVELS};

const LIMIT: usize = 1000;
const MIB: usize = 1 << 20;

fn tree(text: &str) -> Tree {
    json::parse(text.as_bytes()).unwrap()
}

fn patched(value: &str, operations: &str, limit: usize) -> Result<String, ApplyError> {
    let patch = Patch::operations(operations.as_bytes()).unwrap();
    patch.apply(value, limit, || false)
}

fn applied(value: &str, operations: &str) -> Result<String, ApplyError> {
    patched(value, operations, LIMIT)
}

fn merged(value: &str, patch: &str) -> Result<String, ApplyError> {
    let patch = Patch::merge(patch.as_bytes()).unwrap();
    patch.apply(value, MIB, || false)
}

fn list(operations: impl IntoIterator<Item = String>) -> String {
    let operations: Vec<_> = operations.into_iter().collect();
    format!("[{}]", operations.join(","))
}

fn move_operation(from: &str, path: &str) -> String {
    format!(r#"{{"op":"move","from":"{from}","path":"{path}"}}"#)
}

/// `[0,0,…]`, or another element.
fn array(length: usize, element: &str) -> String {
    format!("[{}]", vec![element; length].join(","))
}

fn nested(levels: usize) -> String {
    "[".repeat(levels) + &"]".repeat(levels)
}

#[test]
fn what_is_not_patched_keeps_its_digits_and_its_order() {
    let value = r#"{"z":1.50,"a":{"$serde_json::private::Number":"1"},"b":1e400}"#;
    let magic = r#"{"$serde_json::private::Number":"2"}"#;
    let operations = format!(r#"[{{"op":"replace","path":"/z","value":{magic}}}]"#);
    assert_eq!(
        applied(value, &operations).unwrap(),
        value.replace("1.50", magic)
    );
    assert_eq!(
        merged(value, r#"{"c":2.0,"z":null}"#).unwrap(),
        r#"{"a":{"$serde_json::private::Number":"1"},"b":1e400,"c":2.0}"#
    );
}

#[test]
fn members_keep_their_place_are_replaced_in_it_or_come_last() {
    let value = r#"{"a":1,"b":{"c":1,"d":2,"e":[{"f":1,"g":2,"h":3}]},"i":2,"j":3}"#;
    for (operations, expected) in [
        (
            r#"[{"op":"remove","path":"/a"},{"op":"remove","path":"/b/c"},
                {"op":"remove","path":"/b/e/0/f"}]"#,
            r#"{"b":{"d":2,"e":[{"g":2,"h":3}]},"i":2,"j":3}"#,
        ),
        (
            r#"[{"op":"add","path":"/a","value":[]},{"op":"replace","path":"/b","value":{"y":1,"x":2}},
                {"op":"add","path":"/A","value":0}]"#,
            r#"{"a":[],"b":{"y":1,"x":2},"i":2,"j":3,"A":0}"#,
        ),
        (
            r#"[{"op":"move","from":"/a","path":"/i"},{"op":"move","from":"/b/d","path":"/k"},
                {"op":"move","from":"/j","path":"/j"},{"op":"copy","from":"/i","path":"/b/e/-"}]"#,
            r#"{"b":{"c":1,"e":[{"f":1,"g":2,"h":3},1]},"i":1,"j":3,"k":2}"#,
        ),
        (
            r#"[{"op":"remove","path":"/a"},{"op":"add","path":"/a","value":"\u0041\u001f\/"}]"#,
            r#"{"b":{"c":1,"d":2,"e":[{"f":1,"g":2,"h":3}]},"i":2,"j":3,"a":"A\u001f/"}"#,
        ),
    ] {
        assert_eq!(applied(value, operations).unwrap(), expected);
    }
    assert_eq!(
        merged(
            value,
            r#"{"j":{"x":null,"y":{"z":null}},"b":{"c":null,"d":{}},"a":null,"n":[null]}"#
        )
        .unwrap(),
        r#"{"b":{"d":{},"e":[{"f":1,"g":2,"h":3}]},"i":2,"j":{"y":{}},"n":[null]}"#
    );
}

#[test]
fn names_are_found_however_they_are_written() {
    let value = r#"{"a/b":1,"m~n":2,"\"\\\n\u0001":3,"é":4,"":5}"#;
    let operations = r#"[{"op":"test","path":"/a~1b","value":1},{"op":"test","path":"/m~0n","value":2},
        {"op":"test","path":"/\"\\\n\u0001","value":3},{"op":"test","path":"/\u00e9","value":4},
        {"op":"test","path":"/","value":5},{"op":"test","path":"",
        "value":{"\u0061\/b":1,"m~n":2,"\u0022\u005c\u000a\u0001":3,"\u00e9":4,"":5.0}}]"#;
    assert_eq!(applied(value, operations).unwrap(), value);
}

#[test]
fn the_last_of_repeated_members_of_a_patch_wins() {
    let operations = r#"[{"op":"remove","path":"/a","op":"add","value":{"a":1,"b":2,"a":3,"c":{"d":1,"d":2}},
        "value":[{"a":1,"b":2,"\u0061":3}]}]"#;
    assert_eq!(
        applied("{}", operations).unwrap(),
        r#"{"a":[{"a":3,"b":2}]}"#
    );
    assert_eq!(
        merged("{}", r#"{"a":1,"a":{"z":[ 1 ],"y":[{"b":1,"c":2,"b":3}]}}"#).unwrap(),
        r#"{"a":{"z":[1],"y":[{"b":3,"c":2}]}}"#
    );
}

#[test]
fn what_a_patch_need_not_say_is_ignored() {
    let operations = r#"[{"op":"add","path":"/b","value":2,"from":"/a",
        "x":{"$serde_json::private::Number":[]},"y":1029007508531501636284301908639744},
        {"op":"test","path":"/b","value":2,"from":7}]"#;
    assert_eq!(
        applied(r#"{"a":1}"#, operations).unwrap(),
        r#"{"a":1,"b":2}"#
    );
}

#[test]
fn numbers_are_the_same_if_they_mean_the_same() {
    let same = |value: &str, expected: &str| {
        let test = format!(r#"[{{"op":"test","path":"","value":{expected}}}]"#);
        match applied(value, &test) {
            Ok(_) => true,
            Err(ApplyError::Conflict { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    };
    let long = array(50, "0");
    for (a, b) in [
        ("1", "1.0"),
        ("100", "1e2"),
        ("0.1", "1E-1"),
        ("10.010", "1001e-2"),
        ("0.00120", "12E-4"),
        ("-0", "0.000"),
        ("0e9", "0"),
        ("12345678901234567890.10", "12345678901234567890.1"),
        ("[{\"a\":1,\"b\":2}]", "[{\"b\":2.0,\"a\":1}]"),
        ("[[1],[1,[2]],{}]", "[[1],[1.0,[2.0]],{}]"),
        ("1e99999999999999999999", "1e99999999999999999999"),
        (&long, &array(50, "0.0")),
    ] {
        assert!(same(a, b) && same(b, a), "{a} {b}");
    }
    for (a, b) in [
        ("1", "-1"),
        ("1", "10"),
        ("1", "0.1"),
        ("101", "11"),
        ("12345678901234567890", "12345678901234567891"),
        ("1e99999999999999999999", "1.0e99999999999999999999"),
        ("1", "\"1\""),
        ("0", "null"),
        ("[1]", "[1,1]"),
        ("[]", "{}"),
        ("[]", "0"),
        ("{\"a\":1}", "{\"b\":1}"),
        ("{\"a\":1}", "{\"a\":1,\"b\":1}"),
        (&long, "[0]"),
    ] {
        assert!(!same(a, b) && !same(b, a), "{a} {b}");
    }
}

#[test]
fn a_result_longer_than_the_limit_is_refused() {
    let add = |length: usize| {
        let value = "x".repeat(length);
        format!(r#"[{{"op":"add","path":"/a","value":"{value}"}}]"#)
    };
    let overhead = r#"{"a":""}"#.len();
    let longest = applied("{}", &add(LIMIT - overhead)).unwrap();
    assert_eq!(longest.len(), LIMIT);
    assert_eq!(
        applied("{}", &add(LIMIT - overhead + 1)),
        Err(ApplyError::TooLarge { limit: LIMIT })
    );
}

#[test]
fn nothing_gets_deeper_than_a_value_may_be() {
    let deep = nested(100);
    let path = "/0".repeat(99) + "/-";
    for operation in [
        format!(r#"{{"op":"add","path":"{path}","value":{deep}}}"#),
        format!(r#"{{"op":"copy","from":"","path":"{path}"}}"#),
    ] {
        let error = applied(&deep, &format!("[{operation}]")).unwrap_err();
        assert!(
            error.to_string().ends_with("deeper than 128 levels"),
            "{error}"
        );
    }
    // The deepest level is accepted, and what has become flat again may be moved down.
    let most = MAX_DEPTH_LEVELS;
    let value = format!(r#"{{"a":{},"b":{}}}"#, nested(1), nested(most - 2));
    let down = format!("/b{}", "/0".repeat(most - 3));
    let fits = list([move_operation("/a", &(down.clone() + "/-"))]);
    let deepest = applied(&value, &fits).unwrap();
    assert_eq!(deepest, format!(r#"{{"b":{}}}"#, nested(most - 1)));
    let too_deep = list([move_operation("/b", "/a/-")]);
    assert!(
        applied(
            &format!(r#"{{"a":[],"b":{}}}"#, nested(most - 1)),
            &too_deep
        )
        .is_err()
    );
    let remove = r#"{"op":"remove","path":"/a/0/0"}"#.to_owned();
    let value = format!(r#"{{"a":[[{}]],"b":{}}}"#, nested(60), nested(100));
    let operations = list([
        remove,
        move_operation("/a", &format!("/b{}/-", "/0".repeat(99))),
    ]);
    let expected = format!(r#"{{"b":{}}}"#, nested(102));
    assert_eq!(applied(&value, &operations).unwrap(), expected);
}

/// Whichever got deeper: what something was put into, or what is above that.
#[test]
fn what_got_deeper_does_not_fit_where_it_would_have_before() {
    let value = format!(r#"{{"a":[[0]],"b":{}}}"#, nested(100));
    let down = format!("/b{}/-", "/0".repeat(99));
    let put = format!(r#"{{"op":"add","path":"/a/0/0","value":{}}}"#, nested(60));
    for moved in ["/a", "/a/0", "/a/0/0"] {
        let alone = list([move_operation(moved, &down)]);
        assert!(applied(&value, &alone).is_ok(), "{moved}");
        let error = applied(&value, &list([put.clone(), move_operation(moved, &down)]));
        assert!(
            matches!(&error, Err(ApplyError::Conflict { index: 1, .. })),
            "{moved}: {error:?}"
        );
    }
}

#[test]
fn a_merge_is_not_deeper_than_the_deeper_of_both() {
    let objects =
        |levels: usize, inside: &str| r#"{"a":"#.repeat(levels) + inside + &"}".repeat(levels);
    let (value, patch) = (
        objects(MAX_DEPTH_LEVELS, "1"),
        objects(MAX_DEPTH_LEVELS, "2"),
    );
    assert_eq!(merged(&value, &patch).unwrap(), patch);
    assert!(Patch::merge(objects(MAX_DEPTH_LEVELS + 1, "1").as_bytes()).is_err());
}

#[test]
fn an_invalid_patch_says_which_operation_and_why() {
    for (text, said) in [
        ("{}", "an array"),
        ("1", "an array"),
        ("[1]", "operation 0"),
        (
            r#"[{"op":"test","path":"","value":1},{"op":"spam","path":""}]"#,
            "operation 1: \"spam\"",
        ),
        (r#"[{"op":"add","path":"/a"}]"#, "value"),
        (r#"[{"op":"add","value":1}]"#, "path"),
        (r#"[{"path":"/a","value":1}]"#, "op"),
        (r#"[{"op":1,"path":"/a","value":1}]"#, "op"),
        (r#"[{"op":"add","path":"a","value":1}]"#, "operation 0"),
        (r#"[{"op":"add","path":"/~","value":1}]"#, "operation 0"),
        (r#"[{"op":"copy","path":"/a"}]"#, "from"),
        (r#"[{"op":"copy","path":"/a","from":null}]"#, "from"),
        ("[", "line 1"),
        ("[{\n\"op\":\u{1}}]", "line 2 column 6"),
    ] {
        let error = Patch::operations(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(said), "{text}: {error}");
    }
    let errors = [Patch::merge, Patch::operations].map(|read| read(b"[\n\"\xff\"]").unwrap_err());
    for error in errors {
        assert_eq!(
            error,
            PatchError::Syntax(json::parse(b"[\n\"\xff\"]").unwrap_err())
        );
    }
}

#[test]
fn invalid_json_is_refused() {
    let patch = Patch::operations(b"[]").unwrap();
    let error = patch.apply("[1,", LIMIT, || false).unwrap_err();
    assert!(matches!(error, ApplyError::NotJson(_)), "{error}");
}
