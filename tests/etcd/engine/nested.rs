//! Roots below each other.

use std::sync::Arc;

use ifmatch::model::Expected;
use ifmatch::storage::etcd::{EtcdSettings, EtcdStore, OpenError, Password, StoreSettings};

use super::{commit, list, put, value, write};
use crate::support::cluster::{EtcdCluster, PASSWORD};

async fn open_at(cluster: &EtcdCluster, root: &str) -> Result<Arc<EtcdStore>, OpenError> {
    let address = cluster.address(root).parse().unwrap();
    let opened = EtcdStore::open(&address, StoreSettings::default()).await;
    opened.map(Arc::new)
}

/// What is stored below a root.
async fn stored(cluster: &EtcdCluster, root: &str) -> String {
    cluster.ctl(&["get", "--prefix", &format!("{root}/")]).await
}

#[tokio::test]
async fn a_root_among_the_entries_of_another_store_is_refused() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let store = open_at(&cluster, "/a").await.unwrap();
    write(&store, "x", "1").await;
    let before = stored(&cluster, "/a").await;
    for root in ["/a/k", "/a/k/x", "/a/k/x/y", "/a/k/x/k/y"] {
        let refused = open_at(&cluster, root).await.map(drop).unwrap_err();
        assert!(
            matches!(&refused, OpenError::Within { outer, .. } if outer == "/a"),
            "{refused:?}"
        );
        let message = refused.to_string();
        assert!(message.contains(&format!("the root {root} ")), "{message}");
        assert!(message.contains("root is /a:"), "{message}");
    }
    assert_eq!(stored(&cluster, "/a").await, before, "nothing is begun");
    // Others are not disturbed.
    for root in ["/a/b", "/a/kx", "/b/k/x"] {
        let other = open_at(&cluster, root).await.unwrap();
        write(&other, "x", "2").await;
    }
    assert_eq!(value(&store, "x").await.as_deref(), Some("1"));
    assert_eq!(list(&store).await.1.len(), 1);
}

#[tokio::test]
async fn a_root_that_has_another_store_among_its_entries_is_refused() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    for inner in ["/a/k/x", "/b/k"] {
        let store = open_at(&cluster, inner).await.unwrap();
        write(&store, "a", "1").await;
        let root = &inner[..2];
        let before = stored(&cluster, root).await;
        let refused = open_at(&cluster, root).await.map(drop).unwrap_err();
        assert!(
            matches!(&refused, OpenError::Around { inner: found, .. } if found == inner),
            "{refused:?}"
        );
        let message = refused.to_string();
        assert!(message.contains(inner) && message.contains(&format!("root {root}:")));
        assert_eq!(stored(&cluster, root).await, before, "nothing is begun");
        open_at(&cluster, inner).await.unwrap();
    }
}

#[tokio::test]
async fn entries_that_are_named_like_the_keys_of_a_store_are_none() {
    let Some(mut cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let store = open_at(&cluster, "/ifmatch").await.unwrap();
    let named = ["format", "secret", "m", "k/a", "x/format", "x/secret"];
    let puts = named.map(|name| put(name, Expected::Absent, "1"));
    commit(&store, puts.into()).await.unwrap();
    let reopened = open_at(&cluster, "/ifmatch").await.unwrap();
    assert_eq!(list(&reopened).await.1.len(), named.len());
    // Nor is what others have written there, and a user who may not look there is not refused.
    cluster.ctl(&["put", "/other/format", "1"]).await;
    open_at(&cluster, "/other/k/x").await.unwrap();
    cluster.ctl(&["put", "/other/secret", "1"]).await;
    let role = ["role", "grant-permission", "--prefix"];
    cluster.enable_auth().await;
    cluster
        .ctl(&[&role[..], &["ifmatch", "readwrite", "/other/k/x"]].concat())
        .await;
    let settings = StoreSettings {
        connection: EtcdSettings {
            user: Some("ifmatch".to_owned()),
            password: Some(Password::from(PASSWORD.to_owned())),
            ..EtcdSettings::default()
        },
        ..StoreSettings::default()
    };
    let address = cluster.address("/other/k/x").parse().unwrap();
    EtcdStore::open(&address, settings).await.unwrap();
}
