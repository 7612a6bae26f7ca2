//! Members that run and are cut off: from each other, so that clients still reach the one that leads alone, or from
//! everybody.

use super::load::Load;
use super::rounds;
use crate::support::cluster::EtcdCluster;
use crate::support::service::serve_two;

/// So many writes are acknowledged before a partition, and so many while it lasts.
const WRITES: u64 = 40;

#[derive(Debug, Clone, Copy)]
enum Partition {
    LeaderFromMembers,
    EachInTurnFromEverybody,
}

async fn clients_go_on(partition: Partition) {
    let plan = EtcdCluster::of(3).durable().in_namespaces();
    let Some(cluster) = plan.start().await else {
        return;
    };
    let network = cluster.network();
    let processes = serve_two(&cluster).await;
    let mut load = Load::start(&processes).await;
    for round in 0..rounds() {
        load.goes_on(WRITES).await;
        let member = match partition {
            Partition::LeaderFromMembers => cluster.leader().await,
            Partition::EachInTurnFromEverybody => round % 3,
        };
        match partition {
            Partition::LeaderFromMembers => network.cut_from_members(member),
            Partition::EachInTurnFromEverybody => network.cut(member),
        }
        load.goes_on(WRITES).await;
        assert!(!cluster.serves(member).await, "it is cut off");
        match partition {
            Partition::LeaderFromMembers => network.mend_to_members(member),
            Partition::EachInTurnFromEverybody => network.mend(member),
        }
    }
    load.goes_on(WRITES).await;
    let tally = load.end().await;
    println!("{partition:?} {} times: {tally:?}", rounds());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_only_clients_reach_loses_nothing() {
    clients_go_on(Partition::LeaderFromMembers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_member_that_nobody_reaches_in_turn_loses_nothing() {
    clients_go_on(Partition::EachInTurnFromEverybody).await;
}
