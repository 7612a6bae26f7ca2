//! The body of `POST /transactions` → operations that cannot be invalid.

use std::collections::HashSet;

use axum::extract::{FromRequest, Request};
use axum::http::header;
use serde_json::{Map, Value as Tree};

use super::Shared;
use super::conditional;
use super::error::ApiError;
use super::extract::read_json;
use crate::blocking::work_on;
use crate::json::{self, MAX_DEPTH_LEVELS};
use crate::model::{Key, Operation, TRANSACTION_MAX_OPERATIONS, Value};
use crate::precondition::{Preconditions, Tags};
use crate::service::TransactionOperation;

/// How many values of the largest size the body of a transaction has room for.
const BODY_VALUES: usize = 8;

/// A value stands in an operation, in the array of all, in the body's object.
const LEVELS_AROUND_VALUES: usize = 3;

/// The operations in the body.
pub struct TransactionInBody(pub Vec<TransactionOperation>);

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
        let max_value_bytes = shared.limits.max_value_bytes;
        let text = read_json(request, shared.limits, max_value_bytes * BODY_VALUES).await?;
        let levels = MAX_DEPTH_LEVELS + LEVELS_AROUND_VALUES;
        work_on(text.len(), move || {
            let body = json::parse_within(&text, levels).map_err(ApiError::InvalidJson)?;
            operations(body, max_value_bytes).map(Self)
        })
        .await?
    }
}

fn operations(body: Tree, max_value_bytes: usize) -> Result<Vec<TransactionOperation>, ApiError> {
    let Tree::Object(mut body) = body else {
        return Err(invalid("the body must be an object with operations"));
    };
    let Some(Tree::Array(operations)) = body.remove("operations") else {
        return Err(invalid("operations must be an array"));
    };
    if let Some(name) = body.keys().next() {
        return Err(invalid(format!("the body has an unknown member {name:?}")));
    }
    if !(1..=TRANSACTION_MAX_OPERATIONS).contains(&operations.len()) {
        let count = operations.len();
        return Err(invalid(format!(
            "there must be 1 to {TRANSACTION_MAX_OPERATIONS} operations, not {count}"
        )));
    }
    let mut keys = HashSet::new();
    let mut read = Vec::with_capacity(operations.len());
    for (index, operation) in operations.into_iter().enumerate() {
        let operation = read_operation(operation, max_value_bytes)
            .map_err(|refusal| refusal.at(index, max_value_bytes))?;
        if !keys.insert(operation.key.clone()) {
            let key = operation.key.as_str();
            return Err(invalid(format!(
                "operations[{index}]: {key:?} stands twice"
            )));
        }
        read.push(operation);
    }
    Ok(read)
}

/// Why an operation is none.
enum Refusal {
    Invalid(String),
    TooLarge,
}

impl Refusal {
    fn at(self, index: usize, limit: usize) -> ApiError {
        match self {
            Self::Invalid(reason) => invalid(format!("operations[{index}]{reason}")),
            Self::TooLarge => ApiError::ValueTooLarge { limit },
        }
    }
}

fn read_operation(
    operation: Tree,
    max_value_bytes: usize,
) -> Result<TransactionOperation, Refusal> {
    let Tree::Object(mut members) = operation else {
        return Err(Refusal::Invalid(" is not an object".to_owned()));
    };
    let op = text(&mut members, "op")?.unwrap_or_default();
    let key = text(&mut members, "key")?
        .ok_or_else(|| Refusal::Invalid(" has no key".to_owned()))?
        .parse::<Key>()
        .map_err(|error| Refusal::Invalid(format!(".key: {error}")))?;
    let conditions = Preconditions {
        if_match: tags(&mut members, "if_match")?,
        if_none_match: tags(&mut members, "if_none_match")?,
        ..Preconditions::default()
    };
    let operation = match op.as_str() {
        "put" => {
            let value = members.remove("value");
            let value = value.ok_or_else(|| Refusal::Invalid(" has no value".to_owned()))?;
            let value = Value::from_tree(&value);
            if value.as_json().len() > max_value_bytes {
                return Err(Refusal::TooLarge);
            }
            Operation::Put(value)
        }
        "delete" => Operation::Delete,
        "check" => Operation::Check,
        _ => {
            let reason = ".op must be put, delete or check".to_owned();
            return Err(Refusal::Invalid(reason));
        }
    };
    if let Some(name) = members.keys().next() {
        return Err(Refusal::Invalid(format!(" has an unknown member {name:?}")));
    }
    Ok(TransactionOperation {
        key,
        operation,
        conditions,
    })
}

fn text(members: &mut Map<String, Tree>, name: &str) -> Result<Option<String>, Refusal> {
    match members.remove(name) {
        None => Ok(None),
        Some(Tree::String(text)) => Ok(Some(text)),
        Some(_) => Err(Refusal::Invalid(format!(".{name} must be a string"))),
    }
}

/// A condition is the header's text; what is absent is no condition.
fn tags(members: &mut Map<String, Tree>, name: &str) -> Result<Option<Tags>, Refusal> {
    match text(members, name)? {
        None => Ok(None),
        Some(text) => match conditional::parse(text.as_bytes()) {
            Ok(tags) => Ok(Some(tags)),
            Err(reason) => Err(Refusal::Invalid(format!(".{name}: {reason}"))),
        },
    }
}

fn invalid(reason: impl Into<String>) -> ApiError {
    ApiError::InvalidTransaction(reason.into())
}
