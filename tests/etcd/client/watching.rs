//! How watches end, and that they last.

use std::time::{Duration, Instant};

use ifmatch::storage::internals::etcd::ClientError;

use super::{client_of, keys_of, next, soon, watch_of, write};
use crate::support::cluster::EtcdCluster;

#[tokio::test]
async fn a_watch_ends_when_its_member_is_killed_and_goes_on_at_another_one() {
    let Some(mut cluster) = EtcdCluster::of(3).start().await else {
        return;
    };
    let client = client_of(&cluster);
    let first = write(&client, "/w/1", "1").await;
    let mut watch = client.watch(watch_of("/w/", first)).await.unwrap();
    assert_eq!(keys_of(&mut watch, 1).await, ["/w/1"]);
    let endpoints = cluster.endpoints();
    let watched = endpoints
        .iter()
        .position(|endpoint| endpoint == watch.member());
    cluster.kill(watched.unwrap()).await;
    let begun = Instant::now();
    let ended = next(&mut watch).await;
    assert!(
        matches!(ended, Err(ClientError::Unavailable(_))),
        "{ended:?}"
    );
    assert!(
        begun.elapsed() < Duration::from_secs(6),
        "{:?}",
        begun.elapsed()
    );

    cluster.leader().await;
    write(&client, "/w/2", "1").await;
    let mut watch = client.watch(watch_of("/w/", first + 1)).await.unwrap();
    assert_ne!(watch.member(), endpoints[watched.unwrap()]);
    assert_eq!(keys_of(&mut watch, 1).await, ["/w/2"]);
}

#[tokio::test]
async fn a_watch_ends_when_its_member_has_no_leader_any_more() {
    let Some(mut cluster) = EtcdCluster::of(3).start().await else {
        return;
    };
    let client = client_of(&cluster);
    write(&client, "/w/1", "1").await;
    let mut watch = client.watch(watch_of("/w/", 0)).await.unwrap();
    let endpoints = cluster.endpoints();
    for (index, endpoint) in endpoints.iter().enumerate() {
        if endpoint != watch.member() {
            cluster.kill(index).await;
        }
    }
    let ended = next(&mut watch).await;
    assert!(
        matches!(&ended, Err(ClientError::Unavailable(text)) if text.contains("no leader")),
        "{ended:?}"
    );
}

#[tokio::test]
async fn a_watch_without_events_lasts() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let client = client_of(&cluster);
    write(&client, "/w/1", "1").await;
    let mut watch = client.watch(watch_of("/w/", 0)).await.unwrap();
    // More than four times the interval at which the member is asked whether it is there: etcd ends connections that ask too
    // often when they have asked so three times.
    let silence = tokio::time::timeout(Duration::from_secs(26), watch.next()).await;
    assert!(silence.is_err(), "{silence:?}");
    write(&client, "/w/2", "1").await;
    assert_eq!(keys_of(&mut watch, 1).await, ["/w/2"]);
    // So does the connection of the calls, which was idle.
    client.status(soon()).await.unwrap();
}
