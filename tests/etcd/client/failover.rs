//! Members that are not there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use ifmatch::storage::etcd::EtcdSettings;
use ifmatch::storage::internals::etcd::{Client, ClientError};
use tokio::time::sleep;

use super::{all, client_of, key, put, read, soon, value, write};
use crate::support::cluster::EtcdCluster;

/// More than an answer takes on a busy machine, and less than the timeouts here.
const QUICK: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_read_fails_when_members_are_killed_one_after_another() {
    let Some(mut cluster) = EtcdCluster::of(3).start().await else {
        return;
    };
    let client = client_of(&cluster);
    write(&client, "/a", "1").await;
    let is_over = AtomicBool::new(false);
    let reads = AtomicUsize::new(0);
    let readers = join_all((0..8).map(|_| async {
        while !is_over.load(Ordering::Relaxed) {
            let found = client.range(&key("/a"), soon()).await;
            assert_eq!(found.expect("a read").kvs[0].value, "1");
            reads.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_millis(1)).await;
        }
    }));
    let killer = async {
        for victim in [cluster.leader().await, 0, 1, 2] {
            cluster.kill(victim).await;
            // Somebody leads again, and everybody reads again.
            cluster.leader().await;
            let before = reads.load(Ordering::Relaxed);
            while reads.load(Ordering::Relaxed) < before + 100 {
                sleep(Duration::from_millis(5)).await;
            }
            cluster.restart(victim).await;
        }
        is_over.store(true, Ordering::Relaxed);
    };
    tokio::join!(readers, killer);
    assert!(reads.load(Ordering::Relaxed) > 400);
}

#[tokio::test]
async fn an_endpoint_that_is_dead_takes_no_share_of_the_requests() {
    let Some(mut cluster) = EtcdCluster::of(3).start().await else {
        return;
    };
    // Nobody is behind the first endpoint, and of the others one is killed.
    let dead = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = dead.local_addr().unwrap().to_string();
    let tries = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&tries);
    tokio::spawn(async move {
        while let Ok((stream, _)) = dead.accept().await {
            counter.fetch_add(1, Ordering::Relaxed);
            drop(stream);
        }
    });
    cluster.kill(0).await;
    cluster.leader().await;
    let endpoints = [vec![address], cluster.endpoints()].concat();
    let client = Client::new(&endpoints, &EtcdSettings::default()).unwrap();
    let absent = client.range(&key("/0"), soon()).await.unwrap();
    assert_eq!(absent.count, 0);
    for number in 0..300 {
        let key = format!("/{number}");
        client.txn(&all([put(&key, "1")]), soon()).await.unwrap();
        assert_eq!(value(&client, &key).await, "1");
    }
    let tries = tries.load(Ordering::Relaxed);
    assert!((1..=4).contains(&tries), "{tries} connections to it");
}

#[tokio::test]
async fn an_endpoint_that_swallows_packets_costs_one_connect_timeout() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    // Its backlog is full, so that connections to it do not come about.
    let full = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = full.local_addr().unwrap();
    rustix::net::listen(&full, 0).unwrap();
    let _queued: Vec<_> = std::iter::from_fn(|| {
        std::net::TcpStream::connect_timeout(&address, Duration::from_millis(300)).ok()
    })
    .collect();
    let endpoints = [vec![address.to_string()], cluster.endpoints()].concat();
    let settings = EtcdSettings {
        connect_timeout: Duration::from_secs(10),
        ..EtcdSettings::default()
    };
    let client = Client::new(&endpoints, &settings).unwrap();
    // Also of many at once, and also for writes: nothing was sent.
    let begun = Instant::now();
    let writes = (0..32).map(|number| {
        let client = client.clone();
        async move {
            client
                .txn(&all([put(&format!("/{number}"), "1")]), soon())
                .await
        }
    });
    for written in join_all(writes).await {
        written.unwrap();
    }
    assert!(
        begun.elapsed() < Duration::from_secs(40),
        "{:?}",
        begun.elapsed()
    );
    let begun = Instant::now();
    read(&client, "/1").await;
    assert!(begun.elapsed() < QUICK, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_member_that_was_started_again_is_used_again_at_once() {
    let Some(mut cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let client = client_of(&cluster);
    write(&client, "/a", "1").await;
    cluster.kill(0).await;
    cluster.restart(0).await;
    write(&client, "/a", "2").await;
    assert_eq!(value(&client, "/a").await, "2");

    // A request that comes while there is nobody waits until there is.
    cluster.kill(0).await;
    cluster.begin_restart(0);
    write(&client, "/a", "3").await;
}

#[tokio::test]
async fn without_a_majority_nothing_is_done_and_the_client_says_so() {
    let Some(mut cluster) = EtcdCluster::of(3).start().await else {
        return;
    };
    let client = client_of(&cluster);
    write(&client, "/a", "1").await;
    cluster.kill(0).await;
    cluster.kill(1).await;
    // Until the last one has noticed, it may still take something that it cannot finish.
    let short = || tokio::time::Instant::now() + Duration::from_secs(3);
    let error = loop {
        match client.txn(&all([put("/a", "2")]), short()).await {
            Err(error @ ClientError::Unavailable(_)) => break error,
            other => assert!(matches!(other, Err(ClientError::Unknown(_))), "{other:?}"),
        }
    };
    println!("{error}");
    let refused = client.range(&key("/a"), short()).await;
    assert!(
        matches!(refused, Err(ClientError::Unavailable(_))),
        "{refused:?}"
    );
    // The one that is left says how it is.
    let status = client.status(soon()).await.unwrap();
    assert_eq!(status.leader, 0);

    cluster.begin_restart(0);
    cluster.restart(1).await;
    write(&client, "/a", "3").await;
    assert_eq!(value(&client, "/a").await, "3");
}
