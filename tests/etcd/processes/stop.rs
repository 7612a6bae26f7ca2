//! A process that is asked to end while it is used.

use std::net::TcpListener;
use std::process::Stdio;

use reqwest::Method;
use rustix::process::{Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::support::binary::{pid_of, soon};
use crate::support::cluster::EtcdCluster;
use crate::support::etcd::Etcd;
use crate::support::service::{Caller, command, serve_two, try_send};

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

#[tokio::test]
async fn a_process_that_waits_for_etcd_says_so_and_can_be_stopped() {
    if Etcd::find().await.is_none() {
        return;
    }
    // It takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let store = format!("etcd://{}/ifmatch", silent.local_addr().unwrap());
    let mut command = command(&store);
    command.stderr(Stdio::piped()).kill_on_drop(true);
    let mut process = command.spawn().unwrap();
    let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
    let said = soon(log.next_line()).await.unwrap().unwrap();
    assert!(said.contains("etcd cannot be reached yet"), "{said}");
    kill_process(pid_of(&process), Signal::TERM).unwrap();
    let said = soon(log.next_line()).await.unwrap().unwrap();
    assert!(said.contains("stopped before it was started"), "{said}");
    assert!(soon(process.wait()).await.unwrap().success());
}
