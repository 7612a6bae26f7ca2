//! Costly patches end with the right result or with the right error. How long they take, the
//! benchmark shows.

use super::*;

/// An object of so many numbers, which takes about 17 bytes each.
fn wide(members: usize) -> String {
    let members: Vec<_> = (0..members).map(|n| format!("\"m{n}\":{n}.0")).collect();
    format!("{{{}}}", members.join(","))
}

#[test]
fn copies_of_copies_end_at_the_limit() {
    let copy = r#"{"op":"copy","from":"","path":"/-"}"#.to_owned();
    let operations = list(vec![copy; 40]);
    assert_eq!(
        applied("[\"0123456789\"]", &operations),
        Err(ApplyError::TooLarge { limit: LIMIT })
    );
    // Even if they are removed again.
    let pair = r#"{"op":"copy","from":"/0","path":"/-"},{"op":"remove","path":"/1"}"#;
    let operations = list(vec![pair.to_owned(); 1000]);
    let value = array(1, &array(100, "true"));
    assert_eq!(
        patched(&value, &operations, 100 * LIMIT),
        Err(ApplyError::TooLarge { limit: 100 * LIMIT })
    );
}

#[test]
fn a_patch_stops_when_its_result_is_no_longer_needed() {
    let value = array(100_000, "0");
    let patch = Patch::operations(b"[]").unwrap();
    for looks in [1, 2, 10, 40] {
        let left = std::cell::Cell::new(looks);
        let stop = || {
            left.set(left.get() - 1);
            left.get() == 0
        };
        assert_eq!(patch.apply(&value, MIB, stop), Err(ApplyError::Stopped));
        assert_eq!(left.get(), 0);
    }
}

#[test]
fn elements_move_from_the_front_of_a_long_array_to_its_end() {
    let numbers: Vec<_> = (0..500_000).map(|n| (n % 10).to_string()).collect();
    let value = format!("[{}]", numbers.join(","));
    let moves = 27_000;
    let operations = list(vec![move_operation("/0", "/-"); moves]);
    let expected = [&numbers[moves..], &numbers[..moves]].concat().join(",");
    let result = patched(&value, &operations, MIB).unwrap();
    assert!(result == format!("[{expected}]"));
    // Into the middle and out of it.
    let pairs = [
        move_operation("/0", "/250000"),
        move_operation("/250000", "/0"),
    ];
    let operations = list(vec![pairs.join(","); moves / 2]);
    assert!(patched(&value, &operations, MIB).unwrap() == value);
}

