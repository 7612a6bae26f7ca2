//! Processes that die or freeze in the middle of commits.

use super::load::Load;
use super::rounds;
use crate::support::cluster::EtcdCluster;
use crate::support::service::{freeze, serve, serve_two, thaw};

/// So many writes are acknowledged between two faults.
const WRITES: u64 = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_of_a_process_in_the_middle_of_commits_lose_nothing() {
    let Some(cluster) = EtcdCluster::of(3).durable().start().await else {
        return;
    };
    let mut processes = Vec::from(serve_two(&cluster).await);
    let mut load = Load::start(&processes).await;
    // A kill takes less time than a fault of a member.
    let kills = 4 * rounds();
    for round in 0..kills {
        load.goes_on(WRITES).await;
        let index = round % 2;
        let killed = processes.remove(index);
        killed.kill().await;
        // The other goes on alone.
        load.goes_on(WRITES / 4).await;
        processes.insert(index, serve(&cluster).await);
        load.replace(index, &processes[index]);
    }
    load.goes_on(WRITES).await;
    let tally = load.end().await;
    println!("{kills} kills: {tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_was_frozen_shows_nothing_old() {
    let Some(cluster) = EtcdCluster::of(3).durable().start().await else {
        return;
    };
    let processes = serve_two(&cluster).await;
    let mut load = Load::start(&processes).await;
    for round in 0..2 * rounds() {
        load.goes_on(WRITES).await;
        let frozen = &processes[round % 2];
        freeze(frozen);
        // Everybody who asks the other comes to ask this one, and waits.
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        thaw(frozen);
    }
    load.goes_on(WRITES).await;
    let tally = load.end().await;
    println!("frozen {} times: {tally:?}", 2 * rounds());
}
