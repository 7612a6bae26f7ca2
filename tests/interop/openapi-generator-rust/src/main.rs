//! The story, told through a client that OpenAPI Generator made.

use ifmatch_client::apis::configuration::Configuration;
use ifmatch_client::apis::entries_api::{
    DeleteEntrySuccess, GetEntryError, GetEntrySuccess, ListEntriesSuccess, PatchEntrySuccess,
    PutEntryError, PutEntrySuccess, TransactError, TransactSuccess, delete_entry, get_entry,
    list_entries, patch_entry, put_entry, transact,
};
use ifmatch_client::apis::history_api::{
    GetEntryHistorySuccess, RevertEntrySuccess, get_entry_history, revert_entry,
};
use ifmatch_client::models::{
    CheckOperation, Entry, ErrorCode, PutOperation, RevertRequest, TransactionOperation, TransactionRequest,
    check_operation, put_operation,
};
use serde_json::{Value, json};

const KEY: &str = "doc/plan";

fn step(what: &str, holds: bool) {
    println!("{} {what}", if holds { "ok" } else { "not ok" });
}

/// What a call answers, by the name of its type. All errors look alike, and so do the successes: the
/// variant is always the first that fits, and only `status` tells which one it is.
macro_rules! done {
    ($success:ident, $call:expr) => {{
        let answer = $call.await.expect("a success");
        match answer.entity {
            Some($success::Status200(entity)) => (answer.status.as_u16(), entity),
            other => panic!("not typed: {other:?}"),
        }
    }};
}

macro_rules! refused {
    ($error:ident, $call:expr) => {{
        match $call.await.expect_err("a refusal") {
            ifmatch_client::apis::Error::ResponseError(answer) => match answer.entity {
                Some($error::Status400(error)) => (answer.status.as_u16(), error),
                other => panic!("not typed: {other:?}"),
            },
            other => panic!("no answer: {other}"),
        }
    }};
}

fn check(key: &str, if_match: Option<&str>, if_none_match: Option<&str>) -> TransactionOperation {
    let mut check = CheckOperation::new(check_operation::Op::Check, key.to_owned());
    check.if_match = if_match.map(str::to_owned);
    check.if_none_match = if_none_match.map(str::to_owned);
    TransactionOperation::Check(Box::new(check))
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut service = Configuration::new();
    service.base_path = std::env::args().nth(1).expect("the service's URL");
    let stranger = get_entry(&service, KEY, None, None, None, None, None, None, None, None, None);
    let (status, error) = refused!(GetEntryError, stranger);
    step(
        "read without the token: 401, typed",
        status == 401 && error.error == ErrorCode::Unauthorized,
    );
    service.bearer_access_token = std::env::args().nth(2);
    let service = &service;
    let plan = json!({"title": "Plan", "budget": 100});
    let put = async |value: &Value, if_match: Option<&str>, if_none_match: Option<&str>| {
        let value = Some(value.clone());
        put_entry(service, KEY, value, if_match, if_none_match, None, None, None).await
    };

    let (status, first): (u16, Entry) = done!(PutEntrySuccess, put(&plan, None, None));
    step(
        "create: 201, version 1",
        status == 201 && first.version == 1 && first.key == KEY,
    );

    let (_, read) = done!(GetEntrySuccess, get_entry(service, KEY, None, None, None, None, None, None, None, None, None));
    step("read: the same entry", read == first && read.value == Some(plan.clone()));

    let raised = json!({"title": "Plan", "budget": 120});
    let (status, second) = done!(PutEntrySuccess, put(&raised, Some(&first.etag), None));
    step(
        "replace with the tag: 200, version 2",
        status == 200 && second.version == 2,
    );

    let (status, error) = refused!(PutEntryError, put(&plan, Some(&first.etag), None));
    step(
        "replace with the stale tag: 412, typed",
        status == 412 && error.error == ErrorCode::PreconditionFailed,
    );
    step(
        "the 412 shows the current entry",
        error.current == Some(Some(Box::new(second.clone()))) && second.value == Some(raised),
    );

    let (status, error) = refused!(PutEntryError, put(&plan, None, Some("*")));
    step(
        "create only: 412, the current entry",
        status == 412 && error.current == Some(Some(Box::new(second.clone()))),
    );

    let patch = json!({"budget": null, "owner": "Ann"});
    let patch = patch_entry(service, KEY, Some(patch), Some(&second.etag), None, None, None, None);
    let (_, third) = done!(PatchEntrySuccess, patch);
    step(
        "patch: version 3",
        third.version == 3 && third.value == Some(json!({"title": "Plan", "owner": "Ann"})),
    );

    let other = PutOperation::new(
        put_operation::Op::Put,
        "doc/other".to_owned(),
        Some(json!([1, null])),
    );
    let both = TransactionRequest::new(vec![
        TransactionOperation::Put(Box::new(other)),
        check("doc/absent", None, Some("*")),
    ]);
    // The items of an array are never an `Option` here, so this answer is a tree instead of its type
    // (OpenAPITools/openapi-generator#24108 is of that kind). Each operation is sent with two members
    // `op` (OpenAPITools/openapi-generator#22344), which the service takes for one.
    let answer = transact(service, both, None, None).await.expect("a success");
    let Some(TransactSuccess::UnknownValue(result)) = answer.entity else {
        panic!("the results have a type: {:?}", answer.entity)
    };
    step(
        "transaction: an entry, and null for the absent key (as a tree: openapi-generator#24108)",
        answer.status == 200
            && result["results"][0]["value"] == json!([1, null])
            && result["results"][1] == Value::Null,
    );

    let failed = TransactionRequest::new(vec![
        check(KEY, Some(&first.etag), None),
        check("doc/absent", Some("*"), None),
    ]);
    let (status, error) = refused!(TransactError, transact(service, failed, None, None));
    let shown = error.failed.expect("the operations that do not hold");
    let shown: Vec<_> = shown.into_iter().map(|one| one.current).collect();
    step(
        "a transaction that does not hold: 412, both operations, an entry and null",
        status == 412 && shown == [Some(Some(Box::new(third.clone()))), Some(None)],
    );

    let delete = delete_entry(service, KEY, Some(&third.etag), None, None, None, None);
    let (_, deleted) = done!(DeleteEntrySuccess, delete);
    step("delete with the newest tag", deleted == third);

    let (status, error) =
        refused!(GetEntryError, get_entry(service, KEY, None, None, None, None, None, None, None, None, None));
    step("read: 404, typed", status == 404 && error.error == ErrorCode::NotFound);

    let (status, error) = refused!(PutEntryError, put(&plan, Some(&third.etag), None));
    step(
        "replace what is gone: 412, current is null",
        status == 412 && error.error == ErrorCode::PreconditionFailed && error.current == Some(None),
    );

    kinds(service).await;
    past(service).await;
}

