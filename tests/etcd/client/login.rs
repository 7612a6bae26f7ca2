//! Users, passwords, and tokens that do not last.

use std::fs;
use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use ifmatch::storage::etcd::{CredentialFiles, EtcdSettings, Password};
use ifmatch::storage::internals::etcd::{Client, ClientError};
use tokio::time::sleep;

use super::{all, key, keys_of, put, soon, value, watch_of, write};
use crate::support::cluster::{EtcdCluster, PASSWORD};

fn login(cluster: &EtcdCluster, user: &str, password: &str) -> Client {
    let settings = EtcdSettings {
        user: Some(user.to_owned()),
        password: Some(Password::from(password.to_owned())),
        ..EtcdSettings::default()
    };
    Client::new(&cluster.endpoints(), &settings).unwrap()
}

fn assert_denied<T: std::fmt::Debug>(result: Result<T, ClientError>, text: &str) {
    match result {
        Err(ClientError::Denied(message)) => assert!(message.contains(text), "{message}"),
        other => panic!("{text}: {other:?}"),
    }
}

#[tokio::test]
async fn a_token_that_has_expired_is_renewed() {
    let Some(mut cluster) = EtcdCluster::of(1).simple_tokens(1).start().await else {
        return;
    };
    cluster.enable_auth().await;
    let client = login(&cluster, "ifmatch", PASSWORD);
    write(&client, "/ifmatch/a", "1").await;
    // A member looks once a second for tokens that were not used for a second.
    let expired = Duration::from_secs(4);
    sleep(expired).await;
    let operations = |number: usize| all([put(&format!("/ifmatch/{number}"), "1")]);
    let writes = (0..16).map(|number| {
        let client = client.clone();
        async move { client.txn(&operations(number), soon()).await }
    });
    for written in join_all(writes).await {
        written.unwrap();
    }
    sleep(expired).await;
    assert_eq!(value(&client, "/ifmatch/a").await, "1");
    sleep(expired).await;
    let mut watch = client.watch(watch_of("/ifmatch/", 0)).await.unwrap();
    sleep(expired).await;
    write(&client, "/ifmatch/b", "1").await;
    assert_eq!(keys_of(&mut watch, 1).await, ["/ifmatch/b"]);
}

#[tokio::test]
async fn a_token_from_before_a_user_was_added_is_renewed() {
    let Some(mut cluster) = EtcdCluster::of(1).start_with_jwt().await else {
        return;
    };
    cluster.enable_auth().await;
    let client = login(&cluster, "ifmatch", PASSWORD);
    write(&client, "/ifmatch/a", "1").await;
    cluster.ctl(&["user", "add", "ann:ann"]).await;
    let writes = (0..16).map(|number| {
        let client = client.clone();
        async move {
            let put = put(&format!("/ifmatch/{number}"), "1");
            client.txn(&all([put]), soon()).await
        }
    });
    for written in join_all(writes).await {
        written.unwrap();
    }
    cluster.ctl(&["user", "add", "bob:bob"]).await;
    assert_eq!(value(&client, "/ifmatch/a").await, "1");
    cluster.ctl(&["user", "add", "eve:eve"]).await;
    let mut watch = client.watch(watch_of("/ifmatch/", 0)).await.unwrap();
    write(&client, "/ifmatch/b", "1").await;
    assert_eq!(keys_of(&mut watch, 1).await, ["/ifmatch/b"]);
}

#[tokio::test]
async fn who_may_not_is_denied() {
    let Some(mut cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let early = login(&cluster, "ifmatch", PASSWORD);
    // etcd does not ask for users yet.
    write(&early, "/ifmatch/a", "1").await;
    cluster.enable_auth().await;
    write(&early, "/ifmatch/a", "2").await;

    assert_denied(
        early.txn(&all([put("/b", "1")]), soon()).await,
        "permission denied",
    );
    assert_denied(early.range(&key("/b"), soon()).await, "permission denied");
    let watch = early.watch(watch_of("/b", 0)).await;
    assert_denied(watch.map(drop), "permission denied");

    let wrong = login(&cluster, "ifmatch", "wrong");
    let denied = wrong.range(&key("/ifmatch/a"), soon()).await;
    assert_denied(denied, "authentication failed");
    let unknown = login(&cluster, "nobody", PASSWORD);
    let denied = unknown.watch(watch_of("/ifmatch/", 0)).await;
    assert_denied(denied.map(drop), "authentication failed");
    let nobody = super::client_of(&cluster);
    assert_denied(
        nobody.range(&key("/ifmatch/a"), soon()).await,
        "user name is empty",
    );
}

#[tokio::test]
async fn a_password_that_was_changed_is_read_again() {
    let Some(mut cluster) = EtcdCluster::of(1).start_with_jwt().await else {
        return;
    };
    cluster.enable_auth().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    fs::write(&file, PASSWORD).unwrap();
    let files = CredentialFiles {
        password: Some(file.clone()),
        ..CredentialFiles::default()
    };
    let settings = EtcdSettings {
        user: Some("ifmatch".to_owned()),
        ..EtcdSettings::of_files(files).await.unwrap()
    };
    let client = Client::new(&cluster.endpoints(), &settings).unwrap();
    write(&client, "/ifmatch/a", "1").await;
    // The same name with another password; the token of before is of no use.
    cluster.ctl(&["user", "delete", "ifmatch"]).await;
    cluster.ctl(&["user", "add", "ifmatch:changed"]).await;
    cluster
        .ctl(&["user", "grant-role", "ifmatch", "ifmatch"])
        .await;
    let denied = client.range(&key("/ifmatch/a"), soon()).await;
    assert_denied(denied, "authentication failed");
    fs::write(&file, "changed\n").unwrap();
    assert_eq!(value(&client, "/ifmatch/a").await, "1");
    // While it is missing, the last one is used.
    fs::remove_file(&file).unwrap();
    cluster.ctl(&["user", "add", "ann:ann"]).await;
    assert_eq!(value(&client, "/ifmatch/a").await, "1");
}

#[tokio::test]
async fn a_caller_that_nobody_polls_holds_up_no_other() {
    let Some(mut cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let wanted = key("/ifmatch/a");
    let connecting = super::client_of(&cluster);
    let mut left_alone = pin!(connecting.range(&wanted, soon()));
    assert!(left_alone.as_mut().now_or_never().is_none());
    connecting.range(&wanted, soon()).await.unwrap();
    left_alone.await.unwrap();

    cluster.enable_auth().await;
    let client = login(&cluster, "ifmatch", PASSWORD);
    let mut left_alone = pin!(client.range(&wanted, soon()));
    assert!(left_alone.as_mut().now_or_never().is_none());
    client.range(&wanted, soon()).await.unwrap();
    client.watch(watch_of("/ifmatch/", 0)).await.unwrap();
    left_alone.await.unwrap();
}
