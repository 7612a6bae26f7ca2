//! Patch documents: JSON Merge Patch (RFC 7396) and JSON Patch (RFC 6902). Pure.
//!
//! The `json-patch` crate changes the tree. Around it stands what a service needs: limits on what
//! a small document may blow up to, and numbers compared by what they mean (RFC 6902 §4.6) although
//! they are kept as they were written.

use json_patch::{PatchOperation, jsonptr::PointerBuf};
use serde_json::Value as Tree;
use thiserror::Error;

use crate::json::{self, MAX_DEPTH_LEVELS, SyntaxError, depth};

/// In a JSON Patch a value stands in an operation, in the array of all.
const LEVELS_AROUND_VALUES: usize = 2;

/// A patch document that was read.
#[derive(Debug, Clone, PartialEq)]
pub enum Patch {
    /// RFC 7396.
    Merge(Tree),
    /// RFC 6902.
    Operations(Vec<PatchOperation>),
}

/// Why a text is not a patch document.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PatchError {
    /// It is not JSON.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// It is not an array of operations.
    #[error("a JSON Patch is an array of operations")]
    NotAnArray,
    /// One of its operations is none.
    #[error("operation {index}: {reason}")]
    Operation {
        /// Which, counted from 0.
        index: usize,
        /// What is wrong with it.
        reason: String,
    },
}

/// Why a patch cannot be applied to a value. The value is as it was.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ApplyError {
    /// An operation does not fit the value: a `test` failed, or a path is not there.
    #[error("operation {index} at {path:?}: {reason}")]
    Conflict {
        /// Which operation, counted from 0.
        index: usize,
        /// Its path.
        path: String,
        /// What does not fit.
        reason: String,
    },
    /// The result would be longer than a value may be.
    #[error("the patched value would be longer than {limit} bytes")]
    TooLarge {
        /// The limit in bytes of JSON text.
        limit: usize,
    },
    /// It asks for more work than a patch may.
    #[error("the patch asks for more work than is allowed")]
    TooMuchWork,
    /// Nobody needs the outcome any more.
    #[error("the patch was stopped")]
    Stopped,
}

impl Patch {
    /// Reads a merge patch, which is any JSON text.
    ///
    /// # Errors
    /// [`PatchError::Syntax`].
    pub fn merge(text: &[u8]) -> Result<Self, PatchError> {
        Ok(Self::Merge(json::parse(text)?))
    }

    /// Reads a JSON Patch.
    ///
    /// # Errors
    /// [`PatchError`].
    pub fn operations(text: &[u8]) -> Result<Self, PatchError> {
        let levels = MAX_DEPTH_LEVELS + LEVELS_AROUND_VALUES;
        let Tree::Array(operations) = json::parse_within(text, levels)? else {
            return Err(PatchError::NotAnArray);
        };
        let read = |(index, operation)| {
            read_operation(operation).map_err(|reason| PatchError::Operation { index, reason })
        };
        let operations = operations.into_iter().enumerate().map(read);
        Ok(Self::Operations(operations.collect::<Result<_, _>>()?))
    }

    /// The value that comes of `value`, all operations applied. Neither it nor what stands in
    /// between is ever deeper than [`MAX_DEPTH_LEVELS`] or much longer than `max_bytes`.
    ///
    /// # Errors
    /// [`ApplyError`].
    pub fn apply(&self, mut value: Tree, max_bytes: usize) -> Result<Tree, ApplyError> {
        match self {
            // Both are no deeper than the limit, so what comes of them is not either.
            Self::Merge(patch) => json_patch::merge(&mut value, patch),
            Self::Operations(operations) => {
                let mut copied_bytes = 0;
                for (index, operation) in operations.iter().enumerate() {
                    let conflict = |reason: String| ApplyError::Conflict {
                        index,
                        path: operation.path().to_string(),
                        reason,
                    };
                    if let PatchOperation::Copy(copy) = operation {
                        // A few copies of copies would fill any memory.
                        let source = copy.from.resolve(&value);
                        copied_bytes += source.map_or(0, |source| source.to_string().len());
                        if copied_bytes > max_bytes {
                            return Err(ApplyError::TooLarge { limit: max_bytes });
                        }
                    }
                    if too_deep(operation, &value) {
                        let deep = format!("deeper than {MAX_DEPTH_LEVELS} levels");
                        return Err(conflict(deep));
                    }
                    apply_one(operation, &mut value).map_err(conflict)?;
                }
            }
        }
        Ok(value)
    }
}

/// Reads one operation. Its value is taken as it is: read through `serde_json` once more, it would
/// lose what [`json::parse`] has kept.
fn read_operation(operation: Tree) -> Result<PatchOperation, String> {
    let Tree::Object(mut members) = operation else {
        return Err("it is not an object".to_owned());
    };
    let value = members.get_mut("value").map(Tree::take);
    // What else stands there is ignored (RFC 6902 §4), and null is left so that a missing value is
    // still noticed.
    members.retain(|name, _| matches!(name.as_str(), "op" | "path" | "from" | "value"));
    let mut read: PatchOperation =
        serde_json::from_value(Tree::Object(members)).map_err(|error| error.to_string())?;
    if let Some(value) = value {
        match &mut read {
            PatchOperation::Add(add) => add.value = value,
            PatchOperation::Replace(replace) => replace.value = value,
            PatchOperation::Test(test) => test.value = value,
            // The others ignore it (RFC 6902 §4).
            PatchOperation::Remove(_) | PatchOperation::Move(_) | PatchOperation::Copy(_) => {}
        }
    }
    Ok(read)
}

