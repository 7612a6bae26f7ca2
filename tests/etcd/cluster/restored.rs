//! A cluster that is restored from an older snapshot under running processes.

use reqwest::Method;
use serde_json::json;

use crate::support::cluster::EtcdCluster;
use crate::support::events::Events;
use crate::support::service::{Caller, send, serve_two, until};

/// Reads until the stream says that what was told is of another past. If it is cut before, it goes on at the same
/// process after what it has heard last, as clients do.
async fn until_reset(caller: &Caller, mut stream: Events, mut since: String) -> u64 {
    loop {
        while let Some(block) = stream.next().await {
            if block.event.as_deref() == Some("reset") {
                return block.json()["revision"].as_u64().unwrap();
            }
            since = block.id.unwrap_or(since);
        }
        let mut opened = None;
        until("it can be watched", async || {
            opened = caller.try_watch("/watch", Some(&since)).await;
            opened.is_some()
        })
        .await;
        stream = opened.unwrap();
    }
}

async fn restored(written_after: usize) {
    let Some(mut cluster) = EtcdCluster::of(1).durable().start().await else {
        return;
    };
    let processes = serve_two(&cluster).await;
    let callers = [0, 1].map(|index| Caller::of(&processes[index]));
    let kept = send(callers[0].put("/kv/kept", 1)).await.expect(201);
    send(callers[0].put("/kv/doc", "before")).await.expect(201);
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("saved");
    cluster.save(&saved).await;
    let mut lost = Vec::new();
    for round in 0..4 {
        lost.push(
            send(callers[round % 2].put("/kv/doc", format!("lost {round}")))
                .await
                .expect(200),
        );
    }
    let lost_list = callers[1].get("/kv").await.expect(200);
    let mut streams = Vec::new();
    for caller in &callers {
        let mut stream = caller.watch("/watch", None).await;
        let since = stream.block().await.unwrap().id.unwrap();
        streams.push((stream, since));
    }
    cluster.restore(&saved).await;
    let mut before = None;
    for caller in &callers {
        // As soon as it shows something, that is of what was restored.
        until("it serves", async || {
            let read = caller.get("/kv/doc").await;
            let is_shown = read.status == 200;
            if is_shown {
                assert_eq!(read.body["value"], "before");
                before = Some(read);
            }
            is_shown
        })
        .await;
    }
    let before = before.unwrap();
    let mut new = Vec::new();
    for round in 0..written_after {
        let caller = &callers[round % 2];
        new.push(
            send(caller.put("/kv/doc", format!("new {round}")))
                .await
                .expect(200),
        );
    }
    for (caller, (stream, since)) in callers.iter().zip(streams) {
        until_reset(caller, stream, since.clone()).await;
        // Who comes later hears it first.
        let mut stream = caller.watch("/watch", Some(&since)).await;
        assert_eq!(stream.next().await.unwrap().event.as_deref(), Some("reset"));

        let current = caller.get("/kv/doc").await.expect(200);
        for entry in &lost {
            let stale = caller.put("/kv/doc", 0).header("if-match", entry.etag());
            let refused = send(stale).await.expect_error(412, "precondition_failed");
            assert_eq!(refused.body["current"], current.body);
            let call = caller.call(Method::GET, "/kv/doc");
            let read = send(call.header("if-none-match", entry.etag())).await;
            assert_eq!(read.expect(200).body, current.body);
        }
        let call = caller.call(Method::GET, "/kv");
        let found = send(call.header("if-none-match", lost_list.etag())).await;
        let found = found.expect(200);
        assert_eq!(found.body["items"], json!([current.body, kept.body]));
        // What is of both pasts has the tag that it had.
        let call = caller.call(Method::GET, "/kv/kept");
        send(call.header("if-none-match", kept.etag()))
            .await
            .expect(304);
    }
    let lists = [callers[0].get("/kv").await, callers[1].get("/kv").await];
    assert_eq!(lists[0].etag(), lists[1].etag());
    let newest = new.last().map_or(before.etag(), |answer| answer.etag());
    let next = callers[1].put("/kv/doc", "next").header("if-match", newest);
    send(next).await.expect(200);
    assert_eq!(callers[0].get("/kv/doc").await.body["value"], "next");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_and_points_of_the_lost_past_are_refused_before_anything_is_written() {
    restored(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_and_points_of_the_lost_past_are_refused_when_there_are_as_many_commits() {
    restored(4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_and_points_of_the_lost_past_are_refused_when_there_are_more_commits() {
    restored(9).await;
}
