//! Many at once on one key: nobody's update is lost.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::http::Method;
use ifmatch::service::Policy;
use ifmatch::storage::Store;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::support::api::{Answer, Api, LIMITS};
use crate::support::stores::Gated;

async fn at_once(api: &Api, count: usize, condition: (&'static str, String)) -> Vec<Answer> {
    let mut writers = JoinSet::new();
    for writer in 0..count {
        let (api, (name, value)) = (api.clone(), condition.clone());
        writers.spawn(async move {
            let json = writer.to_string();
            api.put("/kv/a", &json).header(name, &value).send().await
        });
    }
    writers.join_all().await
}

fn with_status(answers: &[Answer], status: u16) -> Vec<&Answer> {
    answers
        .iter()
        .filter(|answer| answer.status.as_u16() == status)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_50_writers_with_one_tag_one_wins() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::in_folder(folder.path()).await;
    let tag = api.put("/kv/a", "null").send().await.etag();
    let answers = at_once(&api, 50, ("if-match", tag)).await;
    let winner = with_status(&answers, 200);
    let losers = with_status(&answers, 412);
    assert_eq!((winner.len(), losers.len()), (1, 49));
    for loser in losers {
        assert_eq!(loser.json()["current"], winner[0].json());
    }
    assert_eq!(api.get("/kv/a").send().await.body, winner[0].body);
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_50_creators_one_creates() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::in_folder(folder.path()).await;
    let answers = at_once(&api, 50, ("if-none-match", "*".to_owned())).await;
    assert_eq!(with_status(&answers, 201).len(), 1);
    assert_eq!(with_status(&answers, 412).len(), 49);
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_without_a_precondition_all_count() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::in_folder(folder.path()).await;
    let answers = at_once(&api, 50, ("x-none", String::new())).await;
    let versions: BTreeSet<_> = answers
        .iter()
        .map(|answer| answer.json()["version"].as_u64().unwrap())
        .collect();
    assert_eq!(versions, (1..=50).collect());
    api.close().await;
}

/// How a client adds 1 to the counter.
async fn add_by_replacing(api: &Api) {
    let mut entry = api.get("/kv/counter").send().await.json();
    loop {
        let next = entry["value"].as_u64().unwrap() + 1;
        let tag = entry["etag"].as_str().unwrap();
        let call = api.put("/kv/counter", &next.to_string()).if_match(tag);
        let answer = call.send().await;
        match answer.status.as_u16() {
            200 => break,
            // Everything that the next attempt needs is in the answer.
            412 => entry = answer.json()["current"].clone(),
            _ => panic!("{answer:?}"),
        }
    }
}

/// The same by PATCH: `test` is the condition, on the value instead of the tag.
async fn add_by_patching(api: &Api) {
    loop {
        let value = api.get("/kv/counter").send().await.json()["value"]
            .as_u64()
            .unwrap();
        let next = value + 1;
        let patch = format!(
            r#"[{{"op":"test","path":"","value":{value}}},{{"op":"replace","path":"","value":{next}}}]"#
        );
        let call = api.call(Method::PATCH, "/kv/counter").body(patch);
        let answer = call
            .header("content-type", "application/json-patch+json")
            .send()
            .await;
        match answer.status.as_u16() {
            200 => break,
            409 => {}
            _ => panic!("{answer:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_counter_of_64_clients_that_each_add_100_ends_at_6400() {
    const CLIENTS: u64 = 64;
    const EACH: u64 = 100;
    // Of those that try at once one wins, so that more of them would only lose more often.
    const TRYING: usize = 8;
    let trying = Arc::new(Semaphore::new(TRYING));
    let folder = tempfile::tempdir().unwrap();
    let api = Api::in_folder(folder.path()).await.unchecked();
    api.put("/kv/counter", "0").send().await;
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (api, trying) = (api.clone(), Arc::clone(&trying));
        clients.spawn(async move {
            for _ in 0..EACH {
                let _turn = trying.acquire().await.unwrap();
                if client % 2 == 0 {
                    add_by_replacing(&api).await;
                } else {
                    add_by_patching(&api).await;
                }
            }
        });
    }
    clients.join_all().await;
    let counter = api.get("/kv/counter").send().await.json();
    assert_eq!(counter["value"], CLIENTS * EACH);
    assert_eq!(counter["version"], CLIENTS * EACH + 1);
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_loses_a_race_but_whose_condition_still_holds_writes_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::in_folder(folder.path()).await;
    api.put("/kv/a", "null").send().await;
    let not_this = "\"1-0000000000000000\"".to_owned();
    let answers = at_once(&api, 50, ("if-none-match", not_this)).await;
    assert_eq!(with_status(&answers, 200).len(), 50);
    assert_eq!(api.get("/kv/a").send().await.json()["version"], 51);
    api.close().await;
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_undo_what_was_begun() {
    let store = Arc::new(Gated::default());
    let api = Api::with(
        Arc::clone(&store) as Arc<dyn Store>,
        Policy::AllWrites,
        LIMITS,
    );
    let caller = api.clone();
    let request = tokio::spawn(async move { caller.put("/kv/a", "1").send().await });
    store.waiting.acquire().await.unwrap().forget();
    request.abort();
    assert!(request.await.unwrap_err().is_cancelled());
    store.open.add_permits(1);
    while api.get("/kv/a").send().await.status.as_u16() != 200 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_loses_to_a_creator_is_shown_what_it_created() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::in_folder(folder.path()).await;
    let answers = at_once(&api, 50, ("if-none-match", "*".to_owned())).await;
    let winner = with_status(&answers, 201);
    for loser in with_status(&answers, 412) {
        assert_eq!(loser.json()["current"], winner[0].json());
        assert_eq!(loser.etag(), winner[0].etag());
    }
    assert_eq!(api.get("/kv/a").send().await.body, winner[0].body);
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_shows_one_moment() {
    let api = Api::in_memory();
    api.put("/kv/a", "0").send().await;
    api.put("/kv/b", "0").send().await;
    let writer = api.clone();
    // At every moment `a` is as far as `b` or one ahead.
    let writing = tokio::spawn(async move {
        for number in 1..=500 {
            let json = number.to_string();
            writer.put("/kv/a", &json).send().await;
            writer.put("/kv/b", &json).send().await;
        }
    });
    let mut newest = 0;
    loop {
        let over = writing.is_finished();
        let list = api.get("/kv").send().await.json();
        let number = |index: usize| list["items"][index]["value"].as_u64().unwrap();
        let ahead = number(0).checked_sub(number(1));
        assert!(matches!(ahead, Some(0 | 1)), "{list}");
        let revision = list["revision"].as_u64().unwrap();
        assert_eq!(revision, 2 + number(0) + number(1), "{list}");
        assert!(
            revision >= newest,
            "a later list is not of an earlier moment"
        );
        newest = revision;
        if over {
            break;
        }
    }
    writing.await.unwrap();
    assert_eq!(newest, 1002);
}

/// On one thread all have sent their commits before the store takes the first, so that they share
/// a batch.
#[tokio::test]
async fn who_loses_within_a_batch_takes_no_number() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::in_folder(folder.path()).await;
    let answers = at_once(&api, 50, ("if-none-match", "*".to_owned())).await;
    assert_eq!(with_status(&answers, 412).len(), 49);
    assert_eq!(api.get("/kv").send().await.json()["revision"], 1);
    let next = api.put("/kv/b", "1").send().await;
    assert_eq!(next.json()["revision"], 2);
    api.close().await;
}
