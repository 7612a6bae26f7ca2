//! What every engine promises.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ifmatch::storage::Store;
use ifmatch::storage::conformance::check_engine;
use ifmatch::storage::etcd::{Address, EtcdStore, StoreSettings};
use tokio::sync::Mutex;

use super::list;
use crate::support::cluster::EtcdCluster;

/// A store, and what it should be when it is opened again.
struct Opened {
    address: Address,
    store: Arc<EtcdStore>,
}

async fn open(address: &Address) -> Arc<EtcdStore> {
    Arc::new(
        EtcdStore::open(address, StoreSettings::default())
            .await
            .unwrap(),
    )
}

/// Closes the store of the last test, and checks that opening it again shows the same.
async fn check_reopened(last: Option<Opened>) {
    let Some(Opened { address, store }) = last else {
        return;
    };
    store.close().await.unwrap();
    let held = list(&store).await;
    drop(store);
    let reopened = open(&address).await;
    assert_eq!(list(&reopened).await, held);
    assert_eq!(reopened.status().await.position, held.0);
}

#[tokio::test]
async fn the_engine_passes_the_suite_and_shows_the_same_when_it_is_opened_again() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let last: Mutex<Option<Opened>> = Mutex::new(None);
    let count = AtomicUsize::new(0);
    check_engine(async || {
        let mut last = last.lock().await;
        check_reopened(last.take()).await;
        let number = count.fetch_add(1, Ordering::Relaxed);
        let address = cluster.address(&format!("/test/{number}"));
        let address: Address = address.parse().unwrap();
        let store = open(&address).await;
        *last = Some(Opened {
            address,
            store: Arc::clone(&store),
        });
        let store: Arc<dyn Store> = store;
        store
    })
    .await;
    check_reopened(last.into_inner()).await;
}
