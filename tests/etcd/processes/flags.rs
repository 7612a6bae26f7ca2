//! How a process is told where its store is, and what it says if it cannot use it.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::time::timeout;

use crate::support::binary::{BINARY, Process, bare_command, command as with_file, run};
use crate::support::cluster::{EtcdCluster, PASSWORD};
use crate::support::etcd::Etcd;
use crate::support::service::{Caller, ROOT, command, send, serve, until};

#[track_caller]
fn assert_refused(output: &Output, code: i32, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert_eq!(output.stdout, b"", "it never listens");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_with_what_is_wrong_with_it() {
    for (address, words) in [
        (
            "http://127.0.0.1:2379",
            &["--store", "etcd://HOST:PORT"][..],
        ),
        ("127.0.0.1:2379", &["--store", "etcd://HOST:PORT"]),
        ("etcd://", &["--store", "is not HOST:PORT"]),
        ("etcd://a,,b", &["--store", "is not HOST:PORT"]),
        ("etcd://a:0", &["--store", "\"a:0\" is not HOST:PORT"]),
        (
            "etcd://a:65536",
            &["--store", "\"a:65536\" is not HOST:PORT"],
        ),
        ("etcd://ann:pw@a:1", &["--store", "settings of their own"]),
        ("etcd://a:1/x?y", &["--store", "the root"]),
    ] {
        assert_refused(&run(command(address)).await, 2, words);
        let mut by_variable = bare_command(BINARY);
        by_variable.env("IFMATCH_STORE", address);
        assert_refused(&run(by_variable).await, 2, words);
    }
}

#[tokio::test]
async fn flags_that_contradict_each_other_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut both = with_file(folder.path());
    both.args(["--store", "etcd://127.0.0.1:1"]);
    assert_refused(
        &run(both).await,
        2,
        &["--data", "--store", "cannot be used with"],
    );
    for flags in [
        ["--history", "1d"],
        ["--journal-above", "0"],
        ["--history-max-bytes", "1"],
    ] {
        let mut both = command("etcd://127.0.0.1:1");
        both.args(flags);
        assert_refused(
            &run(both).await,
            2,
            &["--store", flags[0], "cannot be used with"],
        );
    }
    for flags in [
        &["--etcd-user", "ann"][..],
        &["--etcd-password-file", "x"],
        &["--etcd-cert", "x"],
        &["--etcd-cert", "x", "--etcd-key", "x"],
        &["--etcd-key", "x"],
    ] {
        let mut incomplete = command("etcd://127.0.0.1:1");
        incomplete.args(flags);
        assert_refused(&run(incomplete).await, 2, &["required", "--etcd-"]);
    }
    for flags in [
        ["--etcd-ca", "x"],
        ["--etcd-quota", "1000000"],
        ["--etcd-compact-after", "30d"],
    ] {
        let mut no_store = bare_command(BINARY);
        no_store.args(flags);
        assert_refused(&run(no_store).await, 2, &["required", "--store"]);
    }
    let mut too_short = command("etcd://127.0.0.1:1");
    too_short.args(["--etcd-compact-after", "23h"]);
    let words = ["--etcd-compact-after", "--idempotency-window", "1day"];
    assert_refused(&run(too_short).await, 1, &words);
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    let path = file.to_str().unwrap();
    let user = ["--etcd-user", "ann", "--etcd-password-file", path];
    for flags in [&user[..], &["--etcd-ca", path]] {
        let mut with = command("etcd://127.0.0.1:1");
        with.args(flags);
        assert_refused(&run(with).await, 1, &["cannot read", path, "No such file"]);
    }
    fs::write(&file, b"\xff\xfe").unwrap();
    let mut with = command("etcd://127.0.0.1:1");
    with.args(user);
    assert_refused(&run(with).await, 1, &["--etcd-password-file is not UTF-8"]);
    let mut with = command("etcd://127.0.0.1:1");
    with.args(["--etcd-ca", path]);
    assert_refused(&run(with).await, 1, &["for etcd cannot be used"]);
}

