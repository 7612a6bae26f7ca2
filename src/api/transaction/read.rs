//! The text of a transaction → its operations, in one pass that ends at the first mistake. A text may have
//! the bytes of eight values, so no more of it is read than needed.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::api::conditional;
use crate::json::{self, BYTE_ORDER_MARK, CheckError, MAX_DEPTH_LEVELS, SyntaxError};
use crate::model::{Key, Operation, TRANSACTION_MAX_OPERATIONS, Value};
use crate::precondition::{Preconditions, Tags};
use crate::service::{Transaction, TransactionOperation};

/// How long a condition may be, in bytes: as long as a request header.
const CONDITION_MAX_BYTES: usize = 16 * 1024;
/// A value is in an operation, in the array of operations, in the body's object.
const LEVELS_AROUND_VALUES: usize = 3;
/// After how many members `stop` is checked: some 50 µs.
const MEMBERS_BETWEEN_LOOKS: usize = 256;
/// How much of an unknown name is shown, in characters.
const SHOWN_MAX_CHARS: usize = 100;

/// Why a text was not read to its end.
#[derive(Debug, PartialEq, Eq)]
pub enum ReadError {
    /// It is not JSON.
    Syntax(SyntaxError),
    /// It is JSON up to here, but not a transaction.
    Invalid(String),
    /// It is no longer needed.
    Stopped,
}

/// Reads the text up to the first mistake in it. At each operation and some 50 µs after the last
/// time, `stop` says whether to give up; a value is read in one go, at some 5 ms for each MiB.
///
/// # Errors
/// [`ReadError`].
pub fn read(text: &[u8], stop: &dyn Fn() -> bool) -> Result<Transaction, ReadError> {
    let reading = Reading {
        stop,
        until_look: Cell::new(0),
        mistake: RefCell::new(Mistake::Body),
    };
    let json = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let operations = Body(&reading).deserialize(&mut deserializer);
    match operations.and_then(|read| deserializer.end().map(|()| read)) {
        Ok(operations) => {
            Transaction::new(operations).map_err(|error| ReadError::Invalid(error.to_string()))
        }
        Err(error) => Err(reading.why(text, &error)),
    }
}

/// The state that all parts of one read share.
struct Reading<'s> {
    stop: &'s dyn Fn() -> bool,
    until_look: Cell<usize>,
    /// What is wrong if the parser now finds a value of another type than it was asked for. It can return
    /// only its own errors, so ours are kept here.
    mistake: RefCell<Mistake>,
}

enum Mistake {
    /// The body is not an object.
    Body,
    /// `operations` is not an array.
    Operations,
    /// This operation is not an object.
    Operation(usize),
    /// This member of this operation is not a string.
    Text(usize, &'static str),
    /// The value of this operation is too deep or not Unicode, which the parser does not check.
    Value(usize),
    /// Another one.
    Other(String),
    Stopped,
}

impl Reading<'_> {
    fn expect(&self, mistake: Mistake) {
        *self.mistake.borrow_mut() = mistake;
    }

    fn fail<T, E: Error>(&self, mistake: Mistake) -> Result<T, E> {
        self.expect(mistake);
        Err(E::custom("see what was expected"))
    }

    fn invalid<T, E: Error>(&self, reason: impl Into<String>) -> Result<T, E> {
        self.fail(Mistake::Other(reason.into()))
    }

    /// To be called for each member.
    fn look<E: Error>(&self) -> Result<(), E> {
        match self.until_look.get().checked_sub(1) {
            Some(left) => {
                self.until_look.set(left);
                Ok(())
            }
            None => self.look_now(),
        }
    }

    fn look_now<E: Error>(&self) -> Result<(), E> {
        self.until_look.set(MEMBERS_BETWEEN_LOOKS);
        if (self.stop)() {
            return self.fail(Mistake::Stopped);
        }
        Ok(())
    }

