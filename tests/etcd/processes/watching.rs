//! Streams of events that move from one process to another.

use reqwest::Method;
use serde_json::json;

use crate::support::cluster::EtcdCluster;
use crate::support::events::{Block, Events};
use crate::support::service::{Caller, send, serve, serve_two};

/// An event as it was told, without what only shapes the stream.
type Told = (String, Option<String>, String);

fn told(block: Block) -> Told {
    (block.event.unwrap(), block.id, block.data.unwrap())
}

async fn take(events: &mut Events, count: usize) -> Vec<Told> {
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.push(told(events.next().await.expect("it does not end")));
    }
    taken
}

/// Puts, deletions and transactions through both in turn. Returns how many events there are of it.
async fn write_through(callers: &[Caller; 2], rounds: usize) -> usize {
    for round in 0..rounds {
        let caller = &callers[round % 2];
        send(caller.put("/kv/a", round)).await;
        let operations = json!([
            {"op": "put", "key": "b", "value": round},
            {"op": "delete", "key": "a"},
            {"op": "put", "key": "c", "value": round},
        ]);
        let call = caller.call(Method::POST, "/transactions");
        let done = send(call.json(&json!({ "operations": operations }))).await;
        done.expect(200);
    }
    4 * rounds
}

#[tokio::test]
async fn watchers_of_both_get_the_same_events_with_the_same_ids() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let processes = serve_two(&cluster).await;
    let callers = [0, 1].map(|index| Caller::of(&processes[index]));
    let mut streams = [
        callers[0].watch("/watch", None).await,
        callers[1].watch("/watch", None).await,
    ];
    let mut of_one = callers[1].watch("/watch?key=a", None).await;
    let count = write_through(&callers, 10).await;
    let seen = take(&mut streams[0], count).await;
    assert_eq!(take(&mut streams[1], count).await, seen);
    let of_key: Vec<_> = seen
        .iter()
        .filter(|(_, _, data)| data.contains("\"key\":\"a\""))
        .map(|(event, _, data)| (event.clone(), data.clone()))
        .collect();
    assert_eq!(of_key.len(), 20);
    let of_one = take(&mut of_one, 20).await;
    let of_one = of_one.into_iter().map(|(event, _, data)| (event, data));
    assert_eq!(of_one.collect::<Vec<_>>(), of_key);
}

#[tokio::test]
async fn a_watcher_moves_to_another_process_without_a_gap_or_a_repeat() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let [one, other] = serve_two(&cluster).await;
    let callers = [Caller::of(&one), Caller::of(&other)];
    let mut stream = callers[0].watch("/watch", None).await;
    let begun = stream.block().await.unwrap();
    let count = write_through(&callers, 8).await;
    let seen = take(&mut stream, count).await;
    // One that has only just been started knows what was before it.
    let third = serve(&cluster).await;
    let started = Caller::of(&third);
    let start = (begun.id.unwrap(), &seen[..]);
    let after_each = seen.iter().enumerate().filter_map(|(index, (_, id, _))| {
        let id = id.clone()?;
        Some((id, &seen[index + 1..]))
    });
    for (id, rest) in [start].into_iter().chain(after_each) {
        for caller in [&callers[0], &callers[1], &started] {
            let mut resumed = caller.watch("/watch", Some(&id)).await;
            let first = resumed.block().await.unwrap();
            assert_eq!(first.event, None, "no reset");
            assert_eq!(take(&mut resumed, rest.len()).await, rest, "after {id}");
        }
    }
    // The end of a process ends its streams, and they go on elsewhere.
    let last = seen.iter().rev().find_map(|(_, id, _)| id.clone());
    let mut stream = callers[0].watch("/watch", last.as_deref()).await;
    stream.block().await.unwrap();
    assert!(one.stop().await.status.success());
    assert_eq!(stream.next().await, None);
    let count = write_through(&[callers[1].clone(), started.clone()], 3).await;
    let mut streams = [
        callers[1].watch("/watch", last.as_deref()).await,
        started.watch("/watch", last.as_deref()).await,
    ];
    let seen = take(&mut streams[0], count).await;
    assert_eq!(take(&mut streams[1], count).await, seen);
    let restarted = serve(&cluster).await;
    let caller = Caller::of(&restarted);
    let mut stream = caller.watch("/watch", last.as_deref()).await;
    assert_eq!(take(&mut stream, count).await, seen);
}
