//! `login`, `logout` and `whoami`: the file in which tokens are stored, and https.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;

use axum::routing::any;
use futures_util::future::join_all;
use rustix::process::{Signal, kill_process};
use rustix::termios::{LocalModes, tcgetattr};
use tokio::process::Command;
use tokio::task::spawn_blocking;

use crate::support::access::{ANN, BOB, Guarded, LATE, ROOT, mode_of};
use crate::support::binary::{BINARY, bare_command, pid_of, soon};
use crate::support::cli::{Cli, Ran, finish, finish_with_input, other_server, ran, terminal};
use crate::support::tls::{Authority, flags};

const WHO: &str = r#"{"name":"ann","grants":[],"expires_at":null}"#;

/// The binary with a folder for its configuration, and no service in its environment.
fn command(config: &Path, arguments: &[&str]) -> Command {
    let mut command = bare_command(BINARY);
    command.args(arguments).env("XDG_CONFIG_HOME", config);
    command
}

impl Guarded {
    /// The same without the service in its environment.
    async fn run_unnamed(&self, arguments: &[&str]) -> Ran {
        let config = self.cli.folder.path().join("config");
        finish(command(&config, arguments)).await
    }

    async fn login(&self, url: &str, token: &str) -> Ran {
        let config = self.cli.folder.path().join("config");
        finish_with_input(command(&config, &["login", url]), token).await
    }
}

#[tokio::test]
async fn after_a_login_commands_need_neither_the_server_nor_the_token() {
    let guarded = Guarded::start().await;
    let url = guarded.cli.server.url("");
    let login = guarded.login(&url, &format!("{ANN}\n")).await;
    let who = login.assert_code(0).json();
    assert_eq!(who["name"], "ann");
    assert_eq!(who["grants"][1]["prefix"], "doc/");
    assert!(!login.stderr.contains(ANN), "{login:?}");
    assert_eq!(guarded.run_unnamed(&["whoami"]).await.json(), who);
    guarded
        .run_unnamed(&["put", "doc/a", "1"])
        .await
        .assert_code(0);
    assert_eq!(mode_of(guarded.config()), 0o600);
    assert_eq!(mode_of(guarded.config().parent().unwrap()), 0o700);
    let stored = std::fs::read_to_string(guarded.config()).unwrap();
    for part in [
        format!("default = \"{url}\""),
        format!("[server.\"{url}\"]\ntoken = \"{ANN}\""),
    ] {
        assert!(stored.contains(&part), "{stored}");
    }
    // Also by other spellings of the same URL.
    let address = &guarded.cli.server.address;
    for server in [address.clone(), format!("HTTP://{address}/")] {
        let who = guarded.run_unnamed(&["whoami", "--server", &server]).await;
        assert_eq!(who.assert_code(0).json()["name"], "ann");
    }
    // It is another service as far as anybody knows.
    let port = address.rsplit(':').next().unwrap();
    let localhost = format!("http://localhost:{port}");
    let other = guarded
        .run_unnamed(&["whoami", "--server", &localhost])
        .await;
    other.assert_code(5);
}

#[tokio::test]
async fn each_service_keeps_its_token_and_the_last_login_is_the_default() {
    let guarded = Guarded::start().await;
    let url = guarded.cli.server.url("");
    let localhost = url.replace("127.0.0.1", "LocalHost");
    let name = async |arguments: &[&str]| {
        let ran = guarded
            .run_unnamed(&[&["whoami"], arguments].concat())
            .await;
        ran.assert_code(0).json()["name"].clone()
    };
    guarded.login(&url, ANN).await.assert_code(0);
    guarded.login(&localhost, BOB).await.assert_code(0);
    assert_eq!(name(&[]).await, "bob");
    assert_eq!(name(&["--server", &url]).await, "ann");
    guarded.login(&url, ROOT).await.assert_code(0);
    assert_eq!(name(&[]).await, "root");
    assert_eq!(name(&["--server", &localhost]).await, "bob");

    let logout = guarded.run_unnamed(&["logout"]).await;
    logout.assert_code(0);
    assert_eq!(logout.stdout, "");
    let stored = std::fs::read_to_string(guarded.config()).unwrap();
    assert!(
        !stored.contains(ROOT) && !stored.contains("default"),
        "{stored}"
    );
    assert_eq!(mode_of(guarded.config()), 0o600);
    assert_eq!(name(&["--server", &localhost]).await, "bob");
    let who = guarded.run_unnamed(&["whoami", "--server", &url]).await;
    who.assert_code(5).assert_says(&["a token is needed"]);

    let again = guarded.run_unnamed(&["logout", &url]).await;
    let others = localhost.to_lowercase();
    again
        .assert_code(1)
        .assert_says(&["there was no login stored for", &url, &others]);
    let unnamed = guarded.run_unnamed(&["logout"]).await;
    unnamed.assert_code(1).assert_says(&[
        "no service is the default",
        "ifmatch logout URL",
        &others,
    ]);
    guarded
        .run_unnamed(&["logout", &localhost])
        .await
        .assert_code(0);
    let stored = std::fs::read_to_string(guarded.config()).unwrap();
    assert!(!stored.contains("token ="), "{stored}");
    for arguments in [&["logout"][..], &["logout", &localhost]] {
        let twice = guarded.run_unnamed(arguments).await;
        twice
            .assert_code(1)
            .assert_says(&["there was no login stored, so there is nothing to remove"]);
    }
}