#[test]
fn a_large_subtree_moves_back_and_forth() {
    let large = array(80_000, r#"{"a":[0]}"#);
    let value = format!(r#"{{"x":{large},"y":[[]]}}"#);
    let pair = [
        move_operation("/x", "/y/0/-"),
        move_operation("/y/0/0", "/x"),
    ];
    let operations = list(vec![pair.join(","); 10_000]);
    let expected = format!(r#"{{"y":[[]],"x":{large}}}"#);
    assert!(patched(&value, &operations, MIB).unwrap() == expected);
}

#[test]
fn wrapping_ends_at_the_deepest_level() {
    let large = array(80_000, r#"{"a":[0]}"#);
    let value = format!(r#"{{"w":{large},"x":0}}"#);
    let wrap = |levels: usize| {
        let wrapping = |n: usize| {
            let (inner, outer) = if n.is_multiple_of(2) {
                ("w", "x")
            } else {
                ("x", "w")
            };
            format!(
                r#"{{"op":"add","path":"/{outer}","value":{{}}}},{{"op":"move","from":"/{inner}","path":"/{outer}/i"}}"#
            )
        };
        list((0..levels).map(wrapping))
    };
    // The array in the document takes 4 levels.
    let result = patched(&value, &wrap(MAX_DEPTH_LEVELS - 4), MIB).unwrap();
    assert!(json::parse(result.as_bytes()).is_ok());
    let error = patched(&value, &wrap(10_000), MIB).unwrap_err();
    let last = 2 * (MAX_DEPTH_LEVELS - 4) + 1;
    assert!(
        matches!(&error, ApplyError::Conflict { index, reason, .. }
            if *index == last && reason == "deeper than 128 levels"),
        "{error}"
    );
}

/// The height of a large subtree is only found out by walking, if what was deep in it is gone.
#[test]
fn measuring_a_large_subtree_again_and_again_is_too_much_work() {
    let value = format!(
        r#"{{"large":{},"deep":{},"n":{}}}"#,
        array(400_000, "0"),
        nested(100),
        nested(100)
    );
    let down = format!("/n{}/-", "/0".repeat(99));
    let round = [
        move_operation("/deep", "/large/-"),
        move_operation("/large/400000", "/deep"),
        move_operation("/large", &down),
        move_operation(&down.replace('-', "0"), "/large"),
    ];
    let operations = |rounds: usize| list(vec![round.join(","); rounds]);
    assert!(patched(&value, &operations(5), MIB).is_ok());
    assert_eq!(
        patched(&value, &operations(1500), MIB),
        Err(ApplyError::TooMuchWork)
    );
}

#[test]
fn testing_a_long_number_again_and_again_is_too_much_work() {
    let value = format!("[1{},0]", "0".repeat(MIB - 10));
    let test = r#"{"op":"test","path":"/0","value":1e1048566}"#.to_owned();
    let operations = |tests: usize| list(vec![test.clone(); tests]);
    assert_eq!(patched(&value, &operations(10), MIB).unwrap(), value);
    assert_eq!(
        patched(&value, &operations(20_000), MIB),
        Err(ApplyError::TooMuchWork)
    );
}

#[test]
fn comparing_costs_what_is_compared() {
    let value = format!("[{},0]", array(80_000, r#"{"a":[0]}"#));
    for expected in ["[0]", "{}", "1"] {
        let test = format!(r#"[{{"op":"test","path":"/0","value":{expected}}}]"#);
        assert!(matches!(
            patched(&value, &test, MIB),
            Err(ApplyError::Conflict { .. })
        ));
    }
    let tests = list(vec![
        r#"{"op":"test","path":"/1","value":0}"#.to_owned();
        27_000
    ]);
    assert!(patched(&value, &tests, MIB).unwrap() == value);
}

#[test]
fn a_wide_object_loses_its_members_one_by_one() {
    let members = 60_000;
    let value = wide(members);
    let remaining = r#"{"m59999":59999.0}"#;
    let removals = (0..25_000).map(|n| format!(r#"{{"op":"remove","path":"/m{n}"}}"#));
    let result = patched(&value, &list(removals), MIB).unwrap();
    assert!(result.starts_with(r#"{"m25000":25000.0,"m25001""#));
    assert_eq!(tree(&result).as_object().unwrap().len(), members - 25_000);
    let nulls: Vec<_> = (0..members - 1).map(|n| format!("\"m{n}\":null")).collect();
    let nulls = format!("{{{}}}", nulls.join(","));
    assert_eq!(merged(&value, &nulls).unwrap(), remaining);
}

#[test]
fn many_elements_come_in_front() {
    let add = r#"{"op":"add","path":"/0","value":1}"#.to_owned();
    let value = array(250_000, "0");
    let result = patched(&value, &list(vec![add; 29_000]), MIB).unwrap();
    assert!(result == format!("[{}{}", "1,".repeat(29_000), &value[1..]));
}

/// A copy costs what it is written as, not what was removed from what it is a copy of.
#[test]
fn copies_do_not_hold_what_was_removed() {
    let come_and_go = r#"{"op":"add","path":"/o/x","value":1},{"op":"remove","path":"/o/x"}"#;
    let copy = r#"{"op":"copy","from":"/o","path":"/a/-"}"#;
    let operations = list(
        [
            vec![come_and_go.to_owned(); 5000],
            vec![copy.to_owned(); 5000],
        ]
        .concat(),
    );
    let result = patched(r#"{"o":{},"a":[]}"#, &operations, MIB).unwrap();
    assert_eq!(result.matches("{}").count(), 5001);
}

/// A short patch may turn a short value into one of the largest size.
#[test]
fn copies_up_to_the_limit_stay_within_the_budget() {
    let copies = 100;
    let value = format!("[{}]", array(5000, "0"));
    let copy = r#"{"op":"copy","from":"/0","path":"/-"},{"op":"add","path":"/0/0","value":1}"#;
    let operations = list(vec![copy.to_owned(); copies]);
    let result = patched(&value, &operations, MIB).unwrap();
    assert!(result.len() > MIB * 9 / 10);
    assert_eq!(result.matches('1').count(), (0..=copies).sum::<usize>());
}

/// A patch and a value that are as large as allowed, with operations of all kinds.
#[test]
fn an_honest_patch_at_the_limit_stays_within_the_budget() {
    let record = r#"{"id":1,"name":"somebody","tags":["a","b"],"at":{"x":1.5}}"#;
    let value = format!(
        r#"{{"records":{},"other":{}}}"#,
        array(12_500, record),
        array(150_000, "0")
    );
    let operations = (0..18_600).map(|n| {
        let place = (n * 7919) % 10_000;
        match n % 6 {
            0 => format!(r#"{{"op":"replace","path":"/records/{place}/name","value":"another"}}"#),
            1 => format!(r#"{{"op":"add","path":"/records/{place}/tags/0","value":"new"}}"#),
            2 => move_operation(&format!("/records/{place}"), "/records/0"),
            3 => format!(r#"{{"op":"copy","from":"/records/{place}/id","path":"/other/{place}"}}"#),
            4 => format!(r#"{{"op":"test","path":"/records/{place}/at","value":{{"x":15e-1}}}}"#),
            _ => format!(r#"{{"op":"remove","path":"/other/{place}"}}"#),
        }
    });
    let operations = list(operations);
    assert!(value.len() > MIB * 9 / 10 && operations.len() > MIB * 9 / 10);
    let result = patched(&value, &operations, 2 * MIB).unwrap();
    assert_eq!(result.matches("new").count(), 3100);
}