    fn why(self, text: &[u8], error: &serde_json::Error) -> ReadError {
        let mistake = self.mistake.into_inner();
        if error.is_data() {
            let reason = match mistake {
                Mistake::Stopped => return ReadError::Stopped,
                Mistake::Value(index) => {
                    return self::syntax(text, self.stop, || {
                        format!("operations[{index}].value is not a JSON value")
                    });
                }
                Mistake::Body => "the body must be an object with operations".to_owned(),
                Mistake::Operations => "operations must be an array".to_owned(),
                Mistake::Operation(index) => format!("operations[{index}] is not an object"),
                Mistake::Text(index, name) => {
                    format!("operations[{index}].{name} must be a string")
                }
                Mistake::Other(reason) => reason,
            };
            return ReadError::Invalid(reason);
        }
        syntax(text, self.stop, || {
            format!("the body is not a JSON value: {error}")
        })
    }
}

/// What is wrong with a text that is not JSON, and where, worded as for values. `otherwise` is not expected
/// to be needed.
fn syntax(text: &[u8], stop: &dyn Fn() -> bool, otherwise: impl FnOnce() -> String) -> ReadError {
    let levels = MAX_DEPTH_LEVELS + LEVELS_AROUND_VALUES;
    match json::check_within(text, levels, stop) {
        Err(CheckError::Syntax(error)) => ReadError::Syntax(error),
        Err(CheckError::Stopped) => ReadError::Stopped,
        Ok(()) => ReadError::Invalid(otherwise()),
    }
}

struct Body<'r, 's>(&'r Reading<'s>);

impl<'de> DeserializeSeed<'de> for Body<'_, '_> {
    type Value = Vec<TransactionOperation>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        self.0.look_now()?;
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Body<'_, '_> {
    type Value = Vec<TransactionOperation>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with operations")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let reading = self.0;
        let mut operations = None;
        while let Some(name) = map.next_key::<String>()? {
            reading.look()?;
            if name != "operations" {
                let name = shown(&name);
                return reading.invalid(format!("the body has an unknown member {name}"));
            }
            reading.expect(Mistake::Operations);
            operations = Some(map.next_value_seed(Operations(reading))?);
        }
        match operations {
            Some(operations) => Ok(operations),
            None => reading.fail(Mistake::Operations),
        }
    }
}

struct Operations<'r, 's>(&'r Reading<'s>);

impl<'de> DeserializeSeed<'de> for Operations<'_, '_> {
    type Value = Vec<TransactionOperation>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Operations<'_, '_> {
    type Value = Vec<TransactionOperation>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut operations = Vec::new();
        while let Some(operation) = seq.next_element_seed(OneOperation {
            reading: self.0,
            index: operations.len(),
        })? {
            operations.push(operation);
        }
        Ok(operations)
    }
}

struct OneOperation<'r, 's> {
    reading: &'r Reading<'s>,
    index: usize,
}

impl<'de> DeserializeSeed<'de> for OneOperation<'_, '_> {
    type Value = TransactionOperation;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        self.reading.look_now()?;
        if self.index == TRANSACTION_MAX_OPERATIONS {
            let max = TRANSACTION_MAX_OPERATIONS;
            let reason = format!("there must be 1 to {max} operations, and there are more");
            return self.reading.invalid(reason);
        }
        self.reading.expect(Mistake::Operation(self.index));
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OneOperation<'_, '_> {
    type Value = TransactionOperation;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Self { reading, index } = self;
        let mut members = Members::default();
        while let Some(name) = map.next_key::<String>()? {
            reading.look()?;
            let (name, text) = match name.as_str() {
                "op" => ("op", &mut members.op),
                "key" => ("key", &mut members.key),
                "if_match" => ("if_match", &mut members.if_match),
                "if_none_match" => ("if_none_match", &mut members.if_none_match),
                "value" => {
                    members.value = Some(map.next_value()?);
                    continue;
                }
                _ => {
                    let name = shown(&name);
                    let reason = format!("operations[{index}] has an unknown member {name}");
                    return reading.invalid(reason);
                }
            };
            reading.expect(Mistake::Text(index, name));
            *text = Some(map.next_value()?);
        }
        match members.operation() {
            Ok(operation) => Ok(operation),
            Err(Unfit::Value) => reading.fail(Mistake::Value(index)),
            Err(Unfit::Other(reason)) => reading.invalid(format!("operations[{index}]{reason}")),
        }
    }
}