#[tokio::test]
async fn a_cluster_that_nobody_runs_is_waited_for_and_then_named() {
    if Etcd::find().await.is_none() {
        return;
    }
    // One refuses connections, the other takes them and says nothing. Nobody else gets the ports meanwhile.
    let refusing = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    refusing.bind(&any.into()).unwrap();
    let closed = refusing.local_addr().unwrap().as_socket().unwrap();
    let closed = closed.to_string();
    let silent = TcpListener::bind(any).unwrap();
    let address = silent.local_addr().unwrap();
    let store = format!("etcd://{closed},{address}{ROOT}");
    let started = timeout(Duration::from_secs(90), command(&store).output());
    let output = started.await.expect("it gives up").unwrap();
    assert_refused(&output, 1, &["ifmatch: etcd cannot be used"]);
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().last().unwrap();
    assert!(
        last.contains(&closed) || last.contains(&address.to_string()),
        "{last}"
    );
}

#[tokio::test]
async fn the_log_says_which_store_it_is() {
    let Some(cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    let process = serve(&cluster).await;
    process.logs("started").await;
    let log = process.stop().await.log;
    let started = log.lines().find(|line| line.contains("started")).unwrap();
    let address = cluster.address(ROOT);
    assert!(started.contains(&format!("store={address:?}")), "{started}");
    assert!(started.contains("keys=0"), "{started}");
}

#[tokio::test]
async fn a_user_needs_the_password_that_is_in_the_file() {
    let Some(mut cluster) = EtcdCluster::of(1).start().await else {
        return;
    };
    cluster.enable_auth().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    let as_user = |root: &str| {
        let mut command = command(&cluster.address(root));
        command.args(["--etcd-user", "ifmatch", "--etcd-password-file"]);
        command.arg(&file);
        command
    };
    for end in ["", "\n", "\r\n"] {
        fs::write(&file, format!("{PASSWORD}{end}")).unwrap();
        let process = Process::spawn(as_user(ROOT)).await;
        let caller = Caller::of(&process);
        assert!(matches!(
            send(caller.put("/kv/a", 1)).await.status,
            200 | 201
        ));
        let log = process.stop().await.log;
        assert!(!log.contains(PASSWORD), "{log}");
    }
    // A process that runs reads it again when it needs it.
    fs::write(&file, PASSWORD).unwrap();
    let process = Process::spawn(as_user(ROOT)).await;
    cluster.ctl(&["user", "delete", "ifmatch"]).await;
    fs::write(&file, "changed").unwrap();
    cluster.ctl(&["user", "add", "ifmatch:changed"]).await;
    cluster
        .ctl(&["user", "grant-role", "ifmatch", "ifmatch"])
        .await;
    let caller = Caller::of(&process);
    until("it logs in again", async || {
        send(caller.put("/kv/a", 1)).await.status == 200
    })
    .await;
    let log = process.stop().await.log;
    assert!(log.contains("the password for etcd has changed"), "{log}");
    assert_refused(
        &run(as_user("/elsewhere")).await,
        1,
        &["denie", "permission"],
    );
    fs::write(&file, "wrong").unwrap();
    assert_refused(&run(as_user(ROOT)).await, 1, &["denie"]);
    assert_refused(&run(command(&cluster.address(ROOT))).await, 1, &["denie"]);
}

#[tokio::test]
async fn certificates_are_shown_and_asked_for() {
    let Some(cluster) = EtcdCluster::of(1).tls().start().await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let authority = cluster.authority.as_ref().unwrap();
    authority.issue_for(&["ifmatch"]).write(folder.path());
    let ca = folder.path().join("ca.crt");
    fs::write(&ca, &authority.pem).unwrap();
    let file = |name: &str| folder.path().join(name);
    let mut command = command(&cluster.address(ROOT));
    let flags: [(&str, &Path); 3] = [
        ("--etcd-ca", &ca),
        ("--etcd-cert", &file("tls.crt")),
        ("--etcd-key", &file("tls.key")),
    ];
    for (flag, path) in flags {
        command.arg(flag).arg(path);
    }
    let process = Process::spawn(command).await;
    send(Caller::of(&process).put("/kv/a", 1)).await.expect(201);
    assert!(process.stop().await.status.success());
}
