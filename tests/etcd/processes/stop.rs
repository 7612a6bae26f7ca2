//! A process that is asked to end while it is used.

use reqwest::Method;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::support::binary::soon;
use crate::support::cluster::EtcdCluster;
use crate::support::service::{Caller, serve_two, try_send};

/// Writes one key until the process is gone. Returns what was acknowledged last, and what has no answer.
async fn write_until_gone(
    caller: Caller,
    path: String,
    done: mpsc::UnboundedSender<()>,
) -> (u64, Option<u64>) {
    let mut acknowledged = 0;
    loop {
        let next = acknowledged + 1;
        let Some(answer) = try_send(caller.put(&path, next)).await else {
            return (acknowledged, Some(next));
        };
        match answer.status {
            200 | 201 => acknowledged = next,
            // It says that nothing was done.
            503 => return (acknowledged, None),
            _ => panic!("{answer:?}"),
        }
        let _ = done.send(());
    }
}

#[tokio::test]
async fn what_is_under_way_is_finished_and_answered_and_the_other_has_it() {
    const WRITERS: usize = 16;
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let [one, other] = serve_two(&cluster).await;
    let (caller, witness) = (Caller::of(&one), Caller::of(&other));
    let mut watcher = caller.watch("/watch?prefix=none/", None).await;
    let (done, mut acknowledged) = mpsc::unbounded_channel();
    let mut writers = JoinSet::new();
    for number in 0..WRITERS {
        let path = format!("/kv/w/{number}");
        let writing = write_until_gone(caller.clone(), path.clone(), done.clone());
        writers.spawn(async move { (path, writing.await) });
    }
    drop(done);
    for _ in 0..WRITERS * 8 {
        soon(acknowledged.recv()).await.unwrap();
    }
    let ended = one.stop().await;
    assert!(ended.status.success(), "{ended:?}");
    assert!(ended.log.contains("stopped"), "{ended:?}");
    assert!(!ended.log.contains("ERROR"), "{ended:?}");
    assert_eq!(watcher.next().await, None);
    for (path, (last, unanswered)) in soon(writers.join_all()).await {
        let read = witness.get(&path).await.expect(200);
        let value = read.body["value"].as_u64().unwrap();
        assert!(
            value == last || Some(value) == unanswered,
            "{read:?}: {last}"
        );
    }
    let list = witness.call(Method::GET, "/kv?prefix=w/");
    let list = crate::support::service::send(list).await.expect(200);
    assert_eq!(list.body["items"].as_array().unwrap().len(), WRITERS);
}