#[tokio::test]
async fn a_token_that_the_service_does_not_accept_is_not_stored() {
    let guarded = Guarded::start().await;
    let url = guarded.cli.server.url("");
    let whole = ifmatch::access::new_token().unwrap();
    for (token, code, reason) in [
        ("nobody", 5, "the token is not valid"),
        (LATE, 5, "the token has expired"),
        (&whole, 5, "the token is not valid"),
        (&whole[..39], 1, "not copied whole"),
        ("", 1, "no token"),
        ("\n", 1, "no token"),
        ("two words", 1, "one word"),
    ] {
        let login = guarded.login(&url, token).await;
        login.assert_code(code).assert_says(&[reason]);
        assert!(
            token.trim().is_empty() || !login.stderr.contains(token),
            "{login:?}"
        );
        assert!(!guarded.config().exists());
    }
    let other = other_server(axum::Router::new().fallback(any(async || "hello"))).await;
    for (url, code) in [
        (other.as_str(), 1),
        ("127.0.0.1:1", 1),
        ("http://u:hidden@a:99999", 2),
    ] {
        let login = guarded.login(url, ANN).await;
        login.assert_code(code);
        assert!(!login.stderr.contains("hidden"), "{login:?}");
        assert!(!guarded.config().exists());
    }
    let twice = guarded
        .run_unnamed(&["login", &url, "--server", &url])
        .await;
    twice.assert_code(2).assert_says(&["--server"]);
}

#[tokio::test]
async fn a_service_that_asks_for_no_token_is_no_place_for_a_login() {
    let cli = Cli::start().await;
    for token in [ANN, &ifmatch::access::new_token().unwrap()] {
        let login = cli.run_with_input(&["login"], token).await;
        login.assert_code(2).assert_says(&[
            &cli.server.url(""),
            "this service asks for no token",
            "nothing was stored",
        ]);
        assert!(!login.stderr.contains(token), "{login:?}");
    }
    assert!(!cli.folder.path().join("config").exists());
}

#[tokio::test]
async fn a_login_can_take_its_token_from_a_file_and_its_server_from_the_environment() {
    let guarded = Guarded::start().await;
    let file = guarded.file("token", ANN, 0o600);
    let login = guarded.cli.run(&["login", "--token-file", &file]).await;
    assert_eq!(login.assert_code(0).json()["name"], "ann");
    assert_eq!(guarded.run_unnamed(&["whoami"]).await.json()["name"], "ann");
    // What the environment says comes first, so a login would seem to have done nothing.
    let url = guarded.cli.server.url("").replace("127.0.0.1", "localhost");
    let mut command = guarded.command_as(BOB, &["login", &url]);
    command.env("IFMATCH_SERVER", "http://127.0.0.1:1");
    let login = finish_with_input(command, ANN).await;
    login.assert_code(0).assert_says(&[
        "warning: IFMATCH_TOKEN is set",
        "warning: IFMATCH_SERVER is set",
    ]);
}

