//! Which certificates a command trusts, and https where http was meant.

use std::path::Path;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use crate::support::access::{ANN, Guarded};
use crate::support::binary::{BINARY, Process, bare_command, command as service, soon};
use crate::support::cli::{Cli, Ran, ask, finish, finish_with_input};
use crate::support::tls::{self, Authority};

/// A service that speaks TLS, a folder for its files, and a file of authorities for its clients.
struct Secured {
    server: Process,
    folder: TempDir,
}

impl Secured {
    async fn start(authority: &Authority) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), &authority.pem).unwrap();
        let server = tls::start(authority, folder.path(), &[]).await;
        Self { server, folder }
    }

    /// The same at the same address with a certificate of another authority.
    async fn start_again(self, authority: &Authority, trusted: &Authority) -> Self {
        let Self { server, folder } = self;
        let address = server.address.clone();
        server.kill().await;
        std::fs::write(folder.path().join("ca.pem"), &trusted.pem).unwrap();
        authority.issue().write(folder.path());
        let mut command = service(folder.path());
        command.args(["--listen", &address]);
        command.args(tls::flags(folder.path()));
        let server = Process::spawn(command).await;
        Self { server, folder }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = bare_command(BINARY);
        command.args(arguments).current_dir(&self.folder).args([
            "--ca",
            "ca.pem",
            "--server",
            &self.server.url(""),
        ]);
        command
    }
}

/// A watch in a pipe that has shown an event.
struct Watching {
    child: Child,
    events: Lines<BufReader<ChildStdout>>,
    errors: Lines<BufReader<ChildStderr>>,
}

