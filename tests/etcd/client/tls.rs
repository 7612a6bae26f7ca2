//! Connections that are encrypted.

use std::fs;
use std::time::Duration;

use ifmatch::storage::etcd::{CredentialFiles, EtcdSettings};
use ifmatch::storage::internals::etcd::{Client, ClientError};
use tokio::time::Instant;

use super::{key, keys_of, value, watch_of, write};
use crate::support::cluster::EtcdCluster;
use crate::support::tls::{Authority, Pair};

fn settings(authority: &Authority, pair: Option<&Pair>) -> EtcdSettings {
    EtcdSettings {
        ca: Some(authority.pem.clone().into_bytes()),
        certificate: pair.map(|pair| pair.certificate.clone().into_bytes()),
        key: pair.map(|pair| pair.key.clone().into_bytes()),
        ..EtcdSettings::default()
    }
}

#[tokio::test]
async fn a_client_with_a_certificate_is_served_and_others_are_not() {
    let Some(cluster) = EtcdCluster::of(1).tls().start().await else {
        return;
    };
    let authority = cluster.authority.as_ref().unwrap();
    let pair = authority.issue_for(&["ifmatch.example"]);
    let client = Client::new(&cluster.endpoints(), &settings(authority, Some(&pair))).unwrap();
    write(&client, "/a", "1").await;
    assert_eq!(value(&client, "/a").await, "1");
    let mut watch = client.watch(watch_of("/", 0)).await.unwrap();
    write(&client, "/b", "1").await;
    assert_eq!(keys_of(&mut watch, 1).await, ["/b"]);

    let other = Authority::new("other");
    let pair_of_other = other.issue_for(&["ifmatch.example"]);
    // Why a member refuses a certificate arrives only sometimes before the end of the connection.
    let advice = "with --etcd-cert";
    for (what, settings, text) in [
        ("without", settings(authority, None), advice),
        (
            "of another",
            settings(authority, Some(&pair_of_other)),
            advice,
        ),
        (
            "trust in another",
            settings(&other, Some(&pair)),
            "certificate",
        ),
        ("plain", EtcdSettings::default(), "it may speak tls"),
    ] {
        let client = Client::new(&cluster.endpoints(), &settings).unwrap();
        let deadline = Instant::now() + Duration::from_secs(2);
        let refused = client.range(&key("/a"), deadline).await;
        let Err(ClientError::Unavailable(message)) = refused else {
            panic!("{what}: {refused:?}");
        };
        println!("{what}: {message}");
        assert!(message.to_lowercase().contains(text), "{what}: {message}");
        let refused = client.watch(watch_of("/", 0)).await.unwrap_err();
        let message = refused.to_string();
        assert!(message.to_lowercase().contains(text), "{what}: {message}");
    }
}

#[tokio::test]
async fn a_member_that_does_not_speak_tls_is_told_apart() {
    let Some(mut cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let authority = Authority::new("etcd");
    let client = Client::new(&cluster.endpoints(), &settings(&authority, None)).unwrap();
    let refused = async || {
        let deadline = Instant::now() + Duration::from_secs(2);
        let refused = client.range(&key("/a"), deadline).await;
        refused.unwrap_err().to_string()
    };
    let advice = "leave out --etcd-ca";
    let message = refused().await;
    assert!(message.contains(advice), "{message}");
    // Nobody is there.
    cluster.kill(0).await;
    let message = refused().await;
    assert!(!message.contains(advice), "{message}");
}

#[tokio::test]
async fn certificates_that_were_changed_are_read_again() {
    let Some(cluster) = EtcdCluster::of(1).tls().start().await else {
        return;
    };
    let authority = cluster.authority.as_ref().unwrap();
    let other = Authority::new("other");
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| Some(folder.path().join(name));
    let files = CredentialFiles {
        ca: file("ca.crt"),
        certificate: file("tls.crt"),
        key: file("tls.key"),
        ..CredentialFiles::default()
    };
    let write_ca = |pem: &str| fs::write(folder.path().join("ca.crt"), pem).unwrap();
    let pair = authority.issue_for(&["ifmatch.example"]);
    write_ca(&other.pem);
    pair.write(folder.path());
    let settings = EtcdSettings::of_files(files).await.unwrap();
    let client = Client::new(&cluster.endpoints(), &settings).unwrap();
    let connect = async || {
        // On a connection of its own.
        client.watch(watch_of("/", 0)).await.map(drop)
    };
    connect().await.unwrap_err();
    write_ca(&authority.pem);
    connect().await.unwrap();
    other.issue_for(&["ifmatch.example"]).write(folder.path());
    connect().await.unwrap_err();
    pair.write(folder.path());
    connect().await.unwrap();
    // What cannot be used leaves the last: a key of another certificate, a part of a file, none.
    let key_file = folder.path().join("tls.key");
    fs::write(&key_file, other.issue().key).unwrap();
    connect().await.unwrap();
    fs::write(&key_file, &pair.key[..100]).unwrap();
    connect().await.unwrap();
    fs::remove_file(&key_file).unwrap();
    connect().await.unwrap();
}
