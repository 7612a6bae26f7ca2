//! The files of TLS change while clients come and go.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustls::pki_types::CertificateDer;
use tempfile::tempdir;
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;

use crate::support::binary::{Process, soon};
use crate::support::raw::{exchange, get, request, status};
use crate::support::tls::{Authority, Client, Pair, flags, shown, start, start_for};

/// How many clients connect for each request, and how many keep their connection.
const CONNECTING: usize = 4;
const CONNECTED: usize = 2;

/// Clients in a loop, none of which may fail.
struct Load {
    is_over: Arc<AtomicBool>,
    requests: Arc<AtomicUsize>,
    clients: JoinSet<()>,
}

impl Load {
    fn start(client: &Client, address: &str) -> Self {
        let mut load = Self {
            is_over: Arc::default(),
            requests: Arc::default(),
            clients: JoinSet::new(),
        };
        for number in 0..CONNECTING + CONNECTED {
            let (client, address) = (client.clone(), address.to_owned());
            let (is_over, requests) = (Arc::clone(&load.is_over), Arc::clone(&load.requests));
            load.clients.spawn(async move {
                let mut kept = client.connect(&address).await.unwrap();
                while !is_over.load(Ordering::Relaxed) {
                    if number < CONNECTED {
                        // No body of an answer is left to be read.
                        let head = request("HEAD", "/kv/a", "", "");
                        kept.write_all(head.as_bytes()).await.unwrap();
                        assert_eq!(soon(status(&mut kept)).await.unwrap(), 404);
                    } else {
                        let stream = client.connect(&address).await.unwrap();
                        let answer = soon(exchange(stream, &get("/kv/a", ""))).await.unwrap();
                        assert_eq!(answer.status, 404);
                    }
                    requests.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        load
    }

    async fn finish(mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        while let Some(client) = soon(self.clients.join_next()).await {
            client.unwrap();
        }
        let requests = self.requests.load(Ordering::Relaxed);
        assert!(requests > CONNECTING + CONNECTED, "{requests}");
    }
}

/// Connects until the service shows `certificate`.
async fn is_shown(certificate: &CertificateDer<'_>, client: &Client, process: &Process) {
    soon(async {
        while shown(&client.connect(&process.address).await.unwrap()) != *certificate {}
    })
    .await;
}

#[tokio::test]
async fn a_new_pair_is_used_without_a_failed_request() {
    let folder = tempdir().unwrap();
    let authority = Authority::new("ours");
    let process = start(&authority, folder.path(), &[]).await;
    let client = authority.client();
    let load = Load::start(&client, &process.address);
    for _ in 0..3 {
        let pair = authority.issue();
        pair.replace(folder.path());
        is_shown(&pair.der(), &client, &process).await;
    }
    load.finish().await;
    assert!(process.stop().await.status.success());
}

/// A version of the files behind the link that names the current one.
fn mount(folder: &Path, version: &str, pair: &Pair) {
    let new = folder.join(version);
    fs::create_dir(&new).unwrap();
    pair.write(&new);
    symlink(version, folder.join("..new")).unwrap();
    fs::rename(folder.join("..new"), folder.join("..data")).unwrap();
}

/// As Kubernetes mounts a secret.
#[tokio::test]
async fn a_pair_behind_symbolic_links_is_used_when_the_link_is_swapped() {
    let folder = tempdir().unwrap();
    let authority = Authority::new("ours");
    mount(folder.path(), "..1", &authority.issue());
    for name in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{name}"), folder.path().join(name)).unwrap();
    }
    let flags = flags(folder.path());
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let process = Process::start(folder.path(), &flags).await;
    let client = authority.client();
    let load = Load::start(&client, &process.address);
    for version in ["..2", "..3"] {
        let pair = authority.issue();
        mount(folder.path(), version, &pair);
        is_shown(&pair.der(), &client, &process).await;
    }
    load.finish().await;
    let ended = process.stop().await;
    assert!(!ended.log.contains("ERROR"), "{}", ended.log);
}

#[tokio::test]
async fn a_broken_pair_is_reported_and_the_old_one_stays() {
    let folder = tempdir().unwrap();
    let authority = Authority::new("ours");
    let process = start(&authority, folder.path(), &[]).await;
    let client = authority.client();
    let old = shown(&client.connect(&process.address).await.unwrap());
    let (new, other) = (authority.issue(), authority.issue());
    for (certificate, key, said) in [
        (&new.certificate, &other.key, "does not belong to"),
        (&"nothing".to_owned(), &new.key, "no certificate"),
    ] {
        let broken = Pair {
            certificate: certificate.clone(),
            key: key.clone(),
        };
        broken.replace(folder.path());
        process.logs(said).await;
        assert_eq!(shown(&client.connect(&process.address).await.unwrap()), old);
    }
    fs::remove_file(folder.path().join("tls.key")).unwrap();
    process.logs("tls.key: No such file").await;
    assert_eq!(shown(&client.connect(&process.address).await.unwrap()), old);
    new.replace(folder.path());
    is_shown(&new.der(), &client, &process).await;
}

#[tokio::test]
async fn new_authorities_of_clients_are_used_from_then_on() {
    let folder = tempdir().unwrap();
    let (services, before, after) = (
        Authority::new("services"),
        Authority::new("before"),
        Authority::new("after"),
    );
    let process = start_for(&services, &before, folder.path(), &[]).await;
    let ask = async |authority: &Authority| {
        let client = services.client_with(&authority.issue_for(&["ann.example"]));
        let stream = client.connect(&process.address).await?;
        exchange(stream, &get("/kv/a", "")).await
    };
    assert_eq!(soon(ask(&before)).await.unwrap().status, 404);
    let path = folder.path().join("clients.crt");
    fs::write(folder.path().join("new"), &after.pem).unwrap();
    fs::rename(folder.path().join("new"), path).unwrap();
    soon(async { while ask(&after).await.is_err() {} }).await;
    assert!(soon(ask(&before)).await.is_err());
}
