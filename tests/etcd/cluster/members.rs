//! Members that die or freeze: the one that leads, and each in turn, so that also the one that is watched does.

use super::load::Load;
use super::rounds;
use crate::support::cluster::EtcdCluster;
use crate::support::service::serve_two;

/// So many writes are acknowledged before a fault, and so many while it lasts.
const WRITES: u64 = 40;

#[derive(Debug, Clone, Copy)]
enum Fault {
    Killed,
    Frozen,
}

#[derive(Debug, Clone, Copy)]
enum Which {
    Leader,
    EachInTurn,
}

async fn clients_go_on(fault: Fault, which: Which) {
    let Some(mut cluster) = EtcdCluster::of(3).durable().start().await else {
        return;
    };
    let processes = serve_two(&cluster).await;
    let mut load = Load::start(&processes).await;
    for round in 0..rounds() {
        load.goes_on(WRITES).await;
        let member = match which {
            Which::Leader => cluster.leader().await,
            Which::EachInTurn => round % 3,
        };
        match fault {
            Fault::Killed => {
                cluster.kill(member).await;
                load.goes_on(WRITES).await;
                cluster.restart(member).await;
            }
            Fault::Frozen => {
                cluster.freeze(member);
                load.goes_on(WRITES).await;
                cluster.thaw(member);
            }
        }
    }
    load.goes_on(WRITES).await;
    let tally = load.end().await;
    println!("{fault:?} {which:?} {} times: {tally:?}", rounds());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_of_the_leader_lose_nothing() {
    clients_go_on(Fault::Killed, Which::Leader).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_of_each_member_lose_nothing() {
    clients_go_on(Fault::Killed, Which::EachInTurn).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_leader_loses_nothing() {
    clients_go_on(Fault::Frozen, Which::Leader).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_member_frozen_in_turn_loses_nothing() {
    clients_go_on(Fault::Frozen, Which::EachInTurn).await;
}
