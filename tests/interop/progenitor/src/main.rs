//! The story, told through a client that progenitor made. `filter.py` tells what it cannot take of
//! the description.

use serde_json::{Value, json};
use types::ErrorCode::{NotFound, PreconditionFailed, Unauthorized};

progenitor::generate_api!(spec = "openapi.json", interface = Builder);

const KEY: &str = "doc/plan";

fn step(what: &str, holds: bool) {
    println!("{} {what}", if holds { "ok" } else { "not ok" });
}

/// The status and the typed error that a call is refused with.
fn refused<T: std::fmt::Debug>(answer: Result<T, Error<types::Error>>) -> (u16, types::Error) {
    match answer.expect_err("a refusal") {
        Error::ErrorResponse(answer) => (answer.status().as_u16(), answer.into_inner()),
        other => panic!("not a typed error: {other}"),
    }
}

/// As the README shows it.
async fn change(
    client: &Client,
    key: &str,
    edit: impl Fn(&Value) -> Value,
) -> Result<types::Entry, Error<types::Error>> {
    loop {
        let entry = client.get_entry().key(key).send().await?.into_inner();
        let put = client.put_entry().key(key).if_match(entry.etag.as_str());
        match put.body(edit(&entry.value.0)).send().await {
            Err(Error::ErrorResponse(refused)) if refused.status() == 412 => {}
            answer => return Ok(answer?.into_inner()),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error<types::Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().expect("the service's URL");
    let (status, error) = refused(Client::new(&url).get_entry().key(KEY).send().await);
    step(
        "read without the token: 401, typed",
        status == 401 && error.error == Unauthorized,
    );
    // This client knows nothing of security schemes: the token is a header of its HTTP client.
    let token = arguments.next().expect("the token");
    let token = format!("Bearer {token}").parse().expect("a header");
    let headers = [(reqwest::header::AUTHORIZATION, token)];
    let http = reqwest::Client::builder().default_headers(headers.into_iter().collect());
    let client = Client::new_with_client(&url, http.build().expect("an HTTP client"));
    let plan = json!({"title": "Plan", "budget": 100});

    let created = client
        .put_entry()
        .key(KEY)
        .body(plan.clone())
        .send()
        .await?;
    step(
        "create: 201, version 1",
        created.status() == 201 && created.version.get() == 1 && created.key == KEY,
    );
    let first = created.into_inner();

    let read = client.get_entry().key(KEY).send().await?;
    step(
        "read: the same entry",
        read.etag == first.etag && read.value.0 == plan,
    );

    let raised = json!({"title": "Plan", "budget": 120});
    let replaced = client
        .put_entry()
        .key(KEY)
        .body(raised.clone())
        .if_match(first.etag.as_str());
    let replaced = replaced.send().await?;
    step(
        "replace with the tag: 200, version 2",
        replaced.status() == 200 && replaced.version.get() == 2,
    );
    let second = replaced.into_inner();

    let stale = client
        .put_entry()
        .key(KEY)
        .body(plan.clone())
        .if_match(first.etag.as_str());
    let (status, error) = refused(stale.send().await);
    step(
        "replace with the stale tag: 412, typed",
        status == 412 && error.error == PreconditionFailed,
    );
    let current: Option<types::Entry> = error.current;
    step(
        "the 412 shows the current entry",
        current.is_some_and(|entry| entry.etag == second.etag && entry.value.0 == raised),
    );

    let patch = json!({"budget": null, "owner": "Ann"});
    let patch = client.patch_entry().key(KEY).body(patch);
    let third = patch.if_match(second.etag.as_str()).send().await?.into_inner();
    step(
        "patch: version 3",
        third.version.get() == 3 && third.value.0 == json!({"title": "Plan", "owner": "Ann"}),
    );

    let request: types::TransactionRequest = serde_json::from_value(json!({"operations": [
        {"op": "put", "key": "doc/other", "value": [1, null]},
        {"op": "check", "key": "doc/absent", "if_none_match": "*"},
    ]}))
    .expect("a transaction");
    let both = client.transact().body(request).send().await?.into_inner();
    let results: Vec<Option<types::Entry>> = both.results;
    step(
        "transaction: an entry, and null for the absent key",
        matches!(&results[..], [Some(entry), None] if entry.value.0 == json!([1, null])),
    );

    let deleted = client
        .delete_entry()
        .key(KEY)
        .if_match(third.etag.as_str())
        .send()
        .await?;
    step("delete with the newest tag", deleted.etag == third.etag);

    let (status, error) = refused(client.get_entry().key(KEY).send().await);
    step("read: 404, typed", status == 404 && error.error == NotFound);

    let lost = client
        .put_entry()
        .key(KEY)
        .body(plan)
        .if_match(second.etag.as_str());
    let (status, error) = refused(lost.send().await);
    step(
        "replace what is gone: 412, current is null",
        status == 412 && error.error == PreconditionFailed && error.current.is_none(),
    );

    for (name, value) in [
        ("object", json!({"a": {"b": [1, null]}})),
        ("empty object", json!({})),
        ("array", json!([1, "two", null, {}])),
        ("string", json!("schön \"quoted\" \u{2028}")),
        ("number", json!(u64::MAX)),
        ("fraction", json!(-0.25)),
        ("bool", json!(false)),
        ("null", Value::Null),
    ] {
        let key = format!("kinds/{name}");
        let written = client
            .put_entry()
            .key(key.as_str())
            .body(value.clone())
            .send()
            .await?;
        let read = client.get_entry().key(key.as_str()).send().await?;
        step(
            &format!("a value of the kind {name}"),
            written.value.0 == value && read.value.0 == value && read.etag == written.etag,
        );
    }

    let listed = client
        .list_entries()
        .prefix("kinds/")
        .limit(3u32)
        .send()
        .await?
        .into_inner();
    let last = listed.items.last().map(|entry| entry.key.clone());
    step(
        "list: a page of entries",
        listed.items.len() == 3 && last.is_some() && listed.next == last,
    );
    let rest = client
        .list_entries()
        .prefix("kinds/")
        .after(last.unwrap_or_default());
    let rest = rest.send().await?;
    step(
        "list: the rest, next is null",
        rest.items.len() == 5 && rest.next.is_none(),
    );

    past(&client).await?;

    client.put_entry().key("counter").body(json!(0)).send().await?;
    let add = || async {
        for _ in 0..25 {
            let one_more = |value: &Value| json!(value.as_u64().unwrap_or_default() + 1);
            change(&client, "counter", one_more).await?;
        }
        Ok::<_, Error<types::Error>>(())
    };
    tokio::try_join!(add(), add(), add(), add(), add(), add(), add(), add())?;
    let counter = client.get_entry().key("counter").send().await?;
    step("change: 8 that each add 25 end at 200", counter.value.0 == json!(200));
    Ok(())
}

async fn past(client: &Client) -> Result<(), Error<types::Error>> {
    let key = "doc/past";
    let put = |budget: u64| {
        let put = client.put_entry().key(key);
        put.body(json!({ "budget": budget }))
    };
    let once = || put(100).idempotency_key("\"8e03978e-40d5\"").send();
    let done = once().await?.into_inner();
    let repeated = once().await?;
    step(
        "the same write sent twice: done once, and answered as it was",
        repeated.status() == 201
            && repeated.headers()["idempotency-replayed"] == "true"
            && (&repeated.etag, repeated.revision) == (&done.etag, done.revision),
    );
    let newer = put(120).if_match(done.etag.as_str()).send().await?;
    let history = client.get_entry_history().key(key).send().await?;
    let shown = |event: &types::HistoryEvent| {
        let budget = event.value.as_ref().and_then(|value| value.0["budget"].as_u64());
        (event.etag.clone(), budget)
    };
    step(
        "history: both versions, the newest first",
        history.next.is_none()
            && history.items.iter().map(shown).collect::<Vec<_>>()
                == [(newer.etag.clone(), Some(120)), (done.etag.clone(), Some(100))],
    );
    let then = client.get_entry().key(key).revision(done.revision.get());
    let then = then.send().await?;
    step(
        "read at a revision: the entry of then",
        then.etag == done.etag && then.value.0 == done.value.0,
    );
    let back = types::RevertRequest {
        revision: done.revision.get().try_into().expect("a revision fits"),
    };
    let reverted = client.revert_entry().key(key).body(back);
    let reverted = reverted.if_match(newer.etag.as_str()).send().await?;
    step(
        "revert: the value of then, as version 3",
        reverted.version.get() == 3 && reverted.value.0 == done.value.0,
    );
    Ok(())
}