#[tokio::test]
async fn a_stored_token_that_others_may_read_is_not_used() {
    let guarded = Guarded::start().await;
    let url = guarded.cli.server.url("");
    guarded.login(&url, ANN).await.assert_code(0);
    let path = guarded.config().to_str().unwrap().to_owned();
    let text = std::fs::read_to_string(&path).unwrap();
    for mode in [0o644, 0o640, 0o606] {
        guarded.file("config/ifmatch/config.toml", &text, mode);
        for arguments in [&["whoami"][..], &["logout"], &["whoami", "--server", &url]] {
            let ran = guarded.run_unnamed(arguments).await;
            ran.assert_code(1)
                .assert_says(&[&format!("chmod 600 {path}"), "not used"]);
        }
        guarded.login(&url, ANN).await.assert_code(1);
        // What needs nothing of the file does not mind.
        guarded.run_as(ANN, &["whoami"]).await.assert_code(0);
    }
    guarded.file("config/ifmatch/config.toml", &text, 0o600);
    guarded.run_unnamed(&["whoami"]).await.assert_code(0);
}

#[tokio::test]
async fn a_file_of_logins_that_cannot_be_read_is_an_error_that_shows_no_token() {
    let guarded = Guarded::start().await;
    let path = "config/ifmatch/config.toml";
    std::fs::create_dir_all(guarded.config().parent().unwrap()).unwrap();
    for (text, reason) in [
        ("\n[server.\"http://a\"]\ntoken = \"hidden\n", "line 3"),
        ("[server]\n\"http://a\" = \"hidden\"\n", "line 2"),
        ("hidden = \"hidden\"\n", "line 1"),
        (
            "[server.\"http://a\"]\ntoken = \"hidden\"\nname = \"x\"\n",
            "line 3",
        ),
        (
            "[server.\"http://a\"]\ntoken = \"hid den\"\n",
            "the token for http://a",
        ),
        (
            "[server.\"ftp://u:hidden@a\"]\ntoken = \"hidden\"\n",
            "URL is not valid",
        ),
        ("default = \"http://u:hidden@:1\"\n", "URL is not valid"),
    ] {
        guarded.file(path, text, 0o600);
        for ran in [
            guarded.run_unnamed(&["whoami"]).await,
            guarded.login(&guarded.cli.server.url(""), ANN).await,
        ] {
            ran.assert_code(1).assert_says(&[path, reason]);
            assert!(!ran.stderr.contains("hidden"), "{ran:?}");
            assert!(!ran.stderr.contains("hid den"), "{ran:?}");
        }
        assert_eq!(std::fs::read_to_string(guarded.config()).unwrap(), text);
    }
}

#[tokio::test]
async fn logins_at_the_same_time_are_all_stored() {
    let folder = tempfile::tempdir().unwrap();
    let servers =
        join_all((0..8).map(|_| other_server(axum::Router::new().fallback(any(async || WHO)))));
    let servers = servers.await;
    let logins = servers.iter().map(|server| {
        let command = command(folder.path(), &["login", server]);
        finish_with_input(command, server)
    });
    for login in join_all(logins).await {
        login.assert_code(0);
    }
    let stored = std::fs::read_to_string(folder.path().join("ifmatch/config.toml")).unwrap();
    for server in servers {
        assert!(
            stored.contains(&format!("token = \"{server}\"")),
            "{stored}"
        );
    }
}

#[tokio::test]
async fn the_file_of_logins_is_below_home_unless_a_variable_names_another_folder() {
    let folder = tempfile::tempdir().unwrap();
    let server = other_server(axum::Router::new().fallback(any(async || WHO))).await;
    for xdg in [None, Some(""), Some("relative")] {
        let mut command = command(folder.path(), &["login", &server]);
        command
            .current_dir(&folder)
            .env("HOME", folder.path())
            .env_remove("XDG_CONFIG_HOME");
        command.envs(xdg.map(|xdg| ("XDG_CONFIG_HOME", xdg)));
        finish_with_input(command, ANN).await.assert_code(0);
        let home = folder.path().join(".config/ifmatch");
        assert_eq!(mode_of(home.join("config.toml")), 0o600);
        std::fs::remove_dir_all(home).unwrap();
    }
    let mut login = command(folder.path(), &["login", &server]);
    login.env_remove("HOME").env_remove("XDG_CONFIG_HOME");
    let login = finish_with_input(login, ANN).await;
    login.assert_code(1).assert_says(&["set HOME"]);
    // Others do without.
    let mut who = command(folder.path(), &["whoami", "--server", &server]);
    who.env_remove("HOME").env_remove("XDG_CONFIG_HOME");
    finish(who).await.assert_code(0);
}

