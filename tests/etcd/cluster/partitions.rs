//! Members that run and are cut off: from each other, so that clients still reach the one that leads alone, or from
//! everybody.

use super::load::Load;
use super::rounds;
use crate::support::cluster::EtcdCluster;
use crate::support::service::serve_two;

/// So many writes are acknowledged before a partition, and so many while it lasts.
const WRITES: u64 = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_only_clients_reach_loses_nothing() {
    let plan = EtcdCluster::of(3).durable().in_namespaces();
    let Some(cluster) = plan.start().await else {
        return;
    };
    let network = cluster.network();
    let processes = serve_two(&cluster).await;
    let mut load = Load::start(&processes).await;
    for _ in 0..rounds() {
        load.goes_on(WRITES).await;
        let leader = cluster.leader().await;
        network.cut_from_members(leader);
        load.goes_on(WRITES).await;
        assert!(!cluster.serves(leader).await, "it is alone");
        network.mend_to_members(leader);
    }
    load.goes_on(WRITES).await;
    let tally = load.end().await;
    println!("a leader alone {} times: {tally:?}", rounds());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_member_that_nobody_reaches_in_turn_loses_nothing() {
    let plan = EtcdCluster::of(3).durable().in_namespaces();
    let Some(cluster) = plan.start().await else {
        return;
    };
    let network = cluster.network();
    let processes = serve_two(&cluster).await;
    let mut load = Load::start(&processes).await;
    for round in 0..rounds() {
        load.goes_on(WRITES).await;
        let member = round % 3;
        network.cut(member);
        load.goes_on(WRITES).await;
        assert!(!cluster.serves(member).await, "nobody reaches it");
        network.mend(member);
    }
    load.goes_on(WRITES).await;
    let tally = load.end().await;
    println!("a member cut off {} times: {tally:?}", rounds());
}
