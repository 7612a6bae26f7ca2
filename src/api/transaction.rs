//! The body of `POST /transactions` → operations that cannot be invalid.

use std::fmt;

use axum::extract::{FromRequest, Request};
use axum::http::header;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Shared;
use super::conditional;
use super::error::ApiError;
use super::extract::read_json;
use super::observe::Deadline;
use crate::admission::Admission;
use crate::json::{self, MAX_DEPTH_LEVELS};
use crate::model::{Key, Operation, TRANSACTION_MAX_OPERATIONS, Value};
use crate::precondition::{Preconditions, Tags};
use crate::service::{
    InvalidTransaction, TRANSACTION_MAX_VALUES, Transaction, TransactionOperation,
};

/// How long a condition may be, in bytes: as long as a header in which it would stand else.
const CONDITION_MAX_BYTES: usize = 16 * 1024;

/// A value stands in an operation, in the array of all, in the body's object.
const LEVELS_AROUND_VALUES: usize = 3;

/// The transaction in the body, with the admission of its bytes.
pub struct TransactionInBody(pub Transaction, pub Admission);

impl FromRequest<Shared> for TransactionInBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, shared: &Shared) -> Result<Self, ApiError> {
        for field in [header::IF_MATCH, header::IF_NONE_MATCH] {
            if request.headers().contains_key(&field) {
                return Err(ApiError::InvalidPrecondition {
                    field: conditional::name_of(&field),
                    reason: "the conditions of a transaction stand in its operations",
                });
            }
        }
        let Deadline(deadline) = Deadline::of(request.extensions());
        let max_bytes = shared.service.max_value_bytes() * TRANSACTION_MAX_VALUES;
        let (text, admission) = read_json(request, shared, max_bytes).await?;
        let workers = shared.service.workers();
        let transaction = workers.run(text.len(), deadline, move |_| read_transaction(&text));
        Ok(Self(transaction.await??, admission))
    }
}

/// Reads the text without a tree of the whole: that would take 75 times as much memory.
fn read_transaction(text: &[u8]) -> Result<Transaction, ApiError> {
    json::check_within(text, MAX_DEPTH_LEVELS + LEVELS_AROUND_VALUES)
        .map_err(ApiError::InvalidJson)?;
    let mut body: Members = serde_json::from_slice(text)
        .map_err(|_| invalid("the body must be an object with operations"))?;
    let operations = body.take("operations").map(RawValue::get);
    let operations: Vec<&RawValue> = serde_json::from_str(operations.unwrap_or_default())
        .map_err(|_| invalid("operations must be an array"))?;
    if let Some(name) = body.first_name() {
        return Err(invalid(format!("the body has an unknown member {name:?}")));
    }
    let mut read = Vec::new();
    for (index, operation) in operations.iter().enumerate() {
        // What is past the limit is counted but not read.
        if index <= TRANSACTION_MAX_OPERATIONS {
            let operation = read_operation(operation)
                .map_err(|reason| invalid(format!("operations[{index}]{reason}")))?;
            read.push(operation);
        }
    }
    if operations.len() > TRANSACTION_MAX_OPERATIONS {
        return Err(invalid(
            InvalidTransaction::Count(operations.len()).to_string(),
        ));
    }
    Transaction::new(read).map_err(|error| invalid(error.to_string()))
}

/// # Errors
/// What is wrong, to be said after the operation's place.
fn read_operation(operation: &RawValue) -> Result<TransactionOperation, String> {
    let mut members: Members =
        serde_json::from_str(operation.get()).map_err(|_| " is not an object".to_owned())?;
    let op = text(&mut members, "op")?.unwrap_or_default();
    let key = text(&mut members, "key")?
        .ok_or(" has no key")?
        .parse::<Key>()
        .map_err(|error| format!(".key: {error}"))?;
    let conditions = Preconditions {
        if_match: tags(&mut members, "if_match")?,
        if_none_match: tags(&mut members, "if_none_match")?,
        ..Preconditions::default()
    };
    let operation = match op.as_str() {
        "put" => {
            let value = members.take("value").ok_or(" has no value")?;
            let value = Value::from_json(value.get().as_bytes());
            Operation::Put(value.map_err(|error| format!(".value: {}", error.reason))?)
        }
        "delete" => Operation::Delete,
        "check" => Operation::Check,
        _ => return Err(".op must be put, delete or check".to_owned()),
    };
    if let Some(name) = members.first_name() {
        return Err(format!(" has an unknown member {name:?}"));
    }
    Ok(TransactionOperation {
        key,
        operation,
        conditions,
    })
}

/// The members of an object, each value as its text.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Takes out every member of this name; the last one counts.
    fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        let taken = self.0.extract_if(.., |(member, _)| member == name);
        taken.last().map(|(_, value)| value)
    }

    fn first_name(&self) -> Option<&str> {
        self.0.first().map(|(name, _)| name.as_str())
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}

fn text(members: &mut Members<'_>, name: &str) -> Result<Option<String>, String> {
    let text = members
        .take(name)
        .map(|text| serde_json::from_str(text.get()));
    text.transpose()
        .map_err(|_| format!(".{name} must be a string"))
}

/// A condition is the header's text; what is absent is no condition.
fn tags(members: &mut Members<'_>, name: &str) -> Result<Option<Tags>, String> {
    let text = text(members, name)?;
    if text
        .as_ref()
        .is_some_and(|text| text.len() > CONDITION_MAX_BYTES)
    {
        return Err(format!(
            ".{name} is longer than {CONDITION_MAX_BYTES} bytes"
        ));
    }
    let tags = text.map(|text| conditional::parse(text.as_bytes()));
    tags.transpose()
        .map_err(|reason| format!(".{name}: {reason}"))
}

fn invalid(reason: impl Into<String>) -> ApiError {
    ApiError::InvalidTransaction(reason.into())
}