/// The members of an operation; of a repeated one, the last.
#[derive(Default)]
struct Members<'de> {
    op: Option<String>,
    key: Option<String>,
    if_match: Option<String>,
    if_none_match: Option<String>,
    value: Option<&'de RawValue>,
}

/// Why members are not an operation.
enum Unfit {
    Value,
    /// The message after the operation's place.
    Other(String),
}

impl From<String> for Unfit {
    fn from(reason: String) -> Self {
        Self::Other(reason)
    }
}

impl Members<'_> {
    fn operation(self) -> Result<TransactionOperation, Unfit> {
        let key = self.key.ok_or_else(|| " has no key".to_owned())?;
        let key: Key = key.parse().map_err(|error| format!(".key: {error}"))?;
        let conditions = Preconditions {
            if_match: tags("if_match", self.if_match)?,
            if_none_match: tags("if_none_match", self.if_none_match)?,
            ..Preconditions::default()
        };
        let operation = match (self.op.as_deref(), self.value) {
            (Some("put"), Some(value)) => {
                let text = json::compact_value(value).ok_or(Unfit::Value)?;
                Operation::Put(Value::from_compact(text))
            }
            (Some("put"), None) => return Err(" has no value".to_owned().into()),
            (Some("delete"), None) => Operation::Delete,
            (Some("check"), None) => Operation::Check,
            (Some("delete" | "check"), Some(_)) => {
                return Err(" has an unknown member \"value\"".to_owned().into());
            }
            _ => return Err(".op must be put, delete or check".to_owned().into()),
        };
        Ok(TransactionOperation {
            key,
            operation,
            conditions,
        })
    }
}

/// A condition is the text of the header; without it there is no condition.
fn tags(name: &str, text: Option<String>) -> Result<Option<Tags>, String> {
    let Some(text) = text else {
        return Ok(None);
    };
    if text.len() > CONDITION_MAX_BYTES {
        return Err(format!(
            ".{name} is longer than {CONDITION_MAX_BYTES} bytes"
        ));
    }
    conditional::parse(text.as_bytes())
        .map(|tags| Some(tags.without_impossible()))
        .map_err(|reason| format!(".{name}: {reason}"))
}

