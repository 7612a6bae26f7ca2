//! Members that are there and do not answer.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use ifmatch::storage::etcd::EtcdSettings;
use ifmatch::storage::internals::etcd::{Client, ClientError};

use super::{all, key, keys_of, next, put, read, soon, value, watch_of, write};
use crate::support::cluster::EtcdCluster;

/// How long a member may take for an answer here.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(8);
/// More than an answer takes on a busy machine, and less than that.
const QUICK: Duration = Duration::from_secs(6);
/// More than that timeout takes on a busy machine, and less than a request takes without it.
const LATE: Duration = Duration::from_secs(25);

/// Later than any test.
const NEVER: Duration = Duration::from_secs(600);

/// A client that asks the member `first` before the others, and members whether they are there after so long.
fn client_of(cluster: &EtcdCluster, first: usize, keep_alive: Duration) -> Client {
    let mut endpoints = cluster.endpoints();
    endpoints.rotate_left(first);
    let settings = EtcdSettings {
        request_timeout: REQUEST_TIMEOUT,
        keep_alive,
        ..EtcdSettings::default()
    };
    Client::new(&endpoints, &settings).unwrap()
}

#[tokio::test]
async fn reads_leave_a_frozen_member_after_the_timeout_and_do_not_come_back_at_once() {
    let Some(mut cluster) = EtcdCluster::of(3).start().await else {
        return;
    };
    let frozen = (cluster.leader().await + 1) % 3;
    let client = client_of(&cluster, frozen, NEVER);
    write(&client, "/a", "1").await;
    cluster.freeze(frozen);
    let begun = Instant::now();
    let asked = key("/a");
    let reads = join_all((0..16).map(|_| client.range(&asked, soon()))).await;
    let took = begun.elapsed();
    for found in reads {
        assert_eq!(found.unwrap().kvs[0].value, "1");
    }
    assert!(took >= REQUEST_TIMEOUT && took < LATE, "{took:?}");
    for _ in 0..50 {
        let begun = Instant::now();
        read(&client, "/a").await;
        assert!(begun.elapsed() < QUICK, "{:?}", begun.elapsed());
    }
    // With less time than the timeout, a part of it is for the others.
    let client = client_of(&cluster, frozen, NEVER);
    let deadline = tokio::time::Instant::now() + REQUEST_TIMEOUT;
    client.range(&asked, deadline).await.unwrap();
    cluster.thaw(frozen);
}

#[tokio::test]
async fn what_became_of_a_transaction_on_a_frozen_member_is_unknown_and_the_next_goes_elsewhere() {
    let Some(mut cluster) = EtcdCluster::of(3).start().await else {
        return;
    };
    let frozen = (cluster.leader().await + 1) % 3;
    let client = client_of(&cluster, frozen, NEVER);
    write(&client, "/a", "1").await;
    cluster.freeze(frozen);
    let begun = Instant::now();
    let unknown = client.txn(&all([put("/a", "2")]), soon()).await;
    assert!(
        matches!(unknown, Err(ClientError::Unknown(_))),
        "{unknown:?}"
    );
    assert!(begun.elapsed() < LATE, "{:?}", begun.elapsed());
    let begun = Instant::now();
    write(&client, "/a", "3").await;
    assert!(begun.elapsed() < QUICK, "{:?}", begun.elapsed());
    assert_eq!(value(&client, "/a").await, "3");
    cluster.thaw(frozen);
}

#[tokio::test]
async fn a_frozen_leader_is_left_too() {
    let Some(mut cluster) = EtcdCluster::of(3).start().await else {
        return;
    };
    let leader = cluster.leader().await;
    let client = client_of(&cluster, leader, NEVER);
    write(&client, "/a", "1").await;
    cluster.freeze(leader);
    assert_eq!(value(&client, "/a").await, "1");
    write(&client, "/a", "2").await;
    assert_eq!(value(&client, "/a").await, "2");
    cluster.thaw(leader);
}

#[tokio::test]
async fn a_watch_ends_when_its_member_is_frozen_and_goes_on_at_another_one() {
    let Some(mut cluster) = EtcdCluster::of(3).start().await else {
        return;
    };
    let frozen = (cluster.leader().await + 1) % 3;
    let client = client_of(&cluster, frozen, Duration::from_secs(5));
    let first = write(&client, "/w/1", "1").await;
    let mut watch = client.watch(watch_of("/w/", first)).await.unwrap();
    assert_eq!(watch.member(), cluster.endpoints()[frozen]);
    assert_eq!(keys_of(&mut watch, 1).await, ["/w/1"]);
    cluster.freeze(frozen);
    let begun = Instant::now();
    let ended = next(&mut watch).await;
    assert!(
        matches!(ended, Err(ClientError::Unavailable(_))),
        "{ended:?}"
    );
    // Five seconds until it is asked, three for the answer.
    assert!(begun.elapsed() < LATE, "{:?}", begun.elapsed());
    // Calls have learned it from the watch.
    let begun = Instant::now();
    write(&client, "/w/2", "1").await;
    assert!(begun.elapsed() < QUICK, "{:?}", begun.elapsed());
    let mut watch = client.watch(watch_of("/w/", first + 1)).await.unwrap();
    assert_ne!(watch.member(), cluster.endpoints()[frozen]);
    assert_eq!(keys_of(&mut watch, 1).await, ["/w/2"]);
    cluster.thaw(frozen);
}