#[tokio::test]
async fn an_https_service_of_an_authority_of_ones_own() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    authority.issue().write(folder.path());
    let flags = flags(folder.path());
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let guarded = Guarded::start_in(folder, &flags).await;
    let ca = guarded.file("ca.pem", &authority.pem, 0o600);
    let (ca, folder) = (ca.as_str(), guarded.cli.folder.path());
    let url = &guarded.cli.server.url("");
    assert!(url.starts_with("https:"), "{url}");
    let untrusted = guarded.login(url, ANN).await;
    untrusted.assert_code(1).assert_says(&["--ca FILE"]);

    let config = folder.join("config");
    let login = command(&config, &["login", url, "--ca", ca]);
    finish_with_input(login, ANN).await.assert_code(0);
    let who = guarded.run_unnamed(&["whoami", "--ca", ca]).await;
    assert_eq!(who.assert_code(0).json()["name"], "ann");
    let mut put = command(&config, &["put", "doc/a", "1"]);
    put.env("IFMATCH_CA", ca);
    finish(put).await.assert_code(0);
    let other = Authority::new("other");
    let other = guarded.file("other.pem", &other.pem, 0o600);
    let ran = guarded.run_unnamed(&["whoami", "--ca", &other]).await;
    ran.assert_code(1)
        .assert_says(&[&format!("no authority in {other}"), "--ca FILE"]);

    let key = folder.join("tls.key");
    let broken = guarded.file(
        "broken.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        0o600,
    );
    for (file, reason) in [
        ("/nonexistent", "No such file"),
        ("/", "directory"),
        (key.to_str().unwrap(), "no certificate in it"),
        ("/dev/null", "no certificate in it"),
        (&broken, "certificate"),
    ] {
        let ran = guarded.run_unnamed(&["whoami", "--ca", file]).await;
        ran.assert_code(1).assert_says(&[file, reason]);
    }
}

fn shows_what_is_typed(terminal: &File) -> bool {
    let modes = tcgetattr(terminal.as_fd()).unwrap().local_modes;
    modes.contains(LocalModes::ECHO)
}

#[tokio::test]
async fn a_token_is_not_shown_while_it_is_typed() {
    let guarded = Guarded::start().await;
    let url = guarded.cli.server.url("");
    for is_typed in [true, false] {
        let (mut person, program) = terminal();
        assert!(shows_what_is_typed(&program));
        let mut login = command(&guarded.cli.folder.path().join("config"), &["login", &url]);
        login
            .stdin(program.try_clone().unwrap())
            .stderr(program.try_clone().unwrap())
            .stdout(std::process::Stdio::piped());
        let child = login.spawn().unwrap();
        // It is kept open by this test, so a read does not fail at the end.
        drop(login);
        let prompt = format!("Token for {url}: ");
        let (mut person, shown) = soon(spawn_blocking(move || {
            let mut shown = Vec::new();
            while !shown.ends_with(b": ") {
                let mut byte = [0];
                person.read_exact(&mut byte).unwrap();
                shown.extend(byte);
            }
            (person, shown)
        }))
        .await
        .unwrap();
        assert_eq!(String::from_utf8(shown).unwrap(), prompt);
        assert!(!shows_what_is_typed(&program));
        let code = if is_typed {
            writeln!(person, "{ANN}").unwrap();
            0
        } else {
            kill_process(pid_of(&child), Signal::INT).unwrap();
            130
        };
        let ended = ran(&soon(child.wait_with_output()).await.unwrap());
        ended.assert_code(code);
        assert!(shows_what_is_typed(&program));
        drop(program);
        // The rest, up to the error by which Linux says that the other side is gone.
        let mut rest = Vec::new();
        let _ = person.read_to_end(&mut rest);
        let rest = String::from_utf8(rest).unwrap();
        assert!(!rest.contains(ANN), "{rest}");
        let part = if is_typed {
            "The token is stored"
        } else {
            "interrupted by Ctrl-C"
        };
        assert!(rest.contains(part), "{rest}");
    }
    assert_eq!(guarded.run_unnamed(&["whoami"]).await.json()["name"], "ann");
}