/// A name in quotes, shortened.
fn shown(name: &str) -> String {
    match name.char_indices().nth(SHOWN_MAX_CHARS) {
        Some((end, _)) => format!("{:?}…", &name[..end]),
        None => format!("{name:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(text: &str) -> String {
        match read(text.as_bytes(), &|| false) {
            Err(ReadError::Invalid(reason)) => reason,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn operations(count: usize) -> String {
        let check = |key| format!(r#"{{"op":"check","key":"{key}"}}"#);
        (0..count).map(check).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn it_ends_at_the_first_mistake() {
        let too_many = format!(r#"{{"operations":[{},{{"op"#, operations(128));
        let third = format!(r#"{{"operations":[{},[["#, operations(2));
        for (text, reason) in [
            ("[[", "the body must be an object with operations"),
            ("7 x", "the body must be an object with operations"),
            ("{}", "operations must be an array"),
            (r#"{"operations":{"#, "operations must be an array"),
            (
                r#"{"operation":"#,
                "the body has an unknown member \"operation\"",
            ),
            (
                r#"{"operations":[],"more":"#,
                "the body has an unknown member \"more\"",
            ),
            (r#"{"operations":[1,"#, "operations[0] is not an object"),
            (&third, "operations[2] is not an object"),
            (
                r#"{"operations":[{"op":7,"#,
                "operations[0].op must be a string",
            ),
            (
                r#"{"operations":[{"if_match":null,"#,
                "operations[0].if_match must be a string",
            ),
            (
                r#"{"operations":[{"key":"a","ifmatch":"#,
                "operations[0] has an unknown member \"ifmatch\"",
            ),
            (r#"{"operations":[{},"#, "operations[0] has no key"),
            (
                &too_many,
                "there must be 1 to 128 operations, and there are more",
            ),
        ] {
            assert_eq!(why(text), reason);
        }
    }

    #[test]
    fn a_mistake_in_a_member_that_is_repeated_later_counts_and_of_values_the_last() {
        assert_eq!(
            why(r#"{"operations":[{"key":1,"key":"a","op":"check"}]}"#),
            "operations[0].key must be a string"
        );
        let text = r#"{"operations":[{"op":"put","key":"a","value":1,"value":2,"key":"b"}]}"#;
        let expected = r#"{"operations":[{"op":"put","key":"b","value":2}]}"#;
        let read = |text: &str| format!("{:?}", read(text.as_bytes(), &|| false).unwrap());
        assert_eq!(read(text), read(expected));
    }

    #[test]
    fn invalid_json_is_located_in_the_whole_text() {
        let deep = "[".repeat(MAX_DEPTH_LEVELS + 1) + &"]".repeat(MAX_DEPTH_LEVELS + 1);
        for value in ["tru", "[1,]", "\"\\ud800\"", &deep, "\"\u{1}\"", "01", ""] {
            let head = "{\n\"operations\":[{\"op\":\"put\",\"key\":\"a\",\"value\":";
            let text = format!("{head}{value}}}]}}");
            let expected = json::parse_within(text.as_bytes(), MAX_DEPTH_LEVELS + 3);
            let found = read(text.as_bytes(), &|| false).unwrap_err();
            assert_eq!(found, ReadError::Syntax(expected.unwrap_err()));
        }
        for text in [
            "",
            " ",
            "{",
            r#"{"operations":[]}]"#,
            "\u{FEFF}",
            "{\"\\ud800\":1}",
        ] {
            let expected = json::parse(text.as_bytes());
            let found = read(text.as_bytes(), &|| false).unwrap_err();
            assert_eq!(found, ReadError::Syntax(expected.unwrap_err()), "{text}");
        }
    }

    #[test]
    fn a_long_name_is_not_shown_whole() {
        let name = "é".repeat(100_000);
        let text = format!(r#"{{"operations":[{{"{name}":1}}]}}"#);
        let shown = "é".repeat(SHOWN_MAX_CHARS);
        assert_eq!(
            why(&text),
            format!("operations[0] has an unknown member \"{shown}\"…")
        );
    }

    #[test]
    fn stop_is_checked_at_each_operation_and_every_few_members() {
        let members = r#""key":"a","#.repeat(10 * MEMBERS_BETWEEN_LOOKS);
        let many_members = format!(r#"{{"operations":[{{{members}"op":"check"}}]}}"#);
        let many_arrays = format!(
            r#"{{{}"operations":[{}]}}"#,
            r#""operations":[],"#.repeat(10 * MEMBERS_BETWEEN_LOOKS),
            operations(1)
        );
        let not_json = format!(
            r#"{{"operations":[{{"op":"put","key":"a","value":[{}}}]}}"#,
            "1,".repeat(1024 * 1024)
        );
        let many_operations = format!(r#"{{"operations":[{}]}}"#, operations(100));
        for (text, looks_min) in [
            (many_members, 10),
            (many_arrays, 10),
            (not_json, 10),
            (many_operations, 100),
        ] {
            let asked = Cell::new(0);
            let count = || {
                asked.set(asked.get() + 1);
                false
            };
            assert_ne!(
                read(text.as_bytes(), &count).err(),
                Some(ReadError::Stopped)
            );
            let looks = asked.get();
            assert!(looks >= looks_min, "{looks} {}", &text[..100]);
            for last in [1, looks / 2, looks] {
                asked.set(0);
                let stop = || {
                    asked.set(asked.get() + 1);
                    asked.get() == last
                };
                let read = read(text.as_bytes(), &stop);
                assert_eq!(read.err(), Some(ReadError::Stopped));
                assert_eq!(asked.get(), last);
            }
        }
    }
}