async fn kinds(service: &Configuration) {
    for (name, value) in [
        ("object", json!({"a": {"b": [1, null]}, "c": null})),
        ("empty object", json!({})),
        ("array", json!([1, "two", null, {}])),
        ("string", json!("schön \"quoted\" \u{2028}")),
        ("number", json!(u64::MAX)),
        ("fraction", json!(-0.25)),
        ("bool", json!(false)),
        ("null", Value::Null),
    ] {
        let key = format!("kinds/{name}");
        let put = put_entry(service, &key, Some(value.clone()), None, None, None, None, None);
        let (_, written) = done!(PutEntrySuccess, put);
        let get = get_entry(service, &key, None, None, None, None, None, None, None, None, None);
        let (_, read) = done!(GetEntrySuccess, get);
        step(
            &format!("a value of the kind {name}"),
            written == read && read.value.unwrap_or(Value::Null) == value,
        );
    }

    let list = list_entries(service, Some("kinds/"), None, Some(3), None, None, None, None, None, None, None);
    let (_, page) = done!(ListEntriesSuccess, list);
    let last = page.items.last().map(|entry| entry.key.clone());
    step(
        "list: a page of entries",
        page.items.len() == 3 && last.is_some() && page.next == last,
    );
    let rest = list_entries(service, Some("kinds/"), last.as_deref(), None, None, None, None, None, None, None, None);
    let (_, rest) = done!(ListEntriesSuccess, rest);
    step(
        "list: the rest, next is null",
        rest.items.len() == 5 && rest.next.is_none(),
    );
}

async fn past(service: &Configuration) {
    let key = "doc/past";
    let put = async |budget: u64, if_match: Option<&str>, once: Option<&str>| {
        let value = Some(json!({ "budget": budget }));
        put_entry(service, key, value, if_match, None, None, None, once).await
    };
    let once = Some("\"8e03978e-40d5\"");
    let (_, done) = done!(PutEntrySuccess, put(100, None, once));
    let (status, repeated) = done!(PutEntrySuccess, put(100, None, once));
    step(
        "the same write sent twice: done once, and answered as it was",
        status == 201 && repeated == done,
    );
    let (_, newer) = done!(PutEntrySuccess, put(120, Some(&done.etag), None));
    let history = get_entry_history(service, key, None, None, None);
    let (_, history) = done!(GetEntryHistorySuccess, history);
    // An event may have no value, and a value may be null.
    let events = history.items.into_iter();
    let shown: Vec<_> = events.map(|event| (event.etag, event.value.flatten())).collect();
    step(
        "history: both versions, the newest first",
        history.next.is_none()
            && shown == [(newer.etag.clone(), newer.value), (done.etag.clone(), done.value.clone())],
    );
    let then = get_entry(service, key, Some(done.revision), None, None, None, None, None, None, None, None);
    let (_, then) = done!(GetEntrySuccess, then);
    step("read at a revision: the entry of then", then == done);
    let back = RevertRequest::new(done.revision);
    let reverted = revert_entry(service, key, back, Some(&newer.etag), None, None, None, None);
    let (_, reverted) = done!(RevertEntrySuccess, reverted);
    step(
        "revert: the value of then, as version 3",
        reverted.version == 3 && reverted.value == done.value,
    );
}