fn apply_one(operation: &PatchOperation, value: &mut Tree) -> Result<(), String> {
    if let PatchOperation::Test(test) = operation {
        let found = resolve(&test.path, value).ok_or("there is nothing at this path")?;
        if !same(found, &test.value) {
            return Err("the value there is another".to_owned());
        }
        return Ok(());
    }
    json_patch::patch_unsafe(value, std::slice::from_ref(operation))
        .map_err(|error| error.kind.to_string())
}

fn resolve<'a>(path: &PointerBuf, value: &'a Tree) -> Option<&'a Tree> {
    path.resolve(value).ok()
}

/// Whether the value that the operation puts at its path would reach below the deepest level.
fn too_deep(operation: &PatchOperation, value: &Tree) -> bool {
    let put = match operation {
        PatchOperation::Add(add) => Some(&add.value),
        PatchOperation::Replace(replace) => Some(&replace.value),
        PatchOperation::Move(moved) => resolve(&moved.from, value),
        PatchOperation::Copy(copy) => resolve(&copy.from, value),
        PatchOperation::Remove(_) | PatchOperation::Test(_) => None,
    };
    put.is_some_and(|put| operation.path().count() + depth(put) > MAX_DEPTH_LEVELS)
}

/// Equality as RFC 6902 §4.6 has it: objects whatever their order, numbers by their value.
fn same(a: &Tree, b: &Tree) -> bool {
    match (a, b) {
        (Tree::Number(a), Tree::Number(b)) => {
            let (a, b) = (a.to_string(), b.to_string());
            a == b || matches!((decimal(&a), decimal(&b)), (Some(a), Some(b)) if a == b)
        }
        (Tree::Array(a), Tree::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Tree::Object(a), Tree::Object(b)) => {
            let same_in_b = |(name, a)| b.get(name).is_some_and(|b| same(a, b));
            a.len() == b.len() && a.iter().all(same_in_b)
        }
        _ => a == b,
    }
}

/// A number's sign, its digits without zeros at either end, and the power of ten of the last one.
/// `None` if the exponent is out of reach; such numbers are compared by their texts.
fn decimal(text: &str) -> Option<(bool, String, i64)> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_end_matches('0');
    let dropped = i64::try_from(digits.len() - significant.len()).ok()?;
    let power = exponent
        .checked_sub(i64::try_from(fraction.len()).ok()?)?
        .checked_add(dropped)?;
    let significant = significant.trim_start_matches('0');
    if significant.is_empty() {
        return Some((false, String::new(), 0));
    }
    Some((negative, significant.to_owned(), power))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1000;

    fn tree(text: &str) -> Tree {
        json::parse(text.as_bytes()).unwrap()
    }

    fn applied(value: &str, operations: &str) -> Result<String, ApplyError> {
        let patch = Patch::operations(operations.as_bytes()).unwrap();
        Ok(patch.apply(tree(value), LIMIT)?.to_string())
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
        let merged = Patch::merge(br#"{"c":2.0,"z":null}"#).unwrap();
        assert_eq!(
            merged.apply(tree(value), LIMIT).unwrap(),
            tree(r#"{"a":{"$serde_json::private::Number":"1"},"b":1e400,"c":2.0}"#)
        );
    }

    #[test]
    fn what_a_patch_need_not_say_is_ignored() {
        let operations = r#"[{"op":"add","path":"/b","value":2,"from":"/a",
            "x":{"$serde_json::private::Number":[]},"y":1029007508531501636284301908639744}]"#;
        assert_eq!(
            applied(r#"{"a":1}"#, operations).unwrap(),
            r#"{"a":1,"b":2}"#
        );
    }

    #[test]
    fn numbers_are_the_same_if_they_mean_the_same() {
        for (a, b) in [
            ("1", "1.0"),
            ("100", "1e2"),
            ("0.1", "1E-1"),
            ("-0", "0.000"),
            ("0e9", "0"),
            ("12345678901234567890.10", "12345678901234567890.1"),
            ("[{\"a\":1,\"b\":2}]", "[{\"b\":2.0,\"a\":1}]"),
            ("1e99999999999999999999", "1e99999999999999999999"),
        ] {
            assert!(same(&tree(a), &tree(b)), "{a} {b}");
        }
        for (a, b) in [
            ("1", "-1"),
            ("1", "10"),
            ("12345678901234567890", "12345678901234567891"),
            ("1", "\"1\""),
            ("0", "null"),
            ("[1]", "[1,1]"),
            ("{\"a\":1}", "{\"b\":1}"),
        ] {
            assert!(!same(&tree(a), &tree(b)), "{a} {b}");
        }
    }

    #[test]
    fn copies_of_copies_end_at_the_limit() {
        let copy = r#"{"op":"copy","from":"","path":"/-"}"#;
        let operations = format!("[{}]", [copy; 40].join(","));
        assert_eq!(
            applied("[\"0123456789\"]", &operations),
            Err(ApplyError::TooLarge { limit: LIMIT })
        );
    }

    #[test]
    fn nothing_gets_deeper_than_a_value_may_be() {
        let deep = "[".repeat(100) + &"]".repeat(100);
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
    }

    #[test]
    fn what_is_not_a_patch_says_which_operation_and_why() {
        for (text, said) in [
            ("{}", "an array"),
            ("[1]", "operation 0"),
            (
                r#"[{"op":"test","path":"","value":1},{"op":"spam","path":""}]"#,
                "operation 1",
            ),
            (r#"[{"op":"add","path":"/a"}]"#, "value"),
            (r#"[{"op":"add","path":"a","value":1}]"#, "operation 0"),
            (r#"[{"op":"copy","path":"/a"}]"#, "from"),
            ("[", "line 1"),
        ] {
            let error = Patch::operations(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