async fn watch(secured: &Secured) -> Watching {
    let mut command = secured.command(&["watch"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut events = BufReader::new(child.stdout.take().unwrap()).lines();
    let errors = BufReader::new(child.stderr.take().unwrap()).lines();
    // The watch may begin only after the first of these.
    let mut key = 0;
    loop {
        let put = secured.command(&["put", &key.to_string(), "1"]);
        finish(put).await.assert_code(0);
        key += 1;
        tokio::select! {
            event = events.next_line() => {
                event.unwrap().expect("an event");
                break;
            }
            () = tokio::task::yield_now() => {}
        }
    }
    Watching {
        child,
        events,
        errors,
    }
}

#[tokio::test]
async fn a_watch_ends_when_the_certificate_is_no_longer_trusted() {
    let [ours, theirs] = ["ours", "theirs"].map(Authority::new);
    let secured = Secured::start(&ours).await;
    let mut watching = watch(&secured).await;
    let _secured = secured.start_again(&theirs, &ours).await;
    let mut said = Vec::new();
    while let Some(line) = soon(watching.errors.next_line()).await.unwrap() {
        said.push(line);
    }
    let ended = soon(watching.child.wait()).await.unwrap();
    assert_eq!(ended.code(), Some(1), "{said:?}");
    assert_eq!(said[0], "Connection lost; reconnecting.", "{said:?}");
    let said = said[1..].join("\n");
    for part in [
        "invalid peer certificate",
        "no authority in ca.pem vouches",
        "The watch has ended",
        "--since ",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!said.contains("onnect"), "{said}");
}

#[tokio::test]
async fn a_watch_trusts_the_authorities_that_its_file_has_when_it_reconnects() {
    let [ours, theirs] = ["ours", "theirs"].map(Authority::new);
    let secured = Secured::start(&ours).await;
    let mut watching = watch(&secured).await;
    let secured = secured.start_again(&theirs, &theirs).await;
    for line in ["Connection lost; reconnecting.", "Reconnected."] {
        let said = soon(watching.errors.next_line()).await.unwrap();
        assert_eq!(said.as_deref(), Some(line));
    }
    let put = secured.command(&["put", "after", "1"]);
    finish(put).await.assert_code(0);
    loop {
        let event = soon(watching.events.next_line()).await.unwrap();
        if event.expect("it goes on").contains("after") {
            break;
        }
    }
}

fn unnamed(config: &Path, arguments: &[&str]) -> Command {
    let mut command = bare_command(BINARY);
    command.args(arguments).env("XDG_CONFIG_HOME", config);
    command
}

#[tokio::test]
async fn a_login_stores_the_file_of_authorities() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Authority::new("ours");
    ours.issue().write(folder.path());
    let flags = tls::flags(folder.path());
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let guarded = Guarded::start_in(folder, &flags).await;
    let ca = guarded.file("ca.pem", &ours.pem, 0o600);
    let url = &guarded.cli.server.url("");
    let folder = guarded.cli.folder.path();
    let config = folder.join("config");
    let run = async |arguments: &[&str]| -> Ran { finish(unnamed(&config, arguments)).await };

    let mut login = unnamed(&config, &["login", url, "--ca", "ca.pem"]);
    login.current_dir(folder);
    finish_with_input(login, ANN).await.assert_code(0);
    let stored = std::fs::read_to_string(guarded.config()).unwrap();
    let line = format!("\nca = \"{ca}\"\n");
    assert!(stored.contains(&line), "{stored}");
    for arguments in [&["whoami"][..], &["whoami", "--server", url]] {
        let who = run(arguments).await;
        assert_eq!(who.assert_code(0).json()["name"], "ann");
    }
    // Also with a token from elsewhere.
    let mut who = unnamed(&config, &["whoami", "--server", url]);
    who.env("IFMATCH_TOKEN", ANN);
    finish(who).await.assert_code(0);
    // Another login keeps it.
    let login = unnamed(&config, &["login"]);
    finish_with_input(login, ANN).await.assert_code(0);
    let stored = std::fs::read_to_string(guarded.config()).unwrap();
    assert!(stored.contains(&line), "{stored}");

    let moved = folder.join("moved.pem");
    std::fs::rename(&ca, &moved).unwrap();
    let missing = run(&["whoami"]).await;
    missing.assert_code(1).assert_says(&[
        &ca,
        "No such file",
        guarded.config().to_str().unwrap(),
        "--ca FILE",
    ]);
    let moved = moved.to_str().unwrap();
    run(&["whoami", "--ca", moved]).await.assert_code(0);
    run(&["logout"]).await.assert_code(0);
    let stored = std::fs::read_to_string(guarded.config()).unwrap();
    assert!(!stored.contains("ca ="), "{stored}");
}

#[tokio::test]
async fn a_port_that_speaks_the_other_of_http_and_https_is_named() {
    let secured = Secured::start(&Authority::new("ours")).await;
    let plain = Cli::start().await;
    for (asked, speaks, address) in [
        ("http", "https", &secured.server.address),
        ("https", "http", &plain.server.address),
    ] {
        let server = format!("{asked}://{address}");
        let says =
            format!("ifmatch: {server}: this port speaks {speaks}; try {speaks}://{address}\n");
        for arguments in [
            &["get", "a"][..],
            &["put", "a", "1"],
            &["ls"],
            &["watch"],
            &["whoami"],
            &["edit", "a"],
        ] {
            let ran = ask(&server, arguments).await;
            assert_eq!(ran.assert_code(1).stderr, says);
        }
    }
    assert_eq!(plain.run(&["ls"]).await.stdout, "");
}

#[tokio::test]
async fn a_port_that_answers_http_with_an_alert_of_tls_speaks_https() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut request = Vec::new();
            connection.read_buf(&mut request).await.unwrap();
            // A fatal alert: protocol_version.
            let alert = [21, 3, 3, 0, 2, 2, 70];
            connection.write_all(&alert).await.unwrap();
            connection.shutdown().await.unwrap();
            // With anything unread, the connection would be reset.
            let _ = connection.read_to_end(&mut request).await;
        }
    });
    let ran = ask(&address, &["put", "a", "1"]).await;
    ran.assert_code(1)
        .assert_says(&[&format!("try https://{address}")]);
}
